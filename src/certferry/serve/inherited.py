"""Sockets that a service manager opened for us (systemd socket activation), so that nobody here needs root.

The protocol (sd_listen_fds(3)): ``LISTEN_PID`` is the process they are for, ``LISTEN_FDS`` how many there are; they
stand at file descriptors 3, 4, ... A socket is taken for a service when it has its type and listens at its address
and port, or at its port on every address of the host.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from functools import cache

from certferry.errors import Refusal

FIRST_FD = 3
MOST_FDS = 1000
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 -- compared, not bound


class InheritedSocketsError(Refusal):
    """The environment announces sockets that are not there."""

    code = "serve.inherited-sockets"
    remedy = "Start it by its systemd unit, or without LISTEN_FDS and LISTEN_PID in the environment."


class InheritedSockets:
    """The sockets this process was started with; each is handed out as a copy, so that closing it loses nothing."""

    def __init__(self, sockets: Sequence[socket.socket] = ()) -> None:
        self._sockets = tuple(sockets)

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
        """Return a copy of the socket for ``address``, the one for just that address before one for all of them."""
        fitting = [each for each in self._sockets if each.type == kind and each.getsockname()[1] == address[1]]
        for hosts in (frozenset({address[0]}), _EVERYWHERE):
            for each in fitting:
                if each.getsockname()[0] in hosts:
                    return each.dup()
        return None

    def __len__(self) -> int:
        return len(self._sockets)


@cache
def inherited_sockets() -> InheritedSockets:
    """The sockets of this process; those of another process in the environment are not taken for ours."""
    return InheritedSockets.announced(os.environ, os.getpid())
