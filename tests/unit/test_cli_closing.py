"""A command gives back every cluster that it opened, however it ends."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.values import Phone
from command_line import certferry
from conftest import MakeCluster

pytestmark = pytest.mark.slow

PHONE = Phone("SEP000000000001")


@pytest.fixture
def held(ends: list[str], monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many databases are held open, by the cluster's place."""
    assert ends, "made before anything is counted"
    counted: Counter[str] = Counter()
    really: dict[str, Callable[..., Any]] = {"open": Cluster.open.__func__, "close": Cluster.close}  # type: ignore[attr-defined]

    def opened(cls: type[Cluster], place: Any, *more: Any, **options: Any) -> Cluster:
        cluster = really["open"](cls, place, *more, **options)
        assert isinstance(cluster, Cluster)
        counted[cluster.location.text] += 1
        return cluster

    def closed(cluster: Cluster) -> None:
        counted[cluster.location.text] -= 1
        really["close"](cluster)

    monkeypatch.setattr(Cluster, "open", classmethod(opened))
    monkeypatch.setattr(Cluster, "close", closed)
    return counted


@pytest.fixture
def ends(make_cluster: MakeCluster) -> list[str]:
    source, destination = make_cluster("source", nodes=1), make_cluster("destination", nodes=1)
    for cluster in (source, destination):
        cluster.add_phones([PHONE])
    return ["--source", source.location.text, "--destination", destination.location.text]


def opened_and_held(held: Counter[str]) -> tuple[int, set[int]]:
    return len(held), set(held.values())


def test_the_commands_of_a_migration_hold_neither_cluster(held: Counter[str], ends: list[str]) -> None:
    assert certferry("migrate", "plan", *ends, "--all").code == 0
    assert opened_and_held(held) == (2, {0})
    assert certferry("migrate", "status", *ends[:2]).code == 0
    assert certferry("migrate", "back", *ends).code == 2
    assert certferry("migrate", "start", *ends, "--override", "a test").code == 2
    assert opened_and_held(held) == (2, {0})


@pytest.mark.parametrize(
    "words",
    [
        ("cluster", "show"),
        ("phone", "list"),
        ("cert", "list"),
        ("bulk", "list"),
        ("audit",),
        ("cert", "show", "x", "y"),
    ],
)
def test_commands_of_one_cluster_hold_it_no_more(held: Counter[str], ends: list[str], words: tuple[str, ...]) -> None:
    certferry("--cluster", ends[1], *words)
    assert opened_and_held(held)[1] <= {0}


def test_a_cluster_looked_at_from_inside_is_held_no_more(held: Counter[str], ends: list[str], tmp_path: Path) -> None:
    certferry("verify", *ends, "--timeout", "0.2", "--report", tmp_path / "page.html")
    assert opened_and_held(held) == (2, {0})


def test_a_web_server_that_refuses_to_begin_holds_nothing(held: Counter[str], ends: list[str]) -> None:
    refused = certferry("--cluster", ends[1], "web", "--other-cluster", ends[3], "--other-cluster", ends[3], "--json")
    assert refused.error["code"] == "web.cluster-twice"
    assert opened_and_held(held) == (2, {0})
