"""The trust lists of a cluster, release by release: who signs, which records in which order, and when they change."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256

import pytest

from certferry.cluster.cluster import Cluster, ClusterSpec
from certferry.cluster.parameters import ROLLBACK, SECURITY_MODE, SIGNATURE_ALGORITHM, TVS_CACHE
from certferry.cluster.trust_lists import CtlMissingError, CtlNeededError, CtlReplacedError
from certferry.cluster.values import CallManagerGroup, Node, NodeRole, Phone, TrustChange
from certferry.lab.keys import PooledKeys
from certferry.trust.list_check import Check, check_list
from certferry.trust.purpose import Purpose, Store
from certferry.trust.release import Release
from certferry.wire.roles import Role
from certferry.wire.signed_header import Digest
from certferry.wire.trust_list import PHONE_LIMIT, TrustList
from conftest import CLUSTER_BORN, MakeCertificate, MakeCluster, usual_nodes

RELEASES = ["10.0", "10.5.1", "10.5.2", "11.5.1", "12.0", "12.5.1", "14", "15"]
SIGNED_BY_CALLMANAGER = RELEASES[:4]
PUB, SUB1, SUB2 = "source-pub", "source-sub1", "source-sub2"
every_release = pytest.mark.parametrize("release", RELEASES)
both_modes = pytest.mark.parametrize("secure", [True, False], ids=["mixed", "non-secure"])


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory, key_pool: PooledKeys) -> MakeCluster:
    """A cluster of that release and mode, the same for every test: to be looked at and never changed."""

    @cache
    def make(release: str = "11.5.1", *, secure: bool = False) -> Cluster:
        spec = ClusterSpec("source", Release.parse(release), usual_nodes("source", 3), secure=secure)
        return Cluster.create(
            tmp_path_factory.mktemp("cluster") / "it", spec, keys=key_pool, clock=lambda: CLUSTER_BORN
        )

    return make


def itl(cluster: Cluster, node: str = PUB) -> TrustList:
    return TrustList.parse(cluster.trust_list("ITL", node) or b"")


def ctl(cluster: Cluster) -> TrustList:
    return TrustList.parse(cluster.trust_list("CTL") or b"")


def described(cluster: Cluster, trust_list: TrustList) -> list[tuple[str, str, str]]:
    """Each record as role, which certificate, on which node."""
    known = {each.certificate.der: each.purpose.value for each in cluster.identities()}
    return [(Role(each.role).name, known.get(each.certificate, "empty"), each.dns_name) for each in trust_list.records]


def failing(checks: tuple[Check, ...]) -> dict[str, str]:
    return {check.id: check.verdict for check in checks if check.verdict != "pass"}


# --- who signs


@every_release
@both_modes
def test_the_release_decides_who_signs_the_itl_of_each_tftp_node(
    standing: MakeCluster, release: str, *, secure: bool
) -> None:
    cluster = standing(release=release, secure=secure)
    purpose = Purpose.CALLMANAGER if release in SIGNED_BY_CALLMANAGER else Purpose.ITL_RECOVERY
    for node in (PUB, SUB1, SUB2):
        header = itl(cluster, node).header
        signer = cluster.identity(purpose, node).certificate
        assert (header.subject, header.issuer, header.serial) == (signer.subject, signer.issuer, signer.serial)


@every_release
def test_the_ctl_is_signed_by_the_publisher_or_by_itl_recovery(standing: MakeCluster, release: str) -> None:
    cluster = standing(release=release, secure=True)
    purpose = Purpose.CALLMANAGER if release in SIGNED_BY_CALLMANAGER else Purpose.ITL_RECOVERY
    assert ctl(cluster).header.serial == cluster.identity(purpose, PUB).certificate.serial


@every_release
@both_modes
def test_every_list_passes_every_check(standing: MakeCluster, release: str, *, secure: bool) -> None:
    cluster = standing(release=release, secure=secure)
    lists = [cluster.trust_list("ITL", node.name) for node in cluster.tftp_nodes()]
    lists += [cluster.trust_list("CTL")] if secure else []
    assert [failing(check_list(data or b"", CLUSTER_BORN)) for data in lists] == [{}] * len(lists)


@every_release
def test_a_phone_of_the_cluster_takes_the_list_of_another_node_only_through_tvs_before_12_0(
    standing: MakeCluster, release: str
) -> None:
    cluster = standing(release=release)
    checks = check_list(cluster.trust_list("ITL", SUB1) or b"", CLUSTER_BORN, trusted=itl(cluster))
    assert failing(checks) == ({"list.accepted": "fail"} if release in SIGNED_BY_CALLMANAGER else {})


@every_release
def test_a_phone_with_a_ctl_takes_the_itl_of_every_node_it_names_as_sast(standing: MakeCluster, release: str) -> None:
    cluster = standing(release=release, secure=True)
    assert failing(check_list(cluster.trust_list("ITL", PUB) or b"", CLUSTER_BORN, trusted=ctl(cluster))) == {}


# --- which records


@pytest.mark.parametrize("release", SIGNED_BY_CALLMANAGER)
@both_modes
def test_before_12_0_the_itl_begins_with_this_nodes_callmanager(
    standing: MakeCluster, release: str, *, secure: bool
) -> None:
    cluster = standing(release=release, secure=secure)
    assert described(cluster, itl(cluster, SUB1)) == [
        ("SAST", "CallManager", SUB1),
        ("SAST", "ITLRecovery", PUB),
        ("CALLMANAGER_TFTP" if secure else "TFTP", "CallManager", SUB1),
        ("TVS", "TVS", PUB),
        ("TVS", "TVS", SUB1),
        ("TVS", "TVS", SUB2),
        ("CAPF", "CAPF", PUB),
    ]


@pytest.mark.parametrize("release", RELEASES[4:])
@both_modes
def test_from_12_0_the_itl_begins_with_itl_recovery(standing: MakeCluster, release: str, *, secure: bool) -> None:
    cluster = standing(release=release, secure=secure)
    assert described(cluster, itl(cluster, SUB2)) == [
        ("SAST", "ITLRecovery", PUB),
        ("SAST", "CallManager", SUB2),
        ("CALLMANAGER_TFTP" if secure else "TFTP", "CallManager", SUB2),
        ("TVS", "TVS", PUB),
        ("TVS", "TVS", SUB1),
        ("TVS", "TVS", SUB2),
        ("CAPF", "CAPF", PUB),
    ]


CTL_SASTS = {
    "10.0": ["CallManager"],
    "10.5.1": ["CallManager"],
    "10.5.2": ["CallManager", "ITLRecovery"],
    "11.5.1": ["CallManager", "ITLRecovery"],
    "12.0": ["ITLRecovery", "CallManager"],
    "12.5.1": ["ITLRecovery", "CallManager"],
    "14": ["ITLRecovery", "CallManager"],
    "15": ["ITLRecovery", "CallManager"],
}


@every_release
def test_the_ctl_has_the_sast_records_of_its_release_every_server_and_no_tvs(
    standing: MakeCluster, release: str
) -> None:
    cluster = standing(release=release, secure=True)
    assert described(cluster, ctl(cluster)) == [
        *(("SAST", purpose, PUB) for purpose in CTL_SASTS[release]),
        ("CALLMANAGER_TFTP", "CallManager", PUB),
        ("CAPF", "CAPF", PUB),
        ("CALLMANAGER_TFTP", "CallManager", SUB1),
        ("CALLMANAGER_TFTP", "CallManager", SUB2),
    ]


def test_each_record_names_the_address_of_its_node(standing: MakeCluster) -> None:
    cluster = standing()
    addresses = {node.name: node.address for node in cluster.nodes()}
    assert all(record.ip_address == addresses[record.dns_name] for record in itl(cluster).records)


def test_records_carry_whole_certificates_with_the_fields_taken_from_them(standing: MakeCluster) -> None:
    for record in itl(standing()).records:
        certificate = record.parsed
        assert (record.subject, record.issuer, record.serial) == (
            certificate.subject,
            certificate.issuer,
            certificate.serial,
        )
        assert (record.public_key, record.signature) == (certificate.public_key, certificate.signature)


def test_an_itl_recovery_of_each_node_stands_in_that_nodes_list(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(release="12.0", nodes=2, itl_recovery_per_node=True)
    assert described(cluster, itl(cluster, SUB1))[0] == ("SAST", "ITLRecovery", SUB1)
    assert described(cluster, itl(cluster, PUB))[0] == ("SAST", "ITLRecovery", PUB)
    assert itl(cluster, SUB1).header.subject.startswith(f"CN=ITLRECOVERY_{SUB1};")


def test_ec_certificates_stand_in_no_list(standing: MakeCluster) -> None:
    cluster = standing(secure=True)
    kinds = {record.parsed.key_kind for record in (*itl(cluster).records, *ctl(cluster).records)}
    assert kinds == {"RSA"}


def test_only_tftp_nodes_have_an_itl_and_no_list_is_made_up_for_others(make_cluster: MakeCluster) -> None:
    nodes = [
        Node("pub", "127.0.2.1", frozenset({NodeRole.PUBLISHER, NodeRole.CAPF, NodeRole.TVS})),
        Node("tftp", "127.0.2.2", frozenset({NodeRole.TFTP, NodeRole.TVS})),
        Node("calls", "127.0.2.3", frozenset({NodeRole.CALLMANAGER})),
    ]
    cluster = make_cluster(nodes=nodes, secure=True)
    assert cluster.trust_list("ITL", "pub") is None
    assert cluster.trust_list("ITL", "calls") is None
    assert described(cluster, itl(cluster, "tftp")) == [
        ("SAST", "CallManager", "tftp"),
        ("SAST", "ITLRecovery", "pub"),
        ("CALLMANAGER_TFTP", "CallManager", "tftp"),
        ("TVS", "TVS", "pub"),
        ("TVS", "TVS", "tftp"),
        ("CAPF", "CAPF", "pub"),
    ]
    servers = [name for role, _, name in described(cluster, ctl(cluster)) if role == "CALLMANAGER_TFTP"]
    assert servers == ["tftp", "calls"]


def test_a_cluster_without_capf_has_lists_without_it(make_cluster: MakeCluster) -> None:
    roles = frozenset({NodeRole.PUBLISHER, NodeRole.TFTP, NodeRole.TVS, NodeRole.CALLMANAGER})
    cluster = make_cluster(nodes=[Node("pub", "127.0.2.1", roles)], secure=True)
    roles_named = {record.role for record in (*itl(cluster, "pub").records, *ctl(cluster).records)}
    assert roles_named == {Role.SAST, Role.CALLMANAGER_TFTP, Role.TVS}


def test_the_itl_of_a_cluster_of_21_nodes_has_25_records_and_fits_a_phone(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=21)
    data = cluster.trust_list("ITL", "source-sub20") or b""
    roles = [record.role for record in TrustList.parse(data).records]
    assert roles == [Role.SAST, Role.SAST, Role.TFTP, *[Role.TVS] * 21, Role.CAPF]
    assert len(data) < PHONE_LIMIT
    assert failing(check_list(data, CLUSTER_BORN)) == {}


# --- the two modes


def test_mixed_mode_brings_a_ctl_and_what_is_left_of_it_afterwards_is_emptied(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    assert cluster.trust_list("CTL") is None
    assert set(cluster.set_parameter(SECURITY_MODE, "mixed")) == {"CTL", f"ITL of {PUB}"}
    assert failing(check_list(cluster.trust_list("CTL") or b"", CLUSTER_BORN)) == {}
    assert itl(cluster).records_with_role(Role.CALLMANAGER_TFTP)
    before = described(cluster, ctl(cluster))
    assert set(cluster.set_parameter(SECURITY_MODE, "non-secure")) == {"CTL", f"ITL of {PUB}"}
    assert described(cluster, ctl(cluster)) == [
        (role, "empty" if role == "CALLMANAGER_TFTP" else purpose, node) for role, purpose, node in before
    ]
    assert not itl(cluster).records_with_role(Role.CALLMANAGER_TFTP)


@every_release
def test_the_emptied_ctl_verifies_and_a_phone_that_holds_the_whole_one_takes_it(
    make_cluster: MakeCluster, release: str
) -> None:
    cluster = make_cluster(release=release, nodes=1, secure=True)
    held = ctl(cluster)
    cluster.set_parameter(SECURITY_MODE, "non-secure")
    assert failing(check_list(cluster.trust_list("CTL") or b"", CLUSTER_BORN, trusted=held)) == {}


def test_the_emptied_ctl_is_told_apart_from_a_whole_one(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=2, secure=True)
    cluster.set_parameter(SECURITY_MODE, "non-secure")
    (check,) = (
        each for each in check_list(cluster.trust_list("CTL") or b"", CLUSTER_BORN) if each.id == "list.left-mixed-mode"
    )
    assert (check.verdict, check.evidence) == ("pass", "2 emptied records: CCM+TFTP")


def test_the_emptied_ctl_follows_changes_and_becomes_whole_again_in_mixed_mode(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1, secure=True)
    whole = described(cluster, ctl(cluster))
    cluster.set_parameter(SECURITY_MODE, "non-secure")
    _, rebuilt = cluster.regenerate(Purpose.CAPF)
    assert "CTL" in rebuilt
    assert [each.is_emptied for each in ctl(cluster).records_with_role(Role.CALLMANAGER_TFTP)] == [True]
    cluster.set_parameter(SECURITY_MODE, "mixed")
    assert described(cluster, ctl(cluster)) == whole


def test_the_emptied_ctl_is_gone_once_it_is_deleted_and_stays_gone(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1, secure=True)
    cluster.set_parameter(SECURITY_MODE, "non-secure")
    cluster.delete_ctl()
    cluster.regenerate(Purpose.CAPF)
    assert cluster.trust_list("CTL") is None
    with pytest.raises(CtlMissingError):
        cluster.delete_ctl()


def test_only_the_ctl_that_was_looked_at_is_deleted(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1, secure=True)
    cluster.set_parameter(SECURITY_MODE, "non-secure")
    seen = sha256(cluster.deletable_ctl()).hexdigest()
    cluster.regenerate(Purpose.CAPF)
    with pytest.raises(CtlReplacedError):
        cluster.delete_ctl(seen)
    cluster.delete_ctl(sha256(cluster.deletable_ctl()).hexdigest())
    with pytest.raises(CtlMissingError):
        cluster.deletable_ctl()


def test_the_ctl_of_a_cluster_in_mixed_mode_is_not_deleted(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1, secure=True)
    version = cluster.version()
    with pytest.raises(CtlNeededError):
        cluster.delete_ctl()
    assert (cluster.version(), cluster.trust_list("CTL") is None) == (version, False)


def test_the_ctl_is_one_for_the_cluster_whatever_node_is_asked_for(standing: MakeCluster) -> None:
    cluster = standing(secure=True)
    assert cluster.trust_list("CTL", SUB1) == cluster.trust_list("CTL") is not None


# --- rollback


@both_modes
@pytest.mark.parametrize("release", ["10.5.2", "12.5.1"])
def test_preparing_for_rollback_empties_the_tvs_and_tftp_records_of_every_itl(
    make_cluster: MakeCluster, release: str, *, secure: bool
) -> None:
    cluster = make_cluster(release=release, secure=secure, nodes=2)
    before = described(cluster, itl(cluster, SUB1))
    assert set(cluster.set_parameter(ROLLBACK, "true")) == {f"ITL of {PUB}", f"ITL of {SUB1}"}
    emptied = {"TVS", "TFTP", "CALLMANAGER_TFTP"}
    assert described(cluster, itl(cluster, SUB1)) == [
        (role, "empty" if role in emptied else purpose, node) for role, purpose, node in before
    ]


def test_an_emptied_record_is_a_name_a_role_and_an_address(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    cluster.set_parameter(ROLLBACK, "true")
    (record,) = itl(cluster).records_with_role(Role.TVS)
    assert record.is_emptied
    assert (record.dns_name, record.ip_address) == (PUB, "127.0.2.1")
    assert record.size == 5 + (3 + len(PUB) + 1) + (3 + 2) + (3 + 4)


def test_an_emptied_itl_still_verifies_and_is_told_apart_from_a_usual_one(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    cluster.set_parameter(ROLLBACK, "true")
    assert failing(check_list(cluster.trust_list("ITL", PUB) or b"", CLUSTER_BORN)) == {"list.rollback": "fail"}


def test_the_rollback_switch_does_not_touch_the_ctl(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1, secure=True)
    before = cluster.trust_list("CTL")
    cluster.set_parameter(ROLLBACK, "true")
    assert cluster.trust_list("CTL") == before


def test_taking_the_rollback_switch_back_fills_the_records_again(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    before = cluster.trust_list("ITL", PUB)
    cluster.set_parameter(ROLLBACK, "true")
    cluster.set_parameter(ROLLBACK, "false")
    assert cluster.trust_list("ITL", PUB) == before


# --- the digest


@both_modes
def test_sha_512_signs_every_list_once_it_is_chosen(make_cluster: MakeCluster, *, secure: bool) -> None:
    cluster = make_cluster(secure=secure, nodes=2)
    assert itl(cluster).header.digest is Digest.SHA1
    rebuilt = cluster.set_parameter(SIGNATURE_ALGORITHM, "SHA-512")
    assert set(rebuilt) == {f"ITL of {PUB}", f"ITL of {SUB1}"} | ({"CTL"} if secure else set())
    for data in (cluster.trust_list("ITL", SUB1), *([cluster.trust_list("CTL")] if secure else [])):
        assert TrustList.parse(data or b"").header.digest is Digest.SHA512
        assert failing(check_list(data or b"", CLUSTER_BORN)) == {}


# --- built anew only when something changed


@pytest.fixture
def aging(make_cluster: MakeCluster) -> Cluster:
    """A cluster opened an hour after it was made, so that a list built anew shows by its timestamp."""
    made = make_cluster(secure=True, nodes=2)
    return Cluster(made.location, clock=lambda: CLUSTER_BORN + timedelta(hours=1))


def timestamps(cluster: Cluster) -> list[int | None]:
    return [each.header.timestamp for each in (ctl(cluster), itl(cluster), itl(cluster, SUB1))]


def at(when: datetime) -> int:
    return int(when.timestamp())


CHANGES_THAT_NO_LIST_TELLS: dict[str, Callable[[Cluster], object]] = {
    "same value": lambda cluster: cluster.set_parameter(SIGNATURE_ALGORITHM, "sha-1"),
    "TVS cache": lambda cluster: cluster.set_parameter(TVS_CACHE, "60"),
    "phones": lambda cluster: cluster.add_phones([Phone("SEP001122334455")]),
    "groups": lambda cluster: cluster.put_group(CallManagerGroup("East", (SUB1,))),
    "tomcat": lambda cluster: cluster.regenerate(Purpose.TOMCAT),
}


@pytest.mark.parametrize("change", CHANGES_THAT_NO_LIST_TELLS.values(), ids=CHANGES_THAT_NO_LIST_TELLS.keys())
def test_a_change_that_no_list_tells_keeps_their_bytes(aging: Cluster, change: Callable[[Cluster], object]) -> None:
    before = [aging.trust_list("CTL"), aging.trust_list("ITL", PUB), aging.trust_list("ITL", SUB1)]
    change(aging)
    assert [aging.trust_list("CTL"), aging.trust_list("ITL", PUB), aging.trust_list("ITL", SUB1)] == before
    assert set(timestamps(aging)) == {at(CLUSTER_BORN)}


def test_a_foreign_certificate_in_a_trust_store_keeps_their_bytes(
    aging: Cluster, make_certificate: MakeCertificate
) -> None:
    aging.change_trust([TrustChange("add", Store.PHONE_SAST_TRUST, make_certificate())], action="upload")
    assert set(timestamps(aging)) == {at(CLUSTER_BORN)}


def test_a_list_built_anew_carries_the_time_of_its_building(aging: Cluster) -> None:
    aging.regenerate(Purpose.CALLMANAGER, SUB1)
    born, later = at(CLUSTER_BORN), at(CLUSTER_BORN + timedelta(hours=1))
    assert timestamps(aging) == [later, born, later]
