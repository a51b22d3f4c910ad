"""Counters of the services: added up over processes, and never going down."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select

from certferry.cluster import schema
from certferry.cluster.cluster import Cluster
from certferry.cluster.counters import GONE_AFTER
from conftest import CLUSTER_BORN, MakeCluster


@pytest.fixture
def now() -> list[datetime]:
    return [CLUSTER_BORN]


@pytest.fixture
def cluster(make_cluster: MakeCluster, now: list[datetime]) -> Cluster:
    make_cluster(nodes=1).close()
    return make_cluster("moving", nodes=1, clock=lambda: now[0])


def rows(cluster: Cluster) -> int:
    with cluster._database.read() as connection:
        return connection.scalar(select(func.count()).select_from(schema.service_counter)) or 0


def test_nothing_was_counted_in_the_beginning(cluster: Cluster) -> None:
    assert cluster.counters.totals() == {}
    cluster.counters.report_all("p1", {})


def test_a_later_report_of_a_process_replaces_its_former(cluster: Cluster) -> None:
    cluster.counters.report("pub", "tvs", "p1", {"trusted": 3, "unknown": 1})
    cluster.counters.report("pub", "tvs", "p1", {"trusted": 5})
    assert cluster.counters.totals() == {("pub", "tvs", "trusted"): 5, ("pub", "tvs", "unknown"): 1}


def test_processes_nodes_and_services_are_told_apart_and_added_up(cluster: Cluster) -> None:
    cluster.counters.report_all("p1", {("pub", "tvs"): {"malformed": 1}, ("pub", "http"): {"malformed": 2}})
    cluster.counters.report_all("p2", {("pub", "tvs"): {"malformed": 10}, ("sub", "tvs"): {"malformed": 20}})
    assert cluster.counters.totals() == {
        ("pub", "tvs", "malformed"): 11,
        ("pub", "http", "malformed"): 2,
        ("sub", "tvs", "malformed"): 20,
    }


def test_what_processes_counted_that_are_gone_stays_in_the_totals_without_filling_the_table(
    cluster: Cluster, now: list[datetime]
) -> None:
    for number in range(10):
        cluster.counters.report("pub", "tvs", f"p{number}", {"trusted": 10})
        now[0] += GONE_AFTER + timedelta(seconds=1)
    assert cluster.counters.totals() == {("pub", "tvs", "trusted"): 100}
    assert rows(cluster) == 2  # the last one's, and nobody's


def test_a_process_that_still_reports_is_not_gone(cluster: Cluster, now: list[datetime]) -> None:
    cluster.counters.report("pub", "tvs", "p1", {"trusted": 1})
    now[0] += GONE_AFTER
    cluster.counters.report("pub", "tvs", "p2", {"trusted": 1})
    cluster.counters.report("pub", "tvs", "p1", {"trusted": 4})
    assert cluster.counters.totals() == {("pub", "tvs", "trusted"): 5}
