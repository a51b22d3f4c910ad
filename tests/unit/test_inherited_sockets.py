"""Sockets that a service manager hands over are taken by the service whose address and type they have."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from certferry.cluster.values import STANDARD_PORTS, Node, NodeRole, SecurityMode, Service
from certferry.serve import inherited, tftp
from certferry.serve.inherited import (
    InheritedSockets,
    InheritedSocketsError,
    InheritedSocketSharedError,
    listen_tcp,
    take_over_from_parent,
)
from certferry.serve.node import ListenError
from certferry.serve.ports import claim
from certferry.serve.tftp import TftpServer, widen_receive_buffer

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def address(of: socket.socket) -> tuple[str, int]:
    host, port = of.getsockname()[:2]
    return host, port


def test_a_socket_is_taken_by_its_type_address_and_port(listening: socket.socket) -> None:
    taken = InheritedSockets([listening]).take(TCP, address(listening))
    assert taken is not None
    with taken:
        assert address(taken) == address(listening)


def test_a_socket_of_another_type_port_or_address_is_not_taken(listening: socket.socket) -> None:
    inherited, (host, port) = InheritedSockets([listening]), address(listening)
    assert inherited.take(UDP, (host, port)) is None
    assert inherited.take(TCP, (host, port + 1)) is None
    assert inherited.take(TCP, ("127.0.0.2", port)) is None


def test_a_socket_for_every_address_serves_a_node_on_that_port() -> None:
    with socket.socket(socket.AF_INET, UDP) as everywhere:
        everywhere.bind(("0.0.0.0", 0))
        taken = InheritedSockets([everywhere]).take(UDP, ("127.0.0.9", everywhere.getsockname()[1]))
        assert taken is not None
        taken.close()


def test_the_socket_for_just_that_address_is_taken_before_the_one_for_all() -> None:
    with socket.socket(socket.AF_INET, UDP) as everywhere, socket.socket(socket.AF_INET, UDP) as here:
        for each in (everywhere, here):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        everywhere.bind(("0.0.0.0", 0))
        here.bind(("127.0.0.1", everywhere.getsockname()[1]))
        taken = InheritedSockets([everywhere, here]).take(UDP, address(here))
        assert taken is not None
        with taken:
            assert taken.getsockname()[0] == "127.0.0.1"


def test_a_socket_for_every_address_is_for_one_node_only() -> None:
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        sockets, port = InheritedSockets([everywhere]), everywhere.getsockname()[1]
        for _ in range(2):  # the same node may take it again, as when its service is started anew
            taken = sockets.take(TCP, ("127.0.0.9", port))
            assert taken is not None
            taken.close()
        with pytest.raises(InheritedSocketSharedError, match=r"for 127\.0\.0\.9 already, and wanted for 127\.0\.0\.8"):
            sockets.take(TCP, ("127.0.0.8", port))


def test_an_ipv6_socket_for_every_address_is_not_taken_by_a_node_with_an_ipv4_one() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6) as everywhere:
        assert InheritedSockets([everywhere]).take(TCP, ("127.0.0.1", everywhere.getsockname()[1])) is None


def test_the_numbers_are_those_that_workers_are_handed(listening: socket.socket) -> None:
    assert InheritedSockets([listening]).numbers == (listening.fileno(),)


def test_a_worker_takes_over_what_was_announced_to_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    take_over_from_parent()
    assert os.environ["LISTEN_PID"] == str(os.getpid())


def test_what_was_announced_to_a_stranger_is_not_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    take_over_from_parent()
    assert os.environ["LISTEN_PID"] == "1"


# --- opening what was not handed over


def test_a_port_that_nobody_handed_over_is_opened() -> None:
    with listen_tcp(("127.0.0.1", 0), backlog=5) as opened:
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        assert not opened.getblocking()


def test_one_that_was_handed_over_is_used_and_does_not_block(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inherited, "inherited_sockets", lambda: InheritedSockets([listening]))
    with listen_tcp(address(listening), backlog=5) as opened:
        assert address(opened) == address(listening)
        assert not opened.getblocking()


async def test_tftp_answers_from_the_nodes_address_on_a_socket_for_every_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket(socket.AF_INET, UDP) as everywhere, socket.socket(socket.AF_INET, UDP) as phone:
        everywhere.bind(("0.0.0.0", 0))
        monkeypatch.setattr("certferry.serve.tftp.inherited_sockets", lambda: InheritedSockets([everywhere]))
        server = TftpServer(("127.0.0.9", everywhere.getsockname()[1]), Files(), receive_buffer=1000)
        await server.start()
        try:
            phone.bind(("127.0.0.1", 0))
            phone.setblocking(False)  # noqa: FBT003 -- the call's own form
            loop = asyncio.get_running_loop()
            for name, answered in ((b"a", 3), (b"absent", 5)):
                await loop.sock_sendto(phone, b"\x00\x01" + name + b"\x00octet\x00", server_address(everywhere))
                reply, peer = await asyncio.wait_for(loop.sock_recvfrom(phone, 1000), 20)
                assert (reply[1], peer[0]) == (answered, "127.0.0.9")
        finally:
            await server.close()


class Files:
    """Has one file."""

    def find(self, name: str) -> bytes | None:
        return b"content" if name == "a" else None


def server_address(everywhere: socket.socket) -> tuple[str, int]:
    return "127.0.0.9", everywhere.getsockname()[1]


def test_a_receive_buffer_that_systemd_made_wide_is_not_narrowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tftp, "_SO_RCVBUFFORCE", -1)  # as to a process without privilege
    monkeypatch.setattr(tftp, "granted_buffer", lambda _size: 100_000)
    with socket.socket(socket.AF_INET, UDP) as wide:
        wide.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 150_000)
        before = wide.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        widen_receive_buffer(wide, 50_000)
        assert wide.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == before


# --- claiming


def test_a_port_of_somebody_else_is_refused_before_it_is_shared() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {Service.TVS: taken.getsockname()[1]}
        node = Node("pub", "127.0.0.1", frozenset({NodeRole.TVS}), {**STANDARD_PORTS, **ports})
        with pytest.raises(ListenError, match="pub: tvs cannot listen"):
            claim([node], SecurityMode.NON_SECURE)


def test_a_port_handed_over_is_ours_and_needs_no_claim(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certferry.serve.ports.inherited_sockets", lambda: InheritedSockets([listening]))
    ports = {Service.TVS: listening.getsockname()[1]}
    node = Node("pub", "127.0.0.1", frozenset({NodeRole.TVS}), {**STANDARD_PORTS, **ports})
    claim([node], SecurityMode.NON_SECURE)


def test_closing_what_was_taken_leaves_the_socket_open_for_the_next(listening: socket.socket) -> None:
    inherited = InheritedSockets([listening])
    for _ in range(2):
        taken = inherited.take(TCP, address(listening))
        assert taken is not None
        taken.close()
    assert listening.fileno() >= 0


def test_without_an_announcement_there_are_none() -> None:
    assert len(InheritedSockets.announced({}, 7)) == 0


def test_sockets_announced_to_another_process_are_left_alone() -> None:
    assert len(InheritedSockets.announced({"LISTEN_PID": "8", "LISTEN_FDS": "3"}, 7)) == 0


@pytest.mark.parametrize("count", ["", "x", "-1", "100000", "\N{SUPERSCRIPT TWO}"])
def test_a_number_of_sockets_that_is_none_is_refused(count: str) -> None:
    with pytest.raises(InheritedSocketsError, match="no number of sockets"):
        InheritedSockets.announced({"LISTEN_PID": "7", "LISTEN_FDS": count}, 7)


CHILD = """
import os, socket, sys
from certferry.serve.inherited import FIRST_FD, inherited_sockets
given = int(sys.argv[1])
if given >= 0:
    os.dup2(given, FIRST_FD)
else:
    os.closerange(FIRST_FD, 20)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
host, port = sys.argv[2], int(sys.argv[3])
try:
    taken = inherited_sockets().take(socket.SOCK_STREAM, (host, port))
except Exception as error:
    print(getattr(error, "code", repr(error)))
else:
    print("listening" if taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) else "not listening")
"""


def child(fd: int, where: tuple[str, int]) -> str:
    command = [sys.executable, "-c", CHILD, str(fd), where[0], str(where[1])]
    passed = (fd,) if fd >= 0 else ()
    done = subprocess.run(command, pass_fds=passed, capture_output=True, text=True, check=True, env=dict(os.environ))
    return done.stdout.strip()


def test_a_process_finds_what_it_was_started_with(listening: socket.socket) -> None:
    assert child(listening.fileno(), address(listening)) == "listening"


def test_sockets_that_are_announced_and_not_there_are_refused() -> None:
    assert child(-1, ("127.0.0.1", 1)) == "serve.inherited-sockets"
