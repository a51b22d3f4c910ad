"""The services of a cluster's nodes on real sockets: what they serve, and how soon they learn of changes."""

import asyncio
import logging
import socket
import ssl
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certferry.cluster.cluster import Cluster
from certferry.cluster.nodes import NodeUnknownError
from certferry.cluster.parameters import SECURITY_MODE, TVS_CACHE
from certferry.cluster.values import Node, NodeRole, Phone, Service, TrustChange
from certferry.fleet import http, sip, tftp, tvs
from certferry.lab.keys import PooledKeys
from certferry.lab.loopback import LAB_PORTS, free_network
from certferry.serve import authorities
from certferry.serve.node import ListenError, ServeOptions
from certferry.serve.registrar import Registrar
from certferry.serve.running import RunningCluster
from certferry.serve.tls import allow_tls10_and_level_0
from certferry.trust.list_check import tvs_certificates
from certferry.trust.purpose import Purpose, Store
from certferry.wire.certificate import Certificate
from certferry.wire.phone_config import PhoneConfig
from certferry.wire.roles import Role
from certferry.wire.signed_file import SignedFile
from certferry.wire.trust_list import TrustList
from certferry.wire.tvs import CertificateQueryReply, CertificateQueryRequest, Status
from conftest import MakeCertificate, MakeCluster

DEVICE, OTHER = "SEP001122334455", "SEP001122334466"
PUB, SUB = "source-pub", "source-sub1"
PATIENCE = 60
EVERYTHING = frozenset({NodeRole.TFTP, NodeRole.TVS, NodeRole.CALLMANAGER})
Make = Callable[..., Cluster]


@pytest.fixture
def make(make_cluster: MakeCluster) -> Make:
    """Make a cluster of two nodes (or of the roles given) that has addresses to run on and knows one phone."""

    def of(roles: Iterable[frozenset[NodeRole]] = (EVERYTHING, EVERYTHING), *, secure: bool = False) -> Cluster:
        network = free_network()
        names = [PUB, SUB, "source-sub2"]
        first = frozenset({NodeRole.PUBLISHER, NodeRole.CAPF})
        nodes = [
            Node(names[place], str(network[place + 1]), each | first if place == 0 else each, dict(LAB_PORTS))
            for place, each in enumerate(roles)
        ]
        cluster = make_cluster(nodes=nodes, secure=secure)
        cluster.add_phones([Phone(DEVICE, secure=secure)])
        return cluster

    return of


@asynccontextmanager
async def run(cluster: Cluster, *names: str) -> AsyncIterator[RunningCluster]:
    """Run nodes of ``cluster``; they learn of changes when told to ``refresh``."""
    running = RunningCluster(cluster, names)
    await running.start()
    try:
        yield running
    finally:
        await running.close()


@asynccontextmanager
async def following(cluster: Cluster) -> AsyncIterator[RunningCluster]:
    """Run all nodes of ``cluster``; they learn of changes by themselves."""
    async with run(cluster) as running:
        task = asyncio.create_task(running.follow())
        try:
            yield running
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def at(cluster: Cluster, service: Service, node: str = PUB) -> tuple[str, int]:
    found = cluster.node(node)
    return found.address, found.ports[service]


def itl(cluster: Cluster, node: str = PUB) -> TrustList:
    return TrustList.parse(cluster.trust_list("ITL", node) or b"")


async def ask(cluster: Cluster, about: Certificate, node: str = PUB) -> CertificateQueryReply:
    """Ask TVS as a phone does that holds the ITL of its cluster as it is now."""
    request = CertificateQueryRequest(7, f"CP-8861-{DEVICE}", about.subject, about.issuer, about.serial)
    answer = await tvs.ask(at(cluster, Service.TVS, node), request, trusted=tvs_certificates(itl(cluster)))
    assert isinstance(answer.reply, CertificateQueryReply)
    return answer.reply


async def get(cluster: Cluster, name: str, node: str = PUB) -> bytes:
    """Fetch a file over HTTP and TFTP, which serve the same."""
    data = await http.fetch(at(cluster, Service.HTTP, node), name)
    assert await tftp.fetch(at(cluster, Service.TFTP, node), name) == data
    return data


async def is_missing(cluster: Cluster, name: str) -> bool:
    try:
        await http.fetch(at(cluster, Service.HTTP), name)
    except http.HttpFileNotFoundError:
        with pytest.raises(tftp.TftpFileNotFoundError):
            await tftp.fetch(at(cluster, Service.TFTP), name)
        return True
    return False


def is_free(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
        return True


def trust(cluster: Cluster, certificate: Certificate, store: Store = Store.PHONE_SAST_TRUST) -> None:
    cluster.change_trust([TrustChange("add", store, certificate)], action="upload")


# --- what runs


async def test_every_service_of_every_node_is_told_with_its_address(make: Make) -> None:
    cluster = make(secure=True)
    running = RunningCluster(cluster)
    listening = await running.start()
    await running.close()
    assert [(each.node, each.service, (each.address, each.port)) for each in listening] == [
        (node, service, at(cluster, service, node))
        for node in (PUB, SUB)
        for service in (Service.TVS, Service.TFTP, Service.HTTP, Service.SIP, Service.SIPS)
    ]


@pytest.mark.parametrize(
    ("role", "services"),
    [
        (NodeRole.TVS, [Service.TVS]),
        (NodeRole.TFTP, [Service.TFTP, Service.HTTP]),
        (NodeRole.CALLMANAGER, [Service.SIP]),
    ],
)
async def test_a_node_runs_what_its_roles_say(make: Make, role: NodeRole, services: list[Service]) -> None:
    running = RunningCluster(make([EVERYTHING, frozenset({role})]), [SUB])
    listening = await running.start()
    await running.close()
    assert [each.service for each in listening] == services


async def test_only_the_nodes_asked_for_are_run(make: Make) -> None:
    cluster = make()
    async with run(cluster, SUB.upper()):
        assert not is_free(at(cluster, Service.TVS, SUB))
        assert is_free(at(cluster, Service.TVS, PUB))
        assert cluster.served() == {SUB: cluster.version()}


def test_a_node_that_is_not_there_cannot_be_run(make: Make) -> None:
    with pytest.raises(NodeUnknownError):
        RunningCluster(make(), ["elsewhere"])


async def test_ports_are_given_back(make: Make) -> None:
    cluster = make(secure=True)
    for _ in range(2):
        async with run(cluster):
            pass
    services = (Service.TVS, Service.HTTP, Service.SIP, Service.SIPS)
    assert all(is_free(at(cluster, service, node)) for service in services for node in (PUB, SUB))


@pytest.mark.parametrize("service", [Service.TVS, Service.HTTP, Service.SIP, Service.TFTP])
async def test_a_port_that_is_taken_is_named_and_no_other_is_held(make: Make, service: Service) -> None:
    cluster = make()
    host, port = at(cluster, service, SUB)
    with socket.socket(type=socket.SOCK_DGRAM if service is Service.TFTP else socket.SOCK_STREAM) as other:
        other.bind((host, port))
        if service is not Service.TFTP:
            other.listen()
        with pytest.raises(ListenError, match=rf"{SUB}: {service} cannot listen on {host}:{port}: ") as caught:
            await RunningCluster(cluster).start()
        assert "cluster set port" in caught.value.remedy
    assert is_free(at(cluster, Service.TVS, PUB))
    assert is_free(at(cluster, Service.HTTP, PUB))
    assert cluster.served() == {}


async def test_an_address_that_is_not_this_machines_is_told(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=[Node("pub", "192.0.2.1", EVERYTHING | {NodeRole.PUBLISHER}, dict(LAB_PORTS))])
    with pytest.raises(ListenError, match=r"pub: tvs cannot listen on 192\.0\.2\.1:2445"):
        await RunningCluster(cluster).start()


# --- TVS


async def test_tvs_presents_the_certificate_that_phones_hold_in_their_itl(make: Make) -> None:
    cluster = make()
    async with run(cluster):
        for node in (PUB, SUB):
            reply = await ask(cluster, cluster.identity(Purpose.CALLMANAGER, PUB).certificate, node)
            assert reply.status is Status.VALID


async def test_tvs_vouches_for_a_foreign_signer_once_it_stands_in_phone_sast_trust(
    make: Make, make_certificate: MakeCertificate
) -> None:
    cluster, signer = make(), make_certificate("CN=destination-pub")
    async with run(cluster) as running:
        assert (await ask(cluster, signer)).status is Status.INVALID
        trust(cluster, signer)
        assert (await ask(cluster, signer)).status is Status.INVALID  # not yet taken over
        assert await running.refresh()
        reply = await ask(cluster, signer, SUB)
        assert (reply.status, reply.certificate, reply.ttl) == (Status.VALID, signer.der, 86_400)
        assert set(reply.roles) == {Role.SAST, Role.TFTP}


async def test_callmanager_trust_alone_gives_a_phone_nothing(make: Make, make_certificate: MakeCertificate) -> None:
    cluster, signer = make(), make_certificate("CN=destination-pub")
    trust(cluster, signer, Store.CALLMANAGER_TRUST)
    async with run(cluster):
        assert set((await ask(cluster, signer)).roles) == set()


async def test_an_import_taken_back_is_no_longer_vouched_for(make: Make, make_certificate: MakeCertificate) -> None:
    cluster, signer = make(), make_certificate("CN=destination-pub")
    undo = cluster.change_trust([TrustChange("add", Store.PHONE_SAST_TRUST, signer)], action="bulk-import")
    async with run(cluster) as running:
        assert (await ask(cluster, signer)).status is Status.VALID
        cluster.undo(undo)
        await running.refresh()
        assert (await ask(cluster, signer)).status is Status.INVALID


async def test_the_time_a_phone_may_keep_an_answer_is_the_parameters(make: Make) -> None:
    cluster = make()
    async with run(cluster) as running:
        cluster.set_parameter(TVS_CACHE, "60")
        await running.refresh()
        assert (await ask(cluster, cluster.identity(Purpose.CALLMANAGER).certificate)).ttl == 60


async def test_a_new_tvs_certificate_is_presented_and_phones_with_the_old_itl_refuse_it(make: Make) -> None:
    cluster = make()
    known = tvs_certificates(itl(cluster))
    signer = cluster.identity(Purpose.CALLMANAGER).certificate
    async with run(cluster) as running:
        cluster.regenerate(Purpose.TVS)
        await running.refresh()
        assert (await ask(cluster, signer)).status is Status.VALID
        request = CertificateQueryRequest(7, f"CP-8861-{DEVICE}", signer.subject, signer.issuer, signer.serial)
        with pytest.raises(tvs.TvsCertificateUnknownError):
            await tvs.ask(at(cluster, Service.TVS), request, trusted=known)


# --- files


async def test_each_node_serves_its_lists_and_signed_configurations(make: Make) -> None:
    cluster = make(secure=True)
    async with run(cluster):
        for node in (PUB, SUB):
            assert await get(cluster, f"ITL{DEVICE}.tlv", node) == cluster.trust_list("ITL", node)
            assert await get(cluster, f"CTL{DEVICE}.tlv", node) == cluster.trust_list("CTL")
            signed = SignedFile.parse(await get(cluster, f"{DEVICE}.cnf.xml.sgn", node))
            assert signed.verify(cluster.identity(Purpose.CALLMANAGER, node).certificate)
            assert PhoneConfig.parse(signed.payload).device == DEVICE


async def test_the_ctl_comes_with_mixed_mode_is_emptied_after_it_and_goes_when_it_is_deleted(make: Make) -> None:
    cluster = make()
    async with run(cluster) as running:
        assert await is_missing(cluster, f"CTL{DEVICE}.tlv")
        cluster.set_parameter(SECURITY_MODE, "mixed")
        await running.refresh()
        assert await get(cluster, f"CTL{DEVICE}.tlv") == cluster.trust_list("CTL")
        cluster.set_parameter(SECURITY_MODE, "non-secure")
        await running.refresh()
        served = TrustList.parse(await get(cluster, f"CTL{DEVICE}.tlv"))
        assert all(record.is_emptied for record in served.records_with_role(Role.CALLMANAGER_TFTP))
        cluster.delete_ctl()
        await running.refresh()
        assert await is_missing(cluster, f"CTL{DEVICE}.tlv")


async def test_a_phone_is_served_from_the_moment_it_is_known(make: Make) -> None:
    cluster = make()
    async with run(cluster) as running:
        assert await is_missing(cluster, f"ITL{OTHER}.tlv")
        cluster.add_phones([Phone(OTHER)])
        await running.refresh()
        assert await get(cluster, f"ITL{OTHER}.tlv") == cluster.trust_list("ITL", PUB)


async def test_a_change_elsewhere_leaves_a_configuration_byte_for_byte(
    make: Make, make_certificate: MakeCertificate
) -> None:
    cluster = make()
    async with run(cluster) as running:
        before = await get(cluster, f"{DEVICE}.cnf.xml.sgn")
        trust(cluster, make_certificate("CN=destination-pub"))
        await running.refresh()
        assert await get(cluster, f"{DEVICE}.cnf.xml.sgn") == before


# --- registration


async def test_a_known_phone_registers_and_an_unknown_one_does_not(make: Make) -> None:
    cluster = make()
    async with run(cluster) as running:
        reply = await sip.register(at(cluster, Service.SIP), DEVICE, context=None)
        assert reply.expires > 0
        with pytest.raises(sip.RegistrationRefusedError, match="404"):
            await sip.register(at(cluster, Service.SIP), OTHER, context=None)
        cluster.add_phones([Phone(OTHER)])
        await running.refresh()
        assert (await sip.register(at(cluster, Service.SIP), OTHER, context=None)).expires > 0
        registrar = running.services[0].server(Service.SIP)
        assert isinstance(registrar, Registrar)
        assert set(registrar.registrations) == {DEVICE, OTHER}


def lsc_of(cluster: Cluster, keys: PooledKeys, folder: Path) -> tuple[Path, Path]:
    """Let CAPF issue the phone an LSC; return where certificate and key lie."""
    key = keys.rsa(2048)
    certificate, private = folder / "lsc.pem", folder / "lsc.key"
    certificate.write_text(cluster.issue_lsc(DEVICE, key.public_key()).pem)
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, private


async def register_securely(cluster: Cluster, lsc: tuple[Path, Path]) -> int:
    believed = [each.parsed for each in itl(cluster).records_with_role(Role.CALLMANAGER_TFTP)]
    context = sip.client_context(*lsc, believed)
    return (await sip.register(at(cluster, Service.SIPS), DEVICE, context=context)).expires


async def test_a_secure_phone_registers_with_the_lsc_of_its_own_capf(
    make: Make, key_pool: PooledKeys, tmp_path: Path
) -> None:
    cluster = make(secure=True)
    async with run(cluster):
        assert await register_securely(cluster, lsc_of(cluster, key_pool, tmp_path)) > 0


@pytest.mark.parametrize("in_memory", [authorities.FEW, 0])
async def test_an_lsc_stops_counting_when_its_capf_certificate_is_replaced(
    make: Make, key_pool: PooledKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr(authorities, "FEW", in_memory)
    cluster = make(secure=True)
    lsc = lsc_of(cluster, key_pool, tmp_path)
    async with run(cluster) as running:
        cluster.regenerate(Purpose.CAPF)
        await running.refresh()
        with pytest.raises((sip.RegistrarHandshakeError, sip.RegistrarNoAnswerError)):
            await register_securely(cluster, lsc)
        assert await register_securely(cluster, lsc_of(cluster, key_pool, tmp_path)) > 0


async def test_all_nodes_find_their_many_cas_in_one_folder_which_goes_when_they_end(
    make: Make, key_pool: PooledKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authorities, "FEW", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    cluster = make(secure=True)
    async with run(cluster):
        assert await register_securely(cluster, lsc_of(cluster, key_pool, tmp_path)) > 0
        assert len(folders_in(tmp_path)) == 1
    assert folders_in(tmp_path) == []


async def test_without_room_for_the_cas_nothing_is_held_and_it_is_told(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authorities, "FEW", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    cluster = make(secure=True)
    with pytest.raises(authorities.AuthoritiesUnwritableError, match="missing"):
        await RunningCluster(cluster).start()
    assert is_free(at(cluster, Service.TVS))


def folders_in(place: Path) -> list[Path]:
    return list(place.glob(f"{authorities.PREFIX}*"))


async def test_the_secure_registrar_comes_and_goes_with_mixed_mode(
    make: Make, key_pool: PooledKeys, tmp_path: Path
) -> None:
    cluster = make()
    cluster.add_phones([Phone(DEVICE, secure=True)])
    async with run(cluster) as running:
        assert is_free(at(cluster, Service.SIPS))
        cluster.set_parameter(SECURITY_MODE, "mixed")
        await running.refresh()
        assert await register_securely(cluster, lsc_of(cluster, key_pool, tmp_path)) > 0
        cluster.set_parameter(SECURITY_MODE, "non-secure")
        await running.refresh()
        assert is_free(at(cluster, Service.SIPS))


async def test_a_secure_registrar_whose_port_is_taken_opens_once_the_port_is_free(
    make: Make, key_pool: PooledKeys, tmp_path: Path
) -> None:
    cluster = make()
    cluster.add_phones([Phone(DEVICE, secure=True)])
    before = cluster.version()
    async with run(cluster) as running:
        with socket.create_server(at(cluster, Service.SIPS)):
            cluster.set_parameter(SECURITY_MODE, "mixed")
            for _ in range(2):
                with pytest.raises(ListenError, match=f"{PUB}: sips cannot listen"):
                    await running.refresh()
            assert cluster.served() == {PUB: before, SUB: cluster.version()}, (
                "the other node has the port on its address"
            )
        assert await running.refresh()
        assert await register_securely(cluster, lsc_of(cluster, key_pool, tmp_path)) > 0
        assert set(cluster.served().values()) == {cluster.version()}


# --- keeping up


async def test_nodes_report_the_version_that_they_answer_from(make: Make) -> None:
    cluster = make()
    async with run(cluster) as running:
        assert cluster.served() == {PUB: cluster.version(), SUB: cluster.version()}
        cluster.set_parameter(TVS_CACHE, "60")
        assert set(cluster.served().values()) == {cluster.version() - 1}
        assert await running.refresh()
        assert set(cluster.served().values()) == {cluster.version()}
        assert [each.version for each in running.services] == [cluster.version()] * 2


async def test_without_a_change_there_is_nothing_to_take_over(make: Make) -> None:
    cluster = make()
    async with run(cluster) as running:
        assert not await running.refresh()


async def served(cluster: Cluster, version: int) -> None:
    """Wait until every node answers from ``version`` or a later one, as verification does."""
    async with asyncio.timeout(PATIENCE):
        while min(cluster.served().values()) < version:  # noqa: ASYNC110 -- another process or task sets it
            await asyncio.sleep(0.02)


CHANGE = """
import sys
from certferry.cluster.cluster import Cluster
from certferry.cluster.values import TrustChange
from certferry.trust.purpose import Store
from certferry.wire.certificate import Certificate
cluster = Cluster.open(sys.argv[1])
signer = Certificate.from_pem(sys.stdin.read())
cluster.change_trust([TrustChange("add", Store.PHONE_SAST_TRUST, signer)], action="upload")
print(cluster.version())
"""


async def change_elsewhere(cluster: Cluster, signer: Certificate) -> int:
    """Let another process put ``signer`` into Phone-SAST-trust; return the change version after it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHANGE, str(cluster.location.folder),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    told, _ = await process.communicate(signer.pem.encode())
    assert process.returncode == 0
    return int(told)


async def test_a_change_made_by_another_process_is_served_by_itself(
    make: Make, make_certificate: MakeCertificate
) -> None:
    cluster, signer = make(), make_certificate("CN=destination-pub")
    async with following(cluster):
        await served(cluster, await change_elsewhere(cluster, signer))
        for node in (PUB, SUB):
            assert (await ask(cluster, signer, node)).status is Status.VALID


def count_polls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count in a list of one number how often running nodes look for changes; let them look often."""
    polls, refresh = [0], RunningCluster.refresh

    async def counted(running: RunningCluster) -> bool:
        polls[0] += 1
        return await refresh(running)

    monkeypatch.setattr(RunningCluster, "refresh", counted)
    monkeypatch.setattr("certferry.cluster.feed.POLL_SECONDS", 0.01)
    return polls


async def more(polls: list[int], number: int) -> None:
    wanted = polls[0] + number
    async with asyncio.timeout(PATIENCE):
        while polls[0] < wanted:  # noqa: ASYNC110 -- a counter is what there is
            await asyncio.sleep(0.01)


async def test_phones_are_served_on_while_the_database_is_away_and_changes_follow_when_it_is_back(
    make: Make, make_certificate: MakeCertificate, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING, "certferry.serve.running")
    cluster, signer = make(), make_certificate("CN=destination-pub")
    polls = count_polls(monkeypatch)
    database, away = cluster.location.database, cluster.location.folder / "away"
    async with following(cluster) as running:
        version = running.version
        database.rename(away)
        await more(polls, 5)
        assert await http.fetch(at_of(running, Service.HTTP), f"ITL{DEVICE}.tlv")
        away.rename(database)
        await more(polls, 2)  # one may have begun before it was back
        trust(cluster, signer)
        await served(cluster, version + 1)
        assert (await ask(cluster, signer)).status is Status.VALID
    told, again = caplog.messages
    assert told.startswith(f"serving version {version} on: ")
    assert again == f"serving version {version}: the cluster's database answers again"


def at_of(running: RunningCluster, service: Service) -> tuple[str, int]:
    node = running.services[0].node
    return node.address, node.ports[service]


async def test_phones_that_ask_during_a_change_get_the_old_file_or_the_new_and_nothing_else(make: Make) -> None:
    cluster = make()
    name = f"ITL{DEVICE}.tlv"
    allowed = {cluster.trust_list("ITL", PUB)}
    seen: set[bytes] = set()
    async with run(cluster) as running:

        async def fetch_on_and_on() -> None:
            while True:
                seen.add(await http.fetch(at(cluster, Service.HTTP), name))

        fetching = asyncio.create_task(fetch_on_and_on())
        for _ in range(3):
            await asyncio.to_thread(cluster.regenerate, Purpose.TVS)
            allowed.add(cluster.trust_list("ITL", PUB))
            await running.refresh()
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)
        assert fetching.cancelled()
        assert await get(cluster, name) == cluster.trust_list("ITL", PUB)
    assert seen <= allowed


@pytest.mark.parametrize("allowed", [True, False])
async def test_tls_1_0_of_old_phones_is_let_in_only_where_it_was_asked_for(make: Make, *, allowed: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    allow_tls10_and_level_0(context)
    with warnings.catch_warnings(action="ignore"):
        context.maximum_version = ssl.TLSVersion.TLSv1
    cluster = make()
    running = RunningCluster(cluster, [PUB], ServeOptions(allow_tls10=allowed))
    await running.start()
    try:
        with nullcontext() if allowed else pytest.raises((ssl.SSLError, ConnectionResetError)):
            _, writer = await asyncio.open_connection(*at(cluster, Service.TVS), ssl=context)
            assert writer.get_extra_info("ssl_object").version() == "TLSv1"
            writer.transport.abort()
    finally:
        await running.close()
