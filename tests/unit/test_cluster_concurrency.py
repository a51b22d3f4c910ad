"""Several administrators at once: changes from threads and processes wait for each other, and none is lost."""

import subprocess
import sys
from collections.abc import Callable
from threading import Event

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.database import DatabaseError
from certferry.cluster.parameters import ROLLBACK, TVS_CACHE
from certferry.cluster.trust_stores import UndoImpossibleError
from certferry.cluster.values import Phone, TrustChange
from certferry.trust.list_check import check_list
from certferry.trust.purpose import Purpose, Store
from certferry.wire.certificate import Certificate
from certferry.wire.trust_list import TrustList
from conftest import CLUSTER_BORN, MakeCertificate, MakeCluster
from threads import at_once

WORKERS, EACH = 4, 5


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(nodes=2)


def device(worker: int, number: int) -> str:
    return f"SEP{worker:06X}{number:06X}"


def add_one_by_one(cluster: Cluster, worker: int) -> None:
    for number in range(EACH):
        cluster.add_phones([Phone(device(worker, number))])


def adding(cluster: Cluster, worker: int) -> Callable[[], object]:
    return lambda: add_one_by_one(cluster, worker)


EVERY_PHONE = {device(worker, number) for worker in range(WORKERS) for number in range(EACH)}


def assert_nothing_is_lost(cluster: Cluster, version: int) -> None:
    assert {phone.device for phone in cluster.phones()} == EVERY_PHONE
    assert cluster.version() == version + WORKERS * EACH
    assert cluster.verify_audit() == 1 + WORKERS * EACH


def test_threads_that_share_an_opened_cluster_lose_nothing(cluster: Cluster) -> None:
    version = cluster.version()
    at_once(*(adding(cluster, worker) for worker in range(WORKERS)))
    assert_nothing_is_lost(cluster, version)


def test_threads_with_openings_of_their_own_lose_nothing(cluster: Cluster) -> None:
    version = cluster.version()
    openings = [Cluster.open(cluster.location.text) for _ in range(WORKERS)]
    at_once(*(adding(opening, worker) for worker, opening in enumerate(openings)))
    assert_nothing_is_lost(cluster, version)


ADD = """
import sys
from certferry.cluster.cluster import Cluster
from certferry.cluster.values import Phone
cluster = Cluster.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for device in sys.argv[2:]:
    cluster.add_phones([Phone(device)])
"""


def test_processes_that_write_at_once_lose_no_change(cluster: Cluster) -> None:
    version = cluster.version()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ADD, cluster.location.text, *(device(worker, n) for n in range(EACH))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for worker in range(1, WORKERS)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    add_one_by_one(cluster, 0)
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert_nothing_is_lost(cluster, version)


def test_an_import_and_a_regeneration_at_once_are_both_there(
    cluster: Cluster, make_certificate: MakeCertificate
) -> None:
    strangers = [make_certificate(f"CN=foreign{number}", ec=True) for number in range(20)]
    steps = [TrustChange("add", Store.PHONE_SAST_TRUST, each, "destination") for each in strangers]
    at_once(
        lambda: cluster.change_trust(steps[:10], action="bulk-import"),
        lambda: cluster.regenerate(Purpose.CALLMANAGER),
        lambda: cluster.change_trust(steps[10:], action="bulk-import"),
        lambda: cluster.regenerate(Purpose.TVS, "source-sub1"),
    )
    held = {entry.certificate for entry in cluster.trust_entries(Store.PHONE_SAST_TRUST)}
    assert held >= {*strangers, cluster.identity(Purpose.CALLMANAGER).certificate}
    assert cluster.verify_audit() == 5


def own_certificates_of(cluster: Cluster) -> set[bytes]:
    return {identity.certificate.der for identity in cluster.identities()}


def test_lists_agree_with_the_certificates_after_regenerations_at_once(cluster: Cluster) -> None:
    at_once(
        lambda: cluster.regenerate(Purpose.CALLMANAGER),
        lambda: cluster.regenerate(Purpose.CALLMANAGER),
        lambda: cluster.regenerate(Purpose.TVS),
        lambda: cluster.regenerate(Purpose.ITL_RECOVERY),
        lambda: cluster.set_parameter(TVS_CACHE, "60"),
    )
    for node in cluster.tftp_nodes():
        data = cluster.trust_list("ITL", node.name) or b""
        assert {record.certificate for record in TrustList.parse(data).records} <= own_certificates_of(cluster)
        assert {check.verdict for check in check_list(data, CLUSTER_BORN)} == {"pass"}
    copies = {entry.certificate.der for entry in cluster.trust_entries() if entry.is_own}
    assert copies == own_certificates_of(cluster)


def test_of_two_who_undo_the_same_change_at_once_one_does(cluster: Cluster, make_certificate: MakeCertificate) -> None:
    step = TrustChange("add", Store.PHONE_SAST_TRUST, make_certificate("CN=foreign"), "destination")
    identifier = cluster.change_trust([step], action="bulk-import")

    def undo() -> str:
        try:
            return "undone" if cluster.undo(identifier) else "nothing"
        except UndoImpossibleError:
            return "too late"

    assert sorted(map(str, at_once(undo, undo, undo))) == ["too late", "too late", "undone"]


def test_the_same_certificate_added_by_several_at_once_is_held_once(
    cluster: Cluster, make_certificate: MakeCertificate
) -> None:
    stranger = make_certificate("CN=foreign")
    step = TrustChange("add", Store.PHONE_SAST_TRUST, stranger, "destination")
    at_once(*[lambda: cluster.change_trust([step], action="bulk-import")] * 4)
    assert [entry.certificate for entry in cluster.trust_entries(Store.PHONE_SAST_TRUST)].count(stranger) == 1
    assert sorted(len(entry.changes) for entry in cluster.history()) == [0, 0, 0, 1]


def test_a_reader_sees_a_change_whole_or_not_at_all(cluster: Cluster, make_certificate: MakeCertificate) -> None:
    strangers = [make_certificate(f"CN=foreign{number}", ec=True) for number in range(10)]
    done, seen = Event(), set[int]()

    def foreign() -> set[Certificate]:
        return {entry.certificate for entry in cluster.trust_entries() if not entry.is_own}

    def read() -> None:
        while not done.is_set():
            seen.add(len(foreign()))

    def write() -> None:
        try:
            for action in ("add", "remove", "add"):
                steps = [
                    TrustChange("add" if action == "add" else "remove", Store.PHONE_SAST_TRUST, each)
                    for each in strangers
                ]
                cluster.change_trust(steps, action=action)
        finally:
            done.set()

    at_once(write, read, read)
    assert seen <= {0, 10}


def test_readers_are_not_held_up_by_a_writer(cluster: Cluster) -> None:
    with cluster._database.write() as connection:
        connection.exec_driver_sql("UPDATE parameter SET value = 'true' WHERE key = 'rollback-to-pre-8.0'")
        assert cluster.parameters()[ROLLBACK] == "false"
        assert cluster.identities()


def test_a_writer_who_waits_too_long_is_told_that_the_database_is_busy(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certferry.cluster.engines.BUSY_SECONDS", 0.01)
    version = cluster.version()
    with cluster._database.write(), pytest.raises(DatabaseError, match=r"locked|lock timeout"):
        cluster.set_parameter(TVS_CACHE, "60")
    assert cluster.version() == version
    cluster.set_parameter(TVS_CACHE, "60")
    assert cluster.version() == version + 1
