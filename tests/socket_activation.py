"""Starts a command with sockets that are open already, as systemd does, and hears what it tells systemd."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

LAUNCHER = """
import os, sys
given = [int(number) for number in sys.argv[1].split(",")]
for place, number in enumerate(given):
    os.dup2(number, 100 + place)  # out of the way of one another
for place in range(len(given)):
    os.dup2(100 + place, 3 + place)
    os.close(100 + place)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(given)))
os.execvp(sys.argv[2], sys.argv[2:])
"""


def opened(kind: socket.SocketKind, address: tuple[str, int]) -> socket.socket:
    """Open a socket as systemd would; TCP ones listen."""
    made = socket.socket(socket.AF_INET, kind)
    if kind is socket.SOCK_STREAM:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(address)
    if kind is socket.SOCK_STREAM:
        made.listen()
    return made


@contextmanager
def activated(
    sockets: Sequence[socket.socket], command: Sequence[str], *before: str, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """Run ``command`` with ``sockets`` handed over; the words ``before`` come before its launcher."""
    numbers = [each.fileno() for each in sockets]
    words = [*before, sys.executable, "-c", LAUNCHER, ",".join(map(str, numbers)), *command]
    settings: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    with subprocess.Popen(words, pass_fds=numbers, **settings) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def service_manager() -> Iterator["ServiceManager"]:
    """Listen for what services tell."""
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="certferry-notify-")))
        ear = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        ear.bind(str(folder / "notify"))
        ear.settimeout(90)
        yield ServiceManager(folder / "notify", ear)


class ServiceManager:
    """What systemd is for a service of type notify."""

    def __init__(self, place: Path, ear: socket.socket) -> None:
        self.environment = {**os.environ, "NOTIFY_SOCKET": str(place)}
        self._ear = ear

    def told(self) -> str:
        """Wait for the next state."""
        return self._ear.recv(4096).decode()
