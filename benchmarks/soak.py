"""Ten minutes of resets without a pause, while certificates change, clusters exchange them anew and nodes restart.

Each node is a process of its own (``certferry serve --node``), as on machines of their own; the phones are resident
ones in this process. Printed at the end: resets and moves, phones that should have moved and did not, memory and file
descriptors of every node process that lived from the warm-up to the end, and of this one. Memory that grows shows here.

Each round: option 150 names the other cluster and every phone is reset by the nodes, so many a second; in the middle
of it one node is restarted. Then one certificate of the cluster where the phones are now is regenerated, every phone
is reset where it is and so learns of it, and both clusters export, consolidate and import once more.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from time import monotonic
from typing import Any

import uvloop

from certferry.bulk import importing
from certferry.bulk.consolidating import consolidate
from certferry.bulk.exporting import export
from certferry.bulk.settings import SftpSettings
from certferry.bulk.transport import SftpExchange
from certferry.cluster.cluster import Cluster
from certferry.fleet.device import Device
from certferry.fleet.resident import Happening, PhoneEvent
from certferry.fleet.residents import Residents
from certferry.lab.keys import PooledKeys
from certferry.lab.lab import Lab, tftp_servers
from certferry.phone.flash import Flash
from certferry.serve.limits import raise_file_limit
from certferry.trust.purpose import Purpose

MINUTES, PHONES, NODES, PACE = 10.0, 200, 3, 50
PATIENCE_SECONDS = 60.0
"""A phone that was reset and is not where it belongs after this has failed."""
LOST_SECONDS = 5.0
"""A reset that no phone obeyed after this was lost with the node that was to tell it; it is asked for once more."""
WARM_UP = 0.2
"""The part of the time after which memory is first looked at."""
REGENERATED = (Purpose.TVS, Purpose.CALLMANAGER, Purpose.TOMCAT)


@dataclass
class NodeProcess:
    """One node, served by a process of its own."""

    cluster: Cluster
    name: str
    log: Path
    process: asyncio.subprocess.Process | None = None
    restarts: int = 0

    async def start(self) -> None:
        """Start the process and wait until its ports are open."""
        words = ["-m", "certferry", "serve", "--cluster", self.cluster.location.text, "--node", self.name]
        pipe = asyncio.subprocess.PIPE
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, *words, "--json", "--until-eof", stdin=pipe, stdout=pipe, stderr=log
            )
        assert self.process.stdout is not None
        said = json.loads(await self.process.stdout.readline() or b"{}")
        assert said.get("ready"), f"{self.name} did not start: {said}; see {self.log}"

    async def stop(self) -> None:
        """End the process, as a restart of the service does."""
        assert self.process is not None
        self.process.terminate()
        await self.process.communicate()

    async def restart(self) -> None:
        """Stop and start."""
        await self.stop()
        await self.start()
        self.restarts += 1

    def usage(self) -> tuple[float, int]:
        """Memory in MB and open file descriptors."""
        assert self.process is not None
        return usage(str(self.process.pid))


def usage(pid: str) -> tuple[float, int]:
    """Resident memory of a process in MB, and its open file descriptors."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6, len(list(Path(f"/proc/{pid}/fd").iterdir()))


@dataclass
class Tally:
    """What was counted."""

    resets: int = 0
    asked_again: int = 0
    moved: int = 0
    rounds: int = 0
    regenerated: Counter[str] = field(default_factory=Counter)
    imports: int = 0
    failed: list[str] = field(default_factory=list)
    boots_that_failed: Counter[str] = field(default_factory=Counter)


class Soak:
    """Two clusters, their nodes' processes, and the phones."""

    def __init__(self, lab: Lab, phones: int, pace: int) -> None:
        self.clusters = [
            lab.create_cluster(name, release, nodes=NODES, secure=True)
            for name, release in (("source", "10.5.2"), ("destination", "14.0"))
        ]
        self.nodes = [
            NodeProcess(cluster, node.name, lab.folder / f"{node.name}.log")
            for cluster in self.clusters
            for node in cluster.nodes()
        ]
        self.pace = pace
        self.tally = Tally()
        self.home = self.clusters[0]
        self.obeyed: set[str] = set()
        self._servers: dict[str, str] = {}
        self._addresses = {cluster.name: {node.address for node in cluster.nodes()} for cluster in self.clusters}
        self._lab = lab
        publishers = {cluster.publisher.name for cluster in self.clusters}
        # Publishers live through it all: it is their memory that can be compared.
        self._restarting: Iterator[NodeProcess] = cycle(node for node in self.nodes if node.name not in publishers)
        self._regenerating = cycle(REGENERATED)
        known = lab.add_phones(self.clusters, phones, secure=True)
        devices = [
            Device(phone.device, Flash(), model=phone.model, lsc=lab.issue_lsc(self.home, phone.device))
            for phone in known
        ]
        self.residents = Residents(devices, lambda _: lambda: tuple(tftp_servers(self.home)), tell=self._heard)
        self._settings: SftpSettings | None = None

    async def begin(self) -> None:
        """Start the nodes, exchange certificates, and wait for the phones."""
        await asyncio.gather(*(node.start() for node in self.nodes))
        self._settings = await self._lab.start_sftp()
        await self.exchange()

    async def round(self) -> None:
        """Move every phone to the other cluster, restart a node meanwhile; then regenerate and exchange."""
        self.home = next(cluster for cluster in self.clusters if cluster is not self.home)
        await asyncio.gather(self.reset_all(), next(self._restarting).restart())
        self.tally.moved += len(self.residents.registered)
        await self.regenerate()
        await self.reset_all()
        await self.exchange()
        self.tally.rounds += 1

    async def regenerate(self) -> None:
        """Replace one certificate of a node where the phones are."""
        purpose = next(self._regenerating)
        node = self.home.nodes()[self.tally.rounds % NODES].name
        self.home.regenerate(purpose, node)
        self.tally.regenerated[purpose.value] += 1
        await self.served()

    async def exchange(self) -> None:
        """Export, consolidate and import on both clusters, over SFTP."""
        assert self._settings is not None
        for cluster in self.clusters:
            self._settings.save(cluster)
        async with SftpExchange.opened(self._settings) as exchange:
            for cluster in self.clusters:
                await export(cluster, exchange, now=datetime.now(UTC))
            await consolidate(self.clusters[0], exchange, now=datetime.now(UTC))
            for cluster in self.clusters:
                importing.apply(cluster, await importing.plan(cluster, exchange, now=datetime.now(UTC)))
                self.tally.imports += 1
        await self.served()

    async def served(self) -> None:
        """Wait until every node serves the latest change."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            for cluster in self.clusters:
                while min(cluster.served().values()) < cluster.version():  # noqa: ASYNC110 -- other processes do it
                    await asyncio.sleep(0.05)

    async def reset_all(self) -> None:
        """Have every phone reset by the node it is registered with, and wait until all are where they belong."""
        self.obeyed.clear()
        devices = list(self.residents.phones)
        for begin in range(0, len(devices), self.pace):
            self._ask(devices[begin : begin + self.pace])
            await asyncio.sleep(1)
        ended = monotonic() + PATIENCE_SECONDS
        next_look = monotonic() + LOST_SECONDS
        while (waiting := self._away()) and monotonic() < ended:
            await asyncio.sleep(0.1)
            if monotonic() > next_look:
                lost = [device for device in waiting if device not in self.obeyed]
                self.tally.asked_again += len(lost)
                self._ask(lost)
                next_look = monotonic() + LOST_SECONDS
        self.tally.failed += [f"{device} is not at {self.home.name}" for device in waiting]

    def _ask(self, devices: Sequence[str]) -> None:
        self.tally.resets += len(devices)
        stamp = f"{monotonic():.6f}"
        for cluster in self.clusters:
            here = [device for device in devices if self._is_at(device, cluster)]
            cluster.resets.ask({f"{stamp}-{device}": device for device in here}, "soak")

    def _away(self) -> list[str]:
        return [
            device
            for device in self.residents.phones
            if device not in self.obeyed
            or device not in self.residents.registered
            or not self._is_at(device, self.home)
        ]

    def _is_at(self, device: str, cluster: Cluster) -> bool:
        return self._servers.get(device) in self._addresses[cluster.name]

    def _heard(self, event: PhoneEvent) -> None:
        if event.happening is Happening.RESET:
            self.obeyed.add(event.device)
        if event.server is not None:
            self._servers[event.device] = event.server[0]
        if event.happening is Happening.FAILED and event.outcome is not None:
            self.tally.boots_that_failed[event.outcome.code.value] += 1


async def measure(minutes: float = MINUTES, phones: int = PHONES, pace: int = PACE) -> dict[str, Any]:
    """Run it; return what was counted, and memory and descriptors from the warm-up to the end."""
    with tempfile.TemporaryDirectory(prefix="certferry-soak-") as folder:
        async with Lab(Path(folder), keys=PooledKeys(8)) as lab:
            soak = Soak(lab, phones, pace)
            await soak.begin()
            living = asyncio.create_task(soak.residents.run())
            try:
                return await _run(soak, minutes)
            finally:
                living.cancel()
                await asyncio.gather(living, return_exceptions=True)
                await asyncio.gather(*(node.stop() for node in soak.nodes))


async def _run(soak: Soak, minutes: float) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(soak.residents.registered) < len(soak.residents.phones):  # noqa: ASYNC110 -- told by callback
            await asyncio.sleep(0.1)
    began, samples = monotonic(), list[dict[str, Any]]()
    while (passed := monotonic() - began) < minutes * 60:
        await soak.round()
        samples.append(sample(soak, passed))
        tell(samples[-1], soak.tally)
    return result(soak, samples, monotonic() - began)


def sample(soak: Soak, seconds: float) -> dict[str, Any]:
    """Memory and descriptors of everybody now; a node's count of restarts tells which process that was."""
    nodes = {f"{node.name} ({node.restarts})": node.usage() for node in soak.nodes}
    return {"seconds": round(seconds), "nodes": nodes, "phones": usage("self")}


def result(soak: Soak, samples: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Put the figures together: growth is from the warm-up to the end, of processes that were there all the time."""
    warm = next((each for each in samples if each["seconds"] >= WARM_UP * seconds), samples[0])
    last, tally = samples[-1], soak.tally
    grown = {name: (warm["nodes"][name], last["nodes"][name]) for name in last["nodes"] if name in warm["nodes"]}
    return {
        "minutes": seconds / 60,
        "phones": len(soak.residents.phones),
        "resets": tally.resets,
        "asked_again": tally.asked_again,
        "moved": tally.moved,
        "failed": tally.failed,
        "boots_that_failed": dict(tally.boots_that_failed),
        "rounds": tally.rounds,
        "restarts": sum(node.restarts for node in soak.nodes),
        "regenerated": dict(tally.regenerated),
        "imports": tally.imports,
        "nodes": {name: {"before": before, "after": after} for name, (before, after) in grown.items()},
        "phones_process": {"before": warm["phones"], "after": last["phones"]},
        "samples": samples,
    }


def tell(now: dict[str, Any], tally: Tally) -> None:
    """Say on stderr how far it is."""
    memory = max(megabytes for megabytes, _ in now["nodes"].values())
    descriptors = max(count for _, count in now["nodes"].values())
    print(
        f"{now['seconds']:>4} s: {tally.moved} moves, {tally.resets} resets, {len(tally.failed)} failed; "
        f"the largest node has {memory:.0f} MB and {descriptors} descriptors",
        file=sys.stderr,
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--phones", type=int, default=PHONES)
    parser.add_argument("--pace", type=int, default=PACE, help="phones reset in one second")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    raise_file_limit()
    with contextlib.suppress(KeyboardInterrupt):
        measured = uvloop.run(measure(given.minutes, given.phones, given.pace))
        print(json.dumps(measured) if given.json else described(measured))


def described(measured: dict[str, Any]) -> str:
    """The figures as lines."""
    lines = [
        f"{measured['minutes']:.1f} minutes, {measured['phones']} phones, {measured['rounds']} rounds",
        f"{measured['resets']} resets, {measured['asked_again']} of them again for nodes that were restarted",
        f"{measured['restarts']} node restarts, {measured['imports']} imports, regenerated: {measured['regenerated']}",
        f"{measured['moved']} moves",
        f"phones that should have moved and did not: {len(measured['failed'])} {measured['failed'][:5]}",
        f"boots that failed and were made good: {measured['boots_that_failed']}",
        f"{'process':<24}{'MB warm':>9}{'MB end':>9}{'fds warm':>10}{'fds end':>9}",
    ]
    rows = {**measured["nodes"], "phones (this process)": measured["phones_process"]}
    for name, each in rows.items():
        (before, fds_before), (after, fds_after) = each["before"], each["after"]
        lines.append(f"{name:<24}{before:>9.1f}{after:>9.1f}{fds_before:>10}{fds_after:>9}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
