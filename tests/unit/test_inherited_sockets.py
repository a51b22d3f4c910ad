"""Sockets that a service manager hands over are taken by the service whose address and type they have."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from certferry.serve.inherited import InheritedSockets, InheritedSocketsError

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
