"""The lab: clusters, servers and phones on loopback that come up, work together, and leave nothing behind."""

import asyncio
import json
import socket
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from certferry.bulk.transport import SftpExchange
from certferry.cluster.values import NodeRole, Phone, Service
from certferry.fleet import tftp
from certferry.fleet.device import Device
from certferry.fleet.fleet import Fleet, Phones
from certferry.lab import demo, loopback
from certferry.lab.demo import DemoPlan, ModeReport, PreconditionError, demonstrate
from certferry.lab.keys import PooledKeys
from certferry.lab.lab import Lab, LabStartError, tftp_servers
from certferry.lab.loopback import LAB_PORTS, LoopbackError, free_network
from certferry.phone.flash import Flash
from certferry.serve.node import ListenError
from certferry.serve.running import RunningCluster
from certferry.serve.snapshot import Snapshot
from certferry.trust.purpose import Purpose
from certferry.wire.certificate import Certificate
from certferry.wire.trust_list import TrustList


class Silence:
    def step(self, title: str) -> None: ...
    def detail(self, text: str) -> None: ...
    def progress(self, what: str, done: int, total: int) -> None: ...


# --- addresses and keys


def test_a_free_network_lies_on_loopback_and_its_ports_can_be_had() -> None:
    network = free_network()
    assert network.is_loopback
    assert network.prefixlen == 24
    with socket.socket() as probe:
        probe.bind((str(network[1]), LAB_PORTS[Service.TVS]))


def test_no_network_is_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    given = free_network()
    again = iter([*given.network_address.packed[1:3]] * 2 + [16, 0])
    monkeypatch.setattr("random.SystemRandom", lambda: SimpleNamespace(randint=lambda *_: next(again)))
    monkeypatch.setattr(loopback, "_is_free", lambda _address: True)
    monkeypatch.setattr(loopback, "_given", {given})
    assert str(free_network()) == "127.16.0.0/24"


def test_a_machine_without_a_free_network_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "_is_free", lambda _address: False)
    with pytest.raises(LoopbackError, match="6969, 2445, 6970, 5060, 5061"):
        free_network()


def test_a_port_in_use_makes_an_address_unfree() -> None:
    address = str(free_network()[1])
    with socket.socket() as taken:
        taken.bind((address, LAB_PORTS[Service.SIP]))
        taken.listen()
        assert not loopback._is_free(address)


def test_a_pool_hands_its_keys_out_in_turn() -> None:
    pool = PooledKeys(2)
    first, second, third = (pool.rsa(2048) for _ in range(3))
    assert first is third
    assert first is not second
    assert pool.rsa(1024).key_size == 1024
    assert pool.ec() is not pool.ec()


# --- a lab


@pytest.fixture
def lab(tmp_path: Path, key_pool: PooledKeys) -> Lab:
    return Lab(tmp_path, keys=key_pool)


async def test_a_cluster_of_a_lab_has_a_publisher_and_standard_ports_but_tftp(lab: Lab) -> None:
    made = lab.create_cluster("tokyo", "12.5.1", nodes=3, secure=True)
    publisher, *subscribers = made.nodes()
    assert [node.name for node in made.nodes()] == ["tokyo-pub", "tokyo-sub1", "tokyo-sub2"]
    assert {NodeRole.PUBLISHER, NodeRole.CAPF} <= publisher.roles
    assert all(NodeRole.PUBLISHER not in node.roles for node in subscribers)
    assert publisher.ports == LAB_PORTS
    assert len({node.address for node in made.nodes()}) == 3
    assert tftp_servers(made) == [(node.address, 6969) for node in made.nodes()[:2]]


async def test_clusters_know_the_same_phones_and_no_phone_twice(lab: Lab) -> None:
    one, other = (lab.create_cluster(name, "11.5.1", nodes=1) for name in ("one", "other"))
    first = lab.add_phones([one, other], 2)
    second = lab.add_phones([one], 1, secure=True)
    assert len({phone.device for phone in (*first, *second)}) == 3
    assert list(one.phones()) == [*first, *second]
    assert list(other.phones()) == first
    assert second[0].secure


async def test_an_lsc_is_the_phones_own_and_its_key_is_nobody_elses_to_read(lab: Lab) -> None:
    cluster = lab.create_cluster("source", "11.5.1", nodes=1)
    paths = [lab.issue_lsc(cluster, f"SEP00000000000{number}") for number in (1, 2)]
    certificates = [Certificate.from_pem(certificate.read_bytes()) for certificate, _ in paths]
    capf = cluster.identity(Purpose.CAPF).certificate
    assert [certificate.common_name for certificate in certificates] == ["SEP000000000001", "SEP000000000002"]
    assert all(certificate.issuer == capf.subject for certificate in certificates)
    assert all(stat.S_IMODE(key.stat().st_mode) == 0o600 for _, key in paths)


async def test_phones_register_at_a_started_cluster_and_everything_stops_with_the_lab(lab: Lab) -> None:
    async with lab:
        cluster = lab.create_cluster("source", "11.5.1", nodes=2)
        phones = lab.add_phones([cluster], 2)
        await lab.start(cluster)
        result = await Fleet(Device(phone.device, Flash()) for phone in phones).boot(tftp_servers(cluster))
        assert result.registered == 2
        where = cluster.nodes()[0].address, LAB_PORTS[Service.TVS]
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*where)


async def test_a_change_is_served_once_the_lab_says_it_is_settled(lab: Lab) -> None:
    async with lab:
        cluster = lab.create_cluster("source", "11.5.1", nodes=1)
        await lab.start(cluster)
        cluster.regenerate(Purpose.TVS)
        await lab.settled(cluster)
        served = await tftp.fetch(tftp_servers(cluster)[0], "ITLFile.tlv")
        assert served == cluster.trust_list("ITL", "source-pub")
        assert cluster.served() == {"source-pub": cluster.version()}


async def test_a_change_read_late_is_not_taken_over_after_a_later_one(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_read, may_go_on = threading.Event(), threading.Event()
    load = RunningCluster._snapshot

    def load_slowly(self: RunningCluster) -> Snapshot:
        snapshot = load(self)
        if not is_read.is_set():
            is_read.set()
            may_go_on.wait()
        return snapshot

    async with lab:
        cluster = lab.create_cluster("source", "11.5.1", nodes=1)
        running = RunningCluster(cluster)
        await running.start()
        monkeypatch.setattr(RunningCluster, "_snapshot", load_slowly)
        cluster.regenerate(Purpose.TVS)
        late = asyncio.create_task(running.refresh())
        await asyncio.to_thread(is_read.wait)
        cluster.regenerate(Purpose.TVS)
        later = asyncio.create_task(running.refresh())
        await asyncio.wait({later}, timeout=0.5)  # it waits for the other; did it not, it would be done now
        may_go_on.set()
        await asyncio.gather(late, later)
        assert await tftp.fetch(tftp_servers(cluster)[0], "ITLFile.tlv") == cluster.trust_list("ITL", "source-pub")
        assert running.version == cluster.version()
        await running.close()


async def test_one_cluster_can_be_stopped_while_the_other_goes_on(lab: Lab) -> None:
    async with lab:
        one, other = (lab.create_cluster(name, "11.5.1", nodes=1) for name in ("one", "other"))
        for cluster in (one, other):
            await lab.start(cluster)
        await lab.stop(one)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(one.nodes()[0].address, LAB_PORTS[Service.TVS])
        TrustList.parse(await tftp.fetch(tftp_servers(other)[0], "ITLFile.tlv"))


async def test_the_sftp_server_of_a_lab_is_reached_by_its_settings(lab: Lab) -> None:
    async with lab:
        settings = await lab.start_sftp()
        async with SftpExchange.opened(settings) as exchange:
            await exchange.write("hello", b"world")
            assert await exchange.read("hello") == b"world"
        assert settings.password not in repr(settings)


async def test_a_port_taken_by_somebody_else_fails_the_start(lab: Lab) -> None:
    async with lab:
        cluster = lab.create_cluster("source", "11.5.1", nodes=1)
        with socket.socket() as taken:
            taken.bind((cluster.nodes()[0].address, LAB_PORTS[Service.HTTP]))
            taken.listen()
            with pytest.raises(ListenError, match="http cannot listen"):
                await lab.start(cluster)


@pytest.mark.slow
async def test_nodes_in_processes_of_their_own_serve_a_change_and_end_with_the_lab(
    tmp_path: Path, key_pool: PooledKeys
) -> None:
    async with Lab(tmp_path, keys=key_pool, in_processes=True) as lab:
        cluster = lab.create_cluster("source", "11.5.1", nodes=2)
        await lab.start(cluster)
        lab.add_phones([cluster], 1)
        await lab.settled(cluster)
        assert set(cluster.served().values()) == {cluster.version()}
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(cluster.nodes()[0].address, LAB_PORTS[Service.TVS])


@pytest.mark.slow
async def test_nodes_in_a_process_that_cannot_start_are_told_with_the_log(tmp_path: Path, key_pool: PooledKeys) -> None:
    async with Lab(tmp_path, keys=key_pool, in_processes=True) as lab:
        cluster = lab.create_cluster("source", "11.5.1", nodes=1)
        with socket.socket() as taken:
            taken.bind((cluster.nodes()[0].address, LAB_PORTS[Service.HTTP]))
            taken.listen()
            with pytest.raises(LabStartError, match=r"source\.log"):
                await lab.start(cluster)


# --- the demonstration


async def run(tmp_path: Path, keys: PooledKeys, phones: int = 1, *, secure: bool = False) -> ModeReport:
    plan = DemoPlan(phones=phones, nodes=1)
    return await demonstrate(plan, tmp_path, Silence(), secure=secure, keys=keys, in_processes=False)


async def test_a_report_is_in_order_only_if_all_phones_moved_and_none_could_before() -> None:
    good = ModeReport(secure=True, phones=2, registered_at_destination=2, tvs_requests=2, seconds=1)
    assert good.ok
    assert good.failed == 0
    bad = ModeReport(secure=True, phones=2, registered_at_destination=1, tvs_requests=2, seconds=1)
    assert (bad.ok, bad.failed) == (False, 1)


@pytest.mark.parametrize("secure", [False, True], ids=["non-secure", "secure"])
async def test_the_demonstration_moves_its_phones(secure: bool, tmp_path: Path, key_pool: PooledKeys) -> None:
    report = await run(tmp_path, key_pool, 2, secure=secure)
    assert report.ok
    assert (report.secure, report.phones, report.failures) == (secure, 2, {})


Spoil = Callable[[demo._Demonstration], None]
SPOILT: dict[str, tuple[Spoil, str]] = {
    "a source prepared for rollback": (
        lambda self: void(self._source.set_parameter("rollback-to-pre-8.0", "true")),
        "Prepare Cluster for Rollback to Pre 8.0 is True",
    ),
    "a destination whose lists are emptied": (
        lambda self: void(self._destination.set_parameter("rollback-to-pre-8.0", "true")),
        "the destination's ITL of destination-pub: No entries are emptied",
    ),
}


def void(_value: object) -> None:
    """Drop a result."""


@pytest.mark.parametrize(("spoil", "sentence"), SPOILT.values(), ids=SPOILT.keys())
async def test_no_phone_is_reset_while_a_precondition_does_not_hold(
    spoil: Spoil, sentence: str, tmp_path: Path, key_pool: PooledKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = demo._Demonstration._check_preconditions

    async def spoilt(self: demo._Demonstration, phones: Phones) -> None:
        spoil(self)
        await check(self, phones)

    monkeypatch.setattr(demo._Demonstration, "_check_preconditions", spoilt)
    with pytest.raises(PreconditionError, match=sentence):
        await run(tmp_path, key_pool)


async def test_phones_the_source_does_not_know_stop_the_demonstration(
    tmp_path: Path, key_pool: PooledKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lab, "add_phones", lambda *_args, **_options: [Phone("SEP0123456789AB")])
    with pytest.raises(PreconditionError, match="1 phones did not register at the source: SEP0123456789AB"):
        await run(tmp_path, key_pool)


@pytest.mark.slow
async def test_nodes_end_with_the_process_that_started_them(tmp_path: Path, key_pool: PooledKeys) -> None:
    async with Lab(tmp_path, keys=key_pool) as lab:
        cluster = lab.create_cluster("source", "11.5.1", nodes=1)
    place = str(cluster.location.folder)
    serving = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "certferry", "serve", "--cluster", place, "--json", "--until-eof",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert serving.stdin is not None
    assert serving.stdout is not None
    assert json.loads(await serving.stdout.readline())["ready"]
    serving.stdin.close()
    assert await asyncio.wait_for(serving.wait(), 60) == 0
