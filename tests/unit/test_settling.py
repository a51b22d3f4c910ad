"""Nodes are given a moment to take over a change before a cluster is looked at."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from certferry.cluster.values import Phone
from certferry.migrate import place as places
from certferry.migrate.place import Place
from certferry.migrate.settling import LOOK_SECONDS, SETTLE_SECONDS, settle
from certferry.migrate.waves import preflight as starts
from certferry.migrate.waves.preflight import preflight, sample
from certferry.migrate.waves.sides import Sides
from conftest import MakeCluster


@dataclass
class Nodes:
    """Nodes that answer from change 3, and from ``then`` after so many looks; each look takes its time."""

    then: dict[str, int]
    looks: int
    latest: int = 4
    seconds: float = 0
    slept: list[float] = field(default_factory=list)

    def version(self) -> int:
        return self.latest

    def served(self) -> dict[str, int]:
        return self.then if len(self.slept) >= self.looks else dict.fromkeys(self.then, 3)

    def clock(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


def settled(nodes: Nodes, **options: Any) -> bool:
    return settle(nodes, clock=nodes.clock, sleep=nodes.sleep, **options)


def test_nodes_that_answer_from_the_latest_change_are_not_waited_for() -> None:
    nodes = Nodes({"pub": 4, "sub": 4}, looks=0)
    assert settled(nodes)
    assert nodes.slept == []


def test_nodes_that_never_reported_are_not_waited_for() -> None:
    nodes = Nodes({}, looks=0)
    assert settled(nodes)
    assert nodes.slept == []


def test_a_change_made_a_moment_ago_is_waited_for_and_no_longer() -> None:
    nodes = Nodes({"pub": 4, "sub": 5}, looks=7)
    assert settled(nodes)
    assert nodes.slept == [LOOK_SECONDS] * 7


def test_all_nodes_are_waited_for() -> None:
    nodes = Nodes({"pub": 4, "sub": 3}, looks=2)
    assert not settled(nodes)


def test_a_node_that_does_not_learn_of_the_change_is_given_up_after_a_while() -> None:
    nodes = Nodes({"pub": 3}, looks=0)
    assert not settled(nodes)
    assert sum(nodes.slept) == pytest.approx(SETTLE_SECONDS, abs=2 * LOOK_SECONDS)
    shorter = Nodes({"pub": 3}, looks=0)
    assert not settled(shorter, within=1)
    assert sum(shorter.slept) == pytest.approx(1, abs=2 * LOOK_SECONDS)


def test_a_change_made_while_waiting_is_waited_for_as_well() -> None:
    nodes = Nodes({"pub": 4}, looks=1)

    def sleep(seconds: float) -> None:
        nodes.sleep(seconds)
        if len(nodes.slept) == 1:
            nodes.latest = 5
        if len(nodes.slept) == 3:
            nodes.then = {"pub": 5}

    assert settle(nodes, clock=nodes.clock, sleep=sleep)
    assert len(nodes.slept) == 3


def test_a_cluster_named_for_verification_settles_before_it_is_read(
    make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make_cluster("source")
    cluster.add_phones([Phone("SEP000000000001")])
    monkeypatch.setattr(places, "settle", lambda opened: opened.report_served({"source-pub": opened.version()}))
    inside = Place.parse([cluster.location.text]).inside
    assert inside
    assert inside.served == {"source-pub": cluster.version()}


async def test_both_clusters_of_a_migration_settle_before_they_are_verified(
    make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = Sides(make_cluster("source"), make_cluster("destination"))
    waited = []
    monkeypatch.setattr(starts, "settle", lambda cluster: waited.append(cluster.name))
    monkeypatch.setattr(starts, "verify", verified := Verified())
    await preflight(sides, sample([Phone("SEP000000000001")], []), datetime(2026, 6, 1, 1, 2, 3, 4, tzinfo=UTC))
    assert sorted(waited) == ["destination", "source"]
    assert verified.places == ["source", "destination"]


@dataclass
class Verified:
    """Stands for the verification, which is tried elsewhere: here only when it is made matters."""

    places: list[str] = field(default_factory=list)

    async def __call__(self, source: Place, destination: Place, *_: object, **__: object) -> None:
        self.places += [source.text, destination.text]
