"""Nodes of a cluster in PostgreSQL: told of each change, and going on with what they have when the database is away."""

import asyncio
import json
import logging
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.location import KEY_VARIABLE
from certferry.cluster.values import Service, TrustChange
from certferry.fleet import tvs
from certferry.lab.keys import PooledKeys
from certferry.serve.running import RunningCluster
from certferry.trust.list_check import tvs_certificates
from certferry.trust.purpose import Store
from certferry.wire.certificate import Certificate
from certferry.wire.trust_list import TrustList
from certferry.wire.tvs import CertificateQueryReply, CertificateQueryRequest, Status
from command_line import COMMAND, certferry, loopback_cluster, wait_until
from conftest import MakeCertificate
from postgres import Postgres, running_postgres

PUB, SUB = "source-pub", "source-sub1"
PATIENCE = 60


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(autouse=True)
def keys_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.fixture
def told_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes do not look by themselves: what they learn, they were told."""
    monkeypatch.setattr("certferry.serve.running.LOOK_SECONDS", 3600)


@pytest.fixture
def cluster(postgres: Postgres, key_pool: PooledKeys) -> Iterator[Cluster]:
    with closing(loopback_cluster(postgres.url(), key_pool, count=2)) as made:
        yield made


@asynccontextmanager
async def machine(cluster: Cluster, node: str, *, follows: bool = True) -> AsyncIterator[RunningCluster]:
    """Run one node as a machine of its own does: it opened the cluster by itself."""
    with closing(Cluster.open(cluster.location.text)) as opened:
        running = RunningCluster(opened, [node])
        await running.start()
        task = asyncio.create_task(running.follow() if follows else asyncio.sleep(0))
        try:
            yield running
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await running.close()


@asynccontextmanager
async def machines(cluster: Cluster) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for node in (PUB, SUB):
            await stack.enter_async_context(machine(cluster, node))
        yield


def trust(cluster: Cluster, signer: Certificate) -> int:
    cluster.change_trust([TrustChange("add", Store.PHONE_SAST_TRUST, signer)], action="import")
    return cluster.version()


async def served(cluster: Cluster, version: int, *nodes: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while min(cluster.served()[node] for node in nodes or (PUB, SUB)) < version:  # noqa: ASYNC110 -- set elsewhere
            await asyncio.sleep(0.02)


async def status(cluster: Cluster, about: Certificate, node: str) -> Status:
    request = CertificateQueryRequest(7, "CP-8861-SEP001122334455", about.subject, about.issuer, about.serial)
    itl = TrustList.parse(cluster.trust_list("ITL", node) or b"")
    at = cluster.node(node)
    reply = (await tvs.ask((at.address, at.ports[Service.TVS]), request, trusted=tvs_certificates(itl))).reply
    assert isinstance(reply, CertificateQueryReply)
    return reply.status


async def until_listening(postgres: Postgres, cluster: Cluster, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while len(listeners(postgres, cluster)) < count:  # noqa: ASYNC110 -- the server has no event for it
            await asyncio.sleep(0.02)


def listeners(postgres: Postgres, cluster: Cluster) -> list[object]:
    assert cluster.location.server is not None
    with closing(postgres.connect("postgres")) as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s AND query LIKE 'LISTEN%%'",
            [cluster.location.server.url.database],
        )
        return [pid for (pid,) in found.fetchall()]


@pytest.mark.usefixtures("told_only")
async def test_every_node_is_told_of_an_import_and_answers_from_it(
    postgres: Postgres, cluster: Cluster, make_certificate: MakeCertificate
) -> None:
    async with machines(cluster):
        await until_listening(postgres, cluster, 2)
        for number in range(3):
            signer = make_certificate(f"CN=destination{number}")
            await served(cluster, trust(cluster, signer))
            assert [await status(cluster, signer, node) for node in (PUB, SUB)] == [Status.VALID] * 2
        assert cluster.heartbeats.running() == {PUB, SUB}
    assert cluster.heartbeats.latest() == {}


@pytest.mark.usefixtures("told_only")
async def test_a_node_whose_connection_was_cut_catches_up_by_itself(
    postgres: Postgres, cluster: Cluster, make_certificate: MakeCertificate
) -> None:
    async with machines(cluster):
        await until_listening(postgres, cluster, 2)
        with closing(postgres.connect("postgres")) as connection:
            for pid in listeners(postgres, cluster):
                connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        await served(cluster, trust(cluster, make_certificate("CN=meanwhile")))  # there was nobody to tell
        await until_listening(postgres, cluster, 2)
        await served(cluster, trust(cluster, make_certificate("CN=afterwards")))


async def test_a_silent_feed_is_not_relied_on(
    cluster: Cluster, make_certificate: MakeCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certferry.cluster.listening.CHANNEL", "nobody_tells_")
    monkeypatch.setattr("certferry.serve.running.LOOK_SECONDS", 0.05)
    async with machines(cluster):
        await served(cluster, trust(cluster, make_certificate("CN=quiet")))


async def test_phones_are_served_on_while_the_server_is_away_and_changes_follow_when_it_is_back(
    key_pool: PooledKeys, make_certificate: MakeCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "certferry.serve.running")
    signer, late = make_certificate("CN=before"), make_certificate("CN=late")
    with running_postgres() as server, closing(loopback_cluster(server.url(), key_pool, count=2)) as cluster:
        async with machine(cluster, PUB) as running:
            await until_listening(server, cluster, 1)
            version = trust(cluster, signer)
            await served(cluster, version, PUB)
            itl = TrustList.parse(cluster.trust_list("ITL", PUB) or b"")
            node = cluster.node(PUB)
            await asyncio.to_thread(server.stop)
            async with asyncio.timeout(PATIENCE):
                while not caplog.messages:  # noqa: ASYNC110 -- a log record has no event
                    await asyncio.sleep(0.02)
            request = CertificateQueryRequest(7, "CP-8861-SEP1", signer.subject, signer.issuer, signer.serial)
            place = (node.address, node.ports[Service.TVS])
            answer = await tvs.ask(place, request, trusted=tvs_certificates(itl))
            assert isinstance(answer.reply, CertificateQueryReply)
            assert answer.reply.status is Status.VALID
            assert running.version == version
            await asyncio.to_thread(server.start)
            await served(cluster, trust(cluster, late), PUB)
    assert caplog.messages[0].startswith(f"serving version {version} on: postgresql://")
    assert caplog.messages[-1].endswith("the cluster's database answers again")
    assert len(caplog.messages) <= 6  # each trouble once, not each attempt: refused, starting up, and the like


async def test_verification_names_the_node_that_lags(
    postgres: Postgres, cluster: Cluster, make_certificate: MakeCertificate
) -> None:
    async with machine(cluster, PUB), machine(cluster, SUB, follows=False):
        await until_listening(postgres, cluster, 1)
        before = cluster.version()
        version = trust(cluster, make_certificate("CN=destination"))
        await served(cluster, version, PUB)
        assert cluster.served() == {PUB: version, SUB: before}
        place = cluster.location.text
        words = ["verify", "--source", place, "--destination", place, "--json"]
        verified = (await asyncio.to_thread(certferry, *words)).json
    lagging = [check for check in verified["checks"] if check["id"] == "replication.served"]
    assert lagging
    for check in lagging:
        assert check["verdict"] in {"warn", "fail"}
        assert f"{SUB} answers from {before}" in check["evidence"]


def test_nodes_in_processes_of_their_own_follow_and_end_when_told(
    cluster: Cluster, make_certificate: MakeCertificate
) -> None:
    command = [*COMMAND, "serve", "--cluster", cluster.location.text, "--json", "--node"]
    processes = [
        subprocess.Popen([*command, node], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for node in (PUB, SUB)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["ready"] is True
        version = trust(cluster, make_certificate("CN=destination"))
        wait_until(lambda: min(cluster.served().values()) >= version)
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        ended = [(process.communicate(timeout=PATIENCE)[1], process.returncode) for process in processes]
    assert [code for _, code in ended] == [0, 0], ended


@pytest.mark.slow
def test_processes_that_share_the_ports_of_a_node_follow_too(
    cluster: Cluster, make_certificate: MakeCertificate
) -> None:
    command = [*COMMAND, "serve", "--cluster", cluster.location.text, "--json", "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["workers"] == 2
        version = trust(cluster, make_certificate("CN=destination"))
        wait_until(lambda: min(cluster.served().values()) >= version)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
