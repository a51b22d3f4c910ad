"""Jobs: one at a time changes a cluster, the same wish is the same job, and each ends whoever goes away."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from certferry.bulk.lock import LockHeldError
from certferry.cluster.acting import actor
from certferry.cluster.database import DatabaseError
from certferry.cluster.searching import Slice
from certferry.cluster.web_jobs import Job, JobState, WebJobs
from certferry.web import jobs as jobs_module
from certferry.web.jobs import (
    LEASE,
    MOST_LOOKED_AT,
    JobInterruptedError,
    JobRunningError,
    Jobs,
    JobUnknownError,
    KeyReusedError,
    Progress,
    Work,
)
from certferry.web.leases import is_gone, own_name
from conftest import MakeCluster
from waiting import PATIENCE, until
from web_site import Clock


class Gate:
    """Work that waits until it is let go, and counts how often it was done."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.done = 0

    async def __call__(self, _progress: Progress) -> Mapping[str, Any]:
        await asyncio.to_thread(self.open.wait, PATIENCE)
        self.done += 1
        return {"done": self.done}


@pytest.fixture
def ledger(make_cluster: MakeCluster) -> WebJobs:
    return make_cluster(nodes=1).web_jobs


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def jobs(ledger: WebJobs, clock: Clock) -> AsyncIterator[Jobs]:
    made = Jobs(clock, ledger)
    yield made
    await made.finish()


@pytest.fixture
def gate(jobs: Jobs) -> Gate:
    return Gate()


async def ended(jobs: Jobs, job: Job) -> Job:
    async with asyncio.timeout(2 * PATIENCE):
        async for _ in jobs.events(job.id):
            pass
    return await jobs.find(job.id)


async def at_once(_progress: Progress) -> Mapping[str, Any]:
    return {"actor": actor()}


async def test_a_job_ends_with_its_result_in_the_name_of_its_user(jobs: Jobs) -> None:
    job = await ended(jobs, await jobs.start("export", "source", "ann", at_once))
    assert (job.state, job.result, job.error) == (JobState.DONE, {"actor": "ann"}, None)
    assert job.ended_at is not None
    assert jobs.ended == {("export", "done"): 1}


async def test_a_refusal_is_the_jobs_error_with_its_remedy(jobs: Jobs) -> None:
    async def refuse(_progress: Progress) -> Mapping[str, Any]:
        raise LockHeldError("somebody else writes")

    job = await ended(jobs, await jobs.start("export", "source", "ann", refuse))
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error["code"] == "bulk.locked"
    assert job.error["remedy"] == LockHeldError.remedy


async def test_a_defect_ends_a_job_too(jobs: Jobs) -> None:
    async def break_down(_progress: Progress) -> Mapping[str, Any]:
        raise ZeroDivisionError

    job = await ended(jobs, await jobs.start("export", "source", "ann", break_down))
    assert job.error is not None
    assert job.error["code"] == "web.unforeseen"


async def test_progress_is_told_as_it_comes_and_once_more_to_whoever_comes_late(jobs: Jobs) -> None:
    gate = Gate()

    async def in_steps(progress: Progress) -> Mapping[str, Any]:
        progress("upload", 1, 2)
        return await gate(progress)

    job = await jobs.start("export", "source", "ann", in_steps)
    for _ in range(2):
        watching = aiter(jobs.events(job.id))
        assert await anext(watching) == {"step": "upload", "done": 1, "total": 2}
    gate.open.set()
    assert await anext(watching, None) is None


# --- one job


async def test_a_double_click_and_a_second_administrator_get_the_job_that_runs(jobs: Jobs, gate: Gate) -> None:
    asked = {"types": ["tftp"]}
    first = await jobs.start("export", "source", "ann", gate, asked=asked, key="one")
    assert (await jobs.start("export", "source", "ann", gate, asked=asked, key="two")).id == first.id
    assert (await jobs.start("export", "source", "eve", gate, asked=asked)).id == first.id
    gate.open.set()
    await ended(jobs, first)
    assert gate.done == 1
    assert (await jobs.start("export", "source", "ann", gate, asked=asked, key="two")).id == first.id


async def test_the_same_key_is_the_same_job_after_it_ended(jobs: Jobs, gate: Gate) -> None:
    gate.open.set()
    first = await ended(jobs, await jobs.start("export", "source", "ann", gate, key="k"))
    assert await jobs.start("export", "source", "ann", gate, key="k") == first
    assert (await jobs.start("export", "source", "ann", gate, key="l")).id != first.id


async def test_a_key_cannot_be_used_for_something_else(jobs: Jobs, gate: Gate) -> None:
    await jobs.start("export", "source", "ann", gate, key="k")
    gate.open.set()
    with pytest.raises(KeyReusedError):
        await jobs.start("export", "source", "ann", gate, asked={"types": ["capf"]}, key="k")


async def test_a_cluster_is_changed_by_one_job_at_a_time(jobs: Jobs, gate: Gate) -> None:
    first = await jobs.start("export", "source", "ann", gate)
    with pytest.raises(JobRunningError) as refused:
        await jobs.start("import", "source", "eve", gate)
    assert "export of source, started by ann" in str(refused.value)
    other = await jobs.start("export", "destination", "eve", gate)
    look = await jobs.start("verify", "source", "eve", at_once, writes=False)
    await ended(jobs, look)
    gate.open.set()
    await ended(jobs, first)
    await ended(jobs, other)
    assert (await ended(jobs, await jobs.start("import", "source", "eve", gate))).state is JobState.DONE


async def test_looking_takes_so_many_threads_and_no_more(jobs: Jobs) -> None:
    gates = [Gate() for _ in range(jobs_module.MOST_READING + 1)]
    looks = [await jobs.start("verify", "source", "ann", g, asked={"n": n}, writes=False) for n, g in enumerate(gates)]
    gates[-1].open.set()
    for gate in gates[:-1]:
        gate.open.set()
    for look in looks:
        await ended(jobs, look)


# --- what is remembered


async def one_after_another(jobs: Jobs, clock: Clock, count: int) -> list[Job]:
    made = []
    for _ in range(count):
        made.append(await ended(jobs, await jobs.start("export", "source", "ann", at_once)))
        clock.pass_by(seconds=1)
    return made


async def test_jobs_are_listed_latest_first_page_by_page_without_their_results(jobs: Jobs, clock: Clock) -> None:
    made = await one_after_another(jobs, clock, 3)
    await ended(jobs, await jobs.start("verify", "source", "ann", at_once, writes=False))
    listed = await jobs.latest(kind="export")
    assert [job.id for job in listed.items] == [job.id for job in reversed(made)]
    assert {job.result for job in listed.items} == {None}
    second = await jobs.latest(Slice(1, 2))
    assert ([job.id for job in second.items], second.total) == ([made[2].id, made[1].id], 4)
    assert await jobs.find(made[0].id) == made[0]


async def test_what_ended_is_read_once_by_who_lists_it_again_and_again(
    jobs: Jobs, clock: Clock, ledger: WebJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await one_after_another(jobs, clock, MOST_LOOKED_AT + 1)
    listed = (await jobs.latest()).items
    assert {job.id for job in listed} == {job.id for job in made}
    for job in listed:
        assert (await jobs.whole(job)).result == (await jobs.find(job.id)).result
    reads: list[str] = []
    monkeypatch.setattr(ledger, "find", reads.append)
    assert (await jobs.whole(listed[-1])).id == listed[-1].id
    assert reads == []
    with pytest.raises(JobUnknownError):
        await jobs.whole(listed[0])  # the one looked at longest ago
    assert reads == [listed[0].id]


async def test_an_unknown_job_is_refused(jobs: Jobs) -> None:
    with pytest.raises(JobUnknownError):
        await jobs.find("none")


async def test_the_oldest_jobs_are_forgotten_with_their_keys(
    jobs: Jobs, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "MOST_KEPT", 2)
    first = await ended(jobs, await jobs.start("export", "source", "ann", at_once, key="k"))
    clock.pass_by(seconds=1)
    await one_after_another(jobs, clock, 2)
    with pytest.raises(JobUnknownError):
        await jobs.find(first.id)
    assert (await jobs.start("export", "source", "ann", at_once, key="k")).id != first.id


async def test_a_server_that_stops_waits_for_what_runs(ledger: WebJobs, gate: Gate) -> None:
    jobs = Jobs(Clock(), ledger)
    job = await jobs.start("import", "source", "ann", gate)
    stopping = asyncio.create_task(jobs.finish())
    gate.open.set()
    await stopping
    assert (await jobs.find(job.id)).state is JobState.DONE


async def test_no_job_starts_work_before_it_is_known(jobs: Jobs) -> None:
    seen: list[int] = []

    async def count(_progress: Progress) -> Mapping[str, Any]:
        seen.append(len((await jobs.latest()).items))
        return {}

    work: Work = count
    await ended(jobs, await jobs.start("export", "source", "ann", work))
    assert seen == [1]


# --- a server that starts anew, and a second one


async def test_after_a_restart_jobs_and_keys_are_what_they_were(jobs: Jobs, ledger: WebJobs, clock: Clock) -> None:
    first = await ended(jobs, await jobs.start("export", "source", "ann", at_once, asked={"types": ["tftp"]}, key="k"))
    anew = Jobs(clock, ledger)
    await anew.resume()
    assert await anew.find(first.id) == first
    assert await anew.start("export", "source", "ann", at_once, asked={"types": ["tftp"]}, key="k") == first
    with pytest.raises(KeyReusedError):
        await anew.start("export", "source", "ann", at_once, asked={"types": ["capf"]}, key="k")
    assert await anew.find_key("k") == first


async def test_every_key_that_meant_a_running_job_means_it_after_a_restart(
    jobs: Jobs, ledger: WebJobs, clock: Clock, gate: Gate
) -> None:
    first = await jobs.start("export", "source", "ann", gate, key="one")
    await jobs.start("export", "source", "eve", gate, key="two")
    gate.open.set()
    first = await ended(jobs, first)
    assert await Jobs(clock, ledger).start("export", "source", "eve", gate, key="two") == first
    assert (await jobs.latest()).total == 1


async def test_what_ran_when_the_server_died_was_broken_off_and_can_be_run_again(
    ledger: WebJobs, clock: Clock, gate: Gate
) -> None:
    dead = await asyncio.to_thread(subprocess.check_output, [sys.executable, "-c", DIE], text=True)
    lost = await left_behind(ledger, clock, dead)
    anew = Jobs(clock, ledger)
    await anew.resume()
    broken = await anew.find(lost.id)
    assert (broken.state, broken.is_running) == (JobState.INTERRUPTED, False)
    assert broken.error is not None
    assert (broken.error["code"], broken.error["remedy"]) == ("web.job-interrupted", JobInterruptedError.remedy)
    assert (await anew.start("import", "source", "ann", gate, key="k")).id == lost.id
    gate.open.set()
    again = await ended(anew, await anew.start("import", "source", "ann", gate, key="another"))
    assert again.state is JobState.DONE
    await anew.finish()


DIE = "from certferry.web.leases import own_name; print(own_name(), end='')"


async def left_behind(ledger: WebJobs, clock: Clock, server: str) -> Job:
    """A job that a server which is no more began."""
    job = Job("1" * 16, "import", "source", "ann", {}, writes=True, started_at=clock(), runner=server)
    ledger.begin(job, "k", clock() + LEASE, 500)
    return job


async def test_a_server_elsewhere_that_says_nothing_is_taken_for_dead_when_its_lease_is_over(
    jobs: Jobs, ledger: WebJobs, clock: Clock
) -> None:
    lost = await left_behind(ledger, clock, "elsewhere/pid:[1]/1/00")
    await jobs.resume()
    clock.pass_by(seconds=LEASE.total_seconds() - 1)
    assert (await jobs.find(lost.id)).is_running
    assert [job.id for job in await jobs.running("source")] == [lost.id]
    clock.pass_by(seconds=1)
    assert (await jobs.find(lost.id)).state is JobState.INTERRUPTED
    assert await jobs.running("source") == ()


async def test_two_servers_of_a_cluster_do_one_thing_once(
    jobs: Jobs, ledger: WebJobs, clock: Clock, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "LOOK_SECONDS", 0.01)
    other = Jobs(clock, ledger, "elsewhere/pid:[1]/1/00")
    first = await jobs.start("export", "source", "ann", gate, key="k")
    assert (await other.start("export", "source", "eve", gate)).id == first.id
    assert (await other.start("export", "source", "ann", gate, key="k")).id == first.id
    with pytest.raises(JobRunningError):
        await other.start("import", "source", "eve", gate)
    watching = asyncio.create_task(ended(other, first))
    gate.open.set()
    assert (await watching).result == {"done": 1}
    assert gate.done == 1
    await other.finish()


async def test_the_lease_is_renewed_with_the_progress_while_a_job_runs(
    jobs: Jobs, ledger: WebJobs, clock: Clock, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "RENEW_SECONDS", 0.01)
    monkeypatch.setattr(jobs_module, "LOOK_SECONDS", 0.01)

    async def in_steps(progress: Progress) -> Mapping[str, Any]:
        progress("upload", 1, 2)
        return await gate(progress)

    job = await jobs.start("export", "source", "ann", in_steps)
    other = Jobs(clock, ledger, "elsewhere/pid:[1]/1/00")
    begun = ledger._leases()
    clock.pass_by(seconds=LEASE.total_seconds() / 2)
    await until(lambda: ledger._leases() != begun)
    assert await anext(other.events(job.id)) == {"step": "upload", "done": 1, "total": 2}
    clock.pass_by(seconds=LEASE.total_seconds() * 0.75)
    assert (await other.find(job.id)).is_running
    gate.open.set()
    await ended(jobs, job)


async def test_an_end_that_cannot_be_kept_is_told_and_kept_before_the_next_job(
    jobs: Jobs, ledger: WebJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: WebJobs, _job: Job) -> None:
        raise DatabaseError("the disk is full")

    with monkeypatch.context() as full:
        full.setattr(WebJobs, "end", refuse)
        job = await ended(jobs, await jobs.start("export", "source", "ann", at_once))
        assert job.state is JobState.DONE
    await ended(jobs, await jobs.start("import", "source", "ann", at_once))
    kept = ledger.find(job.id)
    assert kept is not None
    assert kept.result == {"actor": "ann"}


def test_a_process_knows_which_of_its_like_are_gone() -> None:
    assert not is_gone(f"elsewhere/{own_name()}")
    machine, pid = own_name().rpartition("/")[0].rpartition("/")[::2]
    assert is_gone(f"{machine}/{pid}/00")
    assert not is_gone(f"{machine}/1/00")
    assert not is_gone("nonsense")
