"""The services of several nodes in one process, which learn of changes to their cluster within a second.

The cluster's feed says when its change version may have moved; then a new snapshot is read in a thread and swapped in,
and the version now served is reported, so that verification can see a node that lags.
"""

import asyncio
import logging
from collections.abc import Sequence

from certferry.cluster.cluster import Cluster
from certferry.cluster.nodes import find_node
from certferry.errors import Refusal
from certferry.serve.node import Listening, NodeServices, ServeOptions
from certferry.serve.snapshot import Snapshot

LOOK_SECONDS = 5.0
"""How long a feed may be silent before the version is looked at anyway."""

logger = logging.getLogger(__name__)


class RunningCluster:
    """Nodes of one cluster, running. ``start`` opens the ports, ``follow`` keeps up with changes until cancelled."""

    def __init__(self, cluster: Cluster, names: Sequence[str] = (), options: ServeOptions = ServeOptions()) -> None:  # noqa: B008 -- frozen
        self.cluster = cluster
        nodes = cluster.nodes()
        self._nodes = tuple(find_node(nodes, name) for name in names) or nodes
        self._options = options
        self.services: tuple[NodeServices, ...] = ()
        self.version = 0

    async def start(self) -> tuple[Listening, ...]:
        """Open the ports of every node; raises ``ListenError`` and then holds none."""
        snapshot = await asyncio.to_thread(self._snapshot)
        self.services = tuple(
            [await asyncio.to_thread(NodeServices, node, snapshot, self._options) for node in self._nodes]
        )
        listening: list[Listening] = []
        try:
            for services in self.services:
                listening += await services.start()
            await self._report(snapshot.version)
        except BaseException:
            await self.close()
            raise
        return tuple(listening)

    async def follow(self) -> None:
        """Keep up with the cluster until cancelled. A database that is away is waited for; phones are served on."""
        feed, told = self.cluster.feed(), ""
        try:
            while True:
                told = await self._keep_up(told)
                await feed.changed(LOOK_SECONDS)
        finally:
            await feed.close()

    async def _keep_up(self, told: str) -> str:
        """Take over the latest change; return what stood in the way, and log it unless it is what was ``told``."""
        try:
            await self.refresh()
        except Refusal as refusal:
            if str(refusal) != told:  # once, not with every look
                logger.warning("serving version %d on: %s", self.version, refusal)
            return str(refusal)
        if told:
            logger.warning("serving version %d: the cluster's database answers again", self.version)
        return ""

    async def refresh(self) -> bool:
        """Take over the latest change, if there is one; return whether there was."""
        if await asyncio.to_thread(self.cluster.version) == self.version:
            return False
        snapshot = await asyncio.to_thread(self._snapshot)
        for services in self.services:
            await services.apply(snapshot)
        await self._report(snapshot.version)
        return True

    async def close(self) -> None:
        """Close every port."""
        for services in self.services:
            await services.close()

    def _snapshot(self) -> Snapshot:
        return Snapshot.load(self.cluster, [node.name for node in self._nodes])

    async def _report(self, version: int) -> None:
        served = {node.name: version for node in self._nodes}
        await asyncio.to_thread(self.cluster.report_served, served)
        self.version = version
