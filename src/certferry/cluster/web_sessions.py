"""Sessions of the pages, kept so that a restart of the server, or another server, logs nobody out.

The database has the SHA-256 of each session's id, never the id: who reads it cannot take a session over.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, or_, select, update

from certferry.cluster import schema
from certferry.cluster.database import Database
from certferry.cluster.sightings import stamp

_TABLE = schema.web_session


@dataclass(frozen=True, slots=True)
class WebSession:
    """One login. ``csrf`` is the token that every change asked for by its pages has to carry.

    ``credential`` is what the user logged in with, as it is kept; when that is replaced, the session is over.
    """

    key: str
    user: str
    credential: str = field(repr=False)
    csrf: str = field(repr=False)
    begun: datetime
    seen: datetime


class WebSessions:
    """The sessions of one cluster's pages. Time is a parameter; nothing here is audited."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, session: WebSession, idle_since: datetime, begun_before: datetime, most: int) -> None:
        """Keep a new session; those that ended go, and the oldest of its user's beyond ``most``."""
        ended = or_(_TABLE.c.seen <= stamp(idle_since), _TABLE.c.begun <= stamp(begun_before))
        own = select(_TABLE.c.key).where(_TABLE.c.user == session.user).order_by(_TABLE.c.begun.desc(), _TABLE.c.key)
        with self._database.write() as connection:
            connection.execute(delete(_TABLE).where(ended))
            crowded = list(connection.scalars(own))[most - 1 :]
            connection.execute(delete(_TABLE).where(_TABLE.c.key.in_(crowded)))
            connection.execute(insert(_TABLE), _row(session))

    def find(self, key: str) -> WebSession | None:
        """The session under the hash ``key``, ended or not; None when there is none."""
        with self._database.read() as connection:
            row = connection.execute(select(_TABLE).where(_TABLE.c.key == key)).one_or_none()
        return _session(row) if row else None

    def touch(self, key: str, seen: datetime) -> None:
        """Note that a session was used."""
        with self._database.write() as connection:
            connection.execute(update(_TABLE).where(_TABLE.c.key == key).values(seen=stamp(seen)))

    def close(self, key: str) -> None:
        """Forget a session."""
        with self._database.write() as connection:
            connection.execute(delete(_TABLE).where(_TABLE.c.key == key))

    def count(self) -> int:
        """How many are kept."""
        with self._database.read() as connection:
            return len(list(connection.scalars(select(_TABLE.c.key))))


def _row(session: WebSession) -> dict[str, str]:
    return {
        "key": session.key,
        "user": session.user,
        "credential": session.credential,
        "csrf": session.csrf,
        "begun": stamp(session.begun),
        "seen": stamp(session.seen),
    }


def _session(row: Row[Any]) -> WebSession:
    begun, seen = datetime.fromisoformat(row.begun), datetime.fromisoformat(row.seen)
    return WebSession(row.key, row.user, row.credential, row.csrf, begun, seen)
