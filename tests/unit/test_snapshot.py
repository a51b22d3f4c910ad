"""What a node reads of its cluster: one moment, and after a change only what was touched, which gives the same."""

import random
import ssl
from collections.abc import Iterator
from pathlib import Path
from shutil import copy2, copytree

import pytest

from certferry.cluster import phones, touched
from certferry.cluster.cluster import Cluster
from certferry.cluster.parameters import SECURITY_MODE, TVS_CACHE
from certferry.cluster.reading import Reading
from certferry.cluster.values import CallManagerGroup, Node, NodeRole, Phone, Service, TrustChange
from certferry.serve.node import NodeServices
from certferry.serve.snapshot import Snapshot
from certferry.serve.tvs_index import TvsIndex
from certferry.serve.watching import Watcher
from certferry.trust.purpose import Purpose, Store
from certferry.wire.certificate import Certificate
from certferry.wire.tvs import (
    CertificateQueryRequest,
    CertificateVerificationReply,
    CertificateVerificationRequest,
    Status,
    parse_message,
)
from conftest import MakeCertificate, MakeCluster

PUB, SUB = "source-pub", "source-sub1"
ONE, TWO = "SEP0011223344AA", "SEP0011223344BB"
SAST, CCM, TOMCAT = Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST, Store.TOMCAT_TRUST


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    made = make_cluster(nodes=2)
    made.add_phones([Phone(ONE), Phone(TWO)])
    return made


@pytest.fixture(scope="module")
def strangers(make_certificate: MakeCertificate) -> list[Certificate]:
    return [make_certificate(f"CN=stranger-{number}") for number in range(6)]


def trust(cluster: Cluster, certificates: list[Certificate], store: Store = SAST) -> str:
    return cluster.change_trust([TrustChange("add", store, each) for each in certificates], action="upload")


def distrust(cluster: Cluster, certificate: Certificate, store: Store = SAST) -> None:
    cluster.change_trust([TrustChange("remove", store, certificate)], action="delete")


def said(index: TvsIndex, certificate: Certificate) -> tuple[bytes, bytes]:
    """The answers to both questions about a certificate."""
    query = CertificateQueryRequest(1, "CP", certificate.subject, certificate.issuer, certificate.serial)
    verification = CertificateVerificationRequest(2, "CP", certificate.der)
    return index.reply(query.encode()), index.reply(verification.encode())


def roles(snapshot: Snapshot, certificate: Certificate) -> tuple[int, ...] | None:
    reply = parse_message(snapshot.tvs_index.reply(CertificateVerificationRequest(2, "CP", certificate.der).encode()))
    assert isinstance(reply, CertificateVerificationReply)
    return tuple(reply.roles) if reply.status is Status.VALID else None


def assert_alike(followed: Snapshot, fresh: Snapshot, certificates: list[Certificate]) -> None:
    """What was followed change by change is what is read anew."""
    assert followed.version == fresh.version
    assert dict(followed.reading.trust) == dict(fresh.reading.trust)
    assert dict(followed.phones) == dict(fresh.phones)
    assert dict(followed.configs) == dict(fresh.configs)
    assert followed.callmanager_trust == fresh.callmanager_trust
    assert (followed.ctl, followed.itl, followed.mode) == (fresh.ctl, fresh.itl, fresh.mode)
    assert {of: each.certificate for of, each in followed.credentials.items()} == {
        of: each.certificate for of, each in fresh.credentials.items()
    }
    assert len(followed.tvs_index) == len(fresh.tvs_index)
    for certificate in certificates:
        assert said(followed.tvs_index, certificate) == said(fresh.tvs_index, certificate)


# --- what is read


def test_after_an_import_only_its_certificates_are_read(cluster: Cluster, strangers: list[Certificate]) -> None:
    trust(cluster, strangers[:3])
    before = Snapshot.load(cluster, [PUB])
    trust(cluster, strangers[2:5])
    after = Snapshot.load(cluster, [PUB], before)
    assert after.reading.touched_trust == frozenset(each.der for each in strangers[3:5])
    assert after.reading.touched_phones == frozenset()
    assert_alike(after, Snapshot.load(cluster, [PUB]), strangers)


def test_what_did_not_change_is_kept_as_it_is(cluster: Cluster, strangers: list[Certificate]) -> None:
    before = Snapshot.load(cluster, [PUB])
    trust(cluster, strangers[:1])
    after = Snapshot.load(cluster, [PUB], before)
    assert after.phones is before.phones
    assert after.configs is before.configs
    assert after.credentials[PUB, Purpose.TVS].key is before.credentials[PUB, Purpose.TVS].key
    assert after.callmanager_trust is before.callmanager_trust


def test_a_snapshot_once_taken_never_changes(cluster: Cluster, strangers: list[Certificate]) -> None:
    trust(cluster, strangers[:1])
    before = Snapshot.load(cluster, [PUB])
    distrust(cluster, strangers[0])
    after = Snapshot.load(cluster, [PUB], before)
    assert roles(before, strangers[0]) == (0, 3)
    assert roles(after, strangers[0]) is None


def test_an_undone_import_is_forgotten(cluster: Cluster, strangers: list[Certificate]) -> None:
    undo = trust(cluster, strangers)
    before = Snapshot.load(cluster, [PUB])
    cluster.undo(undo)
    after = Snapshot.load(cluster, [PUB], before)
    assert [roles(after, each) for each in strangers] == [None] * len(strangers)
    assert_alike(after, Snapshot.load(cluster, [PUB]), strangers)


def test_a_certificate_that_leaves_one_of_its_stores_keeps_the_roles_of_the_others(
    cluster: Cluster, strangers: list[Certificate]
) -> None:
    trust(cluster, strangers[:1], SAST)
    trust(cluster, strangers[:1], TOMCAT)
    before = Snapshot.load(cluster, [PUB])
    distrust(cluster, strangers[0], SAST)
    after = Snapshot.load(cluster, [PUB], before)
    assert (roles(before, strangers[0]), roles(after, strangers[0])) == ((0, 3, 7), (7,))


def test_a_regenerated_certificate_is_vouched_for_and_the_old_one_no_longer(cluster: Cluster) -> None:
    before = Snapshot.load(cluster, [PUB, SUB])
    old = cluster.identity(Purpose.TVS)
    new, _ = cluster.regenerate(Purpose.TVS)
    after = Snapshot.load(cluster, [PUB, SUB], before)
    assert (roles(after, old.certificate), roles(after, new.certificate)) == (None, (21,))
    assert after.credentials[PUB, Purpose.TVS].certificate == new.certificate
    assert_alike(after, Snapshot.load(cluster, [PUB, SUB]), [old.certificate, new.certificate])


def test_phones_that_were_changed_added_and_removed_are_read_and_no_others(cluster: Cluster) -> None:
    new, unchanged = "SEP0011223344CC", "SEP0011223344DD"
    cluster.add_phones([Phone(unchanged)])
    before = Snapshot.load(cluster, [PUB])
    cluster.add_phones([Phone(ONE, "7821"), Phone(new)])
    cluster.remove_phones([TWO])
    after = Snapshot.load(cluster, [PUB], before)
    assert after.reading.touched_phones == frozenset({ONE, TWO, new})
    assert set(after.phones) == {ONE, new, unchanged}
    assert after.configs[unchanged.lower()] is before.configs[unchanged.lower()]
    assert_alike(after, Snapshot.load(cluster, [PUB]), [])


@pytest.mark.parametrize("change", ["group", "port", "mode"])
def test_a_change_of_what_all_configurations_name_makes_all_anew(cluster: Cluster, change: str) -> None:
    cluster.add_phones([Phone(ONE, secure=True)])
    before = Snapshot.load(cluster, [PUB])
    if change == "group":
        cluster.put_group(CallManagerGroup("Default", (PUB,)))
    elif change == "port":
        cluster.set_port(SUB, Service.TVS, 4000)
    else:
        cluster.set_parameter(SECURITY_MODE, "mixed")
    after = Snapshot.load(cluster, [PUB], before)
    assert after.configs[ONE.lower()] != before.configs[ONE.lower()]
    assert_alike(after, Snapshot.load(cluster, [PUB]), [])


def test_another_time_to_keep_answers_is_in_every_answer(cluster: Cluster) -> None:
    before = Snapshot.load(cluster, [PUB])
    cluster.set_parameter(TVS_CACHE, "60")
    after = Snapshot.load(cluster, [PUB], before)
    own = cluster.identity(Purpose.CALLMANAGER).certificate
    assert said(after.tvs_index, own) != said(before.tvs_index, own)
    assert_alike(after, Snapshot.load(cluster, [PUB]), [own])


# --- whose phones a secure registrar lets in


@pytest.fixture
def secure(cluster: Cluster) -> Cluster:
    cluster.set_parameter(SECURITY_MODE, "mixed")
    return cluster


def test_callmanager_trust_is_gathered_only_where_secure_phones_register(cluster: Cluster) -> None:
    assert Snapshot.load(cluster, [PUB]).callmanager_trust is None
    cluster.set_parameter(SECURITY_MODE, "mixed")
    held = frozenset(entry.certificate.der for entry in cluster.trust_entries(CCM))
    assert Snapshot.load(cluster, [PUB]).callmanager_trust == held


def test_callmanager_trust_is_followed_in_a_secure_cluster(secure: Cluster, strangers: list[Certificate]) -> None:
    first = Snapshot.load(secure, [PUB])
    trust(secure, strangers[:2], CCM)
    trust(secure, strangers[2:3], SAST)
    second = Snapshot.load(secure, [PUB], first)
    own = first.callmanager_trust or frozenset()
    assert second.callmanager_trust == own | {each.der for each in strangers[:2]}
    distrust(secure, strangers[0], CCM)
    trust(secure, strangers[:1], SAST)
    third = Snapshot.load(secure, [PUB], second)
    assert third.callmanager_trust == own | {strangers[1].der}
    assert_alike(third, Snapshot.load(secure, [PUB]), strangers)


async def test_a_registrar_s_context_is_made_anew_when_its_authorities_change_and_only_then(
    secure: Cluster, strangers: list[Certificate]
) -> None:
    first = Snapshot.load(secure, [PUB])
    services = NodeServices(secure.node(PUB), first, watch=Watcher(secure).at(PUB))
    contexts = [secure_context(services)]
    own = contexts[0].cert_store_stats()["x509"]
    trust(secure, strangers[1:], SAST)
    second = Snapshot.load(secure, [PUB], first)
    contexts.append(await applied(services, second))
    assert contexts[0] is contexts[1]
    trust(secure, strangers[:1], CCM)
    third = Snapshot.load(secure, [PUB], second)
    contexts.append(await applied(services, third))
    assert contexts[-1].cert_store_stats()["x509"] == own + 1
    distrust(secure, strangers[0], CCM)
    contexts.append(await applied(services, Snapshot.load(secure, [PUB], third)))
    assert contexts[-1].cert_store_stats()["x509"] == own
    assert len(set(contexts)) == 3


async def applied(services: NodeServices, snapshot: Snapshot) -> ssl.SSLContext:
    await services.apply(snapshot)
    return secure_context(services)


def secure_context(services: NodeServices) -> ssl.SSLContext:
    assert services._prepared.sips is not None
    return services._prepared.sips.context


def test_configurations_are_made_only_for_nodes_that_serve_them(make_cluster: MakeCluster) -> None:
    roles = frozenset({NodeRole.PUBLISHER, NodeRole.TFTP}), frozenset({NodeRole.TVS})
    nodes = [Node(f"n{at}", f"127.0.0.{at + 1}", each) for at, each in enumerate(roles)]
    cluster = make_cluster(nodes=nodes)
    cluster.add_phones([Phone(ONE)])
    assert set(Snapshot.load(cluster, ["n0"]).configs) == {ONE.lower()}
    assert Snapshot.load(cluster, ["n1"]).configs == {}
    assert set(Snapshot.load(cluster, ["n1"]).phones) == {ONE}


# --- when everything is read


@pytest.fixture
def few_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(touched, "KEPT", 4)


@pytest.mark.usefixtures("few_notes")
def test_who_missed_more_than_was_noted_reads_everything(cluster: Cluster, strangers: list[Certificate]) -> None:
    before = Snapshot.load(cluster, [PUB])
    for each in strangers:
        trust(cluster, [each])
    after = Snapshot.load(cluster, [PUB], before)
    assert after.reading.touched_trust is None
    assert_alike(after, Snapshot.load(cluster, [PUB]), strangers)


def test_what_touches_very_many_is_noted_as_touching_all(
    cluster: Cluster, strangers: list[Certificate], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(touched, "MOST", 3)
    before = Snapshot.load(cluster, [PUB])
    trust(cluster, strangers[:4])
    after = Snapshot.load(cluster, [PUB], before)
    assert after.reading.touched_trust is None
    assert after.reading.touched_phones == frozenset()
    assert_alike(after, Snapshot.load(cluster, [PUB]), strangers)


def test_a_reading_for_other_nodes_is_no_beginning(cluster: Cluster) -> None:
    before = Snapshot.load(cluster, [PUB])
    after = Snapshot.load(cluster, [SUB], before)
    assert after.reading.touched_trust is None
    assert set(after.credentials) == {(SUB, Purpose.CALLMANAGER), (SUB, Purpose.TVS)}


@pytest.fixture
def restored(cluster: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """Another copy of the cluster, as after its backup came back, which goes its own way from there."""
    folder = tmp_path / "restored"
    copytree(cluster.location.folder, folder, copy_function=copy2)
    opened = Cluster.open(folder)
    yield opened
    opened.close()


def test_a_cluster_that_came_back_from_a_backup_and_went_on_otherwise_is_read_whole(
    cluster: Cluster, restored: Cluster, strangers: list[Certificate]
) -> None:
    trust(cluster, strangers[:2])
    before = Snapshot.load(cluster, [PUB])
    for each in strangers[3:]:
        trust(restored, [each])
    after = Snapshot.load(restored, [PUB], before)
    assert after.reading.touched_trust is None
    assert_alike(after, Snapshot.load(restored, [PUB]), strangers)


# --- one moment


def test_a_change_that_comes_while_a_snapshot_is_read_is_not_half_in_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, version, old = phones.read_phones, cluster.version(), cluster.identity(Purpose.TVS).certificate

    def read_while_somebody_works(*given: object) -> tuple[Phone, ...]:
        if cluster.version() == version:
            cluster.regenerate(Purpose.TVS)
            cluster.remove_phones([ONE])
        return read(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(phones, "read_phones", read_while_somebody_works)
    snapshot = Snapshot.load(cluster, [PUB])
    assert (snapshot.version, set(snapshot.phones)) == (version, {ONE, TWO})
    assert snapshot.credentials[PUB, Purpose.TVS].certificate == old
    assert_alike(Snapshot.load(cluster, [PUB], snapshot), Snapshot.load(cluster, [PUB]), [old])


# --- any history


@pytest.mark.parametrize("seed", range(5))
def test_following_any_changes_comes_to_what_is_read_anew(
    cluster: Cluster, strangers: list[Certificate], seed: int
) -> None:
    chance, followed = random.Random(seed), Snapshot.load(cluster, [PUB, SUB])
    undoable: list[str] = []
    for _ in range(12):
        for _ in range(chance.randint(1, 3)):
            change(cluster, chance, strangers, undoable)
        followed = Snapshot.load(cluster, [PUB, SUB], followed)
    assert_alike(followed, Snapshot.load(cluster, [PUB, SUB]), strangers)


def change(cluster: Cluster, chance: random.Random, strangers: list[Certificate], undoable: list[str]) -> None:
    what = chance.choice(["add", "add", "remove", "undo", "phone", "forget"])
    some, store = chance.sample(strangers, 2), chance.choice([SAST, CCM, TOMCAT])
    if what == "undo" and undoable:
        cluster.undo(undoable.pop())
    elif what in ("add", "remove"):
        changes = [TrustChange("add" if what == "add" else "remove", store, each) for each in some]
        undoable.append(cluster.change_trust(changes, action="upload"))
    elif what == "phone":
        cluster.add_phones([Phone(chance.choice([ONE, TWO]), chance.choice(["7821", "8861"]))])
    elif cluster.phones():
        cluster.remove_phones([chance.choice(cluster.phones()).device])


def test_a_reading_says_what_it_is_of(cluster: Cluster) -> None:
    read: Reading = cluster.reading([SUB])
    assert (read.names, read.version) == (frozenset({SUB}), cluster.version())
    assert set(read.keys) == {(SUB, Purpose.CALLMANAGER), (SUB, Purpose.TVS)}
    assert {entry.certificate.der for entry in cluster.trust_entries()} == set(read.trust)
