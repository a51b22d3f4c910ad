"""Which nodes are served at all: each process that serves some says so now and then, and takes it back when it stops.

What a process that died said ends by itself after a while. So a node is *running* when a process said so lately,
*silent* when the last one that did fell silent, and *stopped* otherwise.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select

from certferry.cluster import schema
from certferry.cluster.database import Database
from certferry.cluster.sightings import stamp
from certferry.cluster.upserting import upsert

BEAT = timedelta(seconds=15)
"""How often a process says that it runs."""
SILENT_AFTER = timedelta(seconds=60)
FORGOTTEN_AFTER = timedelta(days=30)
_TABLE = schema.heartbeat


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """When a process said last that it serves a node, and whether that is so long ago that it must have died."""

    at: datetime
    is_silent: bool


class Heartbeats:
    """The signs of life of one cluster's nodes."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def beat(self, process: str, nodes: Iterable[str]) -> None:
        """Say that ``process`` serves ``nodes``."""
        now = self._clock()
        rows = [{"node": node, "process": process, "at": stamp(now)} for node in sorted(nodes)]
        with self._database.write() as connection:
            upsert(connection, _TABLE, rows, keys=["node", "process"], update=["at"])
            connection.execute(delete(_TABLE).where(_TABLE.c.at < stamp(now - FORGOTTEN_AFTER)))

    def stop(self, process: str) -> None:
        """Say that ``process`` serves nothing any more."""
        with self._database.write() as connection:
            connection.execute(delete(_TABLE).where(_TABLE.c.process == process))

    def latest(self) -> Mapping[str, Heartbeat]:
        """Return the latest sign of life of each node; nodes that were stopped, or never ran, have none."""
        since = stamp(self._clock() - SILENT_AFTER)
        with self._database.read() as connection:
            rows = connection.execute(select(_TABLE.c.node, func.max(_TABLE.c.at)).group_by(_TABLE.c.node)).all()
        return {node: Heartbeat(datetime.fromisoformat(at), at < since) for node, at in rows}

    def running(self) -> frozenset[str]:
        """Return the nodes that are served now."""
        return frozenset(node for node, beat in self.latest().items() if not beat.is_silent)
