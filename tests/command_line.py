"""The command line under test: inside this process, which is fast, or as a process of its own."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from certferry.cli.main import run
from certferry.cluster.cluster import Cluster, ClusterSpec
from certferry.cluster.values import Node, NodeRole
from certferry.lab.keys import PooledKeys
from certferry.lab.loopback import LAB_PORTS, free_network
from certferry.trust.release import Release

T = TypeVar("T")
COMMAND = [sys.executable, "-m", "certferry"]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The one JSON object on standard output."""
        (line,) = self.stdout.splitlines()
        value = json.loads(line)
        assert isinstance(value, dict)
        return value

    @property
    def error(self) -> Any:
        """Why it was refused, as ``--json`` tells it."""
        assert self.json["ok"] is False
        assert set(self.json["error"]) == {"code", "sentence", "remedy"}
        return self.json["error"]


def certferry(*arguments: object) -> Ended:
    """Run a command in this process; nobody sits at a terminal."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    code: Any = None
    with redirect_stdout(out), redirect_stderr(err):
        try:
            run([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code
    assert isinstance(code, int)
    return Ended(code, _text(out), _text(err))


def certferry_process(*arguments: object, env: dict[str, str] | None = None, **options: Any) -> Ended:
    """Run a command as a process."""
    words = [*COMMAND, *map(str, arguments)]
    settings: dict[str, Any] = {"stdin": subprocess.DEVNULL, "timeout": 300, "encoding": "utf-8"} | options
    done = subprocess.run(words, capture_output=True, check=False, env={**os.environ, **(env or {})}, **settings)
    return Ended(done.returncode, done.stdout, done.stderr)


def heed_ctrl_c() -> None:
    """Begin a process (``preexec_fn``) as a terminal begins it, whatever these tests inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ignore_ctrl_c() -> None:
    """Begin a process (``preexec_fn``) as a shell begins what runs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _text(stream: io.TextIOWrapper) -> str:
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode()


def loopback_cluster(
    place: Path | str, keys: PooledKeys, name: str = "source", *, count: int = 1, **spec: Any
) -> Cluster:
    """Make a cluster whose nodes can really listen: addresses of their own, ports that need no rights."""
    hosts = free_network().hosts()
    usual = frozenset({NodeRole.TVS, NodeRole.TFTP, NodeRole.CALLMANAGER})
    names = [f"{name}-pub", *(f"{name}-sub{number}" for number in range(1, count))]
    first = {NodeRole.PUBLISHER, NodeRole.CAPF}
    nodes = [Node(n, str(next(hosts)), usual | first if n == names[0] else usual, dict(LAB_PORTS)) for n in names]
    release = Release.parse(spec.pop("release", "11.5.1"))
    return Cluster.create(place, ClusterSpec(name, release, nodes, **spec), keys=keys)


def wait_until(holds: Callable[[], bool], seconds: float = 90) -> None:
    """Wait for what another process brings about and tells nobody."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


class Background:
    """An event loop in a thread, for servers that commands talk to."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there to its end."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(300)

    @contextmanager
    def entered(self, manager: Any) -> Iterator[Any]:
        """Hold an asynchronous context there."""
        value = self.call(manager.__aenter__())
        try:
            yield value
        finally:
            self.call(manager.__aexit__(None, None, None))

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
