"""Whatever is done to the trust stores, undoing it in reverse restores exactly what was there."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certferry.cluster.cluster import Cluster, ClusterSpec
from certferry.cluster.values import TrustChange, TrustEntry
from certferry.lab.keys import PooledKeys
from certferry.trust.purpose import Store
from certferry.trust.release import Release
from certferry.wire.certificate import Certificate
from conftest import CLUSTER_BORN, MakeCertificate, usual_nodes

STORES = [Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST, Store.TOMCAT_TRUST]
steps = st.tuples(
    st.sampled_from(["add", "remove"]),
    st.sampled_from(STORES),
    st.integers(0, 3),
    st.sampled_from(["upload", "east", "west"]),
    st.text("ab ", max_size=3),
)
changes = st.lists(st.lists(steps, max_size=6), min_size=1, max_size=5)
Steps = list[tuple[str, Store, int, str, str]]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, key_pool: PooledKeys) -> Cluster:
    """One cluster for all examples, since every example puts back what was there; its clock never stands still."""

    def ticking() -> Iterator[datetime]:
        now = CLUSTER_BORN
        while True:
            now += timedelta(seconds=1)
            yield now

    clock = ticking()
    folder: Path = tmp_path_factory.mktemp("stores") / "cluster"
    spec = ClusterSpec("source", Release.parse("11.5.1"), usual_nodes("source", 1))
    return Cluster.create(folder, spec, keys=key_pool, clock=lambda: next(clock))


@pytest.fixture(scope="module")
def certificates(make_certificate: MakeCertificate, cluster: Cluster) -> list[Certificate]:
    """Three foreign certificates and one that the cluster holds already."""
    held = cluster.trust_entries(Store.TOMCAT_TRUST)[0].certificate
    return [*(make_certificate(f"CN=foreign{number}", ec=True) for number in range(3)), held]


def change_of(steps: Steps, certificates: list[Certificate], own: set[tuple[Store, Certificate]]) -> list[TrustChange]:
    made = [
        TrustChange("add" if action == "add" else "remove", store, certificates[number], origin, description)
        for action, store, number, origin, description in steps
    ]
    return [each for each in made if each.action == "add" or (each.store, each.certificate) not in own]


def by_place(cluster: Cluster) -> dict[tuple[Store, str], TrustEntry]:
    return {(entry.store, entry.certificate.sha256): entry for entry in cluster.trust_entries()}


@given(changes)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_changes_undone_in_reverse_restore_the_original_entries(
    cluster: Cluster, certificates: list[Certificate], planned: list[Steps]
) -> None:
    before = by_place(cluster)
    own = {(entry.store, entry.certificate) for entry in before.values() if entry.is_own}
    states, ids = [before], []
    for part in planned:
        ids.append(cluster.change_trust(change_of(part, certificates, own), action="test"))
        states.append(by_place(cluster))
    for identifier, expected in zip(ids[::-1], states[-2::-1], strict=True):
        cluster.undo(identifier)
        assert by_place(cluster) == expected
    assert cluster.verify_audit() == len(cluster.audit_lines())


@given(st.lists(steps, max_size=10))
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_a_change_does_what_a_set_of_places_would(
    cluster: Cluster, certificates: list[Certificate], planned: Steps
) -> None:
    before = by_place(cluster)
    own = {(entry.store, entry.certificate) for entry in before.values() if entry.is_own}
    wanted = change_of(planned, certificates, own)
    expected = set(before)
    for change in wanted:
        place = (change.store, change.certificate.sha256)
        expected = expected | {place} if change.action == "add" else expected - {place}
    undo = cluster.change_trust(wanted, action="test")
    assert set(by_place(cluster)) == expected
    told = {(each.store, each.certificate.sha256) for each in cluster.history()[-1].changes}
    assert expected ^ set(before) <= told
    cluster.undo(undo)
