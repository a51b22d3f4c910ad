"""Searching and paging happen in the database, and agree with what reading everything gives."""

from datetime import UTC, datetime, timedelta

import pytest

from certferry.cluster import schema
from certferry.cluster.cluster import Cluster
from certferry.cluster.phone_search import PhoneQuery, ServedDigests
from certferry.cluster.searching import Slice, TrustQuery
from certferry.cluster.trust_stores import UndoImpossibleError
from certferry.cluster.values import Phone, TrustChange
from certferry.trust.purpose import Store
from certferry.wire.certificate import Certificate
from conftest import MakeCertificate, MakeCluster

PHONES = [
    Phone("SEP000000000001", "8861", description="100% lobby"),
    Phone("SEP000000000002", "7962", description="Kitchen"),
    Phone("SEP000000000003", "8861", "Branch"),
]


@pytest.fixture
def cluster(make_cluster: MakeCluster, make_certificate: MakeCertificate) -> Cluster:
    made = make_cluster()
    with made._database.write() as connection:
        connection.execute(schema.group.insert(), {"name": "Branch", "members": '["source-pub"]'})
    made.add_phones(PHONES)
    foreign = [
        make_certificate(f"CN=other{number};OU=Voice", not_after=datetime(2027 + number, 1, 1, tzinfo=UTC))
        for number in range(3)
    ]
    made.change_trust([TrustChange("add", Store.TOMCAT_TRUST, each, "there") for each in foreign], action="upload")
    return made


def test_all_entries_are_found_in_pages_that_do_not_overlap(cluster: Cluster) -> None:
    everything = {(entry.store, entry.certificate.sha256) for entry in cluster.trust_entries()}
    found, skip = [], 0
    while (page := cluster.find_trust(TrustQuery(), Slice(skip, 4))).items:
        assert page.total == len(everything)
        found += [(line.store, line.sha256) for line in page.items]
        skip += 4
    assert len(found) == len(everything)
    assert set(found) == everything


def test_a_line_tells_what_the_certificate_says(cluster: Cluster) -> None:
    entry = next(each for each in cluster.trust_entries() if each.origin == "there")
    (line,) = cluster.find_trust(TrustQuery(text=entry.certificate.sha256)).items
    certificate = entry.certificate
    assert (line.subject, line.issuer, line.serial) == (certificate.subject, certificate.issuer, certificate.serial_hex)
    assert (line.not_before, line.not_after) == (certificate.not_before, certificate.not_after)
    assert (line.origin, line.is_own, line.added_at) == ("there", False, entry.added_at)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        (TrustQuery(Store.TOMCAT_TRUST, "foreign"), 3),
        (TrustQuery(Store.TOMCAT_TRUST, "own"), 6),
        (TrustQuery(text="OTHER1"), 1),
        (TrustQuery(text="ther%"), 0),
        (TrustQuery(text="ITLRECOVERY_"), 2),
        (TrustQuery(text="RECOVERY%source"), 0),
        (TrustQuery(usage="foreign", expires_before=datetime(2028, 1, 2, tzinfo=UTC)), 2),
    ],
)
def test_conditions_are_taken_as_written(cluster: Cluster, query: TrustQuery, count: int) -> None:
    assert cluster.find_trust(query).total == count


def test_a_time_of_another_zone_is_the_same_time(cluster: Cluster) -> None:
    tokyo = datetime.fromisoformat("2027-01-01T09:00:01+09:00")
    assert cluster.find_trust(TrustQuery(usage="foreign", expires_before=tokyo)).total == 1


def test_entries_are_sorted_as_asked(cluster: Cluster) -> None:
    lines = cluster.find_trust(TrustQuery(usage="foreign", sort="expiry", descending=True)).items
    assert [line.common_name for line in lines] == ["other2", "other1", "other0"]


def test_certificates_that_come_later_are_found_too(cluster: Cluster, make_certificate: MakeCertificate) -> None:
    assert cluster.find_trust(TrustQuery(text="late")).total == 0
    late = make_certificate("CN=late")
    cluster.change_trust([TrustChange("add", Store.CAPF_TRUST, late)], action="upload")
    assert cluster.find_trust(TrustQuery(text="late")).total == 1


def test_a_certificate_is_found_by_its_fingerprint_with_the_stores_that_hold_it(cluster: Cluster) -> None:
    own = cluster.identities()[0].certificate
    found = cluster.find_certificate(own.sha256)
    assert found is not None
    assert found[0] == own
    assert set(found[1]) == {entry.store for entry in cluster.trust_entries() if entry.certificate == own}
    assert cluster.find_certificate("0" * 64) is None


@pytest.mark.parametrize(
    ("text", "group", "devices"),
    [
        ("", None, [1, 2, 3]),
        ("kitchen", None, [2]),
        ("100%", None, [1]),
        ("8861", None, [1, 3]),
        ("", "Branch", [3]),
        ("sep00000000000", "Default", [1, 2]),
        ("nothing", None, []),
    ],
)
def test_phones_are_found_by_what_is_written_of_them_and_by_group(
    cluster: Cluster, text: str, group: str | None, devices: list[int]
) -> None:
    found = cluster.phone_search.find(PhoneQuery(text, group), ServedDigests("", frozenset()), Slice())
    assert [line.phone.device for line in found.items] == [f"SEP{number:012}" for number in devices]
    assert found.total == len(devices)


def test_phones_are_found_by_their_names_and_what_else_is_asked(cluster: Cluster) -> None:
    named = [f"SEP{number:012}" for number in (1, 3, 9)]
    for query, devices in (
        (PhoneQuery(devices=named), named[:2]),
        (PhoneQuery(group="Branch", devices=named), named[1:2]),
        (PhoneQuery(devices=()), []),
    ):
        found = cluster.phone_search.find(query, ServedDigests("", frozenset()), Slice())
        assert [line.phone.device for line in found.items] == devices
        assert found.total == len(devices)


def test_the_history_counts_steps_latest_first(cluster: Cluster) -> None:
    cluster.change_trust([], action="nothing")
    latest, before = cluster.find_history(Slice(0, 2)).items
    assert (latest.action, latest.changes) == ("nothing", 0)
    assert (before.action, before.changes, before.undone) == ("upload", 3, False)


def test_the_steps_of_a_change_come_in_pages_with_whom_each_certificate_names(cluster: Cluster) -> None:
    change = cluster.find_history(Slice(0, 1)).items[0]
    line, steps = cluster.find_steps(change.id, Slice(1, 1))
    assert (line, steps.total) == (change, 3)
    assert [(step.action, step.subject) for step in steps.items] == [("add", "CN=other1;OU=Voice")]


def test_a_change_that_never_was_has_no_steps(cluster: Cluster) -> None:
    with pytest.raises(UndoImpossibleError, match="there is no change 'u9'"):
        cluster.find_steps("u9")


def test_trust_is_told_without_opening_a_certificate(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = cluster.trust_entries()
    cluster.prepare_searches()
    monkeypatch.setattr(Certificate, "parse", None)
    held = cluster.held_certificates()
    assert set(held) == {(entry.store, entry.certificate.sha256, entry.is_own) for entry in entries}
    ends = {(entry.store.value, entry.certificate.subject, entry.certificate.not_after) for entry in entries}
    assert {(store, subject, end) for store, subject, _, end in cluster.trust_ends()} == ends


def test_a_store_holds_what_is_named_by_subject_and_serial_together(cluster: Cluster) -> None:
    entry = next(each for each in cluster.trust_entries(Store.TOMCAT_TRUST) if each.origin == "there")
    named = entry.certificate.subject, entry.certificate.serial_hex
    assert cluster.holds(Store.TOMCAT_TRUST, *named)
    assert not cluster.holds(Store.PHONE_SAST_TRUST, *named)
    assert not cluster.holds(Store.TOMCAT_TRUST, named[0], "00")
    assert not cluster.holds(Store.TOMCAT_TRUST, "CN=somebody else", named[1])


def test_the_names_of_phones_come_alone(cluster: Cluster) -> None:
    assert set(cluster.devices()) == {phone.device for phone in PHONES}


def test_the_audit_log_is_searched_latest_first(cluster: Cluster) -> None:
    found = cluster.find_audit("add-phones")
    assert found.total == 1
    assert cluster.find_audit(part=Slice(0, 1)).items == cluster.audit_lines()[-1:]


def test_what_the_cluster_has_is_counted_as_reading_it_all_would(cluster: Cluster) -> None:
    counts = cluster.counts()
    assert counts["phones"] == 3
    assert counts["trust_entries"] == len(cluster.trust_entries())
    assert counts["audit_lines"] == len(cluster.audit_lines())


def test_validity_is_compared_as_time(cluster: Cluster) -> None:
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    assert cluster.find_trust(TrustQuery(expires_before=long_ago)).total == 0
    assert cluster.find_trust(TrustQuery(expires_before=long_ago + timedelta(days=36500))).total
