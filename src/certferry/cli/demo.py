"""``certferry demo``: the whole procedure on this machine, with real sockets, in a minute."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from certferry.cli.exit_codes import ExitCode
from certferry.cli.options import JsonOption, output
from certferry.cli.output import Output
from certferry.cli.progress import Report, progress_bars
from certferry.lab.demo import DemoPlan, ModeReport, demonstrate


def demo(
    phones: Annotated[int, typer.Option(min=1, max=100_000, help="Phones in each mode.")] = 20,
    nodes: Annotated[int, typer.Option(min=1, max=21, help="Nodes of each cluster.")] = 3,
    secure: Annotated[
        bool | None, typer.Option("--secure/--non-secure", help="Only this mode; both when left out.")
    ] = None,
    source_release: Annotated[str, typer.Option(help="Release of the source cluster.")] = "10.5.2",
    destination_release: Annotated[str, typer.Option(help="Release of the destination cluster.")] = "11.5.1",
    processes: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes for the phones; as many as help when left out.")
    ] = None,
    folder: Annotated[Path | None, typer.Option("--dir", help="Keep the clusters and files here.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the whole procedure: two clusters, an SFTP server, phones that move. Exit 0 only if every phone moves."""
    out = output(as_json)
    plan = DemoPlan(phones, nodes, source_release, destination_release, processes)
    modes = [True, False] if secure is None else [secure]
    with _folder(folder) as place:
        reports = [_run(out, plan, place, secure=mode) for mode in sorted(modes)]
    ok = all(report.ok for report in reports)
    out.data({"ok": ok, "modes": [_describe(report) for report in reports]})
    for report in reports:
        out.text(_summary(report))
    if not ok:
        raise typer.Exit(ExitCode.FAILED)


def _run(out: Output, plan: DemoPlan, place: Path, *, secure: bool) -> ModeReport:
    name = _mode(secure=secure)
    out.say(f"\n{name} clusters", "bold underline")
    folder = place / name
    folder.mkdir(parents=True, exist_ok=True)
    with progress_bars(out) as report:
        return uvloop.run(demonstrate(plan, folder, _Narrator(out, report), secure=secure))


class _Narrator:
    """Tells the story on stderr, in numbered steps."""

    def __init__(self, out: Output, report: Report) -> None:
        self._out, self._report, self._number = out, report, 0

    def step(self, title: str) -> None:
        self._number += 1
        self._out.say(f"{self._number}. {title}", "bold")

    def detail(self, text: str) -> None:
        self._out.say(f"   {text}")

    def progress(self, what: str, done: int, total: int) -> None:
        self._report(what, done, total)


@contextmanager
def _folder(chosen: Path | None) -> Iterator[Path]:
    if chosen is not None:
        yield chosen
        return
    with tempfile.TemporaryDirectory(prefix="certferry-demo-") as name:
        yield Path(name)


def _mode(*, secure: bool) -> str:
    return "secure" if secure else "non-secure"


def _describe(report: ModeReport) -> dict[str, Any]:
    return {
        "mode": _mode(secure=report.secure),
        "phones": report.phones,
        "registered_at_destination": report.registered_at_destination,
        "failed": report.failed,
        "tvs_requests": report.tvs_requests,
        "seconds": round(report.seconds, 3),
        "failures": report.failures,
        "before_exchange": report.before_exchange,
        "bytes_each": report.bytes_each,
    }


def _summary(report: ModeReport) -> str:
    rate = report.phones / report.seconds if report.seconds else 0
    return (
        f"{_mode(secure=report.secure)}: {report.registered_at_destination} of {report.phones} phones registered "
        f"at the destination in {report.seconds:.1f} s ({rate:.0f} a second), {report.tvs_requests} questions to TVS"
    )
