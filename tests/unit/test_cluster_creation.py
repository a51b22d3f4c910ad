"""A new cluster: what it has from the start, what it refuses, and that a failed creation leaves nothing behind."""

import sqlite3
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from certferry.cluster.cluster import Cluster, ClusterSpec
from certferry.cluster.database import Database, DatabaseError, DatabaseForeignError, fact, put_fact
from certferry.cluster.issuing import NameImpossibleError, Organisation
from certferry.cluster.location import ClusterExistsError, ClusterLocationError, ClusterMissingError
from certferry.cluster.nodes import NodeInvalidError
from certferry.cluster.sealing import SealError
from certferry.cluster.values import OWN, Node, NodeRole, SecurityMode, Service
from certferry.lab.keys import PooledKeys
from certferry.trust.list_rules import ListIncompleteError
from certferry.trust.purpose import OWN_COPIES, Purpose
from certferry.trust.release import Release
from conftest import CLUSTER_BORN, MakeCluster, usual_nodes

PER_NODE = {Purpose.CALLMANAGER, Purpose.TOMCAT, Purpose.TVS, Purpose.IPSEC}
EC_TWINS = {Purpose.CALLMANAGER_ECDSA, Purpose.TOMCAT_ECDSA}


@pytest.fixture
def make_cluster(tmp_path: Path, key_pool: PooledKeys) -> MakeCluster:
    """Really make a cluster; what other tests get is a copy."""

    def make(
        name: str = "source", release: str = "11.5.1", nodes: int | list[Node] = 3, *, secure: bool = False, **spec: Any
    ) -> Cluster:
        all_nodes = usual_nodes(name, nodes) if isinstance(nodes, int) else nodes
        wanted = ClusterSpec(name, Release.parse(release), all_nodes, secure=secure, **spec)
        return Cluster.create(tmp_path / name, wanted, keys=key_pool, clock=lambda: CLUSTER_BORN)

    return make


def purposes_of(cluster: Cluster, node: str | None) -> set[Purpose]:
    return {identity.purpose for identity in cluster.identities() if identity.node == node}


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- what it has


def test_a_cluster_remembers_its_name_release_and_nodes(make_cluster: MakeCluster) -> None:
    made = make_cluster("source", "10.5.2", nodes=3)
    opened = Cluster.open(made.location.folder)
    assert opened.name == "source"
    assert opened.release == Release(10, 5, 2)
    assert opened.nodes() == made.nodes() == tuple(usual_nodes("source", 3))


def test_the_publisher_stands_first_wherever_it_was_named(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=usual_nodes("source", 3)[::-1])
    assert [node.name for node in cluster.nodes()] == ["source-pub", "source-sub2", "source-sub1"]
    assert cluster.publisher.name == "source-pub"


@pytest.mark.parametrize("release", ["10.0", "10.5.1", "10.5.2"])
def test_before_11_0_each_node_has_four_rsa_certificates(make_cluster: MakeCluster, release: str) -> None:
    cluster = make_cluster(release=release, nodes=2)
    assert purposes_of(cluster, "source-sub1") == PER_NODE
    assert {identity.certificate.key_kind for identity in cluster.identities()} == {"RSA"}


@pytest.mark.parametrize("release", ["11.5.1", "12.0", "12.5.1", "14", "15"])
def test_from_11_0_each_node_has_ec_twins_too(make_cluster: MakeCluster, release: str) -> None:
    cluster = make_cluster(release=release, nodes=2)
    assert purposes_of(cluster, "source-sub1") == PER_NODE | EC_TWINS
    kinds = {identity.purpose.is_ec: identity.certificate.key_kind for identity in cluster.identities()}
    assert kinds == {True: "EC", False: "RSA"}


def test_capf_has_a_certificate_only_where_it_runs(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=3)
    assert [each.node for each in cluster.identities() if each.purpose is Purpose.CAPF] == ["source-pub"]


def test_one_itl_recovery_certificate_serves_the_whole_cluster(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=3)
    assert purposes_of(cluster, None) == {Purpose.ITL_RECOVERY}
    assert cluster.identity(Purpose.ITL_RECOVERY, "source-sub2") == cluster.identity(Purpose.ITL_RECOVERY)


def test_each_node_can_have_an_itl_recovery_certificate_of_its_own(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=3, itl_recovery_per_node=True)
    names = [each.certificate.common_name for each in cluster.identities() if each.purpose is Purpose.ITL_RECOVERY]
    assert names == ["ITLRECOVERY_source-pub", "ITLRECOVERY_source-sub1", "ITLRECOVERY_source-sub2"]


def test_no_two_certificates_share_a_key_or_a_serial(make_cluster: MakeCluster) -> None:
    certificates = [identity.certificate for identity in make_cluster(nodes=3).identities()]
    assert len(certificates) == 3 * 6 + 2
    assert len({each.public_key for each in certificates}) == len(certificates)
    assert len({each.serial for each in certificates}) == len(certificates)


def test_the_organisation_stands_in_every_certificate(make_cluster: MakeCluster) -> None:
    osaka = Organisation(unit="UC", name="Example, Ltd", locality="Osaka", state="Osaka", country="JP")
    cluster = make_cluster(nodes=1, organisation=osaka)
    assert {each.certificate.subject.partition(";")[2] for each in cluster.identities()} == {
        "OU=UC;O=Example, Ltd;L=Osaka;ST=Osaka;C=JP"
    }
    again, _ = cluster.regenerate(Purpose.TVS)
    assert again.certificate.subject.endswith(";OU=UC;O=Example, Ltd;L=Osaka;ST=Osaka;C=JP")


def test_the_trust_stores_hold_copies_of_the_own_certificates_and_nothing_else(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=3)
    due = Counter(
        (store, each.certificate.sha256) for each in cluster.identities() for store in OWN_COPIES[each.purpose]
    )
    held = cluster.trust_entries()
    assert Counter((entry.store, entry.certificate.sha256) for entry in held) == due
    assert {(entry.origin, entry.added_at) for entry in held} == {(OWN, CLUSTER_BORN)}


def test_a_copy_says_whose_certificate_it_is(make_cluster: MakeCluster) -> None:
    told = {entry.description for entry in make_cluster(nodes=2).trust_entries()}
    assert {"CallManager of source-sub1", "CAPF of source-pub", "ITLRecovery of the cluster"} <= told


def test_a_new_cluster_is_non_secure_and_knows_no_phones(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    assert cluster.security_mode is SecurityMode.NON_SECURE
    assert cluster.phones() == ()
    assert cluster.history() == ()
    assert cluster.served() == {}


def test_a_cluster_can_be_made_in_mixed_mode(make_cluster: MakeCluster) -> None:
    assert make_cluster(secure=True).security_mode is SecurityMode.MIXED


def test_subscribers_take_the_calls_first_the_publisher_last(make_cluster: MakeCluster) -> None:
    (group,) = make_cluster(nodes=3).groups()
    assert (group.name, group.members) == ("Default", ("source-sub1", "source-sub2", "source-pub"))


def test_a_lone_publisher_takes_the_calls_itself(make_cluster: MakeCluster) -> None:
    assert make_cluster(nodes=1).groups()[0].members == ("source-pub",)


def test_the_default_group_leaves_out_nodes_that_neither_take_calls_nor_run_tvs(make_cluster: MakeCluster) -> None:
    nodes = [
        Node("pub", "192.0.2.1", frozenset({NodeRole.PUBLISHER, NodeRole.TVS})),
        Node("files", "192.0.2.2", frozenset({NodeRole.TFTP})),
        Node("calls", "192.0.2.3", frozenset({NodeRole.CALLMANAGER, NodeRole.TVS})),
    ]
    assert make_cluster(nodes=nodes).groups()[0].members == ("calls", "pub")


def test_the_largest_cluster_has_21_nodes_and_a_group_of_three(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=21)
    assert len(cluster.nodes()) == 21
    assert cluster.groups()[0].members == ("source-sub1", "source-sub2", "source-sub3")


# --- what it refuses


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        (usual_nodes("big", 22), "22 nodes are more than the 21"),
        (usual_nodes("none", 2)[1:], "exactly one publisher"),
        ([*usual_nodes("two", 1), *usual_nodes("three", 1)], "exactly one publisher"),
        ([*usual_nodes("same", 2), Node("SAME-SUB1", "192.0.2.9", frozenset({NodeRole.TVS}))], "the same name"),
        ([Node("under_score", "192.0.2.1", frozenset({NodeRole.PUBLISHER}))], "not a host name"),
        ([Node("pub", "2001:db8::1", frozenset({NodeRole.PUBLISHER}))], "not an IPv4 address"),
        ([Node("pub", "192.0.2.1", frozenset({NodeRole.PUBLISHER}), {Service.TVS: 65536})], "65536 is no port for tvs"),
    ],
)
def test_nodes_that_cannot_form_a_cluster_are_refused(
    make_cluster: MakeCluster, tmp_path: Path, nodes: list[Node], told: str
) -> None:
    with pytest.raises(NodeInvalidError, match=told):
        make_cluster(nodes=nodes)
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_is_never_made_over_another(make_cluster: MakeCluster) -> None:
    first = make_cluster()
    with pytest.raises(ClusterExistsError):
        make_cluster()
    assert Cluster.open(first.location.folder).identities() == first.identities()


def test_an_organisation_that_no_certificate_can_name_is_refused_before_anything_is_written(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    with pytest.raises(NameImpossibleError, match="cannot be named"):
        make_cluster(organisation=Organisation(country="Japan"))
    assert list(tmp_path.iterdir()) == []


def test_a_host_name_too_long_for_its_itl_recovery_certificate_is_refused(make_cluster: MakeCluster) -> None:
    with pytest.raises(NameImpossibleError):
        make_cluster(nodes=[Node("p" * 63, "192.0.2.1", frozenset({NodeRole.PUBLISHER, NodeRole.TFTP}))])


def test_a_failed_creation_leaves_nothing_behind(
    make_cluster: MakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("certferry.cluster.trust_lists.rebuild", fail)
    with pytest.raises(OSError, match="disk is full"):
        make_cluster()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert make_cluster().name == "source"


def test_a_role_without_its_certificate_is_told_before_anything_is_signed(
    make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certferry.cluster.identities._of_node", lambda *_: [Purpose.CALLMANAGER, Purpose.TOMCAT])
    with pytest.raises(ListIncompleteError, match="source-pub has no TVS certificate"):
        make_cluster()


def test_a_failed_creation_leaves_a_folder_that_was_there(make_cluster: MakeCluster, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(NameImpossibleError):
        make_cluster(organisation=Organisation(country="Japan"))
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_the_key_file_of_a_cluster_whose_database_is_away_is_neither_used_nor_removed(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "seal.key").write_bytes(b"k" * 32)
    with pytest.raises(SealError, match="exists already"):
        make_cluster()
    assert (folder / "seal.key").read_bytes() == b"k" * 32
    assert not (folder / "cluster.sqlite").exists()


# --- where it lives


def test_the_folder_and_the_key_file_are_the_owners_alone(make_cluster: MakeCluster) -> None:
    location = make_cluster().location
    assert mode_of(location.folder) == 0o700
    assert mode_of(location.key_file) == 0o600


def test_the_database_too_is_the_owners_alone_in_a_folder_that_others_may_read(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir(mode=0o755)
    assert mode_of(make_cluster().location.database) == 0o600


def test_there_is_no_cluster_in_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ClusterMissingError, match=str(tmp_path)):
        Cluster.open(tmp_path)


def test_a_file_is_not_a_clusters_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ClusterLocationError, match="is a file"):
        Cluster.open(tmp_path / "file")


def test_another_kind_of_server_is_not_a_place_for_a_cluster_and_its_password_is_not_repeated() -> None:
    with pytest.raises(ClusterLocationError, match=r"^mysql:// is not a place") as caught:
        Cluster.open("mysql://user:secret@db/cluster")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0 and nothing more", b"notes" * 1000])
def test_another_file_in_the_databases_place_is_told(make_cluster: MakeCluster, content: bytes) -> None:
    location = make_cluster().location
    for path in location.folder.glob("cluster.sqlite*"):
        path.unlink()
    location.database.write_bytes(content)
    with pytest.raises(DatabaseForeignError, match="is not a cluster's database"):
        Cluster.open(location.folder)
    assert location.database.read_bytes() == content


def test_a_database_of_another_version_is_told(make_cluster: MakeCluster) -> None:
    location = make_cluster().location
    with sqlite3.connect(location.database) as connection:
        connection.execute("UPDATE fact SET value = '999' WHERE key = 'schema'")
    connection.close()
    with pytest.raises(DatabaseForeignError, match="has schema 999"):
        Cluster.open(location.folder)


def test_a_database_that_is_taken_away_is_not_made_anew(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    cluster.location.database.rename(cluster.location.folder / "backup")
    with pytest.raises(DatabaseError, match=r"cluster\.sqlite: unable to open"):
        cluster.version()
    assert not cluster.location.database.exists()


def test_a_closed_cluster_can_be_moved_and_opened_elsewhere(make_cluster: MakeCluster, tmp_path: Path) -> None:
    made = make_cluster(nodes=1)
    before = made.identities()
    made.close()
    made.location.folder.rename(tmp_path / "elsewhere")
    moved = Cluster.open(tmp_path / "elsewhere")
    assert moved.identities() == before
    assert moved.private_key(moved.identity(Purpose.TVS)).key_size == 2048


def test_a_name_with_characters_that_mean_something_in_an_address_is_a_folder_like_any_other(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    make_cluster("a#b?c=d%41 é", nodes=usual_nodes("source", 1))
    assert Cluster.open(tmp_path / "a#b?c=d%41 é").name == "a#b?c=d%41 é"


def test_a_cluster_opens_from_a_relative_path(make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_cluster(nodes=1).location.folder
    monkeypatch.chdir(folder.parent)
    assert Cluster.open("source").publisher.name == "source-pub"


def test_a_database_that_is_busy_is_not_called_foreign(
    make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = make_cluster(nodes=1).location
    monkeypatch.setattr("certferry.cluster.engines.BUSY_SECONDS", 0.01)
    other = sqlite3.connect(location.database, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DatabaseError, match="locked") as caught:
        Cluster.open(location.folder)
    assert not isinstance(caught.value, DatabaseForeignError)
    other.close()


def test_a_full_disk_is_told_as_such_and_the_change_is_not_half_written(make_cluster: MakeCluster) -> None:
    database = Database(make_cluster(nodes=1).location)
    with pytest.raises(DatabaseError, match="full"), database.write() as connection:  # noqa: PT012 -- one transaction
        put_fact(connection, "small", "1")
        connection.exec_driver_sql("PRAGMA max_page_count=1")
        put_fact(connection, "large", "x" * 1_000_000)
    with database.read() as connection:
        assert fact(connection, "small") is None
