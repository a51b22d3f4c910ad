"""Takes requests to reset phones from the cluster and tells the phones that are registered here.

A request is taken, and that committed, before the phone is told: whoever is killed in between leaves it taken, and
no phone is told twice.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from certferry.cluster.resets import ResetOutcome, ResetRequest, Resets
from certferry.errors import Refusal
from certferry.serve.registrar import Registrar
from certferry.serve.watching import NodeWatch

MOST_AT_ONCE = 200
"""Phones that are told at the same time; a phone that does not answer holds its place for seconds."""
GATHER_SECONDS = 0.05
"""How long answers are gathered before the cluster is told of them."""
AGAIN_SECONDS = 1.0


class TellingNode(Protocol):
    """A node whose phones can be told."""

    @property
    def watch(self) -> NodeWatch:
        """Where it is noted that a phone was told."""

    @property
    def registrars(self) -> Sequence[Registrar]:
        """Where its phones are registered."""


class Resetter:
    """Tells phones at ``nodes`` to reset while ``run`` runs, and the cluster how it went."""

    def __init__(self, resets: Resets, nodes: Callable[[], Sequence[TellingNode]]) -> None:
        self._resets = resets
        self._nodes = nodes
        self._telling: set[asyncio.Task[None]] = set()
        self._ended: dict[str, ResetOutcome] = {}
        self._work = asyncio.Event()
        self._may_be_more = False

    def look(self) -> None:
        """Take what is open, soon."""
        self._may_be_more = True
        self._work.set()

    async def run(self) -> None:
        """Take, tell and report until cancelled. What the cluster cannot be told now is told later."""
        while True:
            await self._work.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._work.clear()
            try:
                await self._report()
                if self._may_be_more:
                    await self._take()
            except Refusal:  # the poll, which meets it too, logs it
                await asyncio.sleep(AGAIN_SECONDS)
                self._work.set()

    async def close(self) -> None:
        """Give up on phones that have not answered yet, and say so."""
        for task in self._telling:
            task.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)
        await self._report()

    async def _take(self) -> None:
        """Take what is open for the phones registered here, as many as may be told at once, and begin."""
        self._may_be_more = False
        for node in self._nodes():
            here = {device: registrar for registrar in node.registrars for device in registrar.connected}
            room = MOST_AT_ONCE - len(self._telling)
            taken: Sequence[ResetRequest] = ()
            if here and room > 0:
                taken = await asyncio.to_thread(self._resets.take, node.watch.node, here.keys(), room)
                self._tell_all(taken, here, node.watch)
            if len(taken) >= room:
                self._may_be_more = True

    def _tell_all(self, taken: Sequence[ResetRequest], here: dict[str, Registrar], watch: NodeWatch) -> None:
        for request in taken:
            task = asyncio.create_task(self._tell(request, here[request.device], watch))
            self._telling.add(task)
            task.add_done_callback(self._done)

    async def _tell(self, request: ResetRequest, registrar: Registrar, watch: NodeWatch) -> None:
        answered = False
        try:
            answered = await registrar.reset(request.device, request.id)
        finally:
            self._ended[request.id] = ResetOutcome.DONE if answered else ResetOutcome.UNANSWERED
            watch.reset(request.device, answered=answered)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._telling.discard(task)
        self._work.set()

    async def _report(self) -> None:
        ended, self._ended = self._ended, {}
        if not ended:
            return
        try:
            await asyncio.to_thread(self._resets.end_all, ended)
        except BaseException:
            self._ended = ended | self._ended
            raise
