"""How a migration is shown: live on a terminal, as lines of JSON for a program, as text at the end."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from certferry.cli.migrate_options import place_of, to_type
from certferry.cli.output import Output, visible
from certferry.cluster.cluster import Cluster
from certferry.cluster.migrations import Event, State
from certferry.migrate.causes import find_cause
from certferry.migrate.waves.running import Nobody, Watcher
from certferry.migrate.waves.status import FIRST_FAILURES, Status, WaveStatus

SHOWN_WAVES = 12
"""Waves shown at once: those around the one under way."""
EVERY = 1.0
"""Seconds between two lines of JSON that say how it stands."""
_HEADINGS = ("wave", "phones", "waiting", "reset", "moved", "failed", "")


class LiveView:
    """Redraws the picture twice a second."""

    def __init__(self, live: Live) -> None:
        self._live, self._next = live, 0.0

    def happened(self, event: Event) -> None:
        """Nothing: the picture shows it."""

    def stands(self, status: Callable[[], Status]) -> None:
        """Draw anew."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY / 2
            self._live.update(picture(status()))


class LineView:
    """Prints each event at once, and how it stands each second while something changes."""

    def __init__(self, write: Callable[[str], Any] | None = None) -> None:
        self._write = write or sys.stdout.write
        self._next = 0.0
        self._last: dict[str, Any] = {}

    def happened(self, event: Event) -> None:
        """Print an event."""
        self.line({"event": event.kind, "at": event.at.isoformat(), **event.details})

    def stands(self, status: Callable[[], Status]) -> None:
        """Print how it stands."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY
            summary = status().summary()
            if summary != self._last:
                self._last = summary
                self.line({"status": summary})

    def line(self, value: dict[str, Any]) -> None:
        """Print one line."""
        self._write(visible(json.dumps(value, ensure_ascii=True)) + "\n")
        sys.stdout.flush()


@contextmanager
def watching(out: Output, *, lines: bool) -> Iterator[Watcher]:
    """Choose how the run is shown."""
    if lines:
        yield LineView()
    elif out.is_terminal and not out.as_json:
        with Live(console=out.console, refresh_per_second=4, transient=True) as live:
            yield LiveView(live)
    else:
        yield Nobody()


def picture(status: Status) -> Group:
    """Draw how a migration stands: totals, waves, first failures."""
    totals = status.totals
    bar = ProgressBar(total=max(totals.phones, 1), completed=totals.moved + totals.failed, width=60)
    return Group(Text(visible(headline(status)), "bold"), bar, _table(status), *_failures(status))


def headline(status: Status) -> str:
    """Say how a migration stands in one line."""
    totals = status.totals
    counts = f"{totals.moved} of {totals.phones} moved, {totals.failed} failed, {totals.reset} under way"
    rate = f", {status.rate:.1f} a second" if status.rate and status.state == State.RUNNING else ""
    reason = f" ({status.reason})" if status.reason else ""
    return f"{status.migration}: {status.state}{reason}; {counts}{rate}"


def _table(status: Status) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading in ("wave", "") else "right")
    for wave in waves_shown(status.waves):
        table.add_row(*row_of(wave), ProgressBar(total=max(wave.phones, 1), completed=wave.moved, width=20))
    return table


def waves_shown(waves: Sequence[WaveStatus], count: int = SHOWN_WAVES) -> Sequence[WaveStatus]:
    """Choose the waves around the first that has not ended."""
    current = next((place for place, wave in enumerate(waves) if wave.waiting or wave.reset), len(waves))
    first = max(0, min(current - count // 2, len(waves) - count))
    return waves[first : first + count]


def row_of(wave: WaveStatus) -> tuple[str, ...]:
    """Write a wave as a row."""
    counts = (wave.phones, wave.waiting, wave.reset, wave.moved, wave.failed)
    return ("canaries" if wave.number == 0 else str(wave.number), *map(str, counts))


def _failures(status: Status) -> Iterator[Text]:
    for phone in status.failures[:FIRST_FAILURES]:
        yield Text(visible(f"{phone.device}  {phone.code}  {phone.reason}"), "red")
    if len(status.failures) > FIRST_FAILURES:
        yield Text(f"and {len(status.failures) - FIRST_FAILURES} more", "red")


def print_status(out: Output, status: Status) -> None:
    """Print how a migration stands as text."""
    out.text(headline(status))
    out.table(_HEADINGS[:-1], [row_of(wave) for wave in status.waves])
    failures = status.failures
    if failures:
        out.text("")
        rows = [(p.device, p.wave, p.code, p.reason) for p in failures[:FIRST_FAILURES]]
        out.table(("failed", "wave", "code", "why"), rows, sentences=True)
        for code in dict.fromkeys(phone.code for phone in failures):
            cause = find_cause(code)
            if cause:
                out.text(f"{code}: {cause.fix.en}")
    if len(failures) > FIRST_FAILURES:
        out.text(f"{len(failures) - FIRST_FAILURES} more failed: certferry migrate report {status.migration}")


def say_next(out: Output, status: Status, source: Cluster) -> None:
    """Say which command goes on, where a person has to give it."""
    if status.state == State.PLANNED.value:
        out.say(f"Start it with: {to_type('start', status.migration, source)}")
    elif status.state == State.PAUSED.value:
        out.say(f"When it is mended: {to_type('resume', status.migration, source)}")
    elif status.state == State.DONE.value and status.totals.failed:
        again = f"certferry migrate plan --failed-of {status.migration} --source {place_of(source)}"
        out.say(f"Those that failed, once more when it is mended: {again}")
