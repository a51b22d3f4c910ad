"""``certferry migrate start``, ``resume`` and ``pause``."""

import time
from collections.abc import Collection, Sequence
from typing import Annotated

import typer
import uvloop

from certferry.cli.ending import InterruptedByUserError
from certferry.cli.exit_codes import ExitCode
from certferry.cli.migrate_option150 import (
    CaOption,
    CertificateOption,
    ConfirmedOption,
    KeaOption,
    Option150,
    PasswordOption,
    Said,
    StateOption,
    SubnetOption,
    TftpOption,
    UserOption,
)
from certferry.cli.migrate_options import (
    DestinationOption,
    LinesOption,
    MigrationArgument,
    SourceOption,
    exit_code,
    now,
    open_sides,
    open_source,
    place_of,
    to_type,
)
from certferry.cli.migrate_view import LineView, print_status, say_next, watching
from certferry.cli.options import JsonOption, YesOption, confirm, output
from certferry.cli.output import Output
from certferry.cli.verification_options import print_result
from certferry.cluster.cluster import Cluster
from certferry.cluster.migrations import (
    TO_RUN,
    Event,
    Migration,
    MigrationLockedError,
    MigrationOverlapError,
    MigrationStateError,
    State,
    Wanted,
    locked,
)
from certferry.errors import UsageError
from certferry.migrate.result import Verification
from certferry.migrate.waves import lease
from certferry.migrate.waves.cancelling import cancel as cancel_migration
from certferry.migrate.waves.preflight import PreflightFailedError, failing, preflight, sample
from certferry.migrate.waves.running import Runner
from certferry.migrate.waves.sides import Sides
from certferry.migrate.waves.status import Status

_POLL = 0.25
_BEGUN = (State.RUNNING, State.PAUSED)


class OverrideEmptyError(UsageError):
    """Failing checks were overridden without a reason."""

    code = "cli.override-empty"
    remedy = "Say why: --override 'change 4711: phones of building 7 are not in use'. It goes to the audit log."


def start(
    migration: MigrationArgument = None,
    source: SourceOption = None,
    destination: DestinationOption = None,
    option150_confirmed: ConfirmedOption = False,
    kea: KeaOption = None,
    subnet: SubnetOption = None,
    tftp: TftpOption = None,
    kea_user: UserOption = "",
    kea_password_file: PasswordOption = None,
    kea_ca: CaOption = None,
    kea_client_certificate: CertificateOption = None,
    kea_state: StateOption = None,
    yes: YesOption = False,
    override: Annotated[
        str | None, typer.Option("--override", metavar="REASON", help="Go on although checks fail; it is audited.")
    ] = None,
    lines: LinesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Verify, let DHCP name the destination, then reset the phones wave by wave and follow each to its end.

    Exit 0 when all moved, 1 when none did, 4 when checks fail, 5 when it paused or some failed, 6 when another
    process steers the migration, 130 when interrupted. Interrupted or killed, it goes on with resume.
    """
    certificate, password = kea_client_certificate, kea_password_file
    said = Said(option150_confirmed, kea, subnet, tftp, kea_user, password, kea_ca, certificate, kea_state)
    out, cluster = output(as_json), open_source(source)
    found = cluster.migrations.find(migration)
    _must_be_planned(found, cluster)
    if override is not None and not override.strip():
        raise OverrideEmptyError("the reason is empty")
    said.check()
    sides = open_sides(cluster, destination, found)
    option150 = Option150(out, said, found, sides.destination)
    _verify(out, sides, found, override, lines=lines)
    _must_be_planned(cluster.migrations.find(found.id), cluster)  # verifying takes a while, and DHCP is changed next
    told = option150.take(yes=yes)
    try:
        _run(out, sides, found, [Event("option150", now(), told)], lines=lines, states=(State.PLANNED,))
    except (MigrationLockedError, MigrationOverlapError, MigrationStateError):
        if told.get("changed"):
            out.warn(f"no phone was reset, but {told['done']}; take it back with: certferry dhcp undo")
        raise


def resume(
    migration: MigrationArgument = None,
    source: SourceOption = None,
    destination: DestinationOption = None,
    lines: LinesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Go on with a migration that paused, or whose runner was killed. No phone is reset twice; exit codes as start."""
    out, cluster = output(as_json), open_source(source)
    found = cluster.migrations.find(migration)
    if found.state not in _BEGUN:
        raise MigrationStateError(f"migration {found.id} is {found.state}, so there is nothing to resume")
    _run(out, open_sides(cluster, destination, found), found, [], lines=lines, states=_BEGUN)


def pause(
    migration: MigrationArgument = None,
    source: SourceOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it has paused, not before.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Let the runner reset no more phones; those under way are followed to their end."""
    out, cluster = output(as_json), open_source(source)
    found = cluster.migrations.find(migration)
    if found.state is not State.RUNNING:
        raise MigrationStateError(f"migration {found.id} is {found.state}, so there is nothing to pause")
    asked = cluster.migrations.want(found.id, Wanted.PAUSE)
    while wait and asked.state is State.RUNNING and asked.is_steered(now()):
        time.sleep(_POLL)
        asked = cluster.migrations.find(found.id)
    steered = asked.is_steered(now())
    out.data({"migration": found.id, "state": asked.state.value, "steered": steered})
    if asked.state is State.RUNNING and not steered:
        out.text(f"Nobody steers {found.id}: no phone is reset until '{to_type('resume', found.id, cluster)}'.")
    else:
        out.text(f"{found.id}: {'pause asked for' if asked.state is State.RUNNING else asked.state}")


def cancel(
    migration: MigrationArgument = None,
    source: SourceOption = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it goes to the audit log.")] = "",
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Give a migration up that nobody steers: no phone of it is reset any more. What moved stays where it is."""
    out, cluster = output(as_json), open_source(source)
    found = cluster.migrations.find(migration)
    if found.state is not State.CANCELLED:
        confirm(out, f"Cancel migration {found.id}, which is {found.state}, for good?", yes=yes)
    cancel_migration(cluster, found.id, reason, now())
    status = Status.of(cluster.migrations.find(found.id), cluster.migrations.phones(found.id), now())
    out.data(status.summary())
    print_status(out, status)
    if status.totals.moved and found.state is not State.CANCELLED:
        out.say(f"Those that moved return with: certferry migrate back {found.id} --source {place_of(cluster)}")


def _must_be_planned(found: Migration, source: Cluster) -> None:
    if found.is_steered(now()) and not lease.is_gone(found.runner):
        raise locked(found)
    if found.state is not State.PLANNED:
        remedy = f"Go on with it: {to_type('resume', found.id, source)}" if found.state in _BEGUN else None
        raise MigrationStateError(f"migration {found.id} is {found.state}, so it cannot be started", remedy=remedy)


def _verify(out: Output, sides: Sides, found: Migration, override: str | None, *, lines: bool) -> None:
    ledger = sides.source.migrations
    rows = ledger.phones(found.id)
    mine = {row.device for row in rows}
    phones = [phone for phone in sides.source.phones() if phone.device in mine]
    chosen = sample(phones, [row.device for row in rows if row.wave == 0 and row.device in mine])
    out.note(f"Verifying, with {len(chosen)} of {len(rows)} phones rehearsed ...")
    verification = uvloop.run(preflight(sides, chosen, now()))
    if verification.ok:
        return
    names = failing(verification)
    if override is None:
        _refuse(out, verification, names, lines=lines)
    ledger.note_override(found.id, str(override), names)
    out.warn(f"going on although {', '.join(names)} fail: {override}")


def _refuse(out: Output, verification: Verification, names: Sequence[str], *, lines: bool) -> None:
    refusal = PreflightFailedError(f"{', '.join(names)}: these fail, and no phone was reset")
    error = {"code": refusal.code, "sentence": refusal.sentence, "remedy": refusal.remedy}
    told = verification.to_json()
    answer = {
        "ok": False,
        "error": error,
        "checks": [check for check in told["checks"] if check["verdict"] == "fail"],
        "phones": [phone for phone in told["phones"] if phone["outcome"] == "would-fail"],
    }
    if lines:
        LineView().line(answer)
    elif out.as_json:
        out.data(answer)
    else:
        print_result(out, verification, everything=False)
    out.refuse(refusal)
    raise typer.Exit(ExitCode.VERIFICATION_FAILED)


def _run(
    out: Output,
    sides: Sides,
    found: Migration,
    events: Sequence[Event],
    *,
    lines: bool,
    states: Collection[State] = TO_RUN,
) -> None:
    with watching(out, lines=lines) as watcher:
        runner = Runner(sides, found.id, watcher, states=states)
        try:
            status = uvloop.run(runner.run(events))
        except KeyboardInterrupt:
            raise _interrupted(found, sides.source) from None
    _tell(out, status, sides.source, lines=lines)
    code = exit_code(status)
    if code:
        raise typer.Exit(code)


def _interrupted(found: Migration, source: Cluster) -> InterruptedByUserError:
    told = f"migration {found.id} was interrupted; phones that were reset go on by themselves, unwatched"
    return InterruptedByUserError(told, remedy=f"Go on with: {to_type('resume', found.id, source)}")


def _tell(out: Output, status: Status, source: Cluster, *, lines: bool) -> None:
    if lines:
        LineView().line({"result": status.to_json()})
        return
    out.data(status.to_json())
    print_status(out, status)
    say_next(out, status, source)
