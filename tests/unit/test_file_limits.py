"""How many files a process may open, and how many phones a node takes with them."""

import resource
import subprocess
import sys

import pytest

from certferry.serve.limits import MOST_PHONES, places_for_phones, raise_file_limit
from certferry.serve.node import NodeServices, ServeOptions
from certferry.serve.snapshot import Snapshot
from certferry.serve.watching import Watcher
from conftest import MakeCluster


@pytest.mark.parametrize(
    ("hard", "places"),
    [
        (resource.RLIM_INFINITY, MOST_PHONES),
        (1 << 20, MOST_PHONES),
        (65_536, 45_056),  # as the units have it: a whole cluster of 40,000 phones
        (20_000, 10_000),
        (1024, 512),
    ],
)
def test_phones_get_the_files_that_other_services_leave(
    monkeypatch: pytest.MonkeyPatch, hard: int, places: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, hard))
    assert places_for_phones() == places


def test_a_process_takes_all_the_files_it_may_have() -> None:
    """In a process of its own: its limit is lowered first."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = (
        "import resource as r; from certferry.serve.limits import raise_file_limit as f;"
        "r.setrlimit(r.RLIMIT_NOFILE, (256, r.getrlimit(r.RLIMIT_NOFILE)[1]));"
        "print(f(), *r.getrlimit(r.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, check=True, text=True)
    assert done.stdout.split() == [str(hard)] * 3


def places_of(services: NodeServices) -> list[int]:
    return [server._listener._max_connections for server in services.registrars]


def test_a_node_s_registrar_takes_as_many_phones_as_it_is_let(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    (node,) = cluster.nodes()
    watch = Watcher(cluster).at(node.name)
    snapshot = Snapshot.load(cluster, [node.name])
    assert places_of(NodeServices(node, snapshot, ServeOptions(most_phones=7), watch=watch)) == [7]
    assert places_of(NodeServices(node, snapshot, watch=watch)) == [places_for_phones()]
    assert raise_file_limit() >= places_for_phones()
