"""What Linux tells about ports: who holds one, what it takes to open one, and which ones systemd is to open."""

import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
UNIT_FOLDERS = tuple(
    map(Path, ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"))
)
_TABLES = {socket.SOCK_STREAM: ("tcp", "tcp6"), socket.SOCK_DGRAM: ("udp", "udp6")}
_OPEN = {socket.SOCK_STREAM: "0A", socket.SOCK_DGRAM: "07"}
"""The states of a socket that waits for peers: LISTEN, and UDP without a peer."""
_LISTENS = {socket.SOCK_STREAM: "ListenStream", socket.SOCK_DGRAM: "ListenDatagram"}
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 -- compared, not bound


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a port: the process where it can be seen (``pid`` 0: it can not), and always the user."""

    uid: int
    pid: int = 0
    command: str = ""


def holder_of(kind: socket.SocketKind, address: tuple[str, int], proc: Path = PROC) -> Holder | None:
    """Find out who holds a port; None where the kernel does not tell."""
    host, port = address
    for local, state, uid, inode in _sockets(kind, proc):
        if local[1] == port and local[0] in (_EVERYWHERE | {host}) and state == _OPEN[kind]:
            pid = _process_with(inode, proc)
            return Holder(uid, pid, _command(pid, proc) if pid else "")
    return None


def _sockets(kind: socket.SocketKind, proc: Path) -> Iterator[tuple[tuple[str, int], str, int, str]]:
    """Read the kernel's table: address and port, state, user, inode of each socket."""
    for table in _TABLES[kind]:
        with suppress(OSError):
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                yield _address(fields[1]), fields[3], int(fields[7]), fields[9]


def _address(text: str) -> tuple[str, int]:
    """Read ``0100007F:0016``: words of the address in the byte order of the host, which is little-endian here."""
    host, _, port = text.partition(":")
    words = [bytes.fromhex(host[place : place + 8])[::-1] for place in range(0, len(host), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, b"".join(words)), int(port, 16)


def _process_with(inode: str, proc: Path) -> int:
    """Find the process that has a socket, the one that was there first; 0 where none can be seen."""
    pids = sorted(int(folder.name) for folder in proc.iterdir() if folder.name.isdecimal())
    return next((pid for pid in pids if f"socket:[{inode}]" in _opened_by(pid, proc)), 0)


def _opened_by(pid: int, proc: Path) -> Iterator[str]:
    """Tell what a process has open, as far as it can be seen and is not closed meanwhile."""
    with suppress(OSError):
        for link in (proc / str(pid) / "fd").iterdir():
            with suppress(OSError):
                yield str(link.readlink())


def _command(pid: int, proc: Path) -> str:
    with suppress(OSError):
        return (proc / str(pid) / "cmdline").read_text(errors="replace").replace("\0", " ").strip()
    return ""


def unit_that_opens(
    kind: socket.SocketKind, address: tuple[str, int], folders: Iterable[Path] = UNIT_FOLDERS
) -> str | None:
    """Name the socket unit of certferry that is installed here and says it opens this port."""
    host, port = address
    hosts = {host, *_EVERYWHERE}
    wanted = {str(port), *(f"[{each}]:{port}" if ":" in each else f"{each}:{port}" for each in hosts)}
    for unit, text in _units(folders):
        if wanted & set(re.findall(rf"^{_LISTENS[kind]}=(\S+)$", text, re.MULTILINE)):
            return unit
    return None


def _units(folders: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Read certferry's socket units, and what was set for one of them with 'systemctl edit'."""
    for folder in folders:
        for pattern in ("certferry*.socket", "certferry*.socket.d/*.conf"):
            for path in sorted(folder.glob(pattern)):
                with suppress(OSError):
                    name = path.parent.name.removesuffix(".d") if path.suffix == ".conf" else path.name
                    yield name, path.read_text(errors="replace")


def is_here(address: str) -> bool:
    """Whether this host has an address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
