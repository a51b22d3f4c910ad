"""Changing the trust stores: whole or not at all, remembered, undone exactly; own certificates are never in danger."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from getpass import getuser

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.trust_stores import TrustEntryOwnError, UndoImpossibleError
from certferry.cluster.values import OWN, TrustChange, TrustEntry
from certferry.trust.purpose import Purpose, Store
from certferry.wire.certificate import Certificate
from conftest import CLUSTER_BORN, MakeCertificate, MakeCluster

SAST, CCM, TOMCAT = Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST, Store.TOMCAT_TRUST


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    """A cluster whose clock moves on by a minute with each look."""

    def ticking() -> Iterator[datetime]:
        now = CLUSTER_BORN
        while True:
            now += timedelta(minutes=1)
            yield now

    clock = ticking()
    return make_cluster(nodes=1, clock=lambda: next(clock))


@pytest.fixture
def signer(make_certificate: MakeCertificate) -> Certificate:
    return make_certificate("CN=destination-pub")


@pytest.fixture
def recovery(make_certificate: MakeCertificate) -> Certificate:
    return make_certificate("CN=ITLRECOVERY_destination-pub")


def add(store: Store, certificate: Certificate, origin: str = "destination", description: str = "") -> TrustChange:
    return TrustChange("add", store, certificate, origin, description)


def remove(store: Store, certificate: Certificate) -> TrustChange:
    return TrustChange("remove", store, certificate)


def foreign(cluster: Cluster) -> list[TrustEntry]:
    return [entry for entry in cluster.trust_entries() if not entry.is_own]


# --- changing


def test_an_added_certificate_is_held_with_its_origin_and_time(cluster: Cluster, signer: Certificate) -> None:
    cluster.change_trust([add(SAST, signer, description="bulk import")], action="bulk-import")
    (entry,) = foreign(cluster)
    assert (entry.store, entry.certificate, entry.origin) == (SAST, signer, "destination")
    assert entry.description == "bulk import"
    assert entry.added_at.tzinfo is not None
    assert entry.added_at > CLUSTER_BORN


def test_one_store_is_read_without_the_others(cluster: Cluster, signer: Certificate) -> None:
    cluster.change_trust([add(SAST, signer), add(CCM, signer)], action="bulk-import")
    assert {entry.store for entry in cluster.trust_entries(SAST)} == {SAST}
    assert [entry.certificate for entry in cluster.trust_entries(SAST)][-1] == signer
    assert [entry.certificate for entry in cluster.trust_entries(TOMCAT)] == [
        each.certificate for each in cluster.identities() if each.purpose in (Purpose.TOMCAT, Purpose.TOMCAT_ECDSA)
    ]


def test_a_certificate_may_stand_in_several_stores_and_leave_one(cluster: Cluster, signer: Certificate) -> None:
    cluster.change_trust([add(SAST, signer), add(CCM, signer)], action="bulk-import")
    cluster.change_trust([remove(CCM, signer)], action="delete")
    assert [entry.store for entry in foreign(cluster)] == [SAST]


def test_adding_what_is_there_changes_nothing_not_even_its_origin(cluster: Cluster, signer: Certificate) -> None:
    cluster.change_trust([add(SAST, signer, "destination")], action="bulk-import")
    before = foreign(cluster)
    cluster.change_trust([add(SAST, signer, "upload", "by hand")], action="upload")
    assert foreign(cluster) == before
    assert cluster.history()[-1].changes == ()


def test_removing_what_is_not_there_changes_nothing(cluster: Cluster, signer: Certificate) -> None:
    cluster.change_trust([remove(SAST, signer)], action="delete")
    assert foreign(cluster) == []
    assert cluster.history()[-1].changes == ()


def test_a_replacement_is_one_change(cluster: Cluster, signer: Certificate, recovery: Certificate) -> None:
    cluster.change_trust([add(SAST, signer)], action="bulk-import")
    cluster.change_trust([remove(SAST, signer), add(SAST, recovery)], action="bulk-import")
    assert [entry.certificate for entry in foreign(cluster)] == [recovery]
    assert [step.action for step in cluster.history()[-1].changes] == ["remove", "add"]


def test_the_steps_of_one_change_build_on_each_other(cluster: Cluster, signer: Certificate) -> None:
    steps = [add(SAST, signer), remove(SAST, signer), add(SAST, signer, "upload")]
    cluster.change_trust(steps, action="bulk-import")
    assert [entry.origin for entry in foreign(cluster)] == ["upload"]


def test_a_change_that_fails_midway_leaves_no_trace(
    cluster: Cluster, signer: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cluster.trust_entries(), cluster.history(), cluster.audit_lines(), cluster.version()

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("certferry.cluster.audit.append", fail)
    with pytest.raises(OSError, match="no space left"):
        cluster.change_trust([add(SAST, signer)], action="bulk-import")
    assert (cluster.trust_entries(), cluster.history(), cluster.audit_lines(), cluster.version()) == before


def test_trust_stores_of_a_cluster_do_not_change_its_trust_lists(cluster: Cluster, signer: Certificate) -> None:
    before = cluster.trust_list("ITL", "source-pub")
    cluster.change_trust([add(SAST, signer), add(CCM, signer)], action="bulk-import")
    assert cluster.trust_list("ITL", "source-pub") == before


def test_every_change_advances_the_change_version(cluster: Cluster, signer: Certificate) -> None:
    versions = [cluster.version()]
    undo = cluster.change_trust([add(SAST, signer)], action="bulk-import")
    versions.append(cluster.version())
    cluster.undo(undo)
    versions.append(cluster.version())
    assert versions == [versions[0], versions[0] + 1, versions[0] + 2]


def test_another_opening_of_the_cluster_sees_the_change(cluster: Cluster, signer: Certificate) -> None:
    other = Cluster.open(cluster.location.text)
    cluster.change_trust([add(SAST, signer)], action="bulk-import")
    assert foreign(other) == foreign(cluster)
    assert other.version() == cluster.version()


# --- own copies


def test_a_copy_of_an_own_certificate_is_not_removed(cluster: Cluster, signer: Certificate) -> None:
    own = cluster.identity(Purpose.CALLMANAGER).certificate
    before = cluster.trust_entries()
    with pytest.raises(TrustEntryOwnError, match="source-pub in Phone-SAST-trust is one of this cluster's own"):
        cluster.change_trust([add(SAST, signer), remove(SAST, own)], action="delete")
    assert cluster.trust_entries() == before
    assert cluster.history() == ()


def test_an_own_certificate_in_a_store_that_holds_no_copy_by_itself_can_be_removed(cluster: Cluster) -> None:
    own = cluster.identity(Purpose.TVS).certificate
    cluster.change_trust([add(SAST, own, "upload")], action="upload")
    cluster.change_trust([remove(SAST, own)], action="delete")
    assert own not in {entry.certificate for entry in cluster.trust_entries(SAST)}


def test_adding_an_own_certificate_that_is_copied_already_is_no_step(cluster: Cluster) -> None:
    own = cluster.identity(Purpose.CALLMANAGER).certificate
    undo = cluster.change_trust([add(SAST, own, "destination")], action="bulk-import")
    assert cluster.undo(undo) == ()
    assert [entry.origin for entry in cluster.trust_entries(SAST) if entry.certificate == own] == [OWN]


def test_regenerating_leaves_foreign_entries_alone(cluster: Cluster, signer: Certificate) -> None:
    cluster.change_trust([add(SAST, signer), add(CCM, signer)], action="bulk-import")
    before = foreign(cluster)
    for purpose in Purpose:
        cluster.regenerate(purpose)
    assert foreign(cluster) == before


# --- undoing


def test_undoing_an_import_restores_exactly_what_was_there(
    cluster: Cluster, signer: Certificate, recovery: Certificate
) -> None:
    before = cluster.trust_entries()
    undo = cluster.change_trust([add(SAST, signer), add(CCM, signer), add(SAST, recovery)], action="bulk-import")
    assert {step.action for step in cluster.undo(undo)} == {"remove"}
    assert cluster.trust_entries() == before


def test_undoing_a_removal_restores_origin_description_and_time(cluster: Cluster, signer: Certificate) -> None:
    cluster.change_trust([add(SAST, signer, "destination", "from the west")], action="bulk-import")
    before = foreign(cluster)
    undo = cluster.change_trust([remove(SAST, signer)], action="delete")
    assert foreign(cluster) == []
    cluster.undo(undo)
    assert foreign(cluster) == before


def test_undoing_a_replacement_restores_the_one_replaced(
    cluster: Cluster, signer: Certificate, recovery: Certificate
) -> None:
    cluster.change_trust([add(SAST, signer)], action="bulk-import")
    before = foreign(cluster)
    undo = cluster.change_trust([remove(SAST, signer), add(SAST, recovery)], action="bulk-import")
    cluster.undo(undo)
    assert foreign(cluster) == before


def test_what_was_there_before_an_import_survives_its_undoing(
    cluster: Cluster, signer: Certificate, recovery: Certificate
) -> None:
    cluster.change_trust([add(SAST, signer, "upload")], action="upload")
    undo = cluster.change_trust([add(SAST, signer), add(SAST, recovery)], action="bulk-import")
    cluster.undo(undo)
    assert [(entry.certificate, entry.origin) for entry in foreign(cluster)] == [(signer, "upload")]


def test_an_undone_change_is_not_undone_again(cluster: Cluster, signer: Certificate) -> None:
    undo = cluster.change_trust([add(SAST, signer)], action="bulk-import")
    cluster.undo(undo)
    with pytest.raises(UndoImpossibleError, match="was undone before"):
        cluster.undo(undo)


def test_a_change_that_never_was_cannot_be_undone(cluster: Cluster) -> None:
    version = cluster.version()
    with pytest.raises(UndoImpossibleError, match="no change 'deadbeef'"):
        cluster.undo("deadbeef")
    assert cluster.version() == version
    assert cluster.audit_lines()[-1].count("create-cluster") == 1


def test_undoing_what_somebody_removed_meanwhile_does_nothing_more(cluster: Cluster, signer: Certificate) -> None:
    undo = cluster.change_trust([add(SAST, signer)], action="bulk-import")
    cluster.change_trust([remove(SAST, signer)], action="delete")
    assert cluster.undo(undo) == ()


# --- history


def test_the_history_tells_who_did_what_and_when_oldest_first(cluster: Cluster, signer: Certificate) -> None:
    first = cluster.change_trust([add(SAST, signer)], action="bulk-import", details={"type": "tftp"})
    second = cluster.change_trust([remove(SAST, signer)], action="delete")
    entries = cluster.history()
    assert [(entry.id, entry.action, entry.actor) for entry in entries] == [
        (first, "bulk-import", getuser()),
        (second, "delete", getuser()),
    ]
    assert entries[0].details == {"type": "tftp"}
    assert entries[0].at < entries[1].at
    assert entries[0].at.astimezone(UTC) > CLUSTER_BORN


def test_the_history_tells_what_changed_in_full(cluster: Cluster, signer: Certificate) -> None:
    step = add(SAST, signer, "destination", "from the west")
    cluster.change_trust([step], action="bulk-import")
    cluster.change_trust([remove(SAST, signer)], action="delete")
    assert [entry.changes for entry in cluster.history()] == [(step,), (replace(step, action="remove"),)]


def test_the_history_marks_what_was_undone(cluster: Cluster, signer: Certificate, recovery: Certificate) -> None:
    first = cluster.change_trust([add(SAST, signer)], action="bulk-import")
    cluster.change_trust([add(SAST, recovery)], action="bulk-import")
    cluster.undo(first)
    assert [entry.undone for entry in cluster.history()] == [True, False]


def test_every_change_has_an_id_of_its_own(cluster: Cluster, signer: Certificate) -> None:
    ids = {cluster.change_trust([add(SAST, signer)], action="again") for _ in range(20)}
    assert len(ids) == 20


def test_regenerating_does_not_stand_in_the_history_since_it_cannot_be_undone(cluster: Cluster) -> None:
    cluster.regenerate(Purpose.CALLMANAGER)
    assert cluster.history() == ()
