"""Many resident phones in one process, switched on so many at a time; their flash is kept on disk."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

from certferry.fleet.device import Device
from certferry.fleet.flash_folder import FlashFolder
from certferry.fleet.resident import DEFAULT_PATIENCE, Happening, Option150, Patience, PhoneEvent, ResidentPhone
from certferry.phone.flash import Flash

AT_ONCE = 200
"""So many phones boot at the same time: more would take each other's time, which real phones do not."""


class Residents:
    """Phones with different names. ``option150`` gives each phone its way to ask; ``tell`` is told of everything.

    With ``flash_folder`` what a phone holds is written there before its event is told.
    """

    def __init__(
        self,
        devices: Iterable[Device],
        option150: Callable[[Device], Option150],
        *,
        tell: Callable[[PhoneEvent], None] | None = None,
        flash_folder: FlashFolder | None = None,
        patience: Patience = DEFAULT_PATIENCE,
        at_once: int = AT_ONCE,
    ) -> None:
        turns = asyncio.Semaphore(at_once)
        self.phones = {
            device.name: ResidentPhone(device, option150(device), tell=self._heard, patience=patience, turns=turns)
            for device in devices
        }
        self.registered: set[str] = set()
        self.happened: Counter[Happening] = Counter()
        self._tell = tell
        self._folder = flash_folder
        self._saved: dict[str, Flash] = {name: phone.device.flash for name, phone in self.phones.items()}

    async def run(self) -> None:
        """Let all live until cancelled; raises ``FlashFolderError`` when a phone's flash cannot be kept."""
        lives = [asyncio.create_task(phone.run()) for phone in self.phones.values()]
        try:
            await asyncio.gather(*lives)
        finally:
            for life in lives:
                life.cancel()
            await asyncio.gather(*lives, return_exceptions=True)

    def reset(self) -> None:
        """Let every phone boot again, as after a power cut."""
        for phone in self.phones.values():
            phone.reset()

    def _heard(self, event: PhoneEvent) -> None:
        self.happened[event.happening] += 1
        if event.happening is Happening.REGISTERED:
            self.registered.add(event.device)
        else:
            self.registered.discard(event.device)
        if event.outcome is not None:
            self._save(event.device)
        if self._tell is not None:
            self._tell(event)

    def _save(self, device: str) -> None:
        flash = self.phones[device].device.flash
        if self._folder is not None and flash != self._saved[device]:
            self._folder.save(device, flash)
            self._saved[device] = flash
