"""Phones of migrations, counted and found in the database, a page at a time: a migration may have 40,000."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from certferry.cluster import schema
from certferry.cluster.database import Database
from certferry.cluster.migrations import Event, Migration, MigrationPhone, PhoneState, event_of, migration_of, phone_of
from certferry.cluster.searching import Found, Slice, contains, slice_of

_MIGRATION, _PHONE, _EVENT = schema.migration, schema.migration_phone, schema.migration_event


@dataclass(frozen=True, slots=True)
class MigrationPhoneQuery:
    """Which phones of a migration; ``text`` stands in device, code or reason."""

    text: str = ""
    state: PhoneState | None = None
    wave: int | None = None


class MigrationSearch:
    """Searches among the migrations of one cluster's phones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def latest(self, part: Slice) -> Found[Migration]:
        """List migrations, the latest first."""
        query, order = select(_MIGRATION), _MIGRATION.c.created_at.desc()
        with self._database.read() as connection:
            rows, total = slice_of(connection, query, part, _MIGRATION.c.id, order)
        return Found(tuple(migration_of(row) for row in rows), total)

    def phones(self, migration: str, query: MigrationPhoneQuery, part: Slice) -> Found[MigrationPhone]:
        """Find phones of a migration, by wave and name."""
        conditions = [_PHONE.c.migration == migration]
        if query.state is not None:
            conditions.append(_PHONE.c.state == query.state.value)
        if query.wave is not None:
            conditions.append(_PHONE.c.wave == query.wave)
        # Waves and states stand in an index in the order of the list; the text has to be looked for in each phone.
        alone = None if query.text else select(_PHONE.c.device).where(*conditions)
        conditions.append(contains(query.text, _PHONE.c.device, _PHONE.c.code, _PHONE.c.reason))
        asked = select(_PHONE).where(*conditions)
        with self._database.read() as connection:
            rows, total = slice_of(connection, asked, part, _PHONE.c.device, _PHONE.c.wave, alone=alone)
        return Found(tuple(phone_of(row) for row in rows), total)

    def counts(self) -> Mapping[tuple[str, str], int]:
        """How many phones of each migration are in which state."""
        columns = _PHONE.c.migration, _PHONE.c.state
        with self._database.read() as connection:
            return {
                (row[0], row[1]): row[2]
                for row in connection.execute(select(*columns, func.count()).group_by(*columns))
            }

    def moved_since(self, migration: str, since: datetime) -> tuple[int, datetime | None]:
        """How many phones moved since a moment, and when the first of all that moved was reset."""
        moved = (_PHONE.c.migration == migration) & (_PHONE.c.state == PhoneState.MOVED.value)
        lately = select(func.count()).select_from(_PHONE).where(moved, _PHONE.c.ended_at >= since.isoformat())
        with self._database.read() as connection:
            first = connection.scalar(select(func.min(_PHONE.c.reset_at)).where(moved))
            return connection.scalar(lately) or 0, datetime.fromisoformat(first) if first else None

    def log(self, migration: str, kinds: Sequence[str], part: Slice) -> Found[Event]:
        """What happened of some kinds, the latest first."""
        asked = select(_EVENT).where(_EVENT.c.migration == migration, _EVENT.c.kind.in_(kinds))
        with self._database.read() as connection:
            rows, total = slice_of(connection, asked, part, _EVENT.c.position, _EVENT.c.position.desc())
        return Found(tuple(event_of(row) for row in rows), total)

    def failures(self, migration: str) -> Mapping[str, int]:
        """How many phones failed of what."""
        failed = (_PHONE.c.migration == migration) & (_PHONE.c.state == PhoneState.FAILED.value)
        asked = select(_PHONE.c.code, func.count()).where(failed).group_by(_PHONE.c.code)
        with self._database.read() as connection:
            found = {row[0]: row[1] for row in connection.execute(asked)}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
