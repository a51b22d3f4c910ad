"""Moving a cluster between a folder and PostgreSQL: everything or nothing, compared row by row before it counts.

The source is locked meanwhile. It stays as it was and is marked as moved, so that nobody goes on with it by mistake.
Killed between the two commits, the target is whole and the source not marked: the same move, run again, finds that out
and marks it.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert

from certferry.cluster import audit, identities, schema
from certferry.cluster.acting import actor
from certferry.cluster.database import MOVED, Database, advance_version, put_fact
from certferry.cluster.founding import new_place
from certferry.cluster.location import ClusterExistsError, ClusterLocation
from certferry.cluster.rows import continue_numbers, count_rows, digest_of, every_table, read_rows
from certferry.cluster.sealing import Seal
from certferry.errors import Refusal

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
            return Moved({table.name: count_rows(arrived, table) for table in every_table()}, audit.check(arrived))


def _carry(reading: Connection, source: ClusterLocation, goal: Database, now: datetime) -> None:
    target = goal.location
    with new_place(target, source.key_file.read_bytes()), goal.found() as writing:
        for table in every_table():
            writing.execute(delete(table))  # the first facts of a new cluster
            for rows in read_rows(reading, table):
                writing.execute(insert(table), [dict(row) for row in rows])
            continue_numbers(writing, table)
        differing = [table.name for table in every_table() if digest_of(reading, table) != digest_of(writing, table)]
        if differing:
            raise MoveIncompleteError(f"differences in {', '.join(differing)}")
        audit.check(writing)
        details = {"from": source.text, "to": target.text}
        audit.append(writing, actor=actor(), action=_ACTION, details=details, now=now)


def _has_arrived(reading: Connection, goal: Database) -> bool:
    """Whether a move that was cut off before its end had copied everything, and nothing has changed there since."""
    told = (schema.fact.name, schema.audit.name)
    with goal.read() as there:
        compared = [table for table in every_table() if table.name not in told]
        if any(digest_of(reading, table) != digest_of(there, table) for table in compared):
            return False
        *before, last = audit.read_lines(there)
        return tuple(before) == audit.read_lines(reading) and json.loads(last)["action"] == _ACTION
