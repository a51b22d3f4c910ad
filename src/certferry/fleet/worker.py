"""``python -m certferry.fleet.worker``: one process of a fleet; ``certferry.fleet.crew`` has what is said to it."""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import uvloop

from certferry.fleet.crew import LONGEST_LINE, Handset, encode_outcome
from certferry.fleet.fleet import Fleet, FleetResult, Progress
from certferry.fleet.limits import resident_bytes
from certferry.phone.events import Address
from certferry.serve.limits import raise_file_limit

_BATCH = 25
"""So many phones are told of in one line while others still boot."""
Say = Callable[[Mapping[str, Any]], None]


class Worker:
    """The phones of one process, and how they carry out orders."""

    def __init__(self, fleet: Fleet, say: Say) -> None:
        self._fleet = fleet
        self._say = say
        self._began_with = resident_bytes()
        self._ended: list[list[Any]] = []

    async def obey(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        """Carry out one order; return what is done."""
        match order["order"]:
            case "boot":
                servers = None if order["servers"] is None else _servers(order)
                return self._tell(await self._fleet.boot(servers, progress=self._tell_batch))
            case "attempt":
                attempt = await self._fleet.attempt(order["count"], _servers(order))
                self._ended = [encode_outcome(*ended) for ended in attempt.result.outcomes.items()]
                return {**self._tell(attempt.result), "kept": attempt.kept}
            case "lacking":
                return {"devices": await self._fleet.lacking(ctl=order["ctl"])}
            case "journal":
                return {"texts": await self._fleet.journal(order["device"])}
            case unknown:
                raise ValueError(f"no such order: {unknown}")

    def _tell_batch(self, progress: Progress) -> None:
        self._ended.append(encode_outcome(progress.device, progress.outcome))
        if len(self._ended) >= _BATCH:
            self._tell_ended()

    def _tell(self, result: FleetResult) -> dict[str, Any]:
        self._tell_ended()
        return {"tvs_requests": result.tvs_requests, "grown": resident_bytes() - self._began_with}

    def _tell_ended(self) -> None:
        ended, self._ended = self._ended, []
        self._say({"ended": ended})


async def work() -> None:
    """Read what phones there are, then obey until there is nothing more to read."""
    orders = asyncio.StreamReader(limit=LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    first = await orders.readline()
    if not first:
        return
    told = json.loads(first)
    raise_file_limit()
    handsets = (Handset.parse(each) for each in told["phones"])
    worker = Worker(Fleet((each.unpacked() for each in handsets), at_once=told["at_once"]), _say)
    _say({"ready": True})
    await _obey_all(worker, orders)


async def _obey_all(worker: Worker, orders: asyncio.StreamReader) -> None:
    line = await orders.readline()
    while line:
        obeying = asyncio.create_task(worker.obey(json.loads(line)))
        following = asyncio.create_task(orders.readline())
        await asyncio.wait({obeying, following}, return_when=asyncio.FIRST_COMPLETED)
        if not obeying.done():  # there is one order at a time: what was read is the end
            obeying.cancel()
        _say({"done": await obeying})
        line = await following


def _servers(order: Mapping[str, Any]) -> list[Address]:
    return [(host, port) for host, port in order["servers"]]


def _say(said: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with suppress(asyncio.CancelledError, BrokenPipeError):
        uvloop.run(work())
