"""``certferry config check``: does this host have what the services of a cluster need, before they are started."""

import os
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from certferry.cli.backup import PASSPHRASE_VARIABLE
from certferry.cli.dhcp_kea import KEA_VARIABLE
from certferry.cli.ending import TRACEBACK_VARIABLE
from certferry.cli.exit_codes import ExitCode
from certferry.cli.logs import LEVEL_VARIABLE
from certferry.cli.options import CLUSTER_VARIABLE, ClusterOption, JsonOption, cluster_given, output
from certferry.cli.output import Output
from certferry.cli.passwords import SFTP_VARIABLE
from certferry.cli.verification_options import print_checks, print_remedies
from certferry.cluster.location import KEY_VARIABLE, ClusterLocation
from certferry.cluster.server_address import PASSWORD_FILE_VARIABLE, PASSWORD_VARIABLE
from certferry.readiness.checking import DEFAULT_WINDOW, check_host
from certferry.trust.list_check import Check

VARIABLES = frozenset(
    {
        CLUSTER_VARIABLE,
        LEVEL_VARIABLE,
        KEA_VARIABLE,
        KEY_VARIABLE,
        PASSPHRASE_VARIABLE,
        PASSWORD_FILE_VARIABLE,
        PASSWORD_VARIABLE,
        SFTP_VARIABLE,
        TRACEBACK_VARIABLE,
    }
)
"""Every environment variable of its own that certferry reads."""

app = typer.Typer(help="See whether this host is ready.")


@app.callback()
def _config() -> None:
    """See whether this host is ready."""


@app.command()
def check(
    node: Annotated[
        list[str] | None, typer.Option("--node", help="Only this node, as 'serve' is given it; repeatable.")
    ] = None,
    phones: Annotated[
        int | None, typer.Option("--phones", min=0, help="Phones to expect; else those that the cluster knows.")
    ] = None,
    window: Annotated[
        int, typer.Option("--window", min=0, help="Days ahead in which expiry is a warning.")
    ] = DEFAULT_WINDOW.days,
    brief: Annotated[bool, typer.Option("--brief", help="Leave out the checks that pass.")] = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check whether this host has what the cluster's services need, as the user who will run them; nothing changes.

    Exit 0 when nothing fails, 4 when something fails.
    """
    out = output(as_json)
    location, now = ClusterLocation.parse(cluster_given(cluster)), datetime.now(UTC).replace(microsecond=0)
    checks = tuple(
        check_host(
            location,
            now=now,
            environment=os.environ,
            known_variables=VARIABLES,
            nodes=node or (),
            phones=phones,
            window=timedelta(days=window),
        )
    )
    ok = all(each.verdict != "fail" for each in checks)
    out.data({"ok": ok, "checks": list(map(_described, checks)), "cluster": location.text, "at": now})
    _print(out, [each for each in checks if not brief or each.verdict != "pass"])
    out.text(f"\n{location.text}: {'nothing fails' if ok else 'not ready'}. Checks: {_counted(checks)}")
    if not ok:
        raise typer.Exit(ExitCode.VERIFICATION_FAILED)


def _described(each: Check) -> dict[str, str]:
    told = {"id": each.id, "title": each.title, "verdict": each.verdict, "evidence": each.evidence}
    return {**told, "remedy": each.remedy}


def _counted(checks: Iterable[Check]) -> str:
    counts = Counter(each.verdict for each in checks)
    return ", ".join(f"{number} {verdict}" for verdict, number in counts.items())


def _print(out: Output, shown: list[Check]) -> None:
    if shown:
        print_checks(out, shown)
    print_remedies(out, shown)
