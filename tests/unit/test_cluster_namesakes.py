"""What the rules of stores look at is found by name, among however many: they decide as if they saw all of it."""

from collections.abc import Callable
from datetime import UTC, datetime
from random import Random

import pytest
from sqlalchemy import delete, func, select

from certferry.cluster import schema
from certferry.cluster.certificate_search import CertificateAmbiguousError, CertificateNotFoundError, find_entry
from certferry.cluster.certificate_text import name_key
from certferry.cluster.cluster import Cluster
from certferry.cluster.trust_stores import UndoImpossibleError
from certferry.cluster.uploading import decide_upload
from certferry.cluster.values import TrustChange, TrustEntry
from certferry.trust.import_rules import Incoming, plan_import
from certferry.trust.purpose import BulkType, Purpose, Store
from certferry.trust.store_rules import Code, HeldCertificate
from certferry.wire.certificate import Certificate
from conftest import CLUSTER_BORN, MakeCertificate, MakeCluster

SAST, CCM, TOMCAT = Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST, Store.TOMCAT_TRUST
EARLY, LATE = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(nodes=1)


def hold(cluster: Cluster, *certificates: Certificate, store: Store = SAST, origin: str = "osaka") -> str:
    changes = [TrustChange("add", store, certificate, origin) for certificate in certificates]
    return cluster.change_trust(changes, action="test")


def foreign(entries: tuple[TrustEntry, ...]) -> list[Certificate]:
    return [entry.certificate for entry in entries if not entry.is_own]


# --- what is found


def test_entries_with_the_name_of_a_certificate_are_found_in_every_store(
    cluster: Cluster, make_certificate: MakeCertificate
) -> None:
    same, other = make_certificate("CN=pub;O=Osaka"), make_certificate("CN=pub;O=Kyoto")
    hold(cluster, same, other)
    hold(cluster, same, store=CCM)
    about = cluster.trust_entries_about([make_certificate("CN=pub;O=Osaka")])
    assert [(entry.store, entry.certificate) for entry in about if not entry.is_own] == [(CCM, same), (SAST, same)]


@pytest.mark.parametrize(
    "spelling", ["CN=PUB;OU=voice;O=example", "O=Example;OU=Voice;CN=pub", "CN=pub ;OU=Voice;O= Example"]
)
def test_a_name_is_found_however_it_is_spelt(
    cluster: Cluster, make_certificate: MakeCertificate, spelling: str
) -> None:
    held = make_certificate("CN=pub;OU=Voice;O=Example")
    hold(cluster, held)
    assert foreign(cluster.trust_entries_about([make_certificate(spelling)])) == [held]
    assert foreign(cluster.trust_entries_about([make_certificate("CN=pub;OU=Voice")])) == []


def test_the_cluster_s_own_copies_are_always_there(cluster: Cluster, make_certificate: MakeCertificate) -> None:
    own = {entry for entry in cluster.trust_entries() if entry.is_own}
    hold(cluster, make_certificate("CN=pub"))
    assert set(cluster.trust_entries_about([])) == own
    namesake = make_certificate(cluster.identity(Purpose.TOMCAT).certificate.subject)
    about = cluster.trust_entries_about([namesake])
    assert (set(about), len(about)) == (own, len(own))


def test_a_regenerated_certificate_s_copies_are_found_in_place_of_those_before(cluster: Cluster) -> None:
    before = cluster.identity(Purpose.TOMCAT).certificate
    after, _ = cluster.regenerate(Purpose.TOMCAT)
    found = {entry.certificate for entry in cluster.trust_entries_about([])}
    assert (before in found, after.certificate in found) == (False, True)


def test_more_names_than_a_query_may_have_are_found(
    cluster: Cluster, make_certificate: MakeCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certferry.cluster.trust_stores._NAMED_AT_ONCE", 2)
    certificates = [make_certificate(f"CN=pub-{number}", ec=True) for number in range(5)]
    hold(cluster, *certificates)
    assert set(foreign(cluster.trust_entries_about(certificates))) == set(certificates)


def test_spellings_of_a_name_have_one_key_and_other_names_another() -> None:
    assert name_key("CN=pub;O=Example") == name_key("O=EXAMPLE, CN=pub")
    assert name_key("CN=pub;O=Example") != name_key("CN=pub;O=Example 2")


# --- names that are not there


@pytest.mark.parametrize("lost", [["certificate_name"], ["certificate_name", "certificate_text"]])
def test_names_that_were_lost_are_made_anew(
    cluster: Cluster, make_certificate: MakeCertificate, lost: list[str]
) -> None:
    held = [make_certificate(f"CN=pub-{number}", ec=True) for number in range(3)]
    hold(cluster, *held)
    with cluster._database.write() as connection:
        for name in lost:
            table = schema.metadata.tables[name]
            connection.execute(delete(table).where(table.c.sha256 != held[0].sha256))
    assert set(foreign(cluster.trust_entries_about(held))) == set(held)
    with cluster._database.read() as connection:
        counts = {
            connection.scalar(select(func.count()).select_from(table))
            for table in (schema.certificate, schema.certificate_text, schema.certificate_name)
        }
    assert len(counts) == 1


# --- finding by what a person would call it


@pytest.mark.parametrize("release", ["11.5.1", "14"])
@pytest.mark.parametrize(
    "reference",
    [
        "Example CA", "example ca", "Example_CA.pem", "EXAMPLE_CA_0A1B2C.PEM", "Example_CA_0a1b2c.pem", "0a1b2c",
        "0A1B2C", "100%", "100%.pem", "under_score", "under score", "Grün", "grün.pem", "nobody",
        "", "%", "_", "a", "b.pem", "O=Example",
    ],
)  # fmt: skip
def test_an_entry_is_found_in_the_database_as_it_is_among_all_entries(
    make_cluster: MakeCluster, make_certificate: MakeCertificate, release: str, reference: str
) -> None:
    cluster = make_cluster(nodes=1, release=release)
    names = ["CN=Example CA", "CN=100%", "CN=1000", "CN=under_score", "CN=under-score", "CN=Grün", "CN=a", "O=Example"]
    held = [make_certificate(name, ec=True, serial=0x0A1B2C + place) for place, name in enumerate(names)]
    hold(cluster, *held)
    hold(cluster, make_certificate("CN=Example CA", ec=True), store=CCM)
    assert found(lambda: cluster.find_trust_entry(reference, SAST)) == found(
        lambda: find_entry(cluster.trust_entries(SAST), reference, cluster.release)
    )


def test_an_entry_is_found_by_its_fingerprint_and_the_beginning_of_it(
    cluster: Cluster, make_certificate: MakeCertificate
) -> None:
    held = [make_certificate(f"CN=pub-{number}", ec=True) for number in range(5)]
    hold(cluster, *held)
    for reference in (held[2].sha256, held[2].sha256.upper(), held[2].sha256[:6], held[2].sha256[:30].upper()):
        assert cluster.find_trust_entry(reference, SAST).certificate == held[2]
    with pytest.raises(CertificateNotFoundError):
        cluster.find_trust_entry(held[2].sha256[:5], SAST)


def test_namesakes_in_one_store_are_told_apart(cluster: Cluster, make_certificate: MakeCertificate) -> None:
    held = [make_certificate("CN=pub", ec=True) for _ in range(2)]
    hold(cluster, *held)
    with pytest.raises(CertificateAmbiguousError, match=held[1].serial_hex):
        cluster.find_trust_entry("PUB", SAST)
    assert cluster.find_trust_entry(held[1].serial_hex, SAST).certificate == held[1]


def found(find: Callable[[], TrustEntry]) -> TrustEntry | str:
    try:
        return find()
    except (CertificateNotFoundError, CertificateAmbiguousError) as refusal:
        return str(refusal)


# --- what is decided


def test_a_plan_made_of_what_is_found_is_the_plan_made_of_everything(
    cluster: Cluster, make_certificate: MakeCertificate
) -> None:
    chance = Random(1)
    owned = [identity.certificate for identity in cluster.identities()]
    names = ["CN=pub", "CN=PUB", "CN=sub", "CN=other", owned[0].subject]
    shelf = [make_certificate(name, ec=True, not_before=start) for name in names for start in (EARLY, LATE)] + owned
    for number in range(12):
        origin, store = chance.choice(["osaka", "kyoto", "upload"]), chance.choice([SAST, CCM, TOMCAT])
        hold(cluster, shelf[number % len(shelf)], store=store, origin=origin)
    for _ in range(60):
        incoming = [
            Incoming(certificate, chance.choice(list(BulkType)), chance.choice([cluster.name, "osaka", "kyoto"]))
            for certificate in chance.sample(shelf, chance.randrange(6))
        ]
        about = cluster.trust_entries_about({item.certificate for item in incoming})
        assert plan_of(cluster, incoming, about) == plan_of(cluster, incoming, cluster.trust_entries())


def plan_of(cluster: Cluster, incoming: list[Incoming], entries: tuple[TrustEntry, ...]) -> object:
    held = {
        store: [HeldCertificate(each.certificate, each.origin) for each in entries if each.store is store]
        for store in Store
    }
    return plan_import(incoming, held, CLUSTER_BORN, cluster.name)


def test_an_upload_is_decided_by_what_that_store_holds(cluster: Cluster, make_certificate: MakeCertificate) -> None:
    held = make_certificate("CN=pub", not_before=EARLY)
    hold(cluster, held)
    newer = make_certificate("CN=pub", not_before=LATE)
    assert decide_upload(cluster, held, SAST, CLUSTER_BORN).code is Code.HELD
    assert decide_upload(cluster, newer, SAST, CLUSTER_BORN).code is Code.BESIDE_FOREIGN
    assert decide_upload(cluster, newer, CCM, CLUSTER_BORN).code is Code.NEW


def test_one_change_that_can_be_taken_back_is_found_without_the_others(
    cluster: Cluster, make_certificate: MakeCertificate
) -> None:
    one, two = make_certificate("CN=one"), make_certificate("CN=two")
    identifiers = hold(cluster, one), hold(cluster, two)
    assert [change.certificate for change in cluster.undoable(identifiers[1]).changes] == [two]
    cluster.undo(identifiers[0])
    for unfit in (identifiers[0], "missing"):
        with pytest.raises(UndoImpossibleError):
            cluster.undoable(unfit)
