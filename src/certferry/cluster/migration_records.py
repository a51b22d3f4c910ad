"""A migration, its phones and what happened in it: as values, and as rows of the database."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Row

from certferry.errors import Refusal


class MigrationRowError(Refusal):
    """What the database says of a migration is nothing that this certferry writes."""

    code = "cluster.migration-row"
    remedy = "Go on with the release of certferry that wrote it; if none did, restore a backup or plan the phones anew."


class State(StrEnum):
    """How far a migration is. ``RUNNING`` without a living runner was broken off: resume it, or cancel it.

    ``UNKNOWN`` is what a later release, or no release at all, wrote down; nothing can be done with it but look.
    """

    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class Wanted(StrEnum):
    """What an operator asks of the runner."""

    RUN = "run"
    PAUSE = "pause"


class PhoneState(StrEnum):
    """Where a phone is in its migration; ``UNCERTAIN``: its node took the reset and never said how it ended."""

    WAITING = "waiting"
    RESET = "reset"
    UNCERTAIN = "uncertain"
    MOVED = "moved"
    FAILED = "failed"

    @property
    def is_under_way(self) -> bool:
        """Whether the phone was reset and is watched."""
        return self in (PhoneState.RESET, PhoneState.UNCERTAIN)

    @property
    def has_ended(self) -> bool:
        """Whether the phone has moved or failed."""
        return self in (PhoneState.MOVED, PhoneState.FAILED)


OPEN = tuple(state.value for state in PhoneState if not state.has_ended)


@dataclass(frozen=True, slots=True)
class Migration:
    """A migration. ``plan`` are its settings; ``runner`` steers it until ``runner_until`` unless it says so again."""

    id: str
    created_at: datetime
    actor: str
    destination: str
    plan: Mapping[str, Any]
    state: State = State.PLANNED
    wanted: Wanted = Wanted.RUN
    reason: str = ""
    runner: str = ""
    runner_until: datetime | None = None

    def is_steered(self, now: datetime) -> bool:
        """Whether a runner holds the migration now."""
        return bool(self.runner) and self.runner_until is not None and now < self.runner_until


@dataclass(frozen=True, slots=True)
class MigrationPhone:
    """A phone in a migration. Wave 0 are the canaries; ``reset_at`` is when its reset was asked for."""

    device: str
    wave: int
    state: PhoneState = PhoneState.WAITING
    reset_at: datetime | None = None
    ended_at: datetime | None = None
    code: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a migration."""

    kind: str
    at: datetime
    details: Mapping[str, Any] = field(default_factory=dict)
    position: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """Who steers, and until when unless it says so again."""

    runner: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Progress:
    """What a runner writes down at once: phones as they are now, events, and the migration's state where it changes."""

    phones: Sequence[MigrationPhone] = ()
    events: Sequence[Event] = ()
    state: State | None = None
    reason: str = ""


def row_of_migration(migration: Migration) -> dict[str, Any]:
    """Write a new migration."""
    return {
        "id": migration.id,
        "created_at": migration.created_at.isoformat(),
        "actor": migration.actor,
        "destination": migration.destination,
        "plan": json.dumps(migration.plan, ensure_ascii=False),
        "state": migration.state.value,
        "wanted": migration.wanted.value,
        "reason": migration.reason,
        "runner": migration.runner,
        "runner_until": "",
    }


def row_of_lease(lease: Lease) -> dict[str, str]:
    """Write who steers a migration."""
    return {"runner": lease.runner, "runner_until": lease.until.isoformat()}


def lease_of(runner: str, now: datetime, seconds: float) -> Lease:
    """Make a lease that lasts ``seconds`` from ``now``."""
    return Lease(runner, now + timedelta(seconds=seconds))


def row_of_phone(phone: MigrationPhone) -> dict[str, Any]:
    """Write a phone."""
    return {
        "device": phone.device,
        "wave": phone.wave,
        "state": phone.state.value,
        "reset_at": phone.reset_at.isoformat() if phone.reset_at else None,
        "ended_at": phone.ended_at.isoformat() if phone.ended_at else None,
        "code": phone.code,
        "reason": phone.reason,
    }


def migration_of(row: Row[Any]) -> Migration:
    """Read a migration's row, also one in an unknown state; raises ``MigrationRowError``."""
    with _naming(f"migration {row.id}"):
        state, wanted, reason = _stands(row)
        return Migration(
            row.id,
            datetime.fromisoformat(row.created_at),
            row.actor,
            row.destination,
            json.loads(row.plan),
            state,
            wanted,
            reason,
            row.runner,
            _moment(row.runner_until),
        )


def phone_of(row: Row[Any]) -> MigrationPhone:
    """Read a phone's row; raises ``MigrationRowError``."""
    if row.state not in tuple(PhoneState):
        sentence = f"phone {row.device} of migration {row.migration} is in state {row.state!r}, which is unknown here"
        raise MigrationRowError(sentence)
    with _naming(f"phone {row.device} of migration {row.migration}"):
        state, reset_at, ended_at = PhoneState(row.state), _moment(row.reset_at), _moment(row.ended_at)
        return MigrationPhone(row.device, row.wave, state, reset_at, ended_at, row.code, row.reason)


def event_of(row: Row[Any]) -> Event:
    """Read an event's row; raises ``MigrationRowError``."""
    with _naming(f"event {row.position} of migration {row.migration}"):
        return Event(row.kind, datetime.fromisoformat(row.at), json.loads(row.details), row.position)


def _stands(row: Row[Any]) -> tuple[State, Wanted, str]:
    """Tell a migration's state, what is wanted of it, and the reason; of what is unknown, what it is."""
    for what, known, text in (("state", State, row.state), ("wish", Wanted, row.wanted)):
        if text not in tuple(known):
            return State.UNKNOWN, Wanted.PAUSE, f"its {what} is {text!r}, which is unknown here"
    return State(row.state), Wanted(row.wanted), row.reason


@contextmanager
def _naming(whose: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:  # no moment, or no JSON
        raise MigrationRowError(f"{whose} cannot be read: {error}") from error


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
