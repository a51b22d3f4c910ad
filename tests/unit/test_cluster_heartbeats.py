"""Nodes are running while a process says so, stopped when it takes that back, and silent when it died."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.database import DatabaseError
from certferry.cluster.heartbeats import BEAT, FORGOTTEN_AFTER, SILENT_AFTER, Heartbeats
from certferry.serve.watching import Watcher
from conftest import MakeCluster
from web_pages import reading
from web_site import Site

NOW = datetime(2026, 6, 1, 8, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def wait(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cluster(make_cluster: MakeCluster, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = make_cluster(nodes=2)
    monkeypatch.setattr(made, "_clock", clock)
    return made


def test_a_node_runs_while_its_process_says_so(cluster: Cluster, clock: Clock) -> None:
    assert cluster.heartbeats.running() == frozenset()
    cluster.heartbeats.beat("one", ["source-pub", "source-sub1"])
    clock.now += BEAT
    assert cluster.heartbeats.running() == {"source-pub", "source-sub1"}


def test_a_process_that_stops_takes_back_what_it_said(cluster: Cluster) -> None:
    cluster.heartbeats.beat("one", ["source-pub"])
    cluster.heartbeats.stop("one")
    assert cluster.heartbeats.latest() == {}


def test_a_node_runs_as_long_as_one_of_its_processes_does(cluster: Cluster) -> None:
    cluster.heartbeats.beat("one", ["source-pub"])
    cluster.heartbeats.beat("two", ["source-pub"])
    cluster.heartbeats.stop("one")
    assert cluster.heartbeats.running() == {"source-pub"}


def test_a_process_that_died_falls_silent_and_is_forgotten_at_last(cluster: Cluster, clock: Clock) -> None:
    cluster.heartbeats.beat("one", ["source-pub"])
    clock.now += SILENT_AFTER + timedelta(seconds=1)
    latest = cluster.heartbeats.latest()["source-pub"]
    assert (latest.at, latest.is_silent) == (NOW, True)
    assert cluster.heartbeats.running() == frozenset()
    clock.now += FORGOTTEN_AFTER
    cluster.heartbeats.beat("two", ["source-sub1"])
    assert set(cluster.heartbeats.latest()) == {"source-sub1"}


# --- who says so


async def test_a_server_says_so_before_anything_happens_and_takes_it_back_when_it_closes(cluster: Cluster) -> None:
    watcher = Watcher(cluster)
    watcher.at("source-pub")
    await watcher.beat()
    assert cluster.heartbeats.running() == {"source-pub"}
    await watcher.close()
    assert cluster.heartbeats.running() == frozenset()


async def test_a_server_that_closed_says_nothing_more(cluster: Cluster) -> None:
    watcher = Watcher(cluster)
    watcher.at("source-pub")
    await watcher.close()
    await watcher.beat()
    assert cluster.heartbeats.running() == frozenset()


async def test_a_database_that_is_away_ends_no_server(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise DatabaseError("it is away")

    watcher = Watcher(cluster)
    watcher.at("source-pub")
    with monkeypatch.context() as patch:
        patch.setattr(Heartbeats, "beat", away)
        await watcher.beat()
    await watcher.beat()
    assert cluster.heartbeats.running() == {"source-pub"}


# --- who looks


@pytest.mark.parametrize(
    ("happens", "told"),
    [
        (lambda cluster, clock: None, "running 1, the latest"),
        (lambda cluster, clock: cluster.heartbeats.stop("one"), "stopped last served 1"),
        (
            lambda cluster, clock: setattr(clock, "now", NOW + timedelta(hours=1)),
            "no sign of life since 2026-06-01 08:00:00",
        ),
    ],
)
async def test_the_page_says_whether_the_services_of_a_node_run(
    cluster: Cluster, clock: Clock, happens: Callable[[Cluster, Clock], None], told: str
) -> None:
    cluster.report_served({node.name: cluster.version() for node in cluster.nodes()})
    cluster.heartbeats.beat("one", [node.name for node in cluster.nodes()])
    happens(cluster, clock)
    async with reading(Site(cluster)) as reader:
        assert told in " ".join((await reader.open("/show/cluster")).text.split())
