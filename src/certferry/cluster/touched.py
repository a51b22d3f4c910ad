"""Which certificates and phones a change touched, so that running nodes read those again and not 100,000 others.

Whoever writes trust entries or phones notes here what was touched, in the same transaction. A node remembers up to
which note it has read, with the last line of the audit log, which holds the hash of all before it: when both are still
there, the cluster is the one it knew, and what has changed since is known.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, Select, delete, func, insert, select

from certferry.cluster import schema

MOST = 5000
"""A transaction that touches more notes that all were touched: reading all costs less than picking so many."""
KEPT = 50_000
"""Notes kept; who has missed more reads everything."""
_ALL = ""


class Touched(StrEnum):
    """What can be touched: a certificate in any trust store, named by its SHA-256, or a phone."""

    TRUST = "trust"
    PHONE = "phone"


@dataclass(frozen=True, slots=True)
class Mark:
    """How far somebody has read: the last note, and the last line of the audit log with its place."""

    note: int
    audit: int
    line: str


def touch(connection: Connection, what: Touched, keys: Iterable[str]) -> None:
    """Note that all of ``keys`` were touched."""
    unique = tuple(dict.fromkeys(keys))
    if not unique:
        return
    noted = unique if len(unique) <= MOST else (_ALL,)
    table = schema.touched
    connection.execute(insert(table), [{"what": what.value, "key": key} for key in noted])
    last = select(func.max(table.c.position)).scalar_subquery()
    connection.execute(delete(table).where(table.c.position <= last - KEPT))


def mark(connection: Connection) -> Mark:
    """Say how far somebody has read who reads everything now."""
    note = connection.scalar(select(func.max(schema.touched.c.position))) or 0
    log = schema.audit
    last = connection.execute(select(log.c.position, log.c.line).order_by(log.c.position.desc()).limit(1)).first()
    return Mark(note, last.position, last.line) if last else Mark(note, 0, "")


def is_followed(connection: Connection, before: Mark) -> bool:
    """Whether this is the cluster that ``before`` was taken of, later on, and every note since is still there."""
    log, notes = schema.audit, schema.touched
    line = connection.scalar(select(log.c.line).where(log.c.position == before.audit))
    oldest = connection.scalar(select(func.min(notes.c.position)))
    return line == before.line and (oldest is None or oldest <= before.note)


def keys_since(before: Mark, what: Touched) -> Select[str]:
    """Select the keys noted after ``before``."""
    table = schema.touched
    return select(table.c.key).where(table.c.position > before.note, table.c.what == what.value)


def is_all_touched(connection: Connection, before: Mark, what: Touched) -> bool:
    """Whether so much was touched at once that it was not noted one by one."""
    return connection.scalar(keys_since(before, what).where(schema.touched.c.key == _ALL).limit(1)) is not None
