"""What pages keep of a cluster is never older than its last change."""

from certferry.cluster.cluster import Cluster
from certferry.cluster.values import Phone
from certferry.web.pages.kept import DEVICES, Kept
from conftest import MakeCluster


def test_a_value_is_read_once_until_the_cluster_changes(make_cluster: MakeCluster) -> None:
    cluster, reads = make_cluster(nodes=1), list[str]()

    def read(asked: Cluster) -> int:
        reads.append(asked.name)
        return len(asked.phones())

    kept = Kept(read)
    assert (kept.of(cluster), kept.of(cluster)) == (0, 0)
    cluster.add_phones([Phone("SEP001B54000001")])
    assert (kept.of(cluster), kept.of(cluster)) == (1, 1)
    assert reads == ["source", "source"]


def test_a_change_by_another_process_is_seen(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    assert DEVICES.of(cluster) == frozenset()
    other = Cluster.open(cluster.location.folder)
    other.add_phones([Phone("SEP001B54000001")])
    other.close()
    assert DEVICES.of(cluster) == {"SEP001B54000001"}
