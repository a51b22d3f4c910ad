"""The exchange directories as pages show them: listed anew on each load, but what is unchanged is not read again.

The connection stays open for a while after a page, as logging in takes longer than looking. Export, consolidation and
import do not come here: they read every byte they judge.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from certferry.bulk.directory import Listing, listing_of
from certferry.bulk.exchange import READ_LIMIT, Entry
from certferry.bulk.settings import SftpSettings
from certferry.bulk.snapshot import take_snapshot
from certferry.bulk.telling import listing_json, why_not_consolidate, why_not_import
from certferry.bulk.transport import SftpExchange
from certferry.bulk.wrapping import Wrapping
from certferry.cluster.cluster import Cluster
from certferry.errors import Refusal

IDLE_SECONDS = 30.0
"""How long a connection stays open after a page."""
TICK = timedelta(seconds=2)
"""SFTP tells the times of files by the second: a file written so lately could be written again unseen."""
MOST_PLACES = 8
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Known:
    """A file as it was read; ``is_final``: it cannot have changed since without its entry showing it."""

    entry: Entry
    data: bytes = field(repr=False)
    first_read: float
    is_final: bool


@dataclass(slots=True)
class _Memory:
    """What is known of one directory: its entries, its files, and how it was described when it had these entries."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    newest: datetime = _EVER
    files: dict[str, _Known] = field(default_factory=dict)
    described: tuple[Mapping[str, Entry], dict[str, Any]] | None = None

    def note(self, entries: Sequence[Entry]) -> None:
        """Take over what the directory has now."""
        self.entries = {entry.name: entry for entry in entries}
        self.newest = max((entry.modified for entry in entries), default=_EVER)
        self.files = {name: known for name, known in self.files.items() if name in self.entries}

    def find(self, name: str) -> bytes | None:
        """Return a file that is as it was read, for certain."""
        known = self.files.get(name)
        is_same = known is not None and known.is_final and known.entry == self.entries.get(name)
        return known.data if known is not None and is_same else None

    def keep(self, name: str, data: bytes, begun: float) -> None:
        """Remember a file that was read from ``begun`` on."""
        entry, known = self.entries.get(name), self.files.get(name)
        if entry is None:
            return
        first = known.first_read if known is not None and known.entry == entry else time.monotonic()
        # The server's clock is past the file's second when later files say so, or when it was read twice far apart.
        is_old = min(self.newest, datetime.now(UTC)) - entry.modified >= TICK
        self.files[name] = _Known(entry, data, first, is_old or begun - first >= TICK.total_seconds())

    @property
    def description(self) -> dict[str, Any] | None:
        """How the directory is described, if that still holds."""
        if self.described is None or self.described[0] != self.entries:
            return None
        return self.described[1] if all(known.is_final for known in self.files.values()) else None


class RememberingExchange(SftpExchange):
    """An exchange directory of which unchanged files are read once."""

    memory: _Memory

    async def entries(self) -> Sequence[Entry]:
        """List the files anew."""
        found = await super().entries()
        self.memory.note(found)
        return found

    async def read(self, name: str, limit: int = READ_LIMIT) -> bytes:
        """Read a file, unless its size and time are what they were."""
        known = self.memory.find(name)
        if known is not None:
            return known
        begun = time.monotonic()
        data = await super().read(name, limit)
        self.memory.keep(name, data, begun)
        return data


@dataclass(slots=True)
class _Place:
    """The directory of one cluster's settings, and the connection to it while there is one."""

    settings: SftpSettings
    memory: _Memory = field(default_factory=_Memory)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    exchange: RememberingExchange | None = None
    closing: asyncio.TimerHandle | None = None

    async def opened(self) -> RememberingExchange:
        if self.closing is not None:
            self.closing.cancel()
        if self.exchange is None:
            self.exchange = await RememberingExchange.connect(self.settings)
            self.exchange.memory = self.memory
        return self.exchange

    async def close(self) -> None:
        exchange, self.exchange = self.exchange, None
        if self.closing is not None:
            self.closing.cancel()
        if exchange is not None:
            await exchange.close()


class Exchanges:
    """The exchange directories of a server's clusters; used from its event loop alone."""

    def __init__(self, idle: float = IDLE_SECONDS) -> None:
        self.idle = idle
        self._places: dict[SftpSettings, _Place] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def describe(self, cluster: Cluster) -> dict[str, Any]:
        """List the directory anew, and say which buttons are offered, and why not; raises a class of ``bulk``."""
        return await self._describe(await asyncio.to_thread(SftpSettings.load, cluster))

    async def describe_all(self, clusters: Sequence[Cluster]) -> list[dict[str, Any] | Refusal]:
        """The same for several clusters; those with the same settings share one listing."""
        found: dict[SftpSettings, dict[str, Any] | Refusal] = {}
        answers: list[dict[str, Any] | Refusal] = []
        for cluster in clusters:
            try:
                settings = await asyncio.to_thread(SftpSettings.load, cluster)
                if settings not in found:
                    found[settings] = await self._describe(settings)
                answers.append(found[settings])
            except Refusal as refusal:
                answers.append(refusal)
        return answers

    async def _describe(self, settings: SftpSettings) -> dict[str, Any]:
        place = await self._place(settings)
        async with place.lock:
            try:
                exchange = await place.opened()
                await exchange.entries()
                return place.memory.description or await _described(place, exchange)
            except Refusal:
                await place.close()
                raise
            finally:
                await self._close_later(place)

    async def close(self) -> None:
        """Log out everywhere."""
        for place in self._places.values():
            await place.close()
        self._places.clear()

    async def _place(self, settings: SftpSettings) -> _Place:
        """Find the directory; of those asked for longest ago, some are forgotten."""
        place = self._places.pop(settings, None) or _Place(settings)
        self._places[settings] = place
        while len(self._places) > MOST_PLACES:
            oldest = next(iter(self._places))
            await self._places.pop(oldest).close()
        return place

    async def _close_later(self, place: _Place) -> None:
        if self.idle <= 0:
            await place.close()
            return
        place.closing = asyncio.get_running_loop().call_later(self.idle, self._close_now, place)

    def _close_now(self, place: _Place) -> None:
        async def close() -> None:
            async with place.lock:
                with suppress(Refusal):
                    await place.close()

        task = asyncio.create_task(close())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _described(place: _Place, exchange: RememberingExchange) -> dict[str, Any]:
    snapshot = await take_snapshot(exchange)
    # Manifests are verified and strange files opened: that may take long, and others wait for their pages.
    listing = await asyncio.to_thread(listing_of, snapshot, Wrapping.of(place.settings))
    told = describe(listing)
    place.memory.described = place.memory.entries, told
    return told


def describe(listing: Listing) -> dict[str, Any]:
    """Describe a directory, with the reason for each button that is not offered."""
    reasons = {"consolidate": why_not_consolidate(listing), "import": why_not_import(listing)}
    return {**listing_json(listing), "why_not": reasons}
