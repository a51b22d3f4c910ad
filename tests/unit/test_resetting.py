"""Reset requests are taken for the phones registered here, told at most once, and their end is told to the cluster."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, KeysView
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.database import DatabaseError
from certferry.cluster.resets import ResetOutcome, Resets
from certferry.serve import resetting
from certferry.serve.resetting import Resetter
from certferry.serve.watching import NodeWatch
from conftest import MakeCluster
from waiting import until

PHONE, OTHER = "SEP000000000001", "SEP000000000002"


@dataclass
class FakeRegistrar:
    """Holds connections of phones, and remembers what it was asked to tell them."""

    phones: dict[str, None]
    answer: Callable[[str], Awaitable[bool]]
    told: list[tuple[str, str]] = field(default_factory=list)

    @property
    def connected(self) -> KeysView[str]:
        return self.phones.keys()

    async def reset(self, device: str, request_id: str) -> bool:
        self.told.append((device, request_id))
        return await self.answer(device)


@dataclass
class FakeNode:
    registrars: list[Any]
    watch: NodeWatch


async def at_once(_: str) -> bool:
    return True


def node(*phones: str, name: str = "pub", answer: Callable[[str], Awaitable[bool]] = at_once) -> FakeNode:
    return FakeNode([FakeRegistrar(dict.fromkeys(phones), answer)], NodeWatch(name, deque(), {}))


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(nodes=1)


@asynccontextmanager
async def running(cluster: Cluster, *nodes: FakeNode) -> AsyncIterator[Resetter]:
    resetter = Resetter(cluster.resets, lambda: nodes)
    task = asyncio.create_task(resetter.run())
    resetter.look()
    try:
        yield resetter
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await resetter.close()


def outcomes(cluster: Cluster, *ids: str) -> list[ResetOutcome | None]:
    found = cluster.resets.find(ids)
    return [found[each].outcome for each in ids]


async def test_each_node_tells_its_own_phones(cluster: Cluster) -> None:
    cluster.resets.ask({"r1": PHONE, "r2": OTHER, "r3": "SEP00000000000F"}, "wave 1")
    pub, sub = node(PHONE), node(OTHER, name="sub")
    async with running(cluster, pub, sub, node()):
        await until(lambda: outcomes(cluster, "r1", "r2") == [ResetOutcome.DONE, ResetOutcome.DONE])
    assert (pub.registrars[0].told, sub.registrars[0].told) == ([(PHONE, "r1")], [(OTHER, "r2")])
    assert {each.id: each.node for each in cluster.resets.find(["r1", "r2", "r3"]).values()} == {
        "r1": "pub", "r2": "sub", "r3": "",
    }  # fmt: skip


async def test_a_phone_that_does_not_answer_is_told_so_and_holds_up_nobody(cluster: Cluster) -> None:
    cluster.resets.ask({"r1": PHONE, "r2": OTHER}, "wave 1")
    silent = asyncio.Event()

    async def answer(device: str) -> bool:
        if device == PHONE:
            await silent.wait()
        return device == OTHER

    async with running(cluster, node(PHONE, OTHER, answer=answer)):
        await until(lambda: outcomes(cluster, "r2") == [ResetOutcome.DONE])
        assert outcomes(cluster, "r1") == [None]
        silent.set()
        await until(lambda: outcomes(cluster, "r1") == [ResetOutcome.UNANSWERED])


async def test_no_more_are_told_at_once_than_there_is_room_for_and_all_are_in_the_end(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resetting, "MOST_AT_ONCE", 3)
    phones = [f"SEP{number:012X}" for number in range(10)]
    ids = {f"r{number}": device for number, device in enumerate(phones)}
    cluster.resets.ask(ids, "wave 1")
    now, most = 0, 0

    async def answer(_: str) -> bool:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return True

    async with running(cluster, node(*phones[:5], answer=answer), node(*phones[5:], name="sub", answer=answer)):
        await until(lambda: set(outcomes(cluster, *ids)) == {ResetOutcome.DONE})
    assert most == 3


async def test_whoever_is_not_answered_when_the_service_stops_is_unanswered(cluster: Cluster) -> None:
    cluster.resets.ask({"r1": PHONE}, "wave 1")

    async def never(_: str) -> bool:
        await asyncio.Event().wait()
        return True

    silent = node(PHONE, answer=never)
    async with running(cluster, silent):
        await until(lambda: silent.registrars[0].told)
    assert outcomes(cluster, "r1") == [ResetOutcome.UNANSWERED]


async def test_an_end_that_cannot_be_told_is_told_later_and_the_phone_is_not_told_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resetting, "AGAIN_SECONDS", 0.01)
    cluster.resets.ask({"r1": PHONE}, "wave 1")
    end_all, refused = Resets.end_all, 0

    def refuse_twice(resets: Resets, ended: Any) -> None:
        nonlocal refused
        refused += 1
        if refused <= 2:
            raise DatabaseError("the file is locked")
        end_all(resets, ended)

    monkeypatch.setattr(Resets, "end_all", refuse_twice)
    here = node(PHONE)
    async with running(cluster, here):
        await until(lambda: outcomes(cluster, "r1") == [ResetOutcome.DONE])
    assert here.registrars[0].told == [(PHONE, "r1")]


async def test_two_processes_that_hold_a_connection_of_one_phone_tell_it_once(cluster: Cluster) -> None:
    ids = {f"r{number}": PHONE for number in range(20)}
    cluster.resets.ask(ids, "wave 1")
    old, new = node(PHONE), node(PHONE)
    async with running(cluster, old), running(cluster, new):
        await until(lambda: set(outcomes(cluster, *ids)) == {ResetOutcome.DONE})
    told = [request for each in (old, new) for _, request in each.registrars[0].told]
    assert sorted(told) == sorted(ids)
