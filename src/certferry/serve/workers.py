"""Several processes that serve the same nodes on the same ports; the kernel spreads phones over them (SO_REUSEPORT).

Each worker writes JSON lines on its standard output: ``{"served": {NODE: VERSION}}`` for every change it took over,
and ``{"ready": true, "services": [...]}`` once its ports are open, or ``{"ok": false, "error": {...}}``. It ends when
its standard input does, so none outlives its parent, however that ended.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from certferry.errors import Refusal
from certferry.serve.children import end_child, start_child

AGAIN_SECONDS = 1.0

logger = logging.getLogger(__name__)


class WorkerFailedError(Refusal):
    """A worker process did not come up."""

    code = "serve.worker"
    remedy = "Run it with --workers 1 and read what it says."


class Workers:
    """``count`` processes of ``command``. ``report`` is told the oldest version that any of them serves a node from.

    ``descriptors`` are handed on to each: sockets that a service manager opened.
    """

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        report: Callable[[Mapping[str, int]], None],
        descriptors: Sequence[int] = (),
    ) -> None:
        self._command = tuple(command)
        self._workers = [_Worker(self._command, self._heard, descriptors) for _ in range(count)]
        self._report = report
        self._reported: dict[str, int] = {}

    async def start(self) -> Mapping[str, Any]:
        """Start all; return what the first said when it was ready. Raises ``WorkerFailedError``, and none runs then."""
        try:
            # The first one makes sure that nobody else has the ports; the others may then share them.
            first = await self._workers[0].start("--worker", "first")
            await asyncio.gather(*(worker.start("--worker", "further") for worker in self._workers[1:]))
        except BaseException:
            await self.close()
            raise
        return first

    async def keep(self) -> None:
        """Start a worker again that ended unasked; until cancelled."""
        await asyncio.gather(*(self._keep(worker) for worker in self._workers))

    async def close(self) -> None:
        """Stop all."""
        await asyncio.gather(*(worker.close() for worker in self._workers))

    async def _keep(self, worker: "_Worker") -> None:
        while True:
            logger.warning("a worker process ended with %d; starting it again", await worker.ended())
            await asyncio.sleep(AGAIN_SECONDS)
            with contextlib.suppress(WorkerFailedError):
                await worker.start("--worker", "further")

    def _heard(self) -> None:
        """Tell the cluster what every worker serves at least."""
        versions = [worker.served for worker in self._workers]
        nodes = set.intersection(*(set(served) for served in versions))
        oldest = {node: min(served[node] for served in versions) for node in nodes}
        if not oldest or oldest == self._reported:
            return
        try:
            self._report(oldest)
        except Refusal as refusal:  # a database that is away is told with the next change
            logger.warning("cannot report what is served: %s", refusal)
        else:
            self._reported = oldest


class _Worker:
    """One process and what it said."""

    def __init__(self, command: Sequence[str], heard: Callable[[], None], descriptors: Sequence[int]) -> None:
        self.served: dict[str, int] = {}
        self._command = command
        self._descriptors = descriptors
        self._heard = heard
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None

    async def start(self, *further: str) -> Mapping[str, Any]:
        """Start the process and wait until it is ready; return what it said then."""
        self._process = await start_child((*self._command, *further), pass_fds=self._descriptors)
        ready: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._listening = asyncio.create_task(self._listen(ready))
        return await ready

    async def ended(self) -> int:
        """Wait for the process to end."""
        assert self._process is not None  # noqa: S101 -- started before
        return await self._process.wait()

    async def close(self) -> None:
        """Let the process end, by force when it takes too long."""
        if self._process is not None:
            await end_child(self._process, self._process.wait())
        if self._listening:
            await self._listening

    async def _listen(self, ready: "asyncio.Future[Mapping[str, Any]]") -> None:
        assert self._process is not None  # noqa: S101 -- called by start
        assert self._process.stdout is not None  # noqa: S101 -- asked for by start
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            if "served" in said:
                self.served = said["served"]
                self._heard()
            elif not ready.done():
                _settle(ready, said)
        if not ready.done():
            ready.set_exception(WorkerFailedError("a worker process ended before it was ready"))


def _settle(ready: "asyncio.Future[Mapping[str, Any]]", said: Mapping[str, Any]) -> None:
    if error := said.get("error"):
        ready.set_exception(WorkerFailedError(error["sentence"], remedy=error["remedy"]))
    else:
        ready.set_result(said)
