"""The plan of a bulk import: right stores, nothing lost, the same whatever the order, nothing left to do after it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from certferry.trust.import_rules import Incoming, PlannedChange, held_after, plan_import
from certferry.trust.purpose import BulkType, Store
from certferry.trust.store_rules import OWN, Action, Code, HeldCertificate
from certferry.wire.certificate import Certificate
from conftest import MakeCertificate

NOW = datetime(2026, 6, 1, tzinfo=UTC)
EARLY, LATE = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
LONG_AGO = datetime(2010, 1, 1, tzinfo=UTC)
SIGNERS = {Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST}
Held = dict[Store, tuple[HeldCertificate, ...]]


def plan(*incoming: Incoming, held: Held | None = None) -> tuple[PlannedChange, ...]:
    return plan_import(incoming, held or {}, NOW, own_cluster="src")


def tftp(certificate: Certificate, cluster: str = "dst") -> Incoming:
    return Incoming(certificate, BulkType.TFTP, cluster)


def holding(store: Store, *entries: tuple[Certificate, str]) -> Held:
    return {store: tuple(HeldCertificate(certificate, origin) for certificate, origin in entries)}


def in_store(changes: Iterable[PlannedChange], store: Store) -> list[PlannedChange]:
    return [change for change in changes if change.store is store]


def certificates(held: Held, store: Store) -> set[Certificate]:
    return {entry.certificate for entry in held[store]}


class TestWhereCertificatesGo:
    @pytest.mark.parametrize(
        ("bulk_type", "stores"),
        [
            (BulkType.TFTP, SIGNERS),
            (BulkType.ITL_RECOVERY, SIGNERS),
            (BulkType.TOMCAT, {Store.TOMCAT_TRUST}),
            (BulkType.CAPF, {Store.CALLMANAGER_TRUST}),
        ],
    )
    def test_each_type_goes_to_its_stores(
        self, make_certificate: MakeCertificate, bulk_type: BulkType, stores: set[Store]
    ) -> None:
        changes = plan(Incoming(make_certificate(), bulk_type, "dst"))
        assert {change.store for change in changes} == stores
        assert {change.action for change in changes} == {Action.ADD}
        assert {change.from_cluster for change in changes} == {"dst"}

    def test_a_certificate_that_all_nodes_share_is_planned_once_for_each_store(
        self, make_certificate: MakeCertificate
    ) -> None:
        shared = make_certificate("CN=pub-ms")
        assert len(plan(tftp(shared), tftp(shared))) == 2

    def test_a_tomcat_certificate_reused_as_callmanager_reaches_all_three_stores(
        self, make_certificate: MakeCertificate
    ) -> None:
        reused = make_certificate()
        changes = plan(tftp(reused), Incoming(reused, BulkType.TOMCAT, "dst"))
        assert {change.store for change in changes} == SIGNERS | {Store.TOMCAT_TRUST}

    def test_nothing_comes_of_nothing(self) -> None:
        assert plan() == ()


class TestOwnCertificates:
    def test_what_this_cluster_exported_is_skipped(self, make_certificate: MakeCertificate) -> None:
        changes = plan(tftp(make_certificate(), cluster="src"))
        assert {(change.action, change.code) for change in changes} == {(Action.SKIP, Code.OWN)}

    def test_an_own_certificate_gains_no_store_by_way_of_another_cluster(
        self, make_certificate: MakeCertificate
    ) -> None:
        tomcat = make_certificate()
        changes = plan(tftp(tomcat, "dst"), held=holding(Store.TOMCAT_TRUST, (tomcat, OWN)))
        assert {(change.action, change.code) for change in changes} == {(Action.SKIP, Code.OWN)}

    def test_an_own_one_of_the_same_name_stays(self, make_certificate: MakeCertificate) -> None:
        own, foreign = make_certificate(not_before=EARLY), make_certificate(not_before=LATE)
        held = holding(Store.PHONE_SAST_TRUST, (own, OWN))
        changes = plan(tftp(foreign), held=held)
        assert in_store(changes, Store.PHONE_SAST_TRUST)[0].code is Code.BESIDE_OWN
        assert certificates(held_after(held, changes), Store.PHONE_SAST_TRUST) == {own, foreign}


class TestSeveralOfOneName:
    def test_only_the_latest_of_a_cluster_is_taken(self, make_certificate: MakeCertificate) -> None:
        old, new = make_certificate(not_before=EARLY), make_certificate(not_before=LATE)
        changes = in_store(plan(tftp(old), tftp(new)), Store.PHONE_SAST_TRUST)
        assert {change.certificate: change.action for change in changes} == {old: Action.SKIP, new: Action.ADD}

    def test_a_later_one_that_is_refused_does_not_stand_in_the_way(self, make_certificate: MakeCertificate) -> None:
        expired = make_certificate(not_before=LATE, not_after=datetime(2026, 4, 1, tzinfo=UTC))
        valid = make_certificate(not_before=EARLY)
        changes = in_store(plan(tftp(expired), tftp(valid)), Store.PHONE_SAST_TRUST)
        assert {change.certificate: change.action for change in changes} == {
            expired: Action.REFUSE,
            valid: Action.ADD,
        }

    def test_a_regenerated_one_replaces_what_came_before_from_the_same_cluster(
        self, make_certificate: MakeCertificate
    ) -> None:
        old, new = make_certificate(not_before=EARLY), make_certificate(not_before=LATE)
        held = held_after({}, plan(tftp(old)))
        changes = plan(tftp(new), held=held)
        assert {(change.action, change.displaced) for change in changes} == {(Action.REPLACE, (old,))}
        assert certificates(held_after(held, changes), Store.PHONE_SAST_TRUST) == {new}

    def test_two_clusters_with_equal_host_names_keep_both(self, make_certificate: MakeCertificate) -> None:
        osaka, kyoto = make_certificate(not_before=EARLY), make_certificate(not_before=LATE)
        changes = plan(tftp(osaka, "osaka"), tftp(kyoto, "kyoto"))
        assert certificates(held_after({}, changes), Store.PHONE_SAST_TRUST) == {osaka, kyoto}

    def test_a_certificate_of_two_clusters_outlives_its_replacement_in_one(
        self, make_certificate: MakeCertificate
    ) -> None:
        shared, new = make_certificate(not_before=EARLY), make_certificate(not_before=LATE)
        held = held_after({}, plan(tftp(shared, "osaka"), tftp(shared, "kyoto")))
        after = held_after(held, changes := plan(tftp(new, "kyoto"), tftp(shared, "osaka"), held=held))
        assert certificates(after, Store.PHONE_SAST_TRUST) == {shared, new}
        assert all(not change.displaced for change in changes)

    def test_one_that_is_refused_and_not_held_is_reported_for_each_store(
        self, make_certificate: MakeCertificate
    ) -> None:
        changes = plan(tftp(make_certificate(not_before=LONG_AGO)))
        assert [(change.action, change.code) for change in changes] == [(Action.REFUSE, Code.EXPIRED)] * 2
        assert held_after({}, changes) == {}

    def test_a_warning_reaches_the_plan(self, make_certificate: MakeCertificate) -> None:
        changes = plan(tftp(make_certificate(not_before=datetime(2026, 7, 1, tzinfo=UTC))))
        assert all(change.warnings for change in changes)


@pytest.fixture(scope="module")
def shelf(make_certificate: MakeCertificate) -> list[Certificate]:
    """A few certificates with fewer names and starts of validity, so that they collide; one has expired."""
    starts = {"pub": (LONG_AGO, EARLY, EARLY, LATE), "sub": (EARLY, LATE)}
    return [make_certificate(f"CN={name}", not_before=start) for name in starts for start in starts[name]]


Directory = list[tuple[int, BulkType, str]]
DIRECTORIES = st.lists(
    st.tuples(
        st.integers(0, 5), st.sampled_from([BulkType.TFTP, BulkType.CAPF]), st.sampled_from(["src", "osaka", "kyoto"])
    ),
    max_size=10,
)
STORES = st.sampled_from([Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST, Store.TOMCAT_TRUST])
HOLDINGS = st.lists(
    st.tuples(STORES, st.integers(0, 5), st.sampled_from([OWN, "osaka", "kyoto", "upload"])), max_size=6
)
COLLIDING = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def incoming_of(shelf: list[Certificate], directory: Directory) -> list[Incoming]:
    return [Incoming(shelf[number], bulk_type, cluster) for number, bulk_type, cluster in directory]


def held_of(shelf: list[Certificate], holdings: Iterable[tuple[Store, int, str]]) -> Held:
    unique = {(store, shelf[number]): origin for store, number, origin in holdings}
    return {
        store: tuple(HeldCertificate(c, origin) for (where, c), origin in unique.items() if where is store)
        for store in Store
    }


class TestWhateverComes:
    @COLLIDING
    @given(directory=DIRECTORIES, holdings=HOLDINGS)
    @example(  # what one cluster replaces, another still exports
        directory=[(3, BulkType.TFTP, "osaka"), (1, BulkType.TFTP, "kyoto")],
        holdings=[(Store.PHONE_SAST_TRUST, 1, "osaka")],
    )
    def test_applied_and_planned_again_nothing_is_left_to_do(
        self, shelf: list[Certificate], directory: Directory, holdings: list[tuple[Store, int, str]]
    ) -> None:
        incoming, held = incoming_of(shelf, directory), held_of(shelf, holdings)
        after = held_after(held, plan(*incoming, held=held))
        again = plan(*incoming, held=after)
        assert [change for change in again if change.changes_something] == []

    @COLLIDING
    @given(directory=DIRECTORIES, holdings=HOLDINGS, shuffled=st.randoms(use_true_random=False))
    def test_the_order_of_files_changes_nothing(
        self, shelf: list[Certificate], directory: Directory, holdings: list[tuple[Store, int, str]], shuffled: Random
    ) -> None:
        incoming, held = incoming_of(shelf, directory), held_of(shelf, holdings)
        other = list(incoming)
        shuffled.shuffle(other)
        assert plan(*incoming, held=held) == plan(*other, held=held)

    @COLLIDING
    @given(directory=DIRECTORIES, holdings=HOLDINGS)
    def test_nothing_leaves_a_store_but_an_older_one_from_the_same_cluster(
        self, shelf: list[Certificate], directory: Directory, holdings: list[tuple[Store, int, str]]
    ) -> None:
        held = held_of(shelf, holdings)
        origin = {(store, entry.certificate): entry.origin for store in held for entry in held[store]}
        for change in plan(*incoming_of(shelf, directory), held=held):
            for gone in change.displaced:
                assert origin[change.store, gone] == change.from_cluster != OWN
                assert gone.not_before < change.certificate.not_before

    @COLLIDING
    @given(directory=DIRECTORIES, holdings=HOLDINGS)
    @example(  # what is our own, another cluster exports beside one of the same name and age
        directory=[(1, BulkType.TFTP, "osaka"), (2, BulkType.TFTP, "osaka")],
        holdings=[(Store.CALLMANAGER_TRUST, 2, OWN)],
    )
    def test_a_signer_that_is_a_cluster_s_latest_is_held_afterwards(
        self, shelf: list[Certificate], directory: Directory, holdings: list[tuple[Store, int, str]]
    ) -> None:
        incoming, held = incoming_of(shelf, directory), held_of(shelf, holdings)
        after = held_after(held, plan(*incoming, held=held))[Store.PHONE_SAST_TRUST]
        for item in incoming:
            if item.bulk_type is BulkType.TFTP and item.from_cluster != "src" and item.certificate.not_after > NOW:
                namesakes = [each.certificate for each in after if each.certificate.subject == item.certificate.subject]
                latest = max((each.not_before for each in namesakes), default=LONG_AGO)
                assert item.certificate in namesakes or latest >= item.certificate.not_before or own(item, held)


def own(item: Incoming, held: Held) -> bool:
    return any(HeldCertificate(item.certificate, OWN) in entries for entries in held.values())
