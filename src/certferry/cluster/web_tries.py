"""How often logins were tried, kept so that all web servers of a cluster count together, also after a restart.

There is a row for each key, which is the hash of whom it counts, with the moments that count still. Rows end with the
window of time they count in; when strangers make up more keys than are kept, those go first that were tried least,
so that nobody begins anew by filling the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from sqlalchemy import Connection, delete, func, select

from certferry.cluster import schema
from certferry.cluster.database import Database
from certferry.cluster.sightings import stamp
from certferry.cluster.upserting import upsert

MOST_KEYS = 10_000
AHEAD = timedelta(minutes=1)
"""So far apart the clocks of servers may be; a try further ahead was counted before the clock was set back."""
_KEPT_WHEN_FULL = MOST_KEYS - MOST_KEYS // 10
_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TABLE = schema.web_try


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``most`` tries in ``window``."""

    most: int
    window: timedelta


class WebTries:
    """The tries at one cluster's pages. Time is a parameter; nothing here is audited."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, rates: Mapping[str, Rate], now: datetime) -> dict[str, timedelta]:
        """Count one try for each key, and return nothing; or count none, and return how long which keys have to wait.

        A try counts when it begins, so that many at once, at several servers, gain nothing.
        """
        hashes = {key: _hash(key) for key in rates}
        with self._database.write() as connection:
            asked = select(_TABLE.c.key, _TABLE.c.taken).where(_TABLE.c.key.in_(hashes.values()))
            found = {row.key: _moments(row.taken) for row in connection.execute(asked)}
            taken = {key: _kept(found.get(hashes[key], []), rate, now) for key, rate in rates.items()}
            waits = {key: wait for key, rate in rates.items() if (wait := _wait(taken[key], rate, now))}
            if not waits:
                rows = [_row(hashes[key], [*taken[key], now], now) for key in rates]
                upsert(connection, _TABLE, rows, keys=["key"], update=["at", "tries", "taken"])
                _forget_old(connection, now - max(rate.window for rate in rates.values()))
        return waits

    def forget(self, key: str) -> None:
        """Let ``key`` begin anew, as after a success."""
        with self._database.write() as connection:
            connection.execute(delete(_TABLE).where(_TABLE.c.key == _hash(key)))

    def count(self) -> int:
        """How many keys are kept."""
        with self._database.read() as connection:
            return _count(connection)


def _kept(taken: list[datetime], rate: Rate, now: datetime) -> list[datetime]:
    """What may count still, here or at a server whose clock is ahead."""
    return [at for at in taken if now - rate.window < at <= now + rate.window][-2 * rate.most :]


def _wait(taken: list[datetime], rate: Rate, now: datetime) -> timedelta:
    counted = sorted(min(at, now) for at in taken if at <= now + AHEAD)
    return counted[-rate.most] + rate.window - now if len(counted) >= rate.most else timedelta()


def _row(key: str, taken: list[datetime], now: datetime) -> dict[str, str | int]:
    return {"key": key, "at": stamp(now), "tries": len(taken), "taken": " ".join(map(_written, taken))}


def _forget_old(connection: Connection, before: datetime) -> None:
    connection.execute(delete(_TABLE).where(_TABLE.c.at <= stamp(before)))
    if (number := _count(connection)) > MOST_KEYS:
        least = select(_TABLE.c.key).order_by(_TABLE.c.tries, _TABLE.c.at).limit(number - _KEPT_WHEN_FULL)
        connection.execute(delete(_TABLE).where(_TABLE.c.key.in_(least.scalar_subquery())))


def _count(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(_TABLE)) or 0


def _hash(key: str) -> str:
    return sha256(key.encode(errors="backslashreplace")).hexdigest()


def _written(at: datetime) -> str:
    return str((at - _EPOCH) // _MILLISECOND)


def _moments(text: str) -> list[datetime]:
    return [_EPOCH + int(number) * _MILLISECOND for number in text.split()]
