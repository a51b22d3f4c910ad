"""Many phones in one process: they boot side by side, so many at a time, and the results are counted."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

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


class Fleet:
    """Phones with different names. ``at_once`` bounds how many boot at the same time."""

    def __init__(self, devices: Iterable[Device], *, at_once: int = AT_ONCE) -> None:
        self.devices = {device.name: device for device in devices}
        self.at_once = at_once

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
