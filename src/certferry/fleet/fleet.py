"""Many phones in one process: they boot side by side, so many at a time, and the results are counted.

``certferry.fleet.processes`` has the same over several processes.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from certferry.fleet.device import Device
from certferry.phone.events import Address
from certferry.phone.outcome import Code, Outcome

AT_ONCE = 100
"""How many phones boot at the same time unless told otherwise: as in a site that lost its power."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One more phone has ended its boot: ``done`` of ``phones``."""

    done: int
    phones: int
    device: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class FleetResult:
    """How the boots of a fleet ended; ``outcomes`` by device name."""

    tvs_requests: int
    outcomes: Mapping[str, Outcome]

    @property
    def phones(self) -> int:
        """How many phones booted."""
        return len(self.outcomes)

    @property
    def registered(self) -> int:
        """How many registered."""
        return sum(outcome.ok for outcome in self.outcomes.values())

    @property
    def failed(self) -> int:
        """How many did not."""
        return self.phones - self.registered

    @property
    def codes(self) -> Counter[Code]:
        """How many ended with which code."""
        return Counter(outcome.code for outcome in self.outcomes.values())


@dataclass(frozen=True, slots=True)
class Attempt:
    """How phones fared that only tried; ``kept`` of them held, before they were put back, exactly what they had."""

    result: FleetResult
    kept: int


class Phones(Protocol):
    """Phones, in this process or in several."""

    @property
    def names(self) -> Sequence[str]:
        """Their device names, in order."""
        ...

    async def boot(
        self, tftp_servers: Sequence[Address] | None = None, *, progress: Callable[[Progress], None] | None = None
    ) -> FleetResult:
        """Boot every phone once; ``tftp_servers`` as in ``Device.boot``. ``progress`` is called after each phone."""
        ...

    async def attempt(self, count: int, tftp_servers: Sequence[Address]) -> Attempt:
        """Let the first ``count`` boot, and then give them back what they had in flash."""
        ...

    async def lacking(self, *, ctl: bool) -> Sequence[str]:
        """Name the phones without an ITL, or with ``ctl`` those without an ITL or a CTL."""
        ...

    async def journal(self, device: str) -> Sequence[str]:
        """Tell what happened in the last boot of a phone."""
        ...


class Fleet:
    """Phones with different names. ``at_once`` bounds how many boot at the same time."""

    def __init__(self, devices: Iterable[Device], *, at_once: int = AT_ONCE) -> None:
        self.devices = {device.name: device for device in devices}
        self.at_once = at_once

    @property
    def names(self) -> Sequence[str]:
        """Their device names, in order."""
        return tuple(self.devices)

    async def attempt(self, count: int, tftp_servers: Sequence[Address]) -> Attempt:
        """Let the first ``count`` boot, and then give them back what they had in flash."""
        held = {device: device.flash for device in islice(self.devices.values(), count)}
        result = await Fleet(held, at_once=self.at_once).boot(tftp_servers)
        kept = sum(device.flash == flash for device, flash in held.items())
        for device, flash in held.items():
            device.flash = flash
        return Attempt(result, kept)

    async def lacking(self, *, ctl: bool) -> Sequence[str]:
        """Name the phones without an ITL, or with ``ctl`` those without an ITL or a CTL."""
        flashes = ((device.name, device.flash) for device in self.devices.values())
        return tuple(name for name, flash in flashes if not flash.itl or (ctl and not flash.ctl))

    async def journal(self, device: str) -> Sequence[str]:
        """Tell what happened in the last boot of a phone."""
        return tuple(entry.text for entry in self.devices[device].journal)

    async def boot(
        self, tftp_servers: Sequence[Address] | None = None, *, progress: Callable[[Progress], None] | None = None
    ) -> FleetResult:
        """Boot every phone once; ``tftp_servers`` as in ``Device.boot``. ``progress`` is called after each phone."""
        outcomes: dict[str, Outcome] = {}
        waiting = iter(self.devices.values())
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.at_once, len(self.devices))):
                group.create_task(self._boot_in_turn(waiting, tftp_servers, outcomes, progress))
        return FleetResult(sum(device.tvs_requests for device in self.devices.values()), outcomes)

    async def _boot_in_turn(
        self,
        waiting: Iterator[Device],
        tftp_servers: Sequence[Address] | None,
        outcomes: dict[str, Outcome],
        progress: Callable[[Progress], None] | None,
    ) -> None:
        for device in waiting:
            outcome = outcomes[device.name] = await device.boot(tftp_servers)
            if progress:
                progress(Progress(len(outcomes), len(self.devices), device.name, outcome))
