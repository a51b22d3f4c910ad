"""A fleet in several processes, so that its phones use more than one core: ``Fleet`` for tens of thousands."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from certferry.errors import Refusal
from certferry.fleet.crew import LONGEST_LINE, Handset, parse_outcome
from certferry.fleet.fleet import AT_ONCE, Attempt, FleetResult, Progress
from certferry.phone.events import Address
from certferry.phone.outcome import Outcome
from certferry.serve.children import end_child, start_child

PHONES_EACH = 500
"""A further process is worth its start from so many phones on."""
_COMMAND = (sys.executable, "-m", "certferry.fleet.worker")
_Ended = Callable[[str, Outcome], None]
_Asking = Coroutine[Any, Any, Mapping[str, Any]]


class FleetWorkerError(Refusal):
    """A process of phones ended before it had done what it was asked."""

    code = "fleet.worker"
    remedy = "Read its last words above; with fewer phones it needs less memory and fewer open files."


def processes_for(phones: int, cores: int | None = None) -> int:
    """Tell in how many processes so many phones are best."""
    return min(cores or len(os.sched_getaffinity(0)), phones // PHONES_EACH + 1)


class FleetProcesses:
    """Phones split over ``processes``; used as ``async with``. ``at_once`` is for each process.

    ``grown`` is by how many bytes its processes have grown since their phones were unpacked.
    """

    def __init__(self, handsets: Iterable[Handset], processes: int, *, at_once: int = AT_ONCE) -> None:
        self._handsets = list(handsets)
        size = max(1, -(-len(self._handsets) // processes))
        groups = [self._handsets[start : start + size] for start in range(0, len(self._handsets), size)]
        self._crews = [_Crew(group, at_once) for group in groups]

    @property
    def names(self) -> Sequence[str]:
        """Their device names, in order."""
        return tuple(handset.name for handset in self._handsets)

    @property
    def grown(self) -> int:
        """By how many bytes all processes together have grown since their phones were unpacked."""
        return sum(crew.grown for crew in self._crews)

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*(crew.start() for crew in self._crews))
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all processes."""
        await asyncio.gather(*(crew.close() for crew in self._crews))

    async def boot(
        self, tftp_servers: Sequence[Address] | None = None, *, progress: Callable[[Progress], None] | None = None
    ) -> FleetResult:
        """Boot every phone once, as ``Fleet.boot`` does; raises ``FleetWorkerError``."""
        outcomes: dict[str, Outcome] = {}

        def ended(device: str, outcome: Outcome) -> None:
            outcomes[device] = outcome
            if progress:
                progress(Progress(len(outcomes), len(self._handsets), device, outcome))

        order = {"order": "boot", "servers": tftp_servers}
        done = await _all_of(crew.ask(order, ended) for crew in self._crews)
        return FleetResult(sum(each["tvs_requests"] for each in done), outcomes)

    async def attempt(self, count: int, tftp_servers: Sequence[Address]) -> Attempt:
        """Let the first ``count`` boot, and then give them back what they had in flash."""
        outcomes: dict[str, Outcome] = {}
        asked = []
        for crew in self._crews:
            share = min(count, len(crew.names))
            count -= share
            if share:
                order = {"order": "attempt", "count": share, "servers": tftp_servers}
                asked.append(crew.ask(order, outcomes.__setitem__))
        done = await _all_of(asked)
        result = FleetResult(sum(each["tvs_requests"] for each in done), outcomes)
        return Attempt(result, sum(each["kept"] for each in done))

    async def lacking(self, *, ctl: bool) -> Sequence[str]:
        """Name the phones without an ITL, or with ``ctl`` those without an ITL or a CTL."""
        answers = await _all_of(crew.ask({"order": "lacking", "ctl": ctl}) for crew in self._crews)
        return [name for answer in answers for name in answer["devices"]]

    async def journal(self, device: str) -> Sequence[str]:
        """Tell what happened in the last boot of a phone."""
        crew = next(crew for crew in self._crews if device in crew.names)
        texts: list[str] = (await crew.ask({"order": "journal", "device": device}))["texts"]
        return texts


async def _all_of(asked: Iterable[_Asking]) -> list[Mapping[str, Any]]:
    """Wait for all processes; when one of them ends, wait for none."""
    tasks = [asyncio.create_task(each) for each in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Crew:
    """One process and its phones."""

    def __init__(self, handsets: Sequence[Handset], at_once: int) -> None:
        self.names = frozenset(handset.name for handset in handsets)
        self.grown = 0
        self._first = {"phones": [handset.encode() for handset in handsets], "at_once": at_once}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the process and hand its phones over."""
        self._process = await start_child(_COMMAND, limit=LONGEST_LINE)
        await self._write(self._first)
        self._first = {}
        await self._read()

    async def ask(self, order: Mapping[str, Any], ended: _Ended | None = None) -> Mapping[str, Any]:
        """Give an order and wait until it is done; ``ended`` is told of each phone as it ends its boot."""
        await self._write(order)
        while "done" not in (said := await self._read()):
            for each in said["ended"]:
                if ended:
                    ended(*parse_outcome(each))
        done: Mapping[str, Any] = said["done"]
        self.grown = done.get("grown", self.grown)
        return done

    async def close(self) -> None:
        """End the process, by force when it takes too long."""
        if self._process is not None:
            await end_child(self._process, self._process.communicate())

    async def _write(self, said: Mapping[str, Any]) -> None:
        assert self._process is not None  # noqa: S101 -- started before
        assert self._process.stdin is not None  # noqa: S101 -- asked for by start
        try:
            self._process.stdin.write(json.dumps(said).encode() + b"\n")
            await self._process.stdin.drain()
        except ConnectionError as error:
            raise FleetWorkerError("a process of phones is gone") from error

    async def _read(self) -> Mapping[str, Any]:
        assert self._process is not None  # noqa: S101 -- started before
        assert self._process.stdout is not None  # noqa: S101 -- asked for by start
        line = await self._process.stdout.readline()
        if not line:
            raise FleetWorkerError(f"a process of phones ended with {await self._process.wait()}")
        said: Mapping[str, Any] = json.loads(line)
        return said
