"""A lab: clusters with running nodes, an SFTP server and phones, on loopback, with real sockets.

::

    async with Lab(folder) as lab:
        source = lab.create_cluster("source", "10.5.2", nodes=3, secure=True)
        await lab.start(source)
        phones = lab.add_phones([source], 20, secure=True)
"""

import asyncio
import contextlib
import json
import secrets
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from certferry.bulk.settings import SftpSettings
from certferry.cluster.cluster import Cluster, ClusterSpec
from certferry.cluster.issuing import KeySource
from certferry.cluster.values import Node, NodeRole, Phone, Service
from certferry.errors import Refusal
from certferry.lab.loopback import LAB_PORTS, free_network
from certferry.lab.lsc import LscFiles
from certferry.serve.lab_sftp import LabSftp
from certferry.serve.running import RunningCluster
from certferry.trust.release import Release

SFTP_USER = "certferry"
_START_SECONDS = 60
_POLL_SECONDS = 0.05
_FIRST_MAC = 0x00_1B_54_00_00_00


class LabStartError(Refusal):
    """A process of the lab did not come up."""

    code = "lab.start"
    remedy = "Read the log the sentence names."


class Lab:
    """A network on loopback. ``in_processes`` runs each cluster's nodes in a process of their own."""

    def __init__(self, folder: Path, *, keys: KeySource | None = None, in_processes: bool = False) -> None:
        self.folder = folder
        self._keys = keys
        self._in_processes = in_processes
        self._addresses = iter(free_network().hosts())
        self._running: dict[str, _InLoop | _InProcess] = {}
        self._lscs = LscFiles(folder / "phones")
        self._next_mac = _FIRST_MAC
        self.sftp: LabSftp | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for running in self._running.values():
            await running.close()
        if self.sftp:
            await self.sftp.close()

    def create_cluster(
        self,
        name: str,
        release: str,
        *,
        nodes: int = 3,
        secure: bool = False,
        itl_recovery_per_node: bool = False,
        prefix: str | None = None,
    ) -> Cluster:
        """Make a cluster whose nodes all run TFTP, TVS and call control.

        Nodes are called ``<prefix>-pub``, ``<prefix>-sub1`` ...; the prefix is the cluster's name when left out.
        """
        spec = ClusterSpec(
            name,
            Release.parse(release),
            self._nodes(prefix or name, nodes),
            secure=secure,
            itl_recovery_per_node=itl_recovery_per_node,
        )
        return Cluster.create(self.folder / name, spec, keys=self._keys)

    def _nodes(self, prefix: str, count: int) -> list[Node]:
        usual = {NodeRole.TVS, NodeRole.CALLMANAGER, NodeRole.TFTP}
        names = [f"{prefix}-pub", *(f"{prefix}-sub{number}" for number in range(1, count))]
        return [
            Node(
                name,
                str(next(self._addresses)),
                frozenset(usual | {NodeRole.PUBLISHER, NodeRole.CAPF} if name == names[0] else usual),
                dict(LAB_PORTS),
            )
            for name in names
        ]

    async def start(self, cluster: Cluster) -> None:
        """Run all nodes of ``cluster``; raises ``LabStartError`` or ``ListenError``."""
        running = _InProcess(cluster, self.folder) if self._in_processes else _InLoop(cluster)
        await running.start()
        self._running[cluster.name] = running

    async def stop(self, cluster: Cluster) -> None:
        """Stop all nodes of ``cluster``."""
        await self._running.pop(cluster.name).close()

    async def settled(self, cluster: Cluster) -> None:
        """Wait until every running node of ``cluster`` answers from its latest change."""
        await self._running[cluster.name].settled()

    async def start_sftp(self) -> SftpSettings:
        """Run the SFTP server; return the settings by which both clusters reach it."""
        root = self.folder / "sftp"
        (root / "exchange").mkdir(parents=True, exist_ok=True)
        password = secrets.token_urlsafe(12)
        self.sftp = LabSftp(root, SFTP_USER, password)
        await self.sftp.start()
        host, port = self.sftp.address
        known_hosts = self.folder / "known_hosts"
        known_hosts.write_text(f"[{host}]:{port} {self.sftp.host_key_public.strip()}\n")
        return SftpSettings(
            host=host, port=port, user=SFTP_USER, password=password, directory="/exchange", known_hosts=known_hosts
        )

    def add_phones(self, clusters: Sequence[Cluster], count: int, *, secure: bool = False) -> list[Phone]:
        """Let ``clusters`` know the same ``count`` new phones."""
        macs = range(self._next_mac, self._next_mac + count)
        self._next_mac += count
        phones = [Phone(f"SEP{mac:012X}", secure=secure) for mac in macs]
        for cluster in clusters:
            cluster.add_phones(phones)
        return phones

    def issue_lsc(self, cluster: Cluster, device: str) -> tuple[Path, Path]:
        """Let the cluster's CAPF issue ``device`` an LSC; return the paths of certificate and key.

        Each phone's certificate is its own; the key pairs behind them are a few, made once for the lab.
        """
        return next(self.issue_lscs(cluster, [device]))

    def issue_lscs(self, cluster: Cluster, devices: Iterable[str]) -> Iterator[tuple[Path, Path]]:
        """Do so for many phones, one at a time, as the iterator is asked for them."""
        return self._lscs.issue(cluster, devices)


def tftp_servers(cluster: Cluster) -> list[tuple[str, int]]:
    """Return the TFTP nodes that option 150 names for ``cluster``: the first two."""
    return [(node.address, node.ports[Service.TFTP]) for node in cluster.tftp_nodes()[:2]]


class _InLoop:
    """Nodes that run in the caller's event loop."""

    def __init__(self, cluster: Cluster) -> None:
        self.running = RunningCluster(cluster)
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.running.start()
        self._following = asyncio.create_task(self.running.follow())

    async def settled(self) -> None:
        await self.running.refresh()

    async def close(self) -> None:
        if self._following:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self.running.close()


class _InProcess:
    """Nodes that run as ``certferry serve`` does, in a process of their own."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._log = folder / f"{cluster.name}.log"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        place = self._cluster.location.text
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "certferry", "serve", "--cluster", place, "--json", "--until-eof",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert self._process.stdout is not None  # noqa: S101 -- asked for above
        ready = await asyncio.wait_for(self._process.stdout.readline(), _START_SECONDS)
        if not json.loads(ready or b"{}").get("ready"):
            await self.close()
            raise LabStartError(f"the nodes of {self._cluster.name} did not start; see {self._log}")

    async def settled(self) -> None:
        wanted = self._cluster.version()
        async with asyncio.timeout(_START_SECONDS):
            while min(self._cluster.served().values()) < wanted:  # noqa: ASYNC110 -- another process sets it
                await asyncio.sleep(_POLL_SECONDS)

    async def close(self) -> None:
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            await self._process.communicate()
