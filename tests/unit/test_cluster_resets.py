"""Reset requests: each is taken once, by whoever is first, and survives whoever dies."""

import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.resets import ResetOutcome, ResetRequest, Resets
from certferry.cluster.sightings import CHUNK
from conftest import CLUSTER_BORN, MakeCluster
from threads import at_once

PHONE, OTHER = "SEP000000000001", "SEP000000000002"


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(nodes=1)


@pytest.fixture
def resets(cluster: Cluster) -> Resets:
    return cluster.resets


def many(count: int) -> dict[str, str]:
    return {f"r{number}": f"SEP{number:012X}" for number in range(count)}


def ids(taken: Sequence[ResetRequest]) -> list[str]:
    return [request.id for request in taken]


def test_a_request_is_open_until_a_node_takes_it(resets: Resets) -> None:
    assert resets.open_count() == 0
    resets.ask({"r1": PHONE, "r2": OTHER}, "wave 1")
    assert resets.open_count() == 2
    assert resets.find(["r1"])["r1"] == ResetRequest("r1", PHONE, CLUSTER_BORN, "wave 1")
    assert resets.take("pub", [PHONE]) == (
        ResetRequest("r1", PHONE, CLUSTER_BORN, "wave 1", node="pub", taken_at=CLUSTER_BORN),
    )
    assert resets.open_count() == 1
    assert resets.take("pub", [PHONE]) == ()


def test_the_poll_learns_of_changes_and_of_requests_at_once(cluster: Cluster) -> None:
    assert cluster.resets.version_and_any_open() == (cluster.version(), False)
    cluster.resets.ask({"r1": PHONE}, "operator")
    assert cluster.resets.version_and_any_open() == (cluster.version(), True)


def test_asking_again_changes_nothing(resets: Resets) -> None:
    resets.ask({"r1": PHONE}, "wave 1")
    resets.take("pub", [PHONE])
    resets.ask({"r1": PHONE}, "wave 1, after a crash")
    resets.ask({}, "nobody")
    assert resets.open_count() == 0
    resets.end("r1", ResetOutcome.DONE)
    resets.ask({"r1": PHONE, "r2": PHONE}, "another")
    assert resets.find(["r1"])["r1"].outcome is ResetOutcome.DONE
    assert ids(resets.take("pub", [PHONE])) == ["r2"]


def test_the_first_word_on_how_it_ended_stays(resets: Resets) -> None:
    resets.ask({"r1": PHONE}, "operator")
    resets.take("pub", [PHONE])
    resets.end("r1", ResetOutcome.UNANSWERED)
    resets.end("r1", ResetOutcome.DONE)
    ended = resets.find(["r1", "unknown"])
    assert set(ended) == {"r1"}
    assert (ended["r1"].outcome, ended["r1"].ended_at) == (ResetOutcome.UNANSWERED, CLUSTER_BORN)


def test_what_nobody_took_can_be_withdrawn_and_is_never_taken_then(resets: Resets) -> None:
    resets.ask({"r1": PHONE, "r2": OTHER}, "operator")
    resets.take("pub", [PHONE])
    assert resets.withdraw(["r1", "r2", "unknown"]) == {"r2"}
    assert resets.withdraw(["r2"]) == frozenset()
    assert resets.take("pub", [OTHER]) == ()
    assert resets.open_count() == 0
    gone = resets.find(["r2"])["r2"]
    assert (gone.node, gone.taken_at, gone.outcome) == ("", None, ResetOutcome.ABSENT)


def test_no_more_is_taken_than_can_be_told_at_once(resets: Resets) -> None:
    asked = many(5)
    resets.ask(asked, "wave 1")
    taken = [resets.take("pub", asked.values(), limit=2) for _ in range(4)]
    assert [len(batch) for batch in taken] == [2, 2, 1, 0]
    assert [name for batch in taken for name in ids(batch)] == sorted(asked)


def test_more_requests_than_one_statement_takes(resets: Resets) -> None:
    asked = many(2 * CHUNK + 1)
    resets.ask(asked, "wave 1")
    assert len(resets.find(asked)) == len(asked)
    taken = resets.take("pub", list(asked.values())[: CHUNK + 1])
    resets.end_all(dict.fromkeys(ids(taken), ResetOutcome.DONE))
    assert resets.withdraw(asked) == set(asked) - set(ids(taken))


def test_of_threads_that_take_at_once_each_request_goes_to_one(resets: Resets) -> None:
    asked = many(200)
    resets.ask(asked, "wave 1")

    def taking(node: str) -> Callable[[], list[str]]:
        def take() -> list[str]:
            mine: list[str] = []
            while batch := resets.take(node, asked.values(), limit=7):
                mine += ids(batch)
            return mine

        return take

    shares = at_once(*(taking(f"node{number}") for number in range(3)))
    everything = [name for share in shares for name in share]  # type: ignore[attr-defined]
    assert sorted(everything) == sorted(asked)


def test_a_request_is_either_withdrawn_or_taken_never_both(resets: Resets) -> None:
    asked = many(100)
    resets.ask(asked, "wave 1")
    withdrawn, taken = at_once(lambda: resets.withdraw(asked), lambda: ids(resets.take("pub", asked.values())))
    assert isinstance(withdrawn, frozenset)
    assert isinstance(taken, list)
    assert withdrawn.isdisjoint(taken)
    assert withdrawn.union(taken) == set(asked)


TAKE = """
import sys
from certferry.cluster.cluster import Cluster
cluster = Cluster.open(sys.argv[1])
print("ready", flush=True)
devices = sys.stdin.readline().split()
while taken := cluster.resets.take(sys.argv[2], devices, limit=3):
    print(*(request.id for request in taken), flush=True)
"""


def test_of_processes_that_take_at_once_each_request_goes_to_one(cluster: Cluster) -> None:
    asked = many(60)
    cluster.resets.ask(asked, "wave 1")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TAKE, cluster.location.text, node],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for node in ("pub", "sub")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(" ".join(asked.values()) + "\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60)[0].split() for process in processes]
    assert sorted(told[0] + told[1]) == sorted(asked)
    assert {name: request.node for name, request in cluster.resets.find(asked).items()} == {
        **dict.fromkeys(told[0], "pub"),
        **dict.fromkeys(told[1], "sub"),
    }
