"""Servers and load generators of the benchmarks: start them, compile them, and ask the operating system what they cost.

CPU is user and system time as the kernel accounts it, of the process, its living children, and those it has reaped (a
server that forks for each request). It is the fairest figure when client and server share the cores. Memory of several
processes is their proportional set size: a page that they share is counted once.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from time import monotonic, sleep

HERE = Path(__file__).parent
TICK = os.sysconf("SC_CLK_TCK")
_UP_SECONDS = 20.0


class MissingError(Exception):
    """A peer cannot be measured here; the text says why."""


def program(name: str) -> str:
    """Return the path of an installed program; raises ``MissingError``."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        raise MissingError(f"{name} is not installed")
    return found


@cache
def compiled(source: str, *libraries: str) -> Path:
    """Compile ``benchmarks/SOURCE`` with gcc, once a run; raises ``MissingError`` without a compiler."""
    folder = tempfile.TemporaryDirectory(prefix="certferry-bench-")
    _FOLDERS.append(folder)
    target = Path(folder.name) / Path(source).stem
    link = [f"-l{library}" for library in libraries]
    subprocess.run([program("gcc"), "-O2", "-o", str(target), str(HERE / source), *link], check=True)
    return target


_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], *, ready: str = "", said: list[str] | None = None, core: int | None = None
) -> Iterator[int]:
    """Run a server; yield its process id once it printed a line with ``ready`` (appended to ``said``), then end it.

    Its input stays open as long as it runs, for servers that end with whoever started them; ``core`` keeps it to one.
    """
    with on_core(core):
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if ready else subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    try:
        if ready:
            line = _first_line(process, ready)
            if said is not None:
                said.append(line)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()


def _first_line(process: subprocess.Popen[str], wanted: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if wanted in line:
            return line
    raise MissingError(f"{process.args!r} ended with {process.wait()} before it was ready")


@contextlib.contextmanager
def certferry_files(address: str, folder: Path) -> Iterator[tuple[int, dict[str, int]]]:
    """Run certferry's own services over the files of a folder; yield the process and the ports, by tftp and http."""
    said: list[str] = []
    with running([sys.executable, HERE / "peers/our_files.py", address, folder], ready='"ready"', said=said) as pid:
        yield pid, json.loads(said[0])


@contextlib.contextmanager
def on_core(index: int | None) -> Iterator[None]:
    """Keep what is started here to one core (``None``: to none), so that servers and load do not slow each other."""
    cores = os.sched_getaffinity(0)
    if index is not None:
        os.sched_setaffinity(0, {sorted(cores)[index % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def free_port() -> int:
    """Return a TCP port of loopback that nobody holds now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def until(is_true: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds; raises ``MissingError`` naming ``what`` after 20 s."""
    end = monotonic() + _UP_SECONDS
    while not is_true():
        if monotonic() > end:
            raise MissingError(f"{what} did not come up")
        sleep(0.02)


def is_bound_udp(port: int) -> bool:
    """Whether any process of this host holds a UDP port."""
    return _is_listed("/proc/net/udp", port)


def is_listening_tcp(port: int) -> bool:
    """Whether any process of this host listens on a TCP port."""
    return _is_listed("/proc/net/tcp", port, state="0A")


def _is_listed(table: str, port: int, state: str = "") -> bool:
    lines = [line.split() for line in Path(table).read_text().splitlines()[1:]]
    return any(fields[1].endswith(f":{port:04X}") and fields[3].startswith(state) for fields in lines)


def cpu_seconds(pid: int) -> float:
    """CPU that a process and all its descendants have used; none of a descendant that ended just now."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    own = sum(int(field) for field in fields[11:15]) / TICK  # utime, stime, and both of the children it reaped
    return own + sum(cpu_seconds(child) for child in children(pid))


def resident_bytes(pid: int) -> int:
    """Memory of a process and its descendants (PSS); pages they share count for each of them in proportion."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    own = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return own + sum(resident_bytes(child) for child in children(pid))


def children(pid: int) -> tuple[int, ...]:
    """The living children of a process."""
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that ended meanwhile
            found += [int(child) for child in listed.read_text().split()]
    return tuple(found)
