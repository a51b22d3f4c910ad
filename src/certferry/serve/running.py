"""The services of several nodes in one process, which learn of changes to their cluster within a second.

The cluster's feed says when its change version may have moved; then a new snapshot is read in a thread and swapped in,
and the version now served is reported, so that verification can see a node that lags.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress

from certferry.cluster.cluster import Cluster
from certferry.cluster.nodes import find_node
from certferry.cluster.values import Node
from certferry.errors import Refusal
from certferry.serve.authorities import Authorities
from certferry.serve.node import ListenError, Listening, NodeServices, ServeOptions
from certferry.serve.resetting import Resetter
from certferry.serve.signatures import Signatures
from certferry.serve.snapshot import Snapshot
from certferry.serve.watching import Watcher

LOOK_SECONDS = 5.0
"""How long a feed may be silent before the version is looked at anyway."""
SIGNATURES_NAME = "signatures"
"""The file of signatures once made, beside the key that seals the cluster's private keys."""

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
        self._latest: Snapshot | None = None
        self._refreshing = asyncio.Lock()
        self._watcher = Watcher(cluster, self._counted)
        self._signatures = Signatures(cluster.location.key_file.with_name(SIGNATURES_NAME))
        self._authorities = Authorities()
        self._resetter = Resetter(cluster.resets, lambda: self.services)

    async def start(self) -> tuple[Listening, ...]:
        """Open the ports of every node; raises ``ListenError`` and then holds none."""
        snapshot = await asyncio.to_thread(self._snapshot)
        self._take(snapshot)
        listening: list[Listening] = []
        try:
            self.services = tuple([await asyncio.to_thread(self._services_of, node, snapshot) for node in self._nodes])
            for services in self.services:
                listening += await services.start()
            await self._report(node.name for node in self._nodes)
            self.version = snapshot.version
        except BaseException:
            await self.close()
            raise
        return tuple(listening)

    async def follow(self) -> None:
        """Keep up with the cluster until cancelled: its changes, resets to be told, and what it is told of phones.

        A database that is away is waited for; phones are served on.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watcher.run())
            group.create_task(self._resetter.run())
            group.create_task(self._follow_changes())

    async def _follow_changes(self) -> None:
        feed, told = self.cluster.feed(), None
        try:
            while True:
                told = await self._keep_up(told)
                await feed.changed(LOOK_SECONDS)
        finally:
            await feed.close()

    async def _keep_up(self, told: Refusal | None) -> Refusal | None:
        """Take over the latest change; return what stood in the way, and log it unless it is what was ``told``."""
        try:
            await self.refresh()
        except Refusal as refusal:
            if str(refusal) != str(told):  # once, not with every look
                logger.warning("serving version %d on: %s", self.version, refusal)
            return refusal
        if told:
            again = "every port is open" if isinstance(told, ListenError) else "the cluster's database answers again"
            logger.warning("serving version %d: %s", self.version, again)
        return None

    async def refresh(self) -> bool:
        """Take over the latest change, if there is one; return whether there was.

        One at a time: of two snapshots read at once, the older one must not be taken over last. Raises ``ListenError``
        when a service cannot have the port it is to move to; it is tried again next time.
        """
        async with self._refreshing:
            return await self._refresh()

    async def _refresh(self) -> bool:
        version, is_reset_asked = await asyncio.to_thread(self.cluster.resets.version_and_any_open)
        if is_reset_asked:
            self._resetter.look()
        if version == self.version:
            return False
        snapshot = await asyncio.to_thread(self._snapshot)
        self._take(snapshot)
        refused = [error for services in self.services if (error := await _apply(services, snapshot))]
        await self._report(services.node.name for services in self.services if services.version == snapshot.version)
        if refused:
            raise refused[0]
        self.version = snapshot.version
        return True

    async def close(self) -> None:
        """Close every port, and tell the cluster what it has not been told yet, if it can be told."""
        for services in self.services:
            await services.close()
        with suppress(Refusal):
            await self._resetter.close()
        await self._watcher.close()
        self._signatures.close()
        await asyncio.to_thread(self._authorities.close)

    def _services_of(self, node: Node, snapshot: Snapshot) -> NodeServices:
        watch = self._watcher.at(node.name)
        return NodeServices(
            node,
            snapshot,
            self._options,
            watch=watch,
            signatures=self._signatures,
            authorities=self._authorities,
        )

    def _counted(self) -> dict[tuple[str, str], dict[str, int]]:
        return {service: counts for services in self.services for service, counts in services.counted().items()}

    def _snapshot(self) -> Snapshot:
        return Snapshot.load(self.cluster, [node.name for node in self._nodes], self._latest)

    def _take(self, snapshot: Snapshot) -> None:
        self._latest = snapshot
        self._watcher.phones = snapshot.phones

    async def _report(self, nodes: Iterable[str]) -> None:
        """Tell the cluster which nodes serve the latest snapshot."""
        if self._latest is not None and (served := dict.fromkeys(nodes, self._latest.version)):
            await asyncio.to_thread(self.cluster.report_served, served)


async def _apply(services: NodeServices, snapshot: Snapshot) -> ListenError | None:
    """Apply it; a port that cannot be had keeps no other node from it."""
    try:
        await services.apply(snapshot)
    except ListenError as error:
        return error
    return None
