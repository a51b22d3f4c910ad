"""The lock file: one owner, waiting, expiry, dead owners, and breaking it."""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from bulk_lab import NOW, Directory
from certferry.bulk import lock
from certferry.bulk.lock import LEASE, Lock, LockHeldError, break_lock, holder, locked


def clock() -> datetime:
    return NOW


def mine(**changes: object) -> Lock:
    return replace(Lock.mine("source", "export", NOW), **changes)  # type: ignore[arg-type]


async def owner(directory: Directory) -> int:
    held = await holder(directory, "a", clock)
    assert held
    return held.pid


async def test_a_lock_is_there_for_the_length_of_the_block_and_names_its_owner() -> None:
    directory = Directory()
    async with locked(directory, "source", "source", "export", clock=clock):
        held = await holder(directory, "source", clock)
        assert held
        assert (held.cluster, held.operation, held.pid) == ("source", "export", os.getpid())
        assert directory.names() == ["source.lock"]
    assert directory.names() == []
    assert await holder(directory, "source", clock) is None


async def test_locks_of_different_clusters_and_of_consolidation_do_not_meet() -> None:
    directory = Directory()
    async with (
        locked(directory, "a", "a", "export"),
        locked(directory, "b", "b", "export"),
        locked(directory, None, "a", "consolidation"),
    ):
        assert directory.names() == ["a.lock", "b.lock", "consolidated.lock"]


async def test_a_held_lock_is_refused_with_its_owner() -> None:
    directory = Directory()
    async with locked(directory, None, "source", "consolidation"):
        with pytest.raises(LockHeldError, match=f"consolidation of source on .* \\(process {os.getpid()}\\)"):
            async with locked(directory, None, "destination", "consolidation", wait=0):
                pass
        assert directory.names() == ["consolidated.lock"]


async def test_a_lock_released_in_time_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "POLL_SECONDS", 0.001)
    directory = Directory()
    first_has_it, release = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with locked(directory, "a", "a", "export"):
            first_has_it.set()
            await release.wait()

    async def second() -> None:
        async with locked(directory, "a", "a", "export", wait=30):
            assert release.is_set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(first())
        await first_has_it.wait()
        waiting = tasks.create_task(second())
        await asyncio.sleep(0)
        assert not waiting.done()
        release.set()


async def test_a_lock_is_released_when_the_work_fails() -> None:
    directory = Directory()
    with pytest.raises(ValueError, match="broke"):
        async with locked(directory, "a", "a", "export"):
            raise ValueError("broke")
    assert directory.names() == []


async def test_an_expired_lock_of_another_machine_is_taken_over() -> None:
    directory = Directory()
    directory.put("a.lock", mine(machine="elsewhere").encode())
    with pytest.raises(LockHeldError):
        async with locked(directory, "a", "a", "export", wait=0, clock=lambda: NOW + LEASE - timedelta(seconds=1)):
            pass
    async with locked(directory, "a", "a", "export", wait=0, clock=lambda: NOW + LEASE):
        assert await owner(directory) == os.getpid()


async def test_the_lock_of_a_dead_process_of_this_machine_is_taken_over_at_once() -> None:
    directory = Directory()
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)  # noqa: ASYNC221
    directory.put("a.lock", mine(pid=int(dead.stdout)).encode())
    async with locked(directory, "a", "a", "export", wait=0, clock=clock):
        assert await owner(directory) == os.getpid()


async def test_a_later_process_with_the_same_number_is_not_the_owner() -> None:
    directory = Directory()
    directory.put("a.lock", mine(started="1", cluster="earlier").encode())
    async with locked(directory, "a", "a", "export", wait=0, clock=clock):
        held = await holder(directory, "a", clock)
        assert held
        assert held.cluster == "a"


async def test_a_lock_cut_short_lasts_a_lease_by_its_age() -> None:
    directory = Directory()
    directory.put("a.lock", mine().encode()[:20])
    with pytest.raises(LockHeldError, match=r"locked by a\.lock"):
        async with locked(directory, "a", "a", "export", wait=0, clock=clock):
            pass
    async with locked(directory, "a", "a", "export", wait=0, clock=lambda: NOW + 2 * LEASE):
        pass


async def test_a_lock_taken_over_meanwhile_is_not_removed_by_its_first_owner() -> None:
    directory = Directory()
    async with locked(directory, "a", "a", "export"):
        directory.put("a.lock", mine(token="another").encode())
    assert directory.names() == ["a.lock"]


async def test_a_lock_can_be_broken() -> None:
    directory = Directory()
    directory.put("a.lock", mine().encode())
    assert await break_lock(directory, "a")
    assert not await break_lock(directory, "a")


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"cluster": 1}', "\x00", json.dumps({"token": "x"})])
def test_junk_is_no_lock(text: str) -> None:
    assert Lock.parse(text.encode()) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"expires_at": "2026-01-02T03:04:05"},
        {"expires_at": "2026-01-02"},
        {"expires_at": "soon"},
        {"expires_at": 5},
        {"pid": "1\0"},
        {"pid": "\ud800"},
        {"pid": "../../tmp"},
        {"pid": None},
        {"pid": True},
        {"host": ["x"]},
        {"host": "\ud800"},
        {"host": "x" * 5000},
        {"machine": 1},
        {"started": None},
    ],
    ids=str,
)
async def test_a_lock_with_a_value_that_cannot_be_is_junk_and_is_cleared_after_a_lease(
    changed: dict[str, object],
) -> None:
    data = json.dumps(json.loads(mine().encode()) | changed).encode()
    assert Lock.parse(data) is None
    directory = Directory()
    directory.put("source.lock", data)
    with pytest.raises(LockHeldError, match=r"locked by source\.lock"):
        async with locked(directory, "source", "source", "export", wait=0, clock=clock):
            pass
    async with locked(directory, "source", "source", "export", wait=0, clock=lambda: NOW + 2 * LEASE):
        assert directory.names() == ["source.lock"]


def test_a_lock_reads_back_as_written() -> None:
    written = mine()
    assert Lock.parse(written.encode()) == written
