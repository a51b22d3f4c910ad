"""Two clusters after the exchange, each node running by itself, and a phone of the source: what faults are put into.

::

    async with Pair.opened(folder, keys, secure=True) as pair:
        await pair.exchange()
        flash = await pair.settle_phone()
        phone = await pair.move(flash)

Each node runs on its own, so that one can stop or fall behind while the others go on.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Self

from sqlalchemy import delete, insert

from certferry.cluster import database, schema
from certferry.cluster.cluster import Cluster
from certferry.cluster.database import Database
from certferry.cluster.issuing import KeySource
from certferry.cluster.trust_lists import Kind
from certferry.cluster.values import Identity, Phone, TrustChange
from certferry.fleet.device import Device
from certferry.lab.lab import Lab, tftp_servers
from certferry.phone.flash import Flash
from certferry.serve.running import RunningCluster
from certferry.trust.purpose import PURPOSES_OF_TYPE, STORES_OF_TYPE, BulkType, Purpose, Store
from certferry.wire.certificate import Certificate


@dataclass
class Pair:
    """Source and destination with one phone that both know; ``running`` is by node name.

    Nodes in ``lagging`` learn of no change; ``left_behind`` is a list kept for later.
    """

    lab: Lab
    source: Cluster
    destination: Cluster
    phone: Phone
    secure: bool
    keys: KeySource
    running: dict[str, RunningCluster] = field(default_factory=dict)
    lagging: set[str] = field(default_factory=set)
    left_behind: bytes | None = field(default=None, repr=False)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        folder: Path,
        keys: KeySource,
        *,
        secure: bool = False,
        releases: tuple[str, str] = ("10.5.2", "11.5.1"),
        nodes: int = 2,
        model: str = "8861",
    ) -> AsyncIterator[Self]:
        """Make both clusters and run their nodes; nothing is exchanged yet."""
        async with Lab(folder, keys=keys) as lab:
            source = lab.create_cluster("source", releases[0], nodes=nodes, secure=secure)
            destination = lab.create_cluster("destination", releases[1], nodes=nodes, secure=secure)
            phone = Phone(lab.add_phones([source, destination], 1, secure=secure)[0].device, model, secure=secure)
            for cluster in (source, destination):
                cluster.add_phones([phone])
            pair = cls(lab, source, destination, phone, secure, keys)
            try:
                await pair.start()
                yield pair
            finally:
                await pair.close()

    async def start(self) -> None:
        """Run every node."""
        for cluster in (self.source, self.destination):
            for node in cluster.nodes():
                self.running[node.name] = RunningCluster(cluster, [node.name])
                await self.running[node.name].start()

    async def stop(self, *nodes: str) -> None:
        """Stop nodes: all their services are gone."""
        for name in nodes:
            await self.running.pop(name).close()

    async def close(self) -> None:
        """Stop everything."""
        await self.stop(*self.running)
        for cluster in (self.source, self.destination):
            cluster.close()

    async def settled(self) -> None:
        """Let every node that does not lag take over the latest change."""
        for name, running in self.running.items():
            if name not in self.lagging:
                await running.refresh()

    async def exchange(self, *types: BulkType) -> None:
        """Do in both directions what bulk certificate management does, for ``types`` or all of them."""
        import_all(self.source, self.destination, types or tuple(BulkType))
        import_all(self.destination, self.source, types or tuple(BulkType))
        await self.settled()

    def device(self, flash: Flash) -> Device:
        """Make the phone; a secure one shows the LSC that the source issued."""
        lsc = self.lab.issue_lsc(self.source, self.phone.device) if self.secure else None
        return Device(self.phone.device, flash, model=self.phone.model, lsc=lsc)

    async def settle_phone(self) -> Flash:
        """Boot the phone at the source and return what it then holds."""
        device = self.device(Flash())
        await device.boot(tftp_servers(self.source))
        return device.flash

    async def move(self, flash: Flash, first: int = 0) -> Device:
        """Reset the phone after option 150 named the destination, its server ``first`` at the head: a real boot."""
        device, servers = self.device(flash), tftp_servers(self.destination)
        await device.boot([*servers[first:], *servers[:first]])
        return device

    def put_list(self, cluster: Cluster, kind: Kind, data: bytes | None, node: str = "") -> None:
        """Lay a list of one's own among the files of ``cluster``, or take one away: what no command would do."""
        store, table = Database(cluster.location), schema.trust_list
        with store.write() as connection:
            connection.execute(delete(table).where(table.c.kind == kind, table.c.node == node))
            if data is not None:
                connection.execute(insert(table), {"kind": kind, "node": node, "members": "", "data": data})
            database.advance_version(connection)
        store.close()

    def at(self, cluster: Cluster, when: datetime) -> Cluster:
        """Open ``cluster`` with a clock that stands at ``when``."""
        return Cluster(cluster.location, keys=self.keys, clock=lambda: when)


def import_all(into: Cluster, source: Cluster, types: Iterable[BulkType] = tuple(BulkType)) -> None:
    """Put the certificates of ``source`` into the stores that an import chooses."""
    into.change_trust(
        [
            TrustChange("add", store, identity.certificate, source.name)
            for kind in types
            for identity in own(source, *PURPOSES_OF_TYPE[kind])
            for store in STORES_OF_TYPE[kind]
        ],
        action="import",
    )


def own(cluster: Cluster, *purposes: Purpose) -> list[Identity]:
    """Return the certificates of ``cluster`` of these purposes."""
    return [identity for identity in cluster.identities() if identity.purpose in purposes]


def drop(cluster: Cluster, store: Store, certificates: Iterable[Certificate]) -> None:
    """Take certificates out of a store."""
    cluster.change_trust([TrustChange("remove", store, certificate) for certificate in certificates], action="remove")
