"""``certferry cluster backup`` and ``certferry cluster restore``: a whole cluster in one file, and back."""

import os
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from certferry.cli.options import ClusterOption, JsonOption, cluster_given, output
from certferry.cli.output import Output
from certferry.cli.passwords import first_line
from certferry.cluster.backup import Restored, back_up
from certferry.cluster.backup import restore as restore_cluster
from certferry.cluster.location import ClusterLocation
from certferry.errors import UsageError

PASSPHRASE_VARIABLE = "CERTFERRY_BACKUP_PASSPHRASE"  # noqa: S105 -- the name of a variable

PassphraseFileOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file", metavar="FILE", help=f"Its first line is the passphrase; or ${PASSPHRASE_VARIABLE}."
    ),
]


class PassphraseMissingError(UsageError):
    """The passphrase of a backup is needed, and nobody can be asked for it."""

    code = "cli.passphrase-missing"
    remedy = f"Give --passphrase-file FILE, set {PASSPHRASE_VARIABLE}, or run it on a terminal."


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; it gets mode 0600.")],
    passphrase_file: PassphraseFileOption = None,
    ask_passphrase: Annotated[
        bool, typer.Option("--ask-passphrase", help="Ask for the passphrase that encrypts the cluster's key.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an earlier backup in that file.")] = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Back up everything a cluster has into one file, while it is in use.

    With a passphrase the seal key is in it, encrypted; without one, keep the key file elsewhere: restoring needs it.
    """
    out = output(as_json)
    place = ClusterLocation.parse(cluster_given(cluster))
    passphrase = _given(passphrase_file)
    if passphrase is None and ask_passphrase:
        passphrase = _ask(out, again=True)
    done = back_up(place, file, _now(), passphrase=passphrase, replace=replace)
    if passphrase is None:
        out.warn(f"the key of its private keys is not in it: keep a copy of {place.key_file} elsewhere")
    if done.audit_problem:
        out.warn(done.audit_problem)
    described = {"cluster": done.header.name, "file": str(file), "bytes": file.stat().st_size, "rows": done.rows}
    told = {"schema": done.header.schema, "holds_key": bool(done.header.wrapped), "audit_problem": done.audit_problem}
    text = f"Backed up {done.header.name}: {sum(done.rows.values())} rows in {file}."
    out.data({**described, **told, "made_at": done.header.made_at}, text)


def restore(
    file: Annotated[Path, typer.Argument(help="A file that 'certferry cluster backup' wrote.")],
    to: Annotated[str, typer.Option("--to", metavar="PLACE", help="A new folder, or postgresql://USER@HOST/DATABASE.")],
    seal_key: Annotated[
        Path | None, typer.Option("--seal-key", metavar="FILE", help="The cluster's key file, if the backup lacks it.")
    ] = None,
    passphrase_file: PassphraseFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a cluster of a backup, at a place that holds none."""
    out = output(as_json)
    target = ClusterLocation.parse(to)

    def passphrase() -> str:
        return _given(passphrase_file) or _ask(out, again=False)

    done = restore_cluster(file, target, _now(), passphrase=passphrase, key_file=seal_key)
    if done.audit_problem:
        out.warn(f"as it was when it was backed up: {done.audit_problem}")
    out.data(_described(done, target), "\n".join(_told(done, target)))


def _described(done: Restored, target: ClusterLocation) -> dict[str, object]:
    return {
        "cluster": done.header.name,
        "to": target.text,
        "key_file": str(target.key_file),
        "made_at": done.header.made_at,
        "rows": done.rows,
        "schema": {"before": done.header.schema, "after": done.schema},
        "resets_withdrawn": done.resets_withdrawn,
        "audit_lines": done.audit_lines,
        "audit_problem": done.audit_problem,
    }


def _told(done: Restored, target: ClusterLocation) -> Iterator[str]:
    rows, header = sum(done.rows.values()), done.header
    yield f"Restored {header.name} as it was at {header.made_at}: {rows} rows, all compared."
    if not done.audit_problem:
        yield f"The audit log's {done.audit_lines} lines hold together."
    if count := done.resets_withdrawn:
        were = (
            "1 reset that no node had taken yet was"
            if count == 1
            else f"{count} resets that no node had taken yet were"
        )
        yield f"{were} withdrawn, for they were asked before the backup. Ask again for those that are still due."
    yield f"Its key file: {target.key_file}. Every machine that uses the cluster needs it, mode 0600."
    yield f"See what its services need here: certferry config check --cluster {shlex.quote(target.text)}"


def _given(file: Path | None) -> str | None:
    return first_line(file) if file is not None else os.environ.get(PASSPHRASE_VARIABLE) or None


def _ask(out: Output, *, again: bool) -> str:
    if not out.can_ask:
        raise PassphraseMissingError("the backup's passphrase was not given")
    asked: str = typer.prompt("Passphrase of the backup", hide_input=True, confirmation_prompt=again, err=True)
    return asked


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
