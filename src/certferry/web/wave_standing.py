"""How a migration in waves stands, counted in the database: for pages, API and events, and its report."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from certferry.cluster.cluster import Cluster
from certferry.cluster.migrations import Migration, State
from certferry.migrate.waves.report import Report
from certferry.migrate.waves.status import RATE_WINDOW, Status, WaveStatus

SHOWN_WAVES = 12
"""Waves shown at once when there are many: those around the one under way."""
FRESH_SECONDS = 1.0
"""So long one reading of a migration serves everybody who looks."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a migration stands, counted in the database. ``rate`` is phones moved in a second, lately."""

    migration: Migration
    is_steered: bool
    waves: tuple[WaveStatus, ...]
    rate: float

    @classmethod
    def of(cls, source: Cluster, identifier: str, now: datetime) -> "Standing":
        """Read it; raises ``MigrationUnknownError``."""
        found = source.migrations.find(identifier)
        counts = source.migrations.counts(identifier)
        waves = tuple(WaveStatus.of(number, counts[number]) for number in sorted(counts))
        rate = _rate(source, identifier, now) if found.state is State.RUNNING else 0.0
        return cls(found, found.is_steered(now), waves, rate)

    @property
    def is_running(self) -> bool:
        """Whether it runs, or should."""
        return self.migration.state is State.RUNNING

    @property
    def is_broken_off(self) -> bool:
        """Whether it should run, and nobody steers it."""
        return self.is_running and not self.is_steered

    @property
    def totals(self) -> WaveStatus:
        """All waves together."""
        return Status(self.migration.id, "", "", self.waves, (), 0.0).totals

    @property
    def current(self) -> int | None:
        """The wave under way or next; None when every phone has ended."""
        return next((wave.number for wave in self.waves if wave.waiting or wave.reset), None)

    @property
    def shown(self) -> Sequence[WaveStatus]:
        """The waves around the current one."""
        place = next((at for at, wave in enumerate(self.waves) if wave.number == self.current), len(self.waves))
        first = max(0, min(place - SHOWN_WAVES // 2, len(self.waves) - SHOWN_WAVES))
        return self.waves[first : first + SHOWN_WAVES]

    def to_json(self) -> dict[str, Any]:
        """Describe it for programs and for scripts of the page."""
        return {
            "id": self.migration.id,
            "state": self.migration.state.value,
            "wanted": self.migration.wanted.value,
            "reason": self.migration.reason,
            "steered": self.is_steered,
            "rate": round(self.rate, 2),
            "current_wave": self.current,
            "totals": _wave_json(self.totals),
            "waves": [_wave_json(wave) for wave in self.waves],
        }


def _wave_json(wave: WaveStatus) -> dict[str, Any]:
    return wave.to_json() if wave.number >= 0 else {k: v for k, v in wave.to_json().items() if k not in _OF_ONE}


_OF_ONE = ("number", "canary")


def _rate(source: Cluster, identifier: str, now: datetime) -> float:
    moved, first = source.migration_search.moved_since(identifier, now - RATE_WINDOW)
    if not moved or first is None:
        return 0.0
    return moved / min(RATE_WINDOW, max(now - first, timedelta(seconds=1))).total_seconds()


class Standings:
    """How migrations stand, read once a second however many look on."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, Standing]] = {}
        self._lock = asyncio.Lock()

    async def of(self, source: Cluster, identifier: str) -> Standing:
        """Give how a migration stands, at most a second old."""
        key = source.name, identifier
        async with self._lock:
            known = self._known.get(key)
            if known is not None and time.monotonic() - known[0] < FRESH_SECONDS:
                return known[1]
            standing = await asyncio.to_thread(Standing.of, source, identifier, self._clock())
            self._known = {k: v for k, v in self._known.items() if time.monotonic() - v[0] < FRESH_SECONDS}
            self._known[key] = time.monotonic(), standing
            return standing


def report_of(source: Cluster, identifier: str, now: datetime) -> Report:
    """Make the report of a migration, ended or not."""
    ledger = source.migrations
    found = ledger.find(identifier)
    status = Status.of(found, ledger.phones(identifier), now)
    return Report(found, status, ledger.events(identifier), source.location.text, now)
