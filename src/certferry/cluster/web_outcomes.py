"""Which changes the pages' forms made already, kept so that two servers of a cluster do none twice.

Each change has a turn: whoever begins it first does it, and the others wait for what it came to. A turn ends with its
outcome, or unused when the change was refused; the turn of a server that is gone may be taken by another one. What a
form may not show again, a password or a token, is sealed and goes as soon as it served.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, insert, select, update

from certferry.cluster import schema
from certferry.cluster.database import Database
from certferry.cluster.sealing import Seal
from certferry.cluster.sightings import stamp
from certferry.cluster.upserting import upsert

_TABLE = schema.web_outcome
_SECRET = schema.web_secret
_KEYS = ["user", "key"]


@dataclass(frozen=True, slots=True)
class FormKey:
    """Which change is meant: who makes it, and the SHA-256 of the random key in the form that asks for it."""

    user: str
    key: str


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether a change is for who asked to do; when not, what it came to, or None while somebody does it."""

    is_mine: bool
    outcome: str | None = None


class WebOutcomes:
    """The changes of one cluster's pages. Time is a parameter; nothing here is audited."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._database = database
        self._seal = seal

    def begin(self, form: FormKey, runner: str, now: datetime, until: datetime, is_gone: Callable[[str], bool]) -> Turn:
        """Take the turn of a change unless it is done or being done; ``until`` is when this runner counts as dead."""
        row = {"user": form.user, "key": form.key, "at": stamp(now), "runner": runner, "runner_until": stamp(until)}
        with self._database.write() as connection:
            known = connection.execute(select(_TABLE).where(_place(_TABLE, form))).one_or_none()
            if known is None:
                connection.execute(insert(_TABLE), row)
                return Turn(is_mine=True)
            if known.outcome is not None:
                return Turn(is_mine=False, outcome=known.outcome)
            if known.runner_until > stamp(now) and (known.runner == runner or not is_gone(known.runner)):
                return Turn(is_mine=False)
            connection.execute(update(_TABLE).where(_place(_TABLE, form)).values(**row))
            return Turn(is_mine=True)

    def end(self, form: FormKey, outcome: str, done_before: datetime, most: int) -> None:
        """Keep what a change came to; outcomes of before a time go, and the oldest beyond ``most``."""
        with self._database.write() as connection:
            connection.execute(update(_TABLE).where(_place(_TABLE, form)).values(outcome=outcome))
            _forget(connection, _TABLE, done_before, most)

    def release(self, form: FormKey, runner: str) -> None:
        """Give a turn back: the change was refused."""
        unused = _place(_TABLE, form) & (_TABLE.c.runner == runner) & _TABLE.c.outcome.is_(None)
        with self._database.write() as connection:
            connection.execute(delete(_TABLE).where(unused))

    def is_under_way(self, form: FormKey) -> bool:
        """Whether somebody has the turn now."""
        doing = _place(_TABLE, form) & _TABLE.c.outcome.is_(None)
        with self._database.read() as connection:
            return connection.scalar(select(_TABLE.c.key).where(doing)) is not None

    def find(self, form: FormKey) -> str | None:
        """What a change came to."""
        with self._database.read() as connection:
            return connection.scalar(select(_TABLE.c.outcome).where(_place(_TABLE, form)))

    def keep_secret(self, form: FormKey, secret: str, now: datetime, kept_before: datetime, most: int) -> None:
        """Seal what was typed into a form or may be shown once; secrets of before a time go."""
        sealed = self._seal.seal(secret.encode(), _context(form))
        row = {"user": form.user, "key": form.key, "at": stamp(now), "sealed": sealed}
        with self._database.write() as connection:
            upsert(connection, _SECRET, [row], keys=_KEYS, update=["at", "sealed"])
            _forget(connection, _SECRET, kept_before, most)

    def secret(self, form: FormKey, kept_after: datetime) -> str:
        """What was sealed for a form; empty when nothing was, or too long ago."""
        wanted = _place(_SECRET, form) & (_SECRET.c.at > stamp(kept_after))
        with self._database.read() as connection:
            sealed = connection.scalar(select(_SECRET.c.sealed).where(wanted))
        return self._seal.open(sealed, _context(form)).decode() if sealed is not None else ""

    def forget_secret(self, form: FormKey) -> None:
        """Forget what was sealed for a form."""
        with self._database.write() as connection:
            connection.execute(delete(_SECRET).where(_place(_SECRET, form)))


def _place(table: Table, form: FormKey) -> ColumnElement[bool]:
    found: ColumnElement[bool] = (table.c.user == form.user) & (table.c.key == form.key)
    return found


def _forget(connection: Connection, table: Table, before: datetime, most: int) -> None:
    connection.execute(delete(table).where(table.c.at <= stamp(before)))
    latest: Any = select(table.c.user, table.c.key).order_by(table.c.at.desc(), table.c.key.desc())
    for row in connection.execute(latest.offset(most)).all():
        connection.execute(delete(table).where(_place(table, FormKey(row.user, row.key))))


def _context(form: FormKey) -> str:
    return f"form {form.key} of {form.user}"
