"""Moving a cluster between a folder and PostgreSQL: everything or nothing, compared row by row before it counts.

The source is locked meanwhile. It stays as it was and is marked as moved, so that nobody goes on with it by mistake.
Killed between the two commits, the target is whole and the source not marked: the same move, run again, finds that out
and marks it.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import Connection, RowMapping, Table, delete, func, insert, select

from certferry.cluster import audit, identities, schema
from certferry.cluster.acting import actor
from certferry.cluster.database import MOVED, Database, advance_version, put_fact
from certferry.cluster.founding import new_place
from certferry.cluster.location import ClusterExistsError, ClusterLocation
from certferry.cluster.sealing import Seal
from certferry.errors import Refusal

_ROWS_AT_ONCE = 1000
_ACTION = "move-cluster"


class MoveIncompleteError(Refusal):
    """What arrived is not what was sent; the move was taken back."""

    code = "cluster.move-incomplete"
    remedy = "Nothing was changed. Move it again; if it stays so, report it."


@dataclass(frozen=True, slots=True)
class Moved:
    """How many rows of each table there are at the new place, and how many lines its audit log has."""

    rows: Mapping[str, int]
    audit_lines: int


def move(source: ClusterLocation, target: ClusterLocation, clock: Callable[[], datetime]) -> Moved:
    """Move the cluster at ``source`` to ``target``, with its key file.

    Raises ``ClusterExistsError`` where another cluster stands, ``MoveIncompleteError``, ``SealError``.
    """
    with closing(Database(source)) as origin, closing(Database(target)) as goal, origin.write() as reading:
        identities.check_seal(reading, Seal.load(source.key_file))
        try:
            goal.must_not_exist()
        except ClusterExistsError:
            if not _has_arrived(reading, goal):
                raise
        else:
            _carry(reading, source, goal, clock())
        put_fact(reading, MOVED, target.text)
        advance_version(reading)  # nodes that run look up, and say that the cluster was moved
        with goal.read() as arrived:
            return Moved({table.name: _count(arrived, table) for table in _tables()}, audit.check(arrived))


def _carry(reading: Connection, source: ClusterLocation, goal: Database, now: datetime) -> None:
    target = goal.location
    with new_place(target, source.key_file.read_bytes()), goal.found() as writing:
        for table in _tables():
            writing.execute(delete(table))  # the first facts of a new cluster
            for rows in _read(reading, table):
                writing.execute(insert(table), [dict(row) for row in rows])
            _continue_numbers(writing, table)
        differing = [table.name for table in _tables() if _digest(reading, table) != _digest(writing, table)]
        if differing:
            raise MoveIncompleteError(f"differences in {', '.join(differing)}")
        audit.check(writing)
        details = {"from": source.text, "to": target.text}
        audit.append(writing, actor=actor(), action=_ACTION, details=details, now=now)


def _has_arrived(reading: Connection, goal: Database) -> bool:
    """Whether a move that was cut off before its end had copied everything, and nothing has changed there since."""
    told = (schema.fact.name, schema.audit.name)
    with goal.read() as there:
        if any(_digest(reading, table) != _digest(there, table) for table in _tables() if table.name not in told):
            return False
        *before, last = audit.read_lines(there)
        return tuple(before) == audit.read_lines(reading) and json.loads(last)["action"] == _ACTION


def _tables() -> list[Table]:
    return schema.metadata.sorted_tables


def _read(connection: Connection, table: Table) -> Iterator[list[RowMapping]]:
    ordered = select(table).order_by(*table.primary_key.columns)
    result = connection.execute(ordered.execution_options(yield_per=_ROWS_AT_ONCE))
    for rows in result.mappings().partitions():
        yield list(rows)


def _digest(connection: Connection, table: Table) -> tuple[int, str]:
    """Count the rows, and hash all of them in the order of their keys."""
    count, digest = 0, sha256()
    for rows in _read(connection, table):
        for row in rows:
            digest.update(repr(tuple(row.values())).encode())
        count += len(rows)
    return count, digest.hexdigest()


def _count(connection: Connection, table: Table) -> int:
    return connection.scalar(select(func.count()).select_from(table)) or 0


def _continue_numbers(connection: Connection, table: Table) -> None:
    """Let PostgreSQL number new rows after those copied; SQLite does it by itself."""
    column = table.autoincrement_column
    if column is None or connection.dialect.name != "postgresql":
        return
    sequence = func.pg_get_serial_sequence(f'"{table.name}"', column.name)
    following = select(func.coalesce(func.max(column), 0) + 1).scalar_subquery()
    connection.execute(select(func.setval(sequence, following, False)))  # noqa: FBT003 -- PostgreSQL's own signature
