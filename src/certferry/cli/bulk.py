"""``certferry bulk``: the four buttons of Bulk Certificate Management, with a plan before and an undo after."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from certferry.bulk import consolidating, directory, exporting, importing
from certferry.bulk.lock import WAIT_SECONDS, break_lock
from certferry.bulk.origins import ForeignFile
from certferry.bulk.settings import SftpSettings
from certferry.bulk.telling import listing_json, plan_json
from certferry.bulk.transport import SftpExchange
from certferry.bulk.wrapping import BundlePasswordError, Wrapping
from certferry.cli import bulk_sftp
from certferry.cli.bulk_view import (
    count_text,
    offers,
    removal_question,
    show_plan,
    tell_imported,
    tell_types,
    types_of,
    undo_question,
)
from certferry.cli.exit_codes import ExitCode
from certferry.cli.options import ClusterOption, JsonOption, YesOption, confirm, named_again, open_cluster, output
from certferry.cli.output import Output
from certferry.cli.passwords import bundle_password, first_line
from certferry.cli.progress import progress_bars
from certferry.cluster.acting import actor
from certferry.cluster.cluster import Cluster
from certferry.cluster.searching import HistoryLine, Slice
from certferry.cluster.trust_stores import still_to_undo
from certferry.errors import UsageError
from certferry.trust.purpose import BulkType
from certferry.trust.store_rules import Action, Code
from certferry.wire.pkcs12 import Profile

app = typer.Typer(help="Bulk Certificate Management: sftp, export, list, consolidate, import.")
app.command("sftp")(bulk_sftp.sftp)

T = TypeVar("T")
PASSWORD_TRIES = 3
"""How often a file's password is asked for."""
_LINES_AT_ONCE = 1000


class CertificateType(StrEnum):
    """The *Certificate Type* drop-down."""

    ALL = "all"
    TOMCAT = "tomcat"
    TFTP = "tftp"
    CAPF = "capf"
    ITL_RECOVERY = "itlrecovery"


class ProfileChoice(StrEnum):
    """How PKCS#12 files are encrypted."""

    AUTO = "auto"
    LEGACY = "legacy"
    MODERN = "modern"


class PairInvalidError(UsageError):
    """Not NAME=VALUE."""

    code = "cli.pair-invalid"
    remedy = "Write --expect CLUSTER=SHA256, or --foreign FILE=CLUSTER:TYPE."


TypeArgument = Annotated[
    CertificateType, typer.Argument(metavar="TYPE", help="all, tomcat, tftp, capf or itlrecovery.")
]
ProfileOption = Annotated[ProfileChoice, typer.Option("--profile", help="auto: by the oldest release that takes part.")]
BreakLockOption = Annotated[bool, typer.Option("--break-lock", help="Remove a lock whose owner is gone for good.")]
WaitOption = Annotated[
    float, typer.Option("--wait", min=0, max=3600, help="Seconds to wait while somebody else holds the lock.")
]
AcceptUnsigned = Annotated[
    bool, typer.Option("--accept-unsigned", help="Take files without a manifest, from other products, on your word.")
]
Pkcs12Passwords = Annotated[
    list[Path] | None, typer.Option("--pkcs12-password-file", help="A password to try on PKCS#12 files; repeatable.")
]


@app.command()
def export(
    kind: TypeArgument = CertificateType.ALL,
    profile: ProfileOption = ProfileChoice.AUTO,
    break_lock_: BreakLockOption = False,
    wait: WaitOption = WAIT_SECONDS,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the certificates of every node of this cluster to the SFTP directory."""
    out, opened = output(as_json), open_cluster(cluster)

    async def work(exchange: SftpExchange, wrapping: Wrapping) -> exporting.Exported:
        await _break_lock(exchange, opened.name, wanted=break_lock_)
        with progress_bars(out) as report:
            return await exporting.export(
                opened, exchange, _types(kind), now=datetime.now(UTC), wrapping=wrapping, progress=report, wait=wait
            )

    done = _exchange(opened, work, profile=profile)
    files = [{"name": name, "certificates": len(bundle)} for name, bundle in done.files.items()]
    out.data({"files": files, "certificates": done.certificates, "signer_sha256": done.fingerprint})
    tell_types(out, types_of(done.files), "exported", "to sftp server")
    out.text(f"{len(files)} files with {done.certificates} certificates, signed by {done.fingerprint}.")
    out.note("Next: export on the other cluster, then: certferry bulk consolidate")


@app.command("list")
def list_(cluster: ClusterOption = None, as_json: JsonOption = False) -> None:
    """List the files of every cluster in the SFTP directory, and what is offered next."""
    out, opened = output(as_json), open_cluster(cluster)

    async def work(exchange: SftpExchange, wrapping: Wrapping) -> directory.Listing:
        return await directory.list_directory(exchange, wrapping)

    listing = _exchange(opened, work)
    out.data(listing_json(listing))
    rows = [
        (
            each.name,
            each.cluster or "",
            each.node or "",
            each.bulk_type or "",
            count_text(each),
            f"{each.modified:%Y-%m-%d %H:%M}",
        )
        for each in listing.files
    ]
    out.table(("file", "cluster", "node", "type", "certificates", "modified (UTC)"), rows)
    for line in offers(listing):
        out.text(line)


@app.command()
def consolidate(
    kind: TypeArgument = CertificateType.ALL,
    profile: ProfileOption = ProfileChoice.AUTO,
    accept_unsigned: AcceptUnsigned = False,
    pkcs12_password_file: Pkcs12Passwords = None,
    break_lock_: BreakLockOption = False,
    wait: WaitOption = WAIT_SECONDS,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make one file for each type of what all clusters exported; on one publisher only, either one."""
    out, opened = output(as_json), open_cluster(cluster)

    async def work(exchange: SftpExchange, wrapping: Wrapping) -> consolidating.Consolidated:
        await _break_lock(exchange, None, wanted=break_lock_)
        with progress_bars(out) as report:
            return await consolidating.consolidate(
                opened, exchange, _types(kind), now=datetime.now(UTC), wrapping=wrapping,
                accept_unsigned=accept_unsigned, progress=report, wait=wait,
            )  # fmt: skip

    done = _exchange(opened, work, profile=profile, passwords=pkcs12_password_file or (), out=out)
    files = [{"type": kind.value, "certificates": len(bundle)} for kind, bundle in done.files.items()]
    out.data({"files": files, "clusters": done.clusters, "unsigned": done.unsigned, "keys_ignored": done.keys_ignored})
    for name in done.keys_ignored:
        out.warn(f"{name} holds private keys; they were ignored. Whoever wrote it should know.")
    tell_types(out, done.files, "consolidated", f"of {', '.join(done.clusters)}")
    out.note("Next: certferry bulk import, on every cluster")


@app.command("import")
def import_(
    kind: TypeArgument = CertificateType.ALL,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what would change, change nothing; exit 3 if anything.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="List also what is skipped, line by line.")] = False,
    yes: YesOption = False,
    expect: Annotated[
        list[str] | None, typer.Option("--expect", metavar="CLUSTER=SHA256", help="Pin a cluster's signer; repeatable.")
    ] = None,
    foreign: Annotated[
        list[str] | None,
        typer.Option(
            "--foreign", metavar="FILE=CLUSTER:TYPE", help="Also import a PKCS#12 of another product; repeatable."
        ),
    ] = None,
    accept_unsigned: AcceptUnsigned = False,
    pkcs12_password_file: Pkcs12Passwords = None,
    wait: WaitOption = WAIT_SECONDS,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the other clusters' certificates into this cluster's trust stores, in one step that can be undone.

    Exit 0 when the stores hold all of them afterwards, 5 when some are refused, 1 when all are.
    """
    out, opened = output(as_json), open_cluster(cluster)

    async def work(exchange: SftpExchange, wrapping: Wrapping) -> importing.ImportPlan:
        with progress_bars(out) as report:
            return await importing.plan(
                opened, exchange, _types(kind), now=datetime.now(UTC), wrapping=wrapping,
                expect=dict(_pair(text) for text in expect or ()), foreign=[_foreign(text) for text in foreign or ()],
                accept_unsigned=accept_unsigned, progress=report, wait=wait,
            )  # fmt: skip

    made = _exchange(opened, work, passwords=pkcs12_password_file or (), out=out)
    show_plan(out, made, opened.name, verbose=verbose)
    if plan:
        out.data(plan_json(made))
        raise typer.Exit(ExitCode.CHANGES_PENDING if made.pending else ExitCode.DONE)
    if made.pending:
        confirm(out, f"Import {len(made.pending)} changes into the trust stores of {opened.name}?", yes=yes)
    done = importing.apply(opened, made)
    refused = len({change.certificate for change in made.refused})
    out.data({**plan_json(made), "undo": done.undo_id, "refused": refused})
    if done.undo_id:
        tell_imported(out, made, opened.name)
        back = f"certferry bulk undo {done.undo_id}{named_again(cluster)}"
        out.text(f"{len(made.pending)} changes. Take them back with: {back}")
    else:
        out.text(f"Nothing to change: the trust stores hold all {'that they take' if refused else 'of it'} already.")
    raise typer.Exit(_ending(made))


def _ending(made: importing.ImportPlan) -> ExitCode:
    """Tell an import that took everything from one that refused some certificates, or all of them."""
    if not made.refused:
        return ExitCode.DONE
    taken = any(change.action != Action.REFUSE and change.code != Code.OWN for change in made.changes)
    return ExitCode.PARTLY_DONE if taken else ExitCode.FAILED


@app.command()
def undo(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="As 'bulk import' and 'bulk history' print it.")],
    yes: YesOption = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the trust stores back to what they were before one change."""
    out, opened = output(as_json), open_cluster(cluster)
    entry = opened.undoable(identifier)
    if not yes:
        held = opened.trust_entries_about(change.certificate for change in entry.changes)
        confirm(out, undo_question(entry, still_to_undo(entry, held), opened.name), yes=False)
    done = opened.undo(identifier)
    changes = [{"action": c.action, "store": c.store.value, "sha256": c.certificate.sha256} for c in done]
    out.data({"undone": identifier, "changes": changes}, f"Took back {len(done)} changes of {identifier}.")


@app.command()
def history(cluster: ClusterOption = None, as_json: JsonOption = False) -> None:
    """Show who changed the trust stores, when and how; the latest first."""
    out, opened = output(as_json), open_cluster(cluster)
    entries = list(_history(opened))
    described = [
        {
            **json.loads(e.details),
            "id": e.id,
            "at": e.at,
            "actor": e.actor,
            "action": e.action,
            "changes": e.changes,
            "undone": e.undone,
        }
        for e in entries
    ]
    out.data({"history": described})
    rows = [
        (e.id, f"{e.at:%Y-%m-%d %H:%M:%S}", e.actor, e.action, e.changes, "undone" if e.undone else "") for e in entries
    ]
    out.table(("id", "when (UTC)", "who", "what", "changes", ""), rows)


def _history(opened: Cluster) -> Iterator[HistoryLine]:
    skip, total = 0, 1
    while skip < total:
        found = opened.find_history(Slice(skip, _LINES_AT_ONCE))
        yield from found.items
        skip, total = skip + _LINES_AT_ONCE, found.total


@app.command("remove-cluster")
def remove_cluster(
    name: Annotated[str, typer.Argument(help="The cluster whose files leave the directory.")],
    yes: YesOption = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a cluster's files out of the SFTP directory; trust stores stay as they are."""
    out, opened = output(as_json), open_cluster(cluster)

    async def look(exchange: SftpExchange, _wrapping: Wrapping) -> tuple[str, ...]:
        return await exporting.exported_by(exchange, name)

    async def work(exchange: SftpExchange, _wrapping: Wrapping) -> tuple[str, ...]:
        return await exporting.remove_cluster(exchange, name, operator=actor())

    if not yes:
        there = SftpSettings.load(opened).url
        confirm(out, removal_question(name, _exchange(opened, look), there), yes=False)
    removed = _exchange(opened, work)
    out.data({"removed": removed}, f"Removed {len(removed)} files of {name}. Consolidate again.")


def _exchange(
    opened: Cluster,
    work: Callable[[SftpExchange, Wrapping], Awaitable[T]],
    *,
    profile: ProfileChoice = ProfileChoice.AUTO,
    passwords: Sequence[Path] = (),
    out: Output | None = None,
) -> T:
    """Do ``work`` on the exchange directory; with ``out``, ask for a file's password where it needs another."""
    settings = SftpSettings.load(opened)
    chosen = None if profile is ProfileChoice.AUTO else Profile[profile.name]
    wrapping = Wrapping.of(settings, [first_line(file) for file in passwords], chosen)

    async def run(wrapping: Wrapping) -> T:
        async with SftpExchange.opened(settings) as exchange:
            return await work(exchange, wrapping)

    for _ in range(PASSWORD_TRIES):
        try:
            return asyncio.run(run(wrapping))
        except BundlePasswordError as refusal:
            if out is None or not out.can_ask:
                raise
            wrapping = wrapping.with_password(bundle_password(out, refusal.sentence))
    return asyncio.run(run(wrapping))


async def _break_lock(exchange: SftpExchange, scope: str | None, *, wanted: bool) -> None:
    if wanted:
        await break_lock(exchange, scope)


def _types(kind: CertificateType) -> list[BulkType] | None:
    return None if kind is CertificateType.ALL else [BulkType(kind.value)]


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise PairInvalidError(f"{text!r} has no '='")
    return name, value


def _foreign(text: str) -> ForeignFile:
    name, value = _pair(text)
    cluster, colon, kind = value.rpartition(":")
    if not colon or kind not in tuple(BulkType):
        raise PairInvalidError(f"{text!r} does not end in CLUSTER:TYPE")
    return ForeignFile(name, BulkType(kind), cluster)
