"""A cluster's own certificates: replaced, signed by a CA, and what follows in the trust stores and trust lists."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from certferry.cluster.cluster import Cluster
from certferry.cluster.identities import IdentityUnknownError
from certferry.cluster.issuing import NameImpossibleError
from certferry.cluster.nodes import NodeUnknownError
from certferry.cluster.signing_requests import (
    CertificateForeignError,
    CertificateOutOfDateError,
    ChainIncompleteError,
    RequestImpossibleError,
    RequestUnknownError,
)
from certferry.cluster.values import Node, NodeRole, TrustChange
from certferry.trust.purpose import OWN_COPIES, Purpose, Store
from certferry.wire.certificate import Certificate
from certferry.wire.trust_list import TrustList
from conftest import CLUSTER_BORN, MakeCluster

PUB, SUB1, SUB2 = "source-pub", "source-sub1", "source-sub2"
Lists = dict[tuple[str, str | None], bytes | None]


def lists_of(cluster: Cluster) -> Lists:
    lists: Lists = {("ITL", node.name): cluster.trust_list("ITL", node.name) for node in cluster.tftp_nodes()}
    return {**lists, ("CTL", None): cluster.trust_list("CTL")}


def changed(before: Lists, after: Lists) -> set[str]:
    return {f"{kind} of {node}" if node else kind for kind, node in before if before[kind, node] != after[kind, node]}


def stores_holding(cluster: Cluster, certificate: Certificate) -> set[Store]:
    return {entry.store for entry in cluster.trust_entries() if entry.certificate == certificate}


def names_in(data: bytes | None) -> set[bytes]:
    return {record.certificate for record in TrustList.parse(data or b"").records}


# --- regenerating


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_regenerated_certificate_takes_the_place_of_the_old_one_with_all_its_copies(
    make_cluster: MakeCluster, purpose: Purpose
) -> None:
    cluster = make_cluster(nodes=2)
    old = cluster.identity(purpose)
    new, _ = cluster.regenerate(purpose)
    assert (new.purpose, new.node) == (old.purpose, old.node)
    assert cluster.identity(purpose) == new
    assert stores_holding(cluster, old.certificate) == set()
    assert stores_holding(cluster, new.certificate) == set(OWN_COPIES[purpose])
    assert len(cluster.identities()) == 2 * 6 + 2


def test_it_has_a_new_key_and_serial_and_the_same_common_name(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    old = cluster.identity(Purpose.CALLMANAGER, SUB1)
    new, _ = cluster.regenerate(Purpose.CALLMANAGER, SUB1)
    assert new.certificate.common_name == old.certificate.common_name == SUB1
    assert new.certificate.public_key != old.certificate.public_key
    assert new.certificate.serial != old.certificate.serial
    assert cluster.private_key(new).public_key() == new.certificate.x509.public_key()


def test_the_old_key_is_gone(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    old = cluster.identity(Purpose.TVS)
    cluster.regenerate(Purpose.TVS)
    with pytest.raises(IdentityUnknownError, match="was replaced"):
        cluster.private_key(old)


def test_capf_gets_a_new_name_with_its_new_certificate(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    old = cluster.identity(Purpose.CAPF)
    new, _ = cluster.regenerate(Purpose.CAPF)
    assert new.certificate.common_name.startswith("CAPF-")
    assert new.certificate.common_name != old.certificate.common_name


def test_the_publisher_is_meant_where_no_node_is_named(make_cluster: MakeCluster) -> None:
    new, _ = make_cluster().regenerate(Purpose.TVS)
    assert new.node == PUB


def test_a_node_is_found_in_any_letter_case(make_cluster: MakeCluster) -> None:
    new, _ = make_cluster().regenerate(Purpose.TVS, "SOURCE-Sub1")
    assert new.node == SUB1


@pytest.mark.parametrize("purpose", [Purpose.TVS, Purpose.ITL_RECOVERY])
def test_a_node_that_does_not_exist_is_told_and_nothing_is_changed(make_cluster: MakeCluster, purpose: Purpose) -> None:
    cluster = make_cluster()
    version = cluster.version()
    with pytest.raises(NodeUnknownError, match="'elsewhere'"):
        cluster.regenerate(purpose, "elsewhere")
    assert cluster.version() == version


def test_a_certificate_that_a_node_does_not_have_cannot_be_regenerated(make_cluster: MakeCluster) -> None:
    with pytest.raises(IdentityUnknownError, match="there is no CAPF certificate of node source-sub1"):
        make_cluster().regenerate(Purpose.CAPF, SUB1)


def test_the_certificates_begin_to_be_valid_when_they_were_made(make_cluster: MakeCluster) -> None:
    later = CLUSTER_BORN + timedelta(days=400)
    made = make_cluster(nodes=1)
    reopened = Cluster(made.location, clock=lambda: later)
    new, _ = reopened.regenerate(Purpose.TVS)
    assert made.identity(Purpose.TOMCAT).certificate.not_before == CLUSTER_BORN
    assert new.certificate.not_before == later


# --- which lists follow


ALL_ITLS = {f"ITL of {name}" for name in (PUB, SUB1, SUB2)}
FOLLOWS: dict[tuple[Purpose, str], set[str]] = {
    (Purpose.TVS, SUB1): ALL_ITLS,
    (Purpose.CAPF, PUB): {*ALL_ITLS, "CTL"},
    (Purpose.ITL_RECOVERY, PUB): {*ALL_ITLS, "CTL"},
    (Purpose.CALLMANAGER, PUB): {f"ITL of {PUB}", "CTL"},
    (Purpose.CALLMANAGER, SUB1): {f"ITL of {SUB1}", "CTL"},
    (Purpose.TOMCAT, PUB): set(),
    (Purpose.IPSEC, SUB2): set(),
    (Purpose.CALLMANAGER_ECDSA, SUB1): set(),
    (Purpose.TOMCAT_ECDSA, PUB): set(),
}


@pytest.mark.parametrize("release", ["11.5.1", "12.5.1"])
@pytest.mark.parametrize(("purpose", "node"), FOLLOWS.keys())
def test_exactly_the_lists_that_name_a_certificate_are_built_anew_in_mixed_mode(
    make_cluster: MakeCluster, release: str, purpose: Purpose, node: str
) -> None:
    cluster = make_cluster(release=release, secure=True)
    before = lists_of(cluster)
    _, told = cluster.regenerate(purpose, node)
    assert set(told) == changed(before, lists_of(cluster)) == FOLLOWS[purpose, node]


def test_there_is_no_ctl_to_build_anew_in_a_non_secure_cluster(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    _, told = cluster.regenerate(Purpose.CALLMANAGER, SUB1)
    assert told == (f"ITL of {SUB1}",)


def test_the_lists_that_follow_name_the_new_certificate_only(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(secure=True)
    old = cluster.identity(Purpose.CALLMANAGER, SUB1).certificate
    new, _ = cluster.regenerate(Purpose.CALLMANAGER, SUB1)
    for data in (cluster.trust_list("ITL", SUB1), cluster.trust_list("CTL")):
        assert new.certificate.der in names_in(data)
        assert old.der not in names_in(data)


@pytest.mark.parametrize(
    ("release", "purpose", "signed"),
    [
        ("11.5.1", Purpose.CALLMANAGER, True),
        ("11.5.1", Purpose.ITL_RECOVERY, False),
        ("12.5.1", Purpose.CALLMANAGER, False),
        ("12.5.1", Purpose.ITL_RECOVERY, True),
    ],
)
def test_the_consequences_told_beforehand_are_those_that_come(
    make_cluster: MakeCluster, release: str, purpose: Purpose, *, signed: bool
) -> None:
    cluster = make_cluster(release=release, secure=True)
    told = cluster.consequences(purpose)
    _, rebuilt = cluster.regenerate(purpose)
    assert set(told.lists) == set(rebuilt)
    assert any("It signs trust lists" in sentence for sentence in told.sentences()) is signed


# --- signed by a CA


class Authority:
    """A certificate authority; ``issuer`` makes it an intermediate one."""

    def __init__(self, name: str, issuer: "Authority | None" = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.certificate = self._certify(self.name, self.key.public_key(), issuer or self, is_authority=True)

    def answer(self, pem: str, **dates: datetime) -> Certificate:
        """Sign a CSR."""
        request = x509.load_pem_x509_csr(pem.encode())
        key = request.public_key()
        assert isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
        return self._certify(request.subject, key, self, is_authority=False, **dates)

    @staticmethod
    def _certify(
        subject: x509.Name,
        key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
        issuer: "Authority",
        *,
        is_authority: bool,
        not_before: datetime = CLUSTER_BORN - timedelta(days=1),
        not_after: datetime = CLUSTER_BORN + timedelta(days=700),
    ) -> Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        return Certificate.of(builder.sign(issuer.key, hashes.SHA256()))


def trust(cluster: Cluster, store: Store, certificates: Iterable[Certificate]) -> None:
    cluster.change_trust([TrustChange("add", store, each) for each in certificates], action="upload")


def test_a_ca_signed_certificate_replaces_the_self_signed_one_and_its_lists_follow(make_cluster: MakeCluster) -> None:
    cluster, authority = make_cluster(), Authority("Example Root")
    trust(cluster, Store.CALLMANAGER_TRUST, [authority.certificate])
    old = cluster.identity(Purpose.CALLMANAGER, SUB1)
    answer = authority.answer(cluster.request_certificate(Purpose.CALLMANAGER, SUB1))
    new, rebuilt = cluster.install_certificate(Purpose.CALLMANAGER, answer, node=SUB1)
    assert (new.node, new.certificate) == (SUB1, answer)
    assert rebuilt == (f"ITL of {SUB1}",)
    assert stores_holding(cluster, answer) == set(OWN_COPIES[Purpose.CALLMANAGER])
    assert stores_holding(cluster, old.certificate) == set()
    assert TrustList.parse(cluster.trust_list("ITL", SUB1) or b"").header.issuer == "CN=Example Root"


def test_until_its_answer_comes_a_csr_changes_nothing_that_is_served(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    before, identities = lists_of(cluster), cluster.identities()
    cluster.request_certificate(Purpose.CALLMANAGER, SUB1)
    assert lists_of(cluster) == before
    assert cluster.identities() == identities


def test_a_csr_names_the_node_and_the_further_names(make_cluster: MakeCluster) -> None:
    pem = make_cluster().request_certificate(Purpose.TOMCAT, SUB1, names=["uc.example.com"])
    request = x509.load_pem_x509_csr(pem.encode())
    assert request.is_signature_valid
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [SUB1, "uc.example.com"]
    assert request.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value == SUB1


def test_a_name_that_is_not_ascii_is_refused_in_a_csr(make_cluster: MakeCluster) -> None:
    with pytest.raises(NameImpossibleError, match="bücher"):
        make_cluster(nodes=1).request_certificate(Purpose.TOMCAT, names=["bücher.example"])


def test_one_multi_server_certificate_takes_the_place_of_all_nodes_own(make_cluster: MakeCluster) -> None:
    cluster, authority = make_cluster(), Authority("Example Root")
    trust(cluster, Store.TOMCAT_TRUST, [authority.certificate])
    pem = cluster.request_certificate(Purpose.TOMCAT, multi_server=True)
    answer = authority.answer(pem)
    assert answer.common_name == "source-pub-ms"
    new, _ = cluster.install_certificate(Purpose.TOMCAT, answer)
    assert new.node is None
    assert {cluster.identity(Purpose.TOMCAT, name).certificate for name in (PUB, SUB1, SUB2)} == {answer}
    assert [each for each in cluster.identities() if each.purpose is Purpose.TOMCAT] == [new]


def test_a_multi_server_callmanager_certificate_signs_the_lists_of_all_nodes(make_cluster: MakeCluster) -> None:
    cluster, authority = make_cluster(secure=True), Authority("Example Root")
    trust(cluster, Store.CALLMANAGER_TRUST, [authority.certificate])
    answer = authority.answer(cluster.request_certificate(Purpose.CALLMANAGER, multi_server=True))
    _, rebuilt = cluster.install_certificate(Purpose.CALLMANAGER, answer)
    assert set(rebuilt) == {*ALL_ITLS, "CTL"}
    for data in lists_of(cluster).values():
        assert TrustList.parse(data or b"").header.serial == answer.serial


def test_an_intermediate_ca_may_come_along_with_the_answer(make_cluster: MakeCluster) -> None:
    cluster, root = make_cluster(nodes=1), Authority("Example Root")
    middle = Authority("Example Issuing CA", root)
    trust(cluster, Store.TVS_TRUST, [root.certificate])
    answer = middle.answer(cluster.request_certificate(Purpose.TVS))
    new, _ = cluster.install_certificate(Purpose.TVS, answer, [middle.certificate])
    assert new.certificate == answer


def test_a_ca_that_is_not_in_the_trust_store_is_told_with_the_command_that_puts_it_there(
    make_cluster: MakeCluster,
) -> None:
    cluster, root = make_cluster(nodes=1), Authority("Example Root")
    answer = root.answer(cluster.request_certificate(Purpose.TVS))
    with pytest.raises(ChainIncompleteError, match=r"CN=Example Root.* is not in TVS-trust") as caught:
        cluster.install_certificate(Purpose.TVS, answer, [root.certificate])
    assert "--store TVS-trust" in caught.value.remedy
    assert cluster.identity(Purpose.TVS).certificate != answer


def test_a_ca_in_another_store_does_not_count(make_cluster: MakeCluster) -> None:
    cluster, root = make_cluster(nodes=1), Authority("Example Root")
    trust(cluster, Store.CALLMANAGER_TRUST, [root.certificate])
    with pytest.raises(ChainIncompleteError):
        cluster.install_certificate(Purpose.TVS, root.answer(cluster.request_certificate(Purpose.TVS)))


def test_a_certificate_that_is_no_authority_issues_nothing(make_cluster: MakeCluster) -> None:
    cluster, root = make_cluster(nodes=1), Authority("Example Root")
    leaf = Authority("Example Leaf")
    leaf.certificate = Authority._certify(leaf.name, leaf.key.public_key(), root, is_authority=False)
    trust(cluster, Store.TVS_TRUST, [root.certificate])
    answer = leaf.answer(cluster.request_certificate(Purpose.TVS))
    with pytest.raises(ChainIncompleteError):
        cluster.install_certificate(Purpose.TVS, answer, [leaf.certificate])


def test_only_the_answer_to_the_latest_csr_is_taken(make_cluster: MakeCluster) -> None:
    cluster, root = make_cluster(nodes=1), Authority("Example Root")
    trust(cluster, Store.TVS_TRUST, [root.certificate])
    first = root.answer(cluster.request_certificate(Purpose.TVS))
    second = root.answer(cluster.request_certificate(Purpose.TVS))
    with pytest.raises(CertificateForeignError, match="another key"):
        cluster.install_certificate(Purpose.TVS, first)
    assert cluster.install_certificate(Purpose.TVS, second)[0].certificate == second


def test_an_answer_is_taken_once(make_cluster: MakeCluster) -> None:
    cluster, root = make_cluster(nodes=1), Authority("Example Root")
    trust(cluster, Store.TVS_TRUST, [root.certificate])
    answer = root.answer(cluster.request_certificate(Purpose.TVS))
    cluster.install_certificate(Purpose.TVS, answer)
    with pytest.raises(RequestUnknownError, match="no CSR of TVS waits for node source-pub"):
        cluster.install_certificate(Purpose.TVS, answer)


def test_without_a_csr_there_is_nothing_to_install(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    with pytest.raises(RequestUnknownError, match="no CSR of CallManager waits"):
        cluster.install_certificate(Purpose.CALLMANAGER, cluster.identity(Purpose.TVS).certificate)


@pytest.mark.parametrize(
    "dates",
    [
        {"not_after": CLUSTER_BORN - timedelta(hours=1)},
        {"not_before": CLUSTER_BORN + timedelta(hours=1)},
    ],
    ids=["expired", "not-yet-valid"],
)
def test_an_answer_that_is_not_valid_now_is_refused(make_cluster: MakeCluster, dates: dict[str, datetime]) -> None:
    cluster, root = make_cluster(nodes=1), Authority("Example Root")
    trust(cluster, Store.TVS_TRUST, [root.certificate])
    answer = root.answer(cluster.request_certificate(Purpose.TVS), **dates)
    with pytest.raises(CertificateOutOfDateError, match="is valid from"):
        cluster.install_certificate(Purpose.TVS, answer)


def test_an_itl_recovery_certificate_is_never_signed_by_a_ca(make_cluster: MakeCluster) -> None:
    with pytest.raises(RequestImpossibleError, match="always self-signed"):
        make_cluster(nodes=1).request_certificate(Purpose.ITL_RECOVERY)


@pytest.mark.parametrize("purpose", [Purpose.TVS, Purpose.CAPF, Purpose.IPSEC])
def test_only_callmanager_and_tomcat_can_be_one_for_several_servers(
    make_cluster: MakeCluster, purpose: Purpose
) -> None:
    with pytest.raises(RequestImpossibleError, match="of one server only"):
        make_cluster(nodes=1).request_certificate(purpose, multi_server=True)


# --- what the cluster signs


def test_the_publishers_tomcat_key_signs_what_the_cluster_says(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    signature, certificate = cluster.sign(b"a manifest")
    assert certificate == cluster.identity(Purpose.TOMCAT).certificate
    key = certificate.x509.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    key.verify(signature, b"a manifest", padding.PKCS1v15(), hashes.SHA256())


def test_a_cluster_without_capf_issues_no_lsc(make_cluster: MakeCluster) -> None:
    roles = frozenset({NodeRole.PUBLISHER, NodeRole.TFTP, NodeRole.TVS})
    cluster = make_cluster(nodes=[Node("pub", "192.0.2.1", roles)])
    with pytest.raises(IdentityUnknownError, match="no CAPF certificate"):
        cluster.issue_lsc("SEP001122334455", ec.generate_private_key(ec.SECP256R1()).public_key())


def test_capf_may_run_on_a_subscriber(make_cluster: MakeCluster) -> None:
    nodes = [
        Node("pub", "192.0.2.1", frozenset({NodeRole.PUBLISHER, NodeRole.TFTP})),
        Node("sub", "192.0.2.2", frozenset({NodeRole.CAPF, NodeRole.TVS})),
    ]
    cluster = make_cluster(nodes=nodes)
    lsc = cluster.issue_lsc("SEP001122334455", ec.generate_private_key(ec.SECP256R1()).public_key())
    assert lsc.issuer == cluster.identity(Purpose.CAPF, "sub").certificate.subject
    assert lsc.not_before == CLUSTER_BORN.astimezone(UTC)
