"""Sockets that a service manager opened for us (systemd socket activation), so that nobody here needs root.

The protocol (sd_listen_fds(3)): ``LISTEN_PID`` is the process they are for, ``LISTEN_FDS`` how many there are; they
stand at file descriptors 3, 4, ... A socket is taken for a service when it has its type and listens at its address
and port, or at its port on every address of the host. Workers get the same sockets, under the same numbers, from the
process that started them.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from functools import cache

from certferry.errors import Refusal

FIRST_FD = 3
MOST_FDS = 1000
_EVERYWHERE = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104 -- compared, not bound


class InheritedSocketsError(Refusal):
    """The environment announces sockets that are not there."""

    code = "serve.inherited-sockets"
    remedy = "Start it by its systemd unit, or without LISTEN_FDS and LISTEN_PID in the environment."


class InheritedSocketSharedError(InheritedSocketsError):
    """Two nodes of this host would listen on one socket, and phones be answered by whichever is quicker."""

    code = "serve.inherited-socket-shared"
    remedy = "Give each node its address: systemctl edit certferry@NAME.socket; or serve one of them: --node NAME"


class InheritedSockets:
    """The sockets this process was started with; each is handed out as a copy, so that closing it loses nothing."""

    def __init__(self, sockets: Sequence[socket.socket] = ()) -> None:
        self._sockets = tuple(sockets)
        self._hosts: dict[int, str] = {}
        """Which address a socket for every address was taken for."""

    @classmethod
    def announced(cls, environment: Mapping[str, str], pid: int) -> "InheritedSockets":
        """Read what the service manager announced; raises ``InheritedSocketsError``."""
        if environment.get("LISTEN_PID") != str(pid):
            return cls()
        text = environment.get("LISTEN_FDS", "")
        if not (text.isascii() and text.isdecimal()) or int(text) > MOST_FDS:
            raise InheritedSocketsError(f"LISTEN_FDS is {text!r}, which is no number of sockets")
        try:
            return cls([socket.socket(fileno=fd) for fd in range(FIRST_FD, FIRST_FD + int(text))])
        except OSError as error:
            raise InheritedSocketsError(f"LISTEN_FDS announces {text} sockets, and they are not there") from error

    def take(self, kind: socket.SocketKind, address: tuple[str, int]) -> socket.socket | None:
        """Return a copy of the socket for ``address``, the one for just that address before one for all of them.

        Raises ``InheritedSocketSharedError`` when the latter was taken for another address.
        """
        host, port = address
        family = family_of(host)
        fitting = [each for each in self._sockets if (each.family, each.type) == (family, kind)]
        for wanted in (host, _EVERYWHERE[family]):
            for each in fitting:
                if each.getsockname()[:2] == (wanted, port):
                    self._bind(each, host)
                    return each.dup()
        return None

    def _bind(self, taken: socket.socket, host: str) -> None:
        if (other := self._hosts.setdefault(taken.fileno(), host)) != host:
            where = "{}:{}".format(*taken.getsockname()[:2])
            raise InheritedSocketSharedError(f"the socket on {where} is for {other} already, and wanted for {host}")

    @property
    def numbers(self) -> tuple[int, ...]:
        """Their file descriptors."""
        return tuple(each.fileno() for each in self._sockets)

    def __len__(self) -> int:
        return len(self._sockets)


@cache
def inherited_sockets() -> InheritedSockets:
    """The sockets of this process; those of another process in the environment are not taken for ours."""
    return InheritedSockets.announced(os.environ, os.getpid())


def take_over_from_parent() -> None:
    """Take the sockets announced to the parent for ours: it handed them on to this worker of its own."""
    if os.environ.get("LISTEN_PID") == str(os.getppid()):
        os.environ["LISTEN_PID"] = str(os.getpid())


def listen_tcp(address: tuple[str, int], *, backlog: int, reuse_port: bool = False) -> socket.socket:
    """Give the socket handed over for ``address``, else open one; raises ``OSError``. It does not block."""
    listening = inherited_sockets().take(socket.SOCK_STREAM, address)
    if listening is None:
        family = family_of(address[0])
        listening = socket.create_server(address, family=family, backlog=backlog, reuse_port=reuse_port)
    else:
        listening.listen(backlog)
    listening.setblocking(False)  # noqa: FBT003 -- the call's own form
    return listening


def family_of(host: str) -> socket.AddressFamily:
    """Tell IPv6 addresses from IPv4 ones."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET
