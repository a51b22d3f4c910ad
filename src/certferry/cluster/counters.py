"""What the nodes' services counted, added up over all processes that ever served: totals that never go down.

Each process reports what it counted since it began, under a name of its own. What a process that is long gone left
behind is added to a row that belongs to nobody, so that the table does not grow with every restart.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, select

from certferry.cluster import schema
from certferry.cluster.database import Database
from certferry.cluster.sightings import stamp
from certferry.cluster.upserting import upsert

GONE_AFTER = timedelta(days=1)
"""A process that said nothing for so long is gone. One that runs says something at least every ``ALIVE``."""
ALIVE = timedelta(minutes=10)

_TABLE = schema.service_counter
_KEYS = ("node", "service", "process", "name")
_NOBODY = ""

Counted = Mapping[tuple[str, str], Mapping[str, int]]
"""By node and service, what was counted under which name."""


class Counters:
    """The counters of one cluster's services."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def report(self, node: str, service: str, process: str, counted: Mapping[str, int]) -> None:
        """Keep what one service counted since ``process`` began."""
        self.report_all(process, {(node, service): counted})

    def report_all(self, process: str, counted: Counted) -> None:
        """Keep what several services counted since ``process`` began."""
        now = self._clock()
        rows = [
            {"node": node, "service": service, "process": process, "name": name, "value": value, "at": stamp(now)}
            for (node, service), values in sorted(counted.items())
            for name, value in sorted(values.items())
        ]
        with self._database.write() as connection:
            upsert(connection, _TABLE, rows, keys=_KEYS, update=["value", "at"])
            _fold(connection, stamp(now - GONE_AFTER), stamp(now))

    def totals(self) -> dict[tuple[str, str, str], int]:
        """Add up by node, service and name."""
        names = (_TABLE.c.node, _TABLE.c.service, _TABLE.c.name)
        with self._database.read() as connection:
            rows = connection.execute(select(*names, func.sum(_TABLE.c.value)).group_by(*names))
            return {(row[0], row[1], row[2]): int(row[3]) for row in rows}


def _fold(connection: Connection, gone_since: str, now: str) -> None:
    """Add what processes that are gone counted to what nobody counts any more."""
    gone = delete(_TABLE).where(_TABLE.c.at < gone_since, _TABLE.c.process != _NOBODY).returning(_TABLE)
    left: dict[tuple[str, str, str], int] = {}
    for row in connection.execute(gone).all():
        key = row.node, row.service, row.name
        left[key] = left.get(key, 0) + row.value
    if not left:
        return
    for row in connection.execute(select(_TABLE).where(_TABLE.c.process == _NOBODY)):
        key = row.node, row.service, row.name
        if key in left:
            left[key] += row.value
    rows = [
        {"node": node, "service": service, "process": _NOBODY, "name": name, "value": value, "at": now}
        for (node, service, name), value in sorted(left.items())
    ]
    upsert(connection, _TABLE, rows, keys=_KEYS, update=["value", "at"])
