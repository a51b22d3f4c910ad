"""Long work: started once, watched by anybody, finished whatever becomes of the browser that started it.

One job at a time changes a cluster. Who asks for the very same thing while it runs gets the job that runs (a double
click, two administrators at once, two servers of one cluster); who asks for something else is told what runs. The
same idempotency key is the same job, also after it ended, and after the server started anew. A job whose server died
is *interrupted*: whatever it did is safe to do again.
"""

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from certferry.cluster.acting import acting_as
from certferry.cluster.searching import Found, Slice
from certferry.cluster.web_jobs import Job, JobState, WebJobs
from certferry.errors import Refusal, UsageError
from certferry.web.leases import is_gone, own_name
from certferry.web.refusals import WebUnforeseenError, refusal_json

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
Work = Callable[[Progress], Awaitable[Mapping[str, Any]]]
STEPS = ("read", "upload", "rename", "import", "verify", "rehearse", "phones", "reset")
"""What jobs say they are at when they tell their progress; the pages have words for each."""
MOST_KEPT = 500
MOST_READING = 4
MOST_LOOKED_AT = 8
MOST_THREADS = 32
LEASE = timedelta(seconds=60)
"""How long the jobs of a server that says nothing are taken to run."""
RENEW_SECONDS = 5.0
FIRST = Slice()
LOOK_SECONDS = 1.0
"""How often a job that another server runs is looked at for those who watch it."""


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
    remedy = "List the jobs under /api/v1/jobs; the server forgets the oldest of those that ended."


class JobInterruptedError(Refusal):
    """The server that ran the job died while it ran."""

    code = "web.job-interrupted"
    remedy = "Run it again: it ends right, whatever was done already."


class StoppedError(Exception):
    """Work that was refused and has something to show all the same."""

    def __init__(self, refusal: Refusal, result: Mapping[str, Any]) -> None:
        super().__init__(refusal.sentence)
        self.refusal = refusal
        self.result = result


_ENDS = {JobInterruptedError.code: JobState.INTERRUPTED}


class _Live:
    """A job that this server runs, and those who wait for news of it."""

    def __init__(self, job: Job, *, lasting: bool) -> None:
        self.job = job
        self.lasting = lasting
        self._changed = asyncio.Event()
        self._working: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        self._is_broken_off = False

    async def work(self, work: Awaitable[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Do the work, in a thread and an event loop of its own."""
        task = asyncio.ensure_future(_awaited(work))
        self._working = asyncio.get_running_loop(), task
        if self._is_broken_off:
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            raise JobInterruptedError("the server that ran this stopped in the middle of it") from None

    def break_off(self) -> None:
        """Let lasting work end where it is."""
        self._is_broken_off = True
        if self.lasting and self._working is not None:
            loop, task = self._working
            with suppress(RuntimeError):  # its loop has just ended
                loop.call_soon_threadsafe(task.cancel)

    def become(self, job: Job) -> None:
        """Tell how the job stands now."""
        self.job = job
        self._changed.set()
        self._changed = asyncio.Event()

    def tell(self, step: str, done: int, total: int) -> None:
        """Note progress."""
        self.become(replace(self.job, progress={"step": step, "done": done, "total": total}))

    async def change(self) -> None:
        """Wait for the next news."""
        await self._changed.wait()


class Jobs:
    """The jobs of a server; used from its event loop alone."""

    def __init__(self, clock: Callable[[], datetime], ledger: WebJobs, name: str | None = None) -> None:
        self._clock = clock
        self._ledger = ledger
        self._name = name or own_name()
        self._live: dict[str, _Live] = {}
        self._looked_at: OrderedDict[str, Job] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._renewing: asyncio.Task[None] | None = None
        self._readers = asyncio.Semaphore(MOST_READING)
        # Threads of their own: jobs that wait for a dead server may not hold up who wants to log in.
        self._threads = ThreadPoolExecutor(MOST_THREADS, "job")
        self.ended: dict[tuple[str, str], int] = {}
        """How many jobs ended, by kind and state."""

    async def start(
        self,
        kind: str,
        cluster: str,
        user: str,
        work: Work,
        *,
        asked: Mapping[str, Any] | None = None,
        key: str | None = None,
        writes: bool = True,
        lasting: bool = False,
    ) -> Job:
        """Start ``work`` in a thread of its own, or return the job that does the same already.

        A ``lasting`` job may take hours and can go on from where it was broken off: a server that stops does not
        wait for it. Raises ``JobRunningError``, ``KeyReusedError``.
        """
        wish = Job(secrets.token_hex(8), kind, cluster, user, dict(asked or {}), writes, self._clock(), self._name)
        # Whoever asked may go away: what is begun is done.
        return await asyncio.shield(self._start(wish, key, work, lasting=lasting))

    async def _start(self, wish: Job, key: str | None, work: Work, *, lasting: bool) -> Job:
        await self._interrupt()
        await self._keep_ends()
        job, busy = await asyncio.to_thread(self._ledger.begin, wish, key, self._clock() + LEASE, MOST_KEPT)
        if busy is not None:
            what = f"{busy.kind} of {busy.cluster}, started by {busy.user}, is running (job {busy.id})"
            raise JobRunningError(what)
        if not job.is_same_wish(wish):
            raise KeyReusedError("that idempotency key belongs to another job")
        if job.id == wish.id:
            self._run_in_background(_Live(job, lasting=lasting), work)
        return job

    async def find(self, identifier: str) -> Job:
        """Return a job as it stands; raises ``JobUnknownError``."""
        job = await self._find(identifier)
        is_elsewhere = job is not None and job.is_running and identifier not in self._live
        if is_elsewhere and identifier in await self._interrupt():
            job = await self._find(identifier)
        if job is None:
            raise JobUnknownError(f"there is no job {identifier!r}")
        return job

    async def whole(self, listed: Job) -> Job:
        """Return a job that was listed, with its result; raises ``JobUnknownError``.

        The few that were looked at last are not read again: what ended stays as it ended, and may be megabytes.
        """
        if listed.id not in self._looked_at:
            job = await self.find(listed.id)
            if job.is_running:
                return job
            self._looked_at[listed.id] = job
            while len(self._looked_at) > MOST_LOOKED_AT:
                self._looked_at.popitem(last=False)
        return self._looked_at[listed.id]

    async def find_key(self, key: str) -> Job | None:
        """Return the job that was started with that idempotency key."""
        return await asyncio.to_thread(self._ledger.find_key, key)

    async def latest(self, part: Slice = FIRST, kind: str | None = None) -> Found[Job]:
        """Return jobs without their results, the latest first."""
        jobs, total = await asyncio.to_thread(self._ledger.latest, part.skip, part.limit, kind)
        return Found(tuple(self._fresh(job) for job in jobs), total)

    async def running(self, cluster: str) -> tuple[Job, ...]:
        """Return the jobs that run for a cluster."""
        await self._interrupt()
        return tuple(map(self._fresh, await asyncio.to_thread(self._ledger.running, cluster)))

    async def events(self, identifier: str) -> AsyncIterator[Mapping[str, Any]]:
        """Give a job's progress whenever it changed (steps may be skipped), until it ended."""
        told: Mapping[str, Any] | None = None
        job = await self.find(identifier)
        while job.is_running:
            if job.progress is not None and job.progress != told:
                told = job.progress
                yield told
            elif (live := self._live.get(identifier)) is not None and live.job is job:
                await live.change()
            elif live is None:
                await asyncio.sleep(LOOK_SECONDS)
            job = await self.find(identifier)

    async def resume(self) -> None:
        """Tell, after a start, which jobs broke off with servers that are gone."""
        await self._interrupt(is_gone)

    async def finish(self) -> None:
        """Wait until every job ended: nothing is broken off half done, but what goes on from anywhere is."""
        for live in self._live.values():
            if live.lasting:
                live.break_off()
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        if self._renewing is not None:
            self._renewing.cancel()
        self._threads.shutdown()

    def _fresh(self, job: Job) -> Job:
        return self._live[job.id].job if job.id in self._live else job

    async def _find(self, identifier: str) -> Job | None:
        if identifier in self._live:
            return self._live[identifier].job
        return await asyncio.to_thread(self._ledger.find, identifier)

    async def _interrupt(self, is_gone: Callable[[str], bool] | None = None) -> frozenset[str]:
        """End what other servers left behind; return what is ended by it."""

        def is_lost(runner: str, is_over: bool) -> bool:
            return runner != self._name and (is_over or (is_gone is not None and is_gone(runner)))

        broken = refusal_json(JobInterruptedError("the server that ran this stopped in the middle of it"))
        return await asyncio.to_thread(self._ledger.interrupt, self._clock(), is_lost, broken)

    def _run_in_background(self, live: _Live, work: Work) -> None:
        self._live[live.job.id] = live
        task = asyncio.create_task(self._run(live, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew())

    async def _run(self, live: _Live, work: Work) -> None:
        loop = asyncio.get_running_loop()

        def told(step: str, done: int, total: int) -> None:
            loop.call_soon_threadsafe(live.tell, step, done, total)

        result: Mapping[str, Any] | None = None
        error: Mapping[str, Any] | None = None
        try:
            result = await self._in_thread(live, work, told)
        except StoppedError as stopped:
            result, error = stopped.result, refusal_json(stopped.refusal)
        except Refusal as refusal:
            error = refusal_json(refusal)
        except Exception as defect:  # noqa: BLE001 -- whatever it is, the job has to end, and to say so
            error = refusal_json(WebUnforeseenError(f"{type(defect).__name__}: {defect}"))
        state = JobState.DONE if error is None else _ENDS.get(error["code"], JobState.FAILED)
        job = replace(live.job, state=state, ended_at=self._clock(), result=result, error=error)
        await self._end(live, job)

    async def _end(self, live: _Live, job: Job) -> None:
        """Keep the end, then tell it; where it cannot be kept, this server at least remembers it."""
        await self._keep_end(job)
        live.become(job)
        ended = job.kind, job.state.value
        self.ended[ended] = self.ended.get(ended, 0) + 1

    async def _keep_end(self, job: Job) -> None:
        try:
            await asyncio.to_thread(self._ledger.end, job)
            self._live.pop(job.id, None)
        except Refusal as refusal:
            logger.warning("the end of job %s is not kept: %s", job.id, refusal)

    async def _keep_ends(self) -> None:
        """Try again to keep what could not be kept: until then nothing else changes the cluster."""
        for live in [each for each in self._live.values() if not each.job.is_running]:
            await self._keep_end(live.job)

    async def _renew(self) -> None:
        """Keep the lease on what runs here, and how far it is, for other servers."""
        while self._tasks:
            await asyncio.sleep(RENEW_SECONDS)
            progress = {each.job.id: each.job.progress for each in self._live.values() if each.job.is_running}
            with suppress(Refusal):  # the next time is in time too
                await asyncio.to_thread(self._ledger.renew, progress, self._name, self._clock() + LEASE)

    async def _in_thread(self, live: _Live, work: Work, told: Progress) -> Mapping[str, Any]:
        """Run in a thread with an event loop of its own: the cluster's database and the signing would hold up ours."""

        def run() -> Mapping[str, Any]:
            with acting_as(live.job.user):
                return asyncio.run(live.work(work(told)))

        loop = asyncio.get_running_loop()
        if live.job.writes or live.lasting:
            return await loop.run_in_executor(self._threads, run)
        async with self._readers:
            return await loop.run_in_executor(self._threads, run)


async def _awaited(work: Awaitable[Mapping[str, Any]]) -> Mapping[str, Any]:
    return await work
