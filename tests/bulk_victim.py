"""A process that is killed (SIGKILL) at each step of a bulk operation, and run again. Started by its test.

    python bulk_victim.py OPERATION FOLDER EVERY SSHD < settings as JSON

For every n-th step: fork, do the operation in the child, which kills itself at that step; then look at the exchange
directory and the cluster as they were left, run the operation to its end, and look again. One line of JSON for each
step. A step is one SFTP request sent, or one statement sent to the database. SSHD is the process of the server, which
does to the end what it was asked, also by a client that is dead: it is waited for before anybody looks.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asyncssh.sftp import SFTPClientHandler
from sqlalchemy import event
from sqlalchemy.engine import Engine

from certferry.bulk import consolidating, exporting, importing
from certferry.bulk.files import BundleName, final_name
from certferry.bulk.settings import SftpSettings
from certferry.bulk.snapshot import take_snapshot
from certferry.bulk.transport import SftpExchange
from certferry.cluster.cluster import Cluster, ClusterSpec
from certferry.cluster.values import Node, NodeRole
from certferry.errors import Refusal
from certferry.lab.keys import PooledKeys
from certferry.trust.release import Release
from certferry.wire.pkcs12 import parse

ROLES = frozenset({NodeRole.PUBLISHER, NodeRole.TFTP, NodeRole.TVS, NodeRole.CAPF})
NAMES = ("source", "destination")


def now() -> datetime:
    return datetime.now(UTC)


def found_clusters(folder: Path) -> None:
    keys = PooledKeys(14)
    for name, release in zip(NAMES, ("10.5.2", "15"), strict=True):
        nodes = [Node("pub", "127.0.0.1", ROLES), Node("sub1", "127.0.0.2", frozenset({NodeRole.TFTP}))]
        Cluster.create(folder / name, ClusterSpec(name, Release.parse(release), nodes), keys=keys).close()


@contextmanager
def cluster(folder: Path, name: str) -> Iterator[Cluster]:
    opened = Cluster.open(folder / name)
    try:
        yield opened
    finally:
        opened.close()


async def operate(operation: str, folder: Path, settings: SftpSettings) -> None:
    async with SftpExchange.opened(settings) as exchange:
        with cluster(folder, "source") as source:
            if operation == "export":
                await exporting.export(source, exchange, now=now())
            elif operation == "consolidate":
                await consolidating.consolidate(source, exchange, now=now())
            elif operation == "remove":
                await exporting.remove_cluster(exchange, "destination", operator="source")
            elif operation == "import":
                importing.apply(source, await importing.plan(source, exchange, now=now()))
            else:
                undo_last(source)


def undo_last(source: Cluster) -> None:
    """Undo the import unless that was done; what a careful operator does after a crash."""
    for entry in source.history():
        if entry.action == importing.ACTION and not entry.undone:
            source.undo(entry.id)


async def prepare(operation: str, folder: Path, settings: SftpSettings) -> None:
    """Bring directory and cluster to the state the operation starts from."""
    async with SftpExchange.opened(settings) as exchange:
        await exchange.remove_many([entry.name for entry in await exchange.entries()])
        for name in NAMES:
            with cluster(folder, name) as one:
                undo_last(one)
                await exporting.export(one, exchange, now=now())
        with cluster(folder, "source") as source:
            await consolidating.consolidate(source, exchange, now=now())
            if operation == "undo":
                importing.apply(source, await importing.plan(source, exchange, now=now()))


class Prepared:
    """The state an operation starts from: made once, then copied back, which takes a tenth of the time."""

    def __init__(self, operation: str, folder: Path, settings: SftpSettings) -> None:
        asyncio.run(prepare(operation, folder, settings))
        self._places = (Path(settings.directory), *(folder / name for name in NAMES))
        self._copies = [shutil.copytree(place, folder / f"copy-{place.name}") for place in self._places]

    def restore(self) -> None:
        """Bring directory and clusters back to that state."""
        for place, copy in zip(self._places, self._copies, strict=True):
            shutil.rmtree(place)
            shutil.copytree(copy, place)


async def look(folder: Path, settings: SftpSettings) -> dict[str, Any]:
    """Say what was left: files that are torn, temporaries, what an import would bring, what the stores hold."""
    async with SftpExchange.opened(settings) as exchange:
        entries = [entry.name for entry in await exchange.entries()]
        torn = []
        for name in entries:
            if BundleName.parse(name):
                try:
                    parse(await exchange.read(name), ["certferry"])
                except Refusal:
                    torn.append(name)
        snapshot = await take_snapshot(exchange)
        with cluster(folder, "source") as source:
            foreign = [entry for entry in source.trust_entries() if not entry.is_own]
            try:
                pending = len((await importing.plan(source, exchange, now=now(), wait=0)).pending)
                refused = ""
            except Refusal as refusal:
                pending, refused = 0, refusal.code
        return {
            "torn": torn,
            "temporaries": [name for name in entries if final_name(name) or name.endswith(".lock")],
            "clusters": list(snapshot.clusters()),
            "missing": len(snapshot.missing()),
            "pending": pending,
            "refused": refused,
            "foreign": len(foreign),
        }


def kill_at(step: int) -> None:
    """Let this process kill itself right after its ``step``-th request or statement was sent."""
    left = step

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    send: Callable[..., Any] = SFTPClientHandler._send_request

    def send_and_count(*arguments: Any) -> None:
        send(*arguments)
        count()

    SFTPClientHandler._send_request = send_and_count  # type: ignore[method-assign, assignment]
    event.listen(Engine, "after_cursor_execute", lambda *_: count())
    event.listen(Engine, "commit", lambda *_: count())


def killed(step: int, operation: str, folder: Path, settings: SftpSettings) -> bool:
    """Do the operation in a child that dies at ``step``; False when it ended before that."""
    child = os.fork()
    if child == 0:
        kill_at(step)
        asyncio.run(operate(operation, folder, settings))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"the child failed at step {step}")
    return os.WIFSIGNALED(status)


def let_sessions_end(sshd: int) -> None:
    """Wait until the server has done all that it was asked."""
    while Path(f"/proc/{sshd}/task/{sshd}/children").read_text(encoding="ascii"):
        time.sleep(0.01)


def main() -> None:
    operation, folder, every, sshd = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    given = json.load(sys.stdin)
    paths = {key: Path(given[key]) for key in ("client_key", "known_hosts")}
    settings = SftpSettings(**{**given, **paths})
    found_clusters(folder)
    prepared = Prepared(operation, folder, settings)
    step, before = 1, asyncio.run(look(folder, settings))
    while True:
        prepared.restore()
        if not killed(step, operation, folder, settings):
            break
        let_sessions_end(sshd)
        halfway = asyncio.run(look(folder, settings))
        with suppress(exporting.ClusterNotInDirectoryError):  # the removal was complete but for its last words
            asyncio.run(operate(operation, folder, settings))
        end = asyncio.run(look(folder, settings))
        print(json.dumps({"step": step, "before": before, "halfway": halfway, "end": end}), flush=True)  # noqa: T201 -- its report
        step += every


if __name__ == "__main__":
    main()
