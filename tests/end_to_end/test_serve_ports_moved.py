"""A node's port is changed while it runs: it opens the new one, closes the old one, and nobody else notices."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from sqlalchemy import update

from certferry.cluster import database, schema
from certferry.cluster.cluster import Cluster
from certferry.cluster.database import Database
from certferry.cluster.parameters import SECURITY_MODE, TVS_CACHE
from certferry.cluster.values import Node, NodeRole, Phone, Service
from certferry.fleet import http, sip, tftp
from certferry.lab.loopback import LAB_PORTS, free_network
from certferry.serve.node import ListenError, ServeOptions
from certferry.serve.running import RunningCluster
from conftest import MakeCluster
from waiting import until

DEVICE, PUB, SUB = "SEP001122334455", "source-pub", "source-sub1"
PATIENCE = 60
ROLES = frozenset({NodeRole.TFTP, NodeRole.TVS, NodeRole.CALLMANAGER})
FIRST_ROLES = ROLES | {NodeRole.PUBLISHER, NodeRole.CAPF}
TCP = [Service.TVS, Service.HTTP, Service.SIP]


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    network = free_network()
    nodes = [
        Node(PUB, str(network[1]), FIRST_ROLES, dict(LAB_PORTS)),
        Node(SUB, str(network[2]), ROLES, dict(LAB_PORTS)),
    ]
    made = make_cluster(nodes=nodes)
    made.add_phones([Phone(DEVICE)])
    return made


@asynccontextmanager
async def run(cluster: Cluster, *, reuse_port: bool = False) -> AsyncIterator[RunningCluster]:
    running = RunningCluster(cluster, (), ServeOptions(reuse_port=reuse_port))
    await running.start()
    try:
        yield running
    finally:
        await running.close()


def at(cluster: Cluster, service: Service, node: str = PUB) -> tuple[str, int]:
    found = cluster.node(node)
    return found.address, found.ports[service]


def listens(place: tuple[str, int]) -> bool:
    try:
        socket.create_connection(place, timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return False
    return True


def free_port(host: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def move(cluster: Cluster, service: Service, node: str = PUB) -> tuple[tuple[str, int], tuple[str, int]]:
    """Give a service another port; return where it was and where it is to be."""
    before = at(cluster, service, node)
    kind = socket.SOCK_DGRAM if service is Service.TFTP else socket.SOCK_STREAM
    cluster.set_port(node, service, free_port(before[0], kind))
    return before, at(cluster, service, node)


def readdress(cluster: Cluster, node: str, address: str) -> None:
    """Write a node's address, which no command changes."""
    store = Database(cluster.location)
    with store.write() as connection:
        connection.execute(update(schema.node).where(schema.node.c.name == node).values(address=address))
        database.advance_version(connection)
    store.close()


@pytest.mark.parametrize("service", TCP)
async def test_a_service_opens_its_new_port_and_leaves_the_old_one(cluster: Cluster, service: Service) -> None:
    async with run(cluster) as running:
        before, after = move(cluster, service)
        assert await running.refresh()
        assert not listens(before)
        assert listens(after)
        assert listens(at(cluster, service, SUB)), "the other node stays where it is"
        assert set(cluster.served().values()) == {cluster.version()}


async def test_files_are_read_at_the_new_ports(cluster: Cluster) -> None:
    async with run(cluster) as running:
        (_, over_tftp), (_, over_http) = move(cluster, Service.TFTP), move(cluster, Service.HTTP)
        await running.refresh()
        name = f"ITL{DEVICE}.tlv"
        assert await tftp.fetch(over_tftp, name) == await http.fetch(over_http, name) == cluster.trust_list("ITL", PUB)


async def test_the_new_registrar_is_the_one_that_resets_its_phones(cluster: Cluster) -> None:
    async with run(cluster) as running:
        _, after = move(cluster, Service.SIP)
        await running.refresh()
        await sip.register(after, DEVICE, context=None)
        (registrar,) = running.services[0].registrars
        assert set(registrar.registrations) == {DEVICE}
        cluster.remove_phones([DEVICE])
        await running.refresh()
        assert not registrar.registrations


async def test_a_service_that_moved_takes_later_changes_over(cluster: Cluster) -> None:
    async with run(cluster) as running:
        move(cluster, Service.TVS)
        await running.refresh()
        server = running.services[0].server(Service.TVS)
        cluster.set_parameter(TVS_CACHE, "60")
        await running.refresh()
        assert running.services[0].server(Service.TVS) is server, "what did not change is not opened again"
        assert server is not None
        assert server.index.ttl == 60  # type: ignore[attr-defined]


@pytest.mark.parametrize("service", TCP)
async def test_a_port_that_somebody_has_leaves_the_service_where_it_is(cluster: Cluster, service: Service) -> None:
    async with run(cluster) as running:
        version = cluster.version()
        before = at(cluster, service)
        with socket.create_server((before[0], 0)) as somebody:
            cluster.set_port(PUB, service, somebody.getsockname()[1])
            cluster.set_parameter(TVS_CACHE, "60")
            for _ in range(2):
                with pytest.raises(ListenError, match=rf"{PUB}: {service} cannot listen.*; it stays on {before[0]}:"):
                    await running.refresh()
            assert listens(before)
            assert cluster.served() == {PUB: version, SUB: cluster.version()}
            tvs = running.services[0].server(Service.TVS)
            assert tvs.index.ttl == 60, "everything else is taken over"  # type: ignore[union-attr]
        assert await running.refresh()
        assert not listens(before)
        assert listens(at(cluster, service))
        assert set(cluster.served().values()) == {cluster.version()}


async def test_one_port_that_cannot_be_had_does_not_keep_another_service_from_its_own(cluster: Cluster) -> None:
    async with run(cluster) as running:
        with socket.create_server((at(cluster, Service.TVS)[0], 0)) as somebody:
            cluster.set_port(PUB, Service.TVS, somebody.getsockname()[1])
            before, after = move(cluster, Service.HTTP)
            elsewhere_before, elsewhere = move(cluster, Service.SIP, SUB)
            with pytest.raises(ListenError, match="tvs"):
                await running.refresh()
        assert (listens(before), listens(after)) == (False, True)
        assert (listens(elsewhere_before), listens(elsewhere)) == (False, True)


async def test_a_port_set_back_before_it_could_be_had_changes_nothing(cluster: Cluster) -> None:
    async with run(cluster) as running:
        before = at(cluster, Service.TVS)
        server = running.services[0].server(Service.TVS)
        with socket.create_server((before[0], 0)) as somebody:
            cluster.set_port(PUB, Service.TVS, somebody.getsockname()[1])
            with pytest.raises(ListenError):
                await running.refresh()
            cluster.set_port(PUB, Service.TVS, before[1])
            assert await running.refresh()
        assert running.services[0].server(Service.TVS) is server
        assert listens(before)


async def test_workers_that_share_ports_open_none_of_their_own_twice(cluster: Cluster) -> None:
    async with run(cluster, reuse_port=True) as running:
        before = at(cluster, Service.TVS)
        cluster.set_port(PUB, Service.TVS, at(cluster, Service.HTTP)[1])
        with pytest.raises(ListenError, match="http is there"):
            await running.refresh()
        assert listens(before)


async def test_a_node_whose_address_changed_moves_with_all_its_services(cluster: Cluster) -> None:
    async with run(cluster) as running:
        before = [at(cluster, service, SUB) for service in TCP]
        readdress(cluster, SUB, str(free_network()[9]))
        await running.refresh()
        assert [listens(place) for place in before] == [False] * 3
        assert [listens(at(cluster, service, SUB)) for service in TCP] == [True] * 3


async def test_the_secure_registrar_moves_and_then_goes_with_mixed_mode(cluster: Cluster) -> None:
    cluster.set_parameter(SECURITY_MODE, "mixed")
    async with run(cluster) as running:
        before, after = move(cluster, Service.SIPS)
        await running.refresh()
        assert (listens(before), listens(after)) == (False, True)
        cluster.set_parameter(SECURITY_MODE, "non-secure")
        await running.refresh()
        assert not listens(after)
        cluster.set_parameter(SECURITY_MODE, "mixed")
        await running.refresh()
        assert listens(after)


async def test_it_is_logged_once_that_a_service_stays_and_once_that_it_moved(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "certferry.serve")
    monkeypatch.setattr("certferry.serve.running.LOOK_SECONDS", 0.01)
    async with run(cluster) as running:
        following = asyncio.create_task(running.follow())
        with socket.create_server((at(cluster, Service.TVS)[0], 0)) as somebody:
            cluster.set_port(PUB, Service.TVS, somebody.getsockname()[1])
            await until(lambda: "cannot listen" in caplog.text)
            polls = caplog.text
            await asyncio.sleep(0.2)
            assert polls == caplog.text
        await until(lambda: "tvs listens on" in caplog.text)
        assert caplog.text.count("cannot listen") == 1
        await until(lambda: "every port is open" in caplog.text)
        await until(lambda: set(cluster.served().values()) == {cluster.version()})
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
