"""Migrations of this cluster's phones to another cluster: what was planned, how far each phone is, what happened.

One runner at a time steers a migration. It holds a lease that it renews; everybody else only says what is wanted.
Who runs it now is written in the same transaction as what it does, so a runner that was taken for dead and lives on
writes nothing any more.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from certferry.cluster import audit, schema
from certferry.cluster.acting import actor
from certferry.cluster.database import Database
from certferry.cluster.migration_records import (
    OPEN,
    Event,
    Lease,
    Migration,
    MigrationPhone,
    MigrationRowError,
    PhoneState,
    Progress,
    State,
    Wanted,
    event_of,
    lease_of,
    migration_of,
    phone_of,
    row_of_lease,
    row_of_migration,
    row_of_phone,
)
from certferry.errors import Refusal, UsageError

__all__ = [
    "OPEN",
    "TO_RUN",
    "Event",
    "Lease",
    "Migration",
    "MigrationLockedError",
    "MigrationOverlapError",
    "MigrationPhone",
    "MigrationRowError",
    "MigrationStateError",
    "MigrationUnknownError",
    "Migrations",
    "PhoneState",
    "Progress",
    "State",
    "Wanted",
    "event_of",
    "lease_of",
    "locked",
    "migration_of",
    "phone_of",
]

_MIGRATION, _PHONE, _EVENT = schema.migration, schema.migration_phone, schema.migration_event
TO_RUN = (State.PLANNED, State.RUNNING, State.PAUSED)
"""States from which phones may go on to be reset."""


class MigrationUnknownError(UsageError):
    """There is no such migration of this cluster's phones."""

    code = "cluster.migration-unknown"
    remedy = "Make one with: certferry migrate plan"


class MigrationLockedError(Refusal):
    """Another process steers this migration."""

    code = "cluster.migration-locked"
    remedy = "Watch it with 'certferry migrate status --watch', or stop it with 'certferry migrate pause'."


class MigrationOverlapError(Refusal):
    """A phone of this migration is under way in another one."""

    code = "cluster.migration-overlap"
    remedy = "Let the other migration end, or pause it: certferry migrate pause"


class MigrationStateError(UsageError):
    """The migration is not in a state in which this can be done."""

    code = "waves.state"
    remedy = "See how it stands with: certferry migrate status"


class Migrations:
    """The migrations of one cluster's phones to other clusters."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def create(
        self, identifier: str, destination: str, plan: Mapping[str, Any], phones: Sequence[MigrationPhone]
    ) -> Migration:
        """Write down a new migration."""
        made = Migration(identifier, self._clock(), actor(), destination, plan)
        with self._database.write() as connection:
            connection.execute(insert(_MIGRATION), row_of_migration(made))
            connection.execute(insert(_PHONE), [row_of_phone(phone) | {"migration": made.id} for phone in phones])
            self._audit(connection, made, "plan-migration", {"phones": len(phones), "destination": destination})
        return made

    def all(self) -> tuple[Migration, ...]:
        """Every migration, the oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(select(_MIGRATION).order_by(_MIGRATION.c.created_at, _MIGRATION.c.id))
            return tuple(migration_of(row) for row in rows)

    def find(self, identifier: str | None = None) -> Migration:
        """The migration of that id, or the latest; raises ``MigrationUnknownError``."""
        found = [each for each in self.all() if identifier in (None, each.id)]
        if not found:
            raise MigrationUnknownError(f"there is no migration {'yet' if identifier is None else repr(identifier)}")
        return found[-1]

    def phones(self, identifier: str) -> tuple[MigrationPhone, ...]:
        """The phones of a migration, by wave and name."""
        asked = select(_PHONE).where(_PHONE.c.migration == identifier).order_by(_PHONE.c.wave, _PHONE.c.device)
        with self._database.read() as connection:
            return tuple(phone_of(row) for row in connection.execute(asked))

    def counts(self, identifier: str) -> dict[int, dict[PhoneState, int]]:
        """How many phones of each wave are in which state."""
        columns = (_PHONE.c.wave, _PHONE.c.state)
        asked = select(*columns, func.count()).where(_PHONE.c.migration == identifier).group_by(*columns)
        found: dict[int, dict[PhoneState, int]] = {}
        with self._database.read() as connection:
            for wave, state, number in connection.execute(asked.order_by(_PHONE.c.wave)).all():
                if state not in tuple(PhoneState):
                    _refuse_unreadable(connection, identifier)
                found.setdefault(wave, {})[PhoneState(state)] = number
        return found

    def unended(self, identifier: str) -> tuple[str, ...]:
        """The devices of a migration that have neither moved nor failed, as far as is known."""
        ended = [state.value for state in PhoneState if state.has_ended]
        asked = select(_PHONE.c.device).where(_PHONE.c.migration == identifier, _PHONE.c.state.not_in(ended))
        with self._database.read() as connection:
            return tuple(connection.scalars(asked.order_by(_PHONE.c.wave, _PHONE.c.device)))

    def events(self, identifier: str, after: int = 0) -> tuple[Event, ...]:
        """What happened, in order; with ``after`` what came behind the event at that position."""
        asked = select(_EVENT).where(_EVENT.c.migration == identifier, _EVENT.c.position > after)
        with self._database.read() as connection:
            return tuple(event_of(row) for row in connection.execute(asked.order_by(_EVENT.c.position)))

    def want(self, identifier: str, wanted: Wanted) -> Migration:
        """Say what the runner shall do; it does so at its next turn."""
        with self._database.write() as connection:
            found = _read(connection, identifier)
            _refuse_unknown(found)
            connection.execute(_update(found).values(wanted=wanted.value))
            self._audit(connection, found, f"{wanted.value}-migration", {})
            return _read(connection, identifier)

    def cancel(
        self, identifier: str, reason: str, now: datetime, *, is_gone: Callable[[str], bool] = lambda _: False
    ) -> Migration:
        """Give a migration up that nobody steers: nobody can run it any more; return it as it was found.

        One that was cancelled before stays as it is. Raises ``MigrationLockedError``, ``MigrationStateError``.
        """
        with self._database.write() as connection:
            found = _read(connection, identifier)
            if found.state is State.CANCELLED:
                return found
            _refuse_steered(found, now, is_gone)
            _refuse_state(found, TO_RUN)
            row = {"state": State.CANCELLED.value, "reason": reason, "runner": "", "runner_until": ""}
            connection.execute(_update(found).values(**row))
            _write_events(connection, identifier, [Event("cancelled", now, {"from": found.state, "reason": reason})])
            self._audit(connection, found, "cancel-migration", {"from": found.state.value, "reason": reason})
            return found

    def note_override(self, identifier: str, reason: str, failing: Sequence[str]) -> None:
        """Write into the audit log that phones are moved although checks fail, and why."""
        with self._database.write() as connection:
            details = {"reason": reason, "failing": list(failing)}
            self._audit(connection, _read(connection, identifier), "override-verification", details)

    # The runner

    def claim(
        self,
        identifier: str,
        lease: Lease,
        now: datetime,
        *,
        is_gone: Callable[[str], bool] = lambda _: False,
        states: Collection[State] = TO_RUN,
    ) -> Migration:
        """Become the runner of a migration in one of ``states``; return it as it was found.

        ``is_gone`` tells of a runner whether it is known to be dead before its lease ran out. Raises
        ``MigrationLockedError``, ``MigrationStateError``, ``MigrationOverlapError``.
        """
        with self._database.write() as connection:
            found = _read(connection, identifier)
            if found.runner != lease.runner:
                _refuse_steered(found, now, is_gone)
            _refuse_state(found, states)
            _refuse_unreadable(connection, identifier)
            _refuse_overlap(connection, identifier)
            row = {"state": State.RUNNING.value, "wanted": Wanted.RUN.value, "reason": ""}
            connection.execute(_update(found).values(**row, **row_of_lease(lease)))
            action = "start-migration" if found.state is State.PLANNED else "resume-migration"
            self._audit(connection, found, action, {})
            return found

    def renew(self, identifier: str, lease: Lease) -> Wanted:
        """Stay the runner, and learn what is wanted; raises ``MigrationLockedError`` when another has taken over."""
        with self._database.write() as connection:
            found = _held(connection, identifier, lease.runner)
            connection.execute(_update(found).values(**row_of_lease(lease)))
            return found.wanted

    def wanted(self, identifier: str, runner: str | None = None) -> Wanted:
        """Tell what is wanted of the runner; raises ``MigrationLockedError`` when it is ``runner`` no longer."""
        with self._database.read() as connection:
            found = _read(connection, identifier) if runner is None else _held(connection, identifier, runner)
            return found.wanted

    def record(self, identifier: str, runner: str, progress: Progress) -> None:
        """Write down what the runner did and saw; raises ``MigrationLockedError`` when it is the runner no longer."""
        with self._database.write() as connection:
            found = _held(connection, identifier, runner)
            _write_phones(connection, identifier, progress.phones)
            _write_events(connection, identifier, progress.events)
            if progress.state is not None:
                row = {"state": progress.state.value, "reason": progress.reason}
                connection.execute(_update(found).values(**row))

    def release(self, identifier: str, runner: str) -> None:
        """Be the runner no longer; says nothing when another took over already."""
        mine = update(_MIGRATION).where(_MIGRATION.c.id == identifier, _MIGRATION.c.runner == runner)
        with self._database.write() as connection:
            connection.execute(mine.values(runner="", runner_until=""))

    def _audit(self, connection: Connection, migration: Migration, action: str, details: Mapping[str, object]) -> None:
        told = {"migration": migration.id, **details}
        audit.append(connection, actor=actor(), action=action, details=told, now=self._clock())


def _read(connection: Connection, identifier: str) -> Migration:
    row = connection.execute(select(_MIGRATION).where(_MIGRATION.c.id == identifier)).one_or_none()
    if row is None:
        raise MigrationUnknownError(f"there is no migration {identifier}")
    return migration_of(row)


def _held(connection: Connection, identifier: str, runner: str) -> Migration:
    found = _read(connection, identifier)
    _refuse_unknown(found)
    if found.runner != runner:
        raise locked(found)
    return found


def locked(found: Migration) -> MigrationLockedError:
    """Say who steers a migration."""
    who = found.runner.rpartition(" ")[0] or found.runner or "nobody"
    until = f" until {found.runner_until:%H:%M:%S} UTC or longer" if found.runner_until else ""
    return MigrationLockedError(f"migration {found.id} is steered by {who}{until}")


def _refuse_steered(found: Migration, now: datetime, is_gone: Callable[[str], bool]) -> None:
    if found.is_steered(now) and not is_gone(found.runner):
        raise locked(found)


def _refuse_unknown(found: Migration) -> None:
    if found.state is State.UNKNOWN:
        raise MigrationRowError(f"migration {found.id}: {found.reason}")


def _refuse_unreadable(connection: Connection, identifier: str) -> None:
    """Raise ``MigrationRowError`` when a phone is in an unknown state: what is done would pass it over."""
    known = [state.value for state in PhoneState]
    strange = select(_PHONE).where(_PHONE.c.migration == identifier, _PHONE.c.state.not_in(known))
    for row in connection.execute(strange.order_by(_PHONE.c.device).limit(1)):
        phone_of(row)


def _refuse_state(found: Migration, states: Collection[State]) -> None:
    _refuse_unknown(found)
    if found.state not in states:
        raise MigrationStateError(f"migration {found.id} is {found.state}")


def _refuse_overlap(connection: Connection, identifier: str) -> None:
    mine = select(_PHONE.c.device).where(_PHONE.c.migration == identifier, _PHONE.c.state.in_(OPEN))
    asked = (
        select(_PHONE.c.migration, _PHONE.c.device)
        .join(_MIGRATION, _MIGRATION.c.id == _PHONE.c.migration)
        .where(_MIGRATION.c.id != identifier, _MIGRATION.c.state == State.RUNNING.value)
        .where(_PHONE.c.state.in_(OPEN), _PHONE.c.device.in_(mine))
    )
    other = connection.execute(asked.limit(1)).first()
    if other:
        raise MigrationOverlapError(
            f"{other.device} is in migration {other.migration}, which is running",
            remedy=f"Let it end, or pause it with 'certferry migrate pause {other.migration}'; where nobody steers it, "
            "go on with it (resume) or give it up (cancel).",
        )


def _update(migration: Migration) -> Any:
    return update(_MIGRATION).where(_MIGRATION.c.id == migration.id)


def _write_phones(connection: Connection, identifier: str, phones: Sequence[MigrationPhone]) -> None:
    if phones:
        changed = [
            {"this" if key == "device" else key: value for key, value in row_of_phone(p).items()} for p in phones
        ]
        mine = (_PHONE.c.migration == identifier, _PHONE.c.device == bindparam("this"))
        connection.execute(update(_PHONE).where(*mine), changed)


def _write_events(connection: Connection, identifier: str, events: Sequence[Event]) -> None:
    rows = [
        {
            "migration": identifier,
            "at": event.at.isoformat(),
            "kind": event.kind,
            "details": json.dumps(event.details, ensure_ascii=False),
        }
        for event in events
    ]
    if rows:
        connection.execute(insert(_EVENT), rows)
