"""Long work: started once, watched by anybody, finished whatever becomes of the browser that started it.

One job at a time changes a cluster. Who asks for the very same thing while it runs gets the job that runs (a double
click, two administrators at once); who asks for something else is told what runs. The same idempotency key is the
same job, also after it ended.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from certferry.cluster.acting import acting_as
from certferry.errors import Refusal, UsageError
from certferry.web.refusals import WebUnforeseenError, refusal_json

Progress = Callable[[str, int, int], None]
Work = Callable[[Progress], Awaitable[Mapping[str, Any]]]
MOST_KEPT = 500
MOST_READING = 4
MOST_THREADS = 32


class JobRunningError(Refusal):
    """Another job is changing the same cluster."""

    code = "web.job-running"
    remedy = "Wait until it is done: its progress is on the page, and under /api/v1/jobs."


class KeyReusedError(UsageError):
    """An idempotency key was used before for something else."""

    code = "web.key-reused"
    remedy = "Make a new key for each thing that is to be done."


class JobUnknownError(UsageError):
    """There is no job of that id, or it ended long ago."""

    code = "web.job-unknown"
    remedy = "List the jobs under /api/v1/jobs; the server forgets the oldest, and all when it restarts."


class JobState(StrEnum):
    """How a job stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(slots=True)
class Job:
    """One piece of work; ``asked`` is what was asked for, ``progress`` the last that was told of it."""

    id: str
    kind: str
    cluster: str
    user: str
    asked: Mapping[str, Any]
    writes: bool
    started_at: datetime
    state: JobState = JobState.RUNNING
    ended_at: datetime | None = None
    progress: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    steps: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Describe the job for the API."""
        return {
            "id": self.id,
            "kind": self.kind,
            "cluster": self.cluster,
            "user": self.user,
            "asked": dict(self.asked),
            "state": self.state.value,
            "started_at": self.started_at.isoformat(),
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
            "progress": self.progress,
            "result": self.result,
            "error": self.error,
        }

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.state is JobState.RUNNING

    def is_same_wish(self, other: "Job") -> bool:
        """Whether the other was asked for the very same."""
        return (self.kind, self.cluster, self.asked) == (other.kind, other.cluster, other.asked)

    def tell(self, step: str, done: int, total: int) -> None:
        """Note progress."""
        self.progress = {"step": step, "done": done, "total": total}
        self.steps += 1
        self._wake()

    def end(self, now: datetime, result: Mapping[str, Any] | None, error: Mapping[str, Any] | None) -> None:
        """Note how it ended."""
        self.result, self.error, self.ended_at = result, error, now
        self.state = JobState.DONE if error is None else JobState.FAILED
        self._wake()

    async def events(self) -> AsyncIterator[Mapping[str, Any]]:
        """Give its progress whenever it changed (steps may be skipped), until it ended."""
        told = -1
        while self.is_running:
            changed = self._changed
            if self.steps != told and self.progress is not None:
                told = self.steps
                yield self.progress
                continue
            await changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Jobs:
    """All jobs of a server; used from its event loop alone."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._keys: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._readers = asyncio.Semaphore(MOST_READING)
        # Threads of their own: jobs that wait for a dead server may not hold up who wants to log in.
        self._threads = ThreadPoolExecutor(MOST_THREADS, "job")
        self.ended: dict[tuple[str, str], int] = {}
        """How many jobs ended, by kind and state."""

    def start(
        self,
        kind: str,
        cluster: str,
        user: str,
        work: Work,
        *,
        asked: Mapping[str, Any] | None = None,
        key: str | None = None,
        writes: bool = True,
    ) -> Job:
        """Start ``work`` in a thread of its own, or return the job that does the same already.

        Raises ``JobRunningError``, ``KeyReusedError``.
        """
        new = Job(secrets.token_hex(8), kind, cluster, user, dict(asked or {}), writes, self._clock())
        if (known := self._known(new, key)) is not None:
            return known
        self._keep(new, key)
        task = asyncio.create_task(self._run(new, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return new

    def find(self, identifier: str) -> Job:
        """Return a job; raises ``JobUnknownError``."""
        if identifier not in self._jobs:
            raise JobUnknownError(f"there is no job {identifier!r}")
        return self._jobs[identifier]

    def latest(self) -> tuple[Job, ...]:
        """All jobs that are remembered, latest first."""
        return tuple(reversed(self._jobs.values()))

    async def finish(self) -> None:
        """Wait until every job ended: nothing is broken off half done."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        self._threads.shutdown()

    def _known(self, new: Job, key: str | None) -> Job | None:
        if key is not None and key in self._keys:
            known = self._jobs[self._keys[key]]
            if not known.is_same_wish(new):
                raise KeyReusedError("that idempotency key belongs to another job")
            return known
        running = [job for job in self._jobs.values() if job.is_running and job.cluster == new.cluster]
        same = next((job for job in running if job.is_same_wish(new)), None)
        if same is not None:
            if key is not None:
                self._keys[key] = same.id
            return same
        busy = next((job for job in running if job.writes), None) if new.writes else None
        if busy is not None:
            raise JobRunningError(f"{busy.kind} of {busy.cluster}, started by {busy.user}, is running (job {busy.id})")
        return None

    def _keep(self, new: Job, key: str | None) -> None:
        self._jobs[new.id] = new
        if key is not None:
            self._keys[key] = new.id
        for old in [job for job in self._jobs.values() if not job.is_running][: max(0, len(self._jobs) - MOST_KEPT)]:
            del self._jobs[old.id]
            self._keys = {each: kept for each, kept in self._keys.items() if kept != old.id}

    async def _run(self, job: Job, work: Work) -> None:
        loop = asyncio.get_running_loop()

        def told(step: str, done: int, total: int) -> None:
            loop.call_soon_threadsafe(job.tell, step, done, total)

        result: Mapping[str, Any] | None = None
        error: Mapping[str, Any] | None = None
        try:
            result = await self._in_thread(job, work, told)
        except Refusal as refusal:
            error = refusal_json(refusal)
        except Exception as defect:  # noqa: BLE001 -- whatever it is, the job has to end, and to say so
            error = refusal_json(WebUnforeseenError(f"{type(defect).__name__}: {defect}"))
        job.end(self._clock(), result, error)
        ended = job.kind, job.state.value
        self.ended[ended] = self.ended.get(ended, 0) + 1

    async def _in_thread(self, job: Job, work: Work, told: Progress) -> Mapping[str, Any]:
        """Run in a thread with an event loop of its own: the cluster's database and the signing would hold up ours."""

        def run() -> Mapping[str, Any]:
            with acting_as(job.user):
                return asyncio.run(_awaited(work(told)))

        loop = asyncio.get_running_loop()
        if job.writes:
            return await loop.run_in_executor(self._threads, run)
        async with self._readers:
            return await loop.run_in_executor(self._threads, run)


async def _awaited(work: Awaitable[Mapping[str, Any]]) -> Mapping[str, Any]:
    return await work
