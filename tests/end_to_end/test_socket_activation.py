"""Services on ports that systemd opened for them: no privilege, no phone turned away, and systemd knows of it."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.values import Service
from certferry.fleet import http, tftp
from certferry.lab.keys import PooledKeys
from certferry.wire.certificate import Certificate
from command_line import COMMAND, loopback_cluster, wait_until
from socket_activation import activated, opened, service_manager

pytestmark = pytest.mark.slow
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
KINDS = {Service.TFTP: UDP, Service.TVS: TCP, Service.HTTP: TCP}
FILE = "ITLFile.tlv"
ACTIVATE = shutil.which("systemd-socket-activate") or ""
needs_activate = pytest.mark.skipif(not ACTIVATE, reason="systemd-socket-activate is not installed")
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="only root can open a low port and then be another user",
)


@pytest.fixture
def cluster(tmp_path: Path, key_pool: PooledKeys) -> Cluster:
    return loopback_cluster(tmp_path / "cluster", key_pool)


@pytest.fixture
def sockets(cluster: Cluster) -> Iterator[list[socket.socket]]:
    node = cluster.publisher
    with ExitStack() as held:
        made = [opened(kind, (node.address, node.ports[service])) for service, kind in KINDS.items()]
        yield [held.enter_context(each) for each in made]


def serve(cluster: Cluster, *words: str) -> list[str]:
    return [*COMMAND, "serve", "--cluster", cluster.location.text, "--json", *words]


def address(cluster: Cluster, service: Service) -> tuple[str, int]:
    return cluster.publisher.address, cluster.publisher.ports[service]


async def files(cluster: Cluster) -> tuple[bytes, bytes]:
    over_tftp = await tftp.fetch(address(cluster, Service.TFTP), FILE, timeout=20)
    return over_tftp, await http.fetch(address(cluster, Service.HTTP), FILE, timeout=60)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_services_answer_on_the_sockets_they_were_handed(
    cluster: Cluster, sockets: list[socket.socket], workers: str
) -> None:
    itl = cluster.trust_list("ITL", cluster.publisher.name)
    with activated(sockets, serve(cluster, "--workers", workers)) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["workers"] == int(workers)
        for _ in range(4):  # so that each worker has its turn
            assert asyncio.run(files(cluster)) == (itl, itl)
        with socket.create_connection(address(cluster, Service.TVS), timeout=60) as plain:
            assert tls_name(plain) == cluster.publisher.name


def tls_name(connection: socket.socket) -> str:
    """Greet a TVS as far as its certificate; return whose that is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(connection) as secure:
        certificate = secure.getpeercert(binary_form=True)
    assert certificate
    return Certificate.parse(certificate).common_name


def test_a_phone_that_comes_before_the_service_waits_and_is_answered(
    cluster: Cluster, sockets: list[socket.socket]
) -> None:
    with socket.create_connection(address(cluster, Service.HTTP)) as early:
        early.sendall(f"GET /{FILE} HTTP/1.0\r\n\r\n".encode())
        with activated(sockets, serve(cluster, "--workers", "2")):
            early.settimeout(60)
            assert early.recv(100).startswith(b"HTTP/1.")


def test_a_phone_waits_while_the_service_is_restarted(cluster: Cluster, sockets: list[socket.socket]) -> None:
    for _ in range(2):
        with activated(sockets, serve(cluster)) as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["ready"] is True
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        with socket.create_connection(address(cluster, Service.TVS), timeout=30):
            pass  # the kernel takes it: the port never closed


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_service_manager_hears_when_a_service_is_ready_and_when_it_stops(cluster: Cluster, workers: str) -> None:
    with service_manager() as manager:
        process = subprocess.Popen(
            serve(cluster, "--workers", workers), env=manager.environment, stdout=subprocess.DEVNULL
        )
        with process:
            assert manager.told() == "READY=1"
            process.terminate()
            assert manager.told() == "STOPPING=1"
            assert process.wait(60) == 0


def test_a_worker_that_dies_is_replaced_by_one_with_the_same_sockets(
    cluster: Cluster, sockets: list[socket.socket]
) -> None:
    with activated(sockets, serve(cluster, "--workers", "2")) as process:
        assert process.stdout is not None
        process.stdout.readline()
        before = children(process.pid)
        os.kill(min(before), signal.SIGKILL)
        wait_until(lambda: len(holding(sockets[0], children(process.pid) - before)) == 1)


def children(pid: int) -> set[int]:
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def holding(sock: socket.socket, pids: set[int]) -> set[int]:
    """Tell which processes hold a socket."""
    inode = f"socket:[{os.fstat(sock.fileno()).st_ino}]"
    return {pid for pid in pids if any(link == inode for link in links(pid))}


def links(pid: int) -> list[str]:
    found = []
    with suppress(OSError):  # the process, or the file, is gone meanwhile
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.append(str(each.readlink()))
    return found


def test_two_nodes_are_not_served_on_one_socket_for_every_address(tmp_path: Path, key_pool: PooledKeys) -> None:
    two = loopback_cluster(tmp_path / "two", key_pool, count=2)
    port = two.publisher.ports[Service.TVS]
    with opened(TCP, ("0.0.0.0", 0)) as everywhere:
        free = everywhere.getsockname()[1]
        for node in two.nodes():
            two.set_port(node.name, Service.TVS, free)
        with activated([everywhere], serve(two)) as process:
            said = json.loads(process.communicate(timeout=60)[0])
        assert said["error"]["code"] == "serve.inherited-socket-shared"
        with activated([everywhere], serve(two, "--node", two.publisher.name)) as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["ready"] is True
    assert port != free


# --- the pages


def test_the_pages_come_over_a_socket_handed_over(cluster: Cluster) -> None:
    with opened(TCP, ("127.0.0.1", 0)) as port, service_manager() as manager:
        number = port.getsockname()[1]
        words = ["web", "--insecure-http", "--port", str(number), "--cluster", cluster.location.text, "--json"]
        with activated([port], [*COMMAND, *words], env=manager.environment) as process:
            assert manager.told() == "READY=1"
            with socket.create_connection(("127.0.0.1", number), timeout=60) as browser:
                browser.sendall(b"GET /login HTTP/1.0\r\n\r\n")
                assert browser.recv(100).startswith(b"HTTP/1.1 200")
            process.terminate()
            assert manager.told() == "STOPPING=1"


def test_plain_http_is_refused_on_a_socket_that_others_reach(cluster: Cluster) -> None:
    with opened(TCP, ("0.0.0.0", 0)) as port:
        number = str(port.getsockname()[1])
        words = ["web", "--insecure-http", "--port", number, "--cluster", cluster.location.text, "--json"]
        with activated([port], [*COMMAND, *words]) as process:
            said = json.loads(process.communicate(timeout=60)[0])
    assert said["error"]["code"] == "web.plain-http"


# --- by systemd's own program, and below 1024


@needs_activate
@pytest.mark.parametrize(("words", "service"), [(["-l"], Service.HTTP), (["-d", "-l"], Service.TFTP)])
def test_systemd_itself_hands_a_socket_over(cluster: Cluster, words: list[str], service: Service) -> None:
    where = "{}:{}".format(*address(cluster, service))
    command = [ACTIVATE, *words, where, *serve(cluster)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            while "Listening on" not in (line := process.stderr.readline()):
                assert line, "systemd-socket-activate ended"
            # The first packet starts the service, and waits for it.
            fetch = tftp.fetch if service is Service.TFTP else http.fetch
            fetched = asyncio.run(fetch(address(cluster, service), FILE, timeout=60))
        finally:
            process.terminate()
    assert fetched == cluster.trust_list("ITL", cluster.publisher.name)


@needs_root
def test_a_low_port_is_served_without_any_privilege(cluster: Cluster) -> None:
    cluster.set_port(cluster.publisher.name, Service.TFTP, 69)
    cluster.set_port(cluster.publisher.name, Service.HTTP, 697)
    itl = cluster.trust_list("ITL", cluster.publisher.name)
    with (
        opened(UDP, address(cluster, Service.TFTP)) as low,
        opened(TCP, address(cluster, Service.HTTP)) as other,
        activated([low, other], serve(cluster), "setpriv", "--bounding-set=-all", "--no-new-privs") as process,
    ):
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["ready"] is True
        assert re.search(r"^CapEff:\s+0+$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
        assert asyncio.run(files(cluster)) == (itl, itl)
