"""Two clusters served by processes, and phones that stay registered and obey resets: what a migration is tried on."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from certferry.cluster.cluster import Cluster
from certferry.cluster.issuing import KeySource
from certferry.fleet.device import Device
from certferry.fleet.resident import Happening, Patience, PhoneEvent, ResidentPhone
from certferry.lab.lab import Lab, tftp_servers
from certferry.lab.pair import import_all
from certferry.migrate.waves.judging import Seen, has_moved
from certferry.phone.flash import Flash
from command_line import Ended, certferry, heed_ctrl_c

PATIENCE = Patience(first=0.05, longest=0.3, goodbye=2)


@dataclass
class WaveLab:
    """Phones by device name; ``option150`` is what DHCP tells them. ``resets`` counts the resets each one obeyed."""

    source: Cluster
    destination: Cluster
    option150: list[tuple[str, int]]
    phones: dict[str, ResidentPhone] = field(default_factory=dict)
    resets: Counter[str] = field(default_factory=Counter)

    @property
    def ends(self) -> list[str]:
        """The options that name both clusters."""
        return ["--source", self.source.location.text, "--destination", self.destination.location.text]

    @property
    def here(self) -> list[str]:
        """The option that names the source."""
        return self.ends[:2]

    def point_to(self, cluster: Cluster) -> None:
        """Let option 150 name the TFTP nodes of ``cluster``."""
        self.option150[:] = tftp_servers(cluster)

    def told(self, event: PhoneEvent) -> None:
        if event.happening is Happening.RESET:
            self.resets[event.device] += 1

    async def until(
        self, holds: Callable[[], bool], seconds: float = 120, by: asyncio.subprocess.Process | None = None
    ) -> None:
        """Wait for what other processes bring about; in vain when the one that does it has ended."""
        async with asyncio.timeout(seconds):
            while not holds():
                assert by is None or by.returncode is None, await ended(by)
                await asyncio.sleep(0.05)

    async def all_registered(self, cluster: Cluster) -> None:
        """Wait until ``cluster`` has registered every phone."""
        await self.until(lambda: len(cluster.sightings.registered()) >= len(self.phones))

    async def all_home(self) -> None:
        """Bring every phone back to the source, as by hand, and forget how often it was reset."""
        self.point_to(self.source)
        for device in self.phones.keys() - self._home():
            self.phones[device].reset()
        await self.until(lambda: self._home() == self.phones.keys())
        self.resets.clear()

    def _home(self) -> set[str]:
        here, there = self.source.sightings.of(self.phones), self.destination.sightings.of(self.phones)
        return {d for d in self.phones if not has_moved(Seen(None, here.get(d, {}), there.get(d, {})))}

    async def plan(self, *options: object) -> str:
        """Plan a migration of all phones; return its id."""
        ended = await inside("migrate", "plan", *self.ends, "--all", *options, "--json")
        assert ended.code == 0, ended
        return str(ended.json["migration"])

    def statuses(self, migration: str) -> Counter[str]:
        """Count the phones of a migration by state, as the source's database has them."""
        return Counter(phone.state.value for phone in self.source.migrations.phones(migration))


@asynccontextmanager
async def wave_lab(
    folder: Path, keys: KeySource, *, phones: int, secure: bool = False, nodes: int = 1, in_processes: bool = True
) -> AsyncIterator[WaveLab]:
    """Exchange the certificates, run the clusters, and let the phones register at the source."""
    async with Lab(folder, keys=keys, in_processes=in_processes) as lab:
        source = lab.create_cluster("source", "10.5.2", nodes=nodes, secure=secure)
        destination = lab.create_cluster("destination", "11.5.1", nodes=nodes, secure=secure)
        import_all(source, destination)
        import_all(destination, source)
        added = lab.add_phones([source, destination], phones, secure=secure)
        await asyncio.gather(lab.start(source), lab.start(destination))
        made = WaveLab(source, destination, list(tftp_servers(source)))
        for phone in added:
            lsc = lab.issue_lsc(source, phone.device) if secure else None
            device = Device(phone.device, Flash(), model=phone.model, lsc=lsc)
            made.phones[phone.device] = ResidentPhone(
                device, lambda: tuple(made.option150), tell=made.told, patience=PATIENCE
            )
        running = [asyncio.create_task(phone.run()) for phone in made.phones.values()]
        try:
            await made.all_registered(source)
            yield made
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            source.close()
            destination.close()


async def begin(*arguments: object) -> asyncio.subprocess.Process:
    """Start a command as a process."""
    words = [sys.executable, "-m", "certferry", *map(str, arguments)]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, preexec_fn=heed_ctrl_c
    )


async def inside(*arguments: object) -> Ended:
    """Run a command in a thread, which is faster than a process."""
    return await asyncio.to_thread(certferry, *arguments)


async def run(*arguments: object) -> Ended:
    """Run a command as a process to its end."""
    return await ended(await begin(*arguments))


async def ended(process: asyncio.subprocess.Process) -> Ended:
    """Wait for a process."""
    stdout, stderr = await asyncio.wait_for(process.communicate(), 300)
    assert process.returncode is not None
    return Ended(process.returncode, stdout.decode(), stderr.decode())


def lines_of(ended: Ended) -> list[dict[str, Any]]:
    """Read what ``--lines`` printed."""
    return [json.loads(line) for line in ended.stdout.splitlines()]
