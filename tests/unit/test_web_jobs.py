"""Jobs: one at a time changes a cluster, the same wish is the same job, and each ends whoever goes away."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from certferry.bulk.lock import LockHeldError
from certferry.cluster.acting import actor
from certferry.web import jobs as jobs_module
from certferry.web.jobs import Job, JobRunningError, Jobs, JobState, JobUnknownError, KeyReusedError, Progress, Work
from web_site import Clock


class Gate:
    """Work that waits until it is let go, and counts how often it was done."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.done = 0

    async def __call__(self, _progress: Progress) -> Mapping[str, Any]:
        await asyncio.to_thread(self.open.wait, 20)
        self.done += 1
        return {"done": self.done}


@pytest.fixture
async def jobs() -> AsyncIterator[Jobs]:
    made = Jobs(Clock())
    yield made
    await made.finish()


@pytest.fixture
def gate(jobs: Jobs) -> Gate:
    return Gate()


async def ended(job: Job) -> Job:
    async with asyncio.timeout(20):
        async for _ in job.events():
            pass
    return job


async def at_once(_progress: Progress) -> Mapping[str, Any]:
    return {"actor": actor()}


async def test_a_job_ends_with_its_result_in_the_name_of_its_user(jobs: Jobs) -> None:
    job = await ended(jobs.start("export", "source", "ann", at_once))
    assert (job.state, job.result, job.error) == (JobState.DONE, {"actor": "ann"}, None)
    assert job.ended_at is not None
    assert jobs.ended == {("export", "done"): 1}


async def test_a_refusal_is_the_jobs_error_with_its_remedy(jobs: Jobs) -> None:
    async def refuse(_progress: Progress) -> Mapping[str, Any]:
        raise LockHeldError("somebody else writes")

    job = await ended(jobs.start("export", "source", "ann", refuse))
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error["code"] == "bulk.locked"
    assert job.error["remedy"] == LockHeldError.remedy


async def test_a_defect_ends_a_job_too(jobs: Jobs) -> None:
    async def break_down(_progress: Progress) -> Mapping[str, Any]:
        raise ZeroDivisionError

    job = await ended(jobs.start("export", "source", "ann", break_down))
    assert job.error is not None
    assert job.error["code"] == "web.unforeseen"


async def test_progress_is_told_as_it_comes_and_once_more_to_whoever_comes_late(jobs: Jobs) -> None:
    gate = Gate()

    async def in_steps(progress: Progress) -> Mapping[str, Any]:
        progress("upload", 1, 2)
        return await gate(progress)

    job = jobs.start("export", "source", "ann", in_steps)
    for _ in range(2):
        watching = aiter(job.events())
        assert await anext(watching) == {"step": "upload", "done": 1, "total": 2}
    gate.open.set()
    assert await anext(watching, None) is None


# --- one job


async def test_a_double_click_and_a_second_administrator_get_the_job_that_runs(jobs: Jobs, gate: Gate) -> None:
    asked = {"types": ["tftp"]}
    first = jobs.start("export", "source", "ann", gate, asked=asked, key="one")
    assert jobs.start("export", "source", "ann", gate, asked=asked, key="two") is first
    assert jobs.start("export", "source", "eve", gate, asked=asked) is first
    gate.open.set()
    await ended(first)
    assert gate.done == 1
    assert jobs.start("export", "source", "ann", gate, asked=asked, key="two") is first


async def test_the_same_key_is_the_same_job_after_it_ended(jobs: Jobs, gate: Gate) -> None:
    gate.open.set()
    first = await ended(jobs.start("export", "source", "ann", gate, key="k"))
    assert jobs.start("export", "source", "ann", gate, key="k") is first
    assert jobs.start("export", "source", "ann", gate, key="l") is not first


async def test_a_key_cannot_be_used_for_something_else(jobs: Jobs, gate: Gate) -> None:
    jobs.start("export", "source", "ann", gate, key="k")
    gate.open.set()
    with pytest.raises(KeyReusedError):
        jobs.start("export", "source", "ann", gate, asked={"types": ["capf"]}, key="k")


async def test_a_cluster_is_changed_by_one_job_at_a_time(jobs: Jobs, gate: Gate) -> None:
    first = jobs.start("export", "source", "ann", gate)
    with pytest.raises(JobRunningError) as refused:
        jobs.start("import", "source", "eve", gate)
    assert "export of source, started by ann" in str(refused.value)
    other = jobs.start("export", "destination", "eve", gate)
    look = jobs.start("verify", "source", "eve", at_once, writes=False)
    await ended(look)
    gate.open.set()
    await ended(first)
    await ended(other)
    assert (await ended(jobs.start("import", "source", "eve", gate))).state is JobState.DONE


async def test_looking_takes_so_many_threads_and_no_more(jobs: Jobs) -> None:
    gates = [Gate() for _ in range(jobs_module.MOST_READING + 1)]
    looks = [jobs.start("verify", "source", "ann", g, asked={"n": n}, writes=False) for n, g in enumerate(gates)]
    gates[-1].open.set()
    for gate in gates[:-1]:
        gate.open.set()
    for look in looks:
        await ended(look)


# --- what is remembered


async def test_jobs_are_listed_latest_first(jobs: Jobs) -> None:
    made = [await ended(jobs.start("export", "source", "ann", at_once)) for _ in range(3)]
    assert jobs.latest() == tuple(reversed(made))
    assert jobs.find(made[0].id) is made[0]


async def test_an_unknown_job_is_refused(jobs: Jobs) -> None:
    with pytest.raises(JobUnknownError):
        jobs.find("none")


async def test_the_oldest_jobs_are_forgotten_with_their_keys(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "MOST_KEPT", 2)
    first = await ended(jobs.start("export", "source", "ann", at_once, key="k"))
    for _ in range(2):
        await ended(jobs.start("export", "source", "ann", at_once))
    with pytest.raises(JobUnknownError):
        jobs.find(first.id)
    assert await ended(jobs.start("export", "source", "ann", at_once, key="k")) is not first


async def test_a_server_that_stops_waits_for_what_runs(gate: Gate) -> None:
    jobs = Jobs(Clock())
    job = jobs.start("import", "source", "ann", gate)
    stopping = asyncio.create_task(jobs.finish())
    gate.open.set()
    await stopping
    assert job.state is JobState.DONE


async def test_no_job_starts_work_before_it_is_known(jobs: Jobs) -> None:
    seen: list[int] = []

    async def count(_progress: Progress) -> Mapping[str, Any]:
        seen.append(len(jobs.latest()))
        return {}

    work: Work = count
    await ended(jobs.start("export", "source", "ann", work))
    assert seen == [1]
