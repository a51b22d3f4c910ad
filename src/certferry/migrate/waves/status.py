"""How a migration stands, in one object: the same whether its runner tells it or its database."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from certferry.cluster.migrations import Migration, MigrationPhone, PhoneState, State
from certferry.migrate.causes import find_cause

RATE_WINDOW = timedelta(seconds=30)
FIRST_FAILURES = 5
_OUTCOMES = {PhoneState.MOVED: "migrated", PhoneState.FAILED: "failed", PhoneState.WAITING: "waiting"}


@dataclass(frozen=True, slots=True)
class WaveStatus:
    """How many phones of a wave are where. Wave 0 are the canaries; ``reset`` are all that are under way."""

    number: int
    waiting: int = 0
    reset: int = 0
    uncertain: int = 0
    moved: int = 0
    failed: int = 0

    @classmethod
    def of(cls, number: int, counts: Mapping[PhoneState, int]) -> "WaveStatus":
        """Count the phones of one wave."""
        waiting, reset, uncertain, moved, failed = (counts.get(state, 0) for state in PhoneState)
        return cls(number, waiting, reset + uncertain, uncertain, moved, failed)

    @property
    def phones(self) -> int:
        """How many phones the wave has."""
        return self.waiting + self.reset + self.moved + self.failed

    def to_json(self) -> dict[str, Any]:
        """Give the keys of the command-line contract."""
        return {
            "number": self.number,
            "canary": self.number == 0,
            "phones": self.phones,
            "waiting": self.waiting,
            "reset": self.reset,
            "uncertain": self.uncertain,
            "moved": self.moved,
            "failed": self.failed,
        }


@dataclass(frozen=True, slots=True)
class Status:
    """How a migration stands. ``rate`` is phones moved in a second, lately."""

    migration: str
    state: str
    reason: str
    waves: tuple[WaveStatus, ...]
    phones: tuple[MigrationPhone, ...]
    rate: float

    @classmethod
    def of(cls, migration: Migration, phones: Iterable[MigrationPhone], now: datetime) -> "Status":
        """Put it together from what is written down."""
        known = tuple(phones)
        return cls(migration.id, *state_in_words(migration, now), count_waves(known), known, moving_rate(known, now))

    @property
    def failures(self) -> tuple[MigrationPhone, ...]:
        """The phones that failed, the first one first."""
        failed = [phone for phone in self.phones if phone.state is PhoneState.FAILED]
        return tuple(sorted(failed, key=lambda phone: (phone.ended_at is None, phone.ended_at, phone.device)))

    @property
    def totals(self) -> WaveStatus:
        """All waves together."""
        sums = [sum(getattr(wave, name) for wave in self.waves) for name in _COUNTED]
        return WaveStatus(-1, *sums)

    def summary(self) -> dict[str, Any]:
        """Give everything but the phones, as a line that is printed often."""
        return {
            "migration": self.migration,
            "state": self.state,
            "reason": self.reason,
            "rate": round(self.rate, 2),
            "waves": [wave.to_json() for wave in self.waves],
        }

    def to_json(self) -> dict[str, Any]:
        """Give the object that ``status --json`` prints."""
        return self.summary() | {"phones": [describe(phone) for phone in self.phones]}


_COUNTED = ("waiting", "reset", "uncertain", "moved", "failed")


def count_waves(phones: Iterable[MigrationPhone]) -> tuple[WaveStatus, ...]:
    """Count the phones of each wave by state."""
    counts: dict[int, dict[PhoneState, int]] = {}
    for phone in phones:
        wave = counts.setdefault(phone.wave, {})
        wave[phone.state] = wave.get(phone.state, 0) + 1
    return tuple(WaveStatus.of(number, counts[number]) for number in sorted(counts))


def moving_rate(phones: Iterable[MigrationPhone], now: datetime) -> float:
    """Tell how many phones moved in a second, over the last half minute or since the first that was reset."""
    moved = [p for p in phones if p.state is PhoneState.MOVED and p.reset_at and p.ended_at]
    lately = [p for p in moved if p.ended_at and now - p.ended_at <= RATE_WINDOW]
    if not lately:
        return 0.0
    began = min(p.reset_at for p in moved if p.reset_at)
    seconds = min(RATE_WINDOW, max(now - began, timedelta(seconds=1))).total_seconds()
    return len(lately) / seconds


def describe(phone: MigrationPhone) -> dict[str, Any]:
    """Give a phone the keys of the command-line contract."""
    cause = find_cause(phone.code) if phone.code else None
    return {
        "device": phone.device,
        "wave": phone.wave,
        "state": phone.state.value,
        "outcome": _OUTCOMES.get(phone.state, "under way"),
        "step": cause.step.value if cause else "",
        "code": phone.code,
        "reason": phone.reason,
        "reset_at": phone.reset_at.isoformat() if phone.reset_at else None,
        "ended_at": phone.ended_at.isoformat() if phone.ended_at else None,
    }


def state_in_words(migration: Migration, now: datetime) -> tuple[str, str]:
    """Tell state and reason; a migration that runs without a runner was broken off."""
    if migration.state is State.RUNNING and not migration.is_steered(now):
        return migration.state.value, "nobody steers it: go on with certferry migrate resume"
    return migration.state.value, migration.reason
