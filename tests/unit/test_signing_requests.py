"""Certificates signed by a CA: CSR, chain check, installation; *Generate CSR* and *Upload* of OS Administration."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from certferry.cluster.cluster import Cluster
from certferry.cluster.signing_requests import (
    CertificateForeignError,
    CertificateOutOfDateError,
    ChainIncompleteError,
    RequestImpossibleError,
    RequestUnknownError,
)
from certferry.cluster.values import OWN, TrustChange
from certferry.trust.list_check import check_list
from certferry.trust.purpose import Purpose, Store
from certferry.wire.certificate import Certificate
from certferry.wire.trust_list import TrustList
from conftest import MakeCluster

NOW = datetime(2026, 6, 1, tzinfo=UTC)
START = datetime(2026, 1, 1, tzinfo=UTC)


class Authority:
    """A company CA: a root, or an intermediate below one."""

    def __init__(self, name: str, key: rsa.RSAPrivateKey, parent: "Authority | None" = None) -> None:
        self.key, self.name = key, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self.name, parent.name if parent else self.name, key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = Certificate.of(builder.sign((parent or self).key, hashes.SHA256()))

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, key: rsa.RSAPublicKey, start: datetime = START, days: int = 730
    ) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(start).not_valid_after(start + timedelta(days=days))

    def sign(self, csr_pem: str, *, start: datetime = START, days: int = 730) -> Certificate:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        key = csr.public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        builder = self._builder(csr.subject, self.name, key, start, days)
        san = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return Certificate.of(builder.add_extension(san.value, critical=False).sign(self.key, hashes.SHA256()))


@pytest.fixture(scope="session")
def root(rsa_key: rsa.RSAPrivateKey) -> Authority:
    return Authority("Example Root CA", rsa_key)


@pytest.fixture(scope="session")
def intermediate(root: Authority, other_rsa_key: rsa.RSAPrivateKey) -> Authority:
    return Authority("Example Issuing CA", other_rsa_key, root)


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(nodes=2, clock=lambda: NOW)


def trust(cluster: Cluster, store: Store, *authorities: Authority) -> None:
    changes = [TrustChange("add", store, authority.certificate) for authority in authorities]
    cluster.change_trust(changes, action="upload")


def names_in(csr_pem: str) -> list[str]:
    csr = x509.load_pem_x509_csr(csr_pem.encode())
    return csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)


class TestTheRequest:
    def test_names_the_node_and_carries_its_key_proven(self, cluster: Cluster) -> None:
        pem = cluster.request_certificate(Purpose.TOMCAT, "source-sub1")
        csr = x509.load_pem_x509_csr(pem.encode())
        assert csr.is_signature_valid
        assert csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "source-sub1"
        assert names_in(pem) == ["source-sub1"]

    def test_further_names_go_into_the_san(self, cluster: Cluster) -> None:
        pem = cluster.request_certificate(Purpose.TOMCAT, names=["voice.example.com"])
        assert names_in(pem) == ["source-pub", "voice.example.com"]

    def test_for_several_servers_it_names_all_of_them(self, cluster: Cluster) -> None:
        pem = cluster.request_certificate(Purpose.CALLMANAGER, multi_server=True)
        csr = x509.load_pem_x509_csr(pem.encode())
        assert csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "source-pub-ms"
        assert names_in(pem) == ["source-pub-ms", "source-pub", "source-sub1"]

    def test_leaves_the_present_certificate_in_use(self, cluster: Cluster) -> None:
        before = cluster.identities()
        cluster.request_certificate(Purpose.TOMCAT)
        assert cluster.identities() == before

    def test_is_not_made_for_itlrecovery(self, cluster: Cluster) -> None:
        with pytest.raises(RequestImpossibleError, match="always self-signed"):
            cluster.request_certificate(Purpose.ITL_RECOVERY)

    def test_is_not_made_for_several_servers_where_each_needs_its_own(self, cluster: Cluster) -> None:
        with pytest.raises(RequestImpossibleError, match="one server only"):
            cluster.request_certificate(Purpose.TVS, multi_server=True)


class TestTheAnswer:
    def test_is_installed_when_its_ca_is_trusted(self, cluster: Cluster, root: Authority) -> None:
        trust(cluster, Store.TOMCAT_TRUST, root)
        answer = root.sign(cluster.request_certificate(Purpose.TOMCAT, "source-sub1"))
        cluster.install_certificate(Purpose.TOMCAT, answer, node="source-sub1")
        assert cluster.identity(Purpose.TOMCAT, "source-sub1").certificate == answer
        assert cluster.identity(Purpose.TOMCAT, "source-pub").certificate.is_self_signed

    def test_is_refused_while_its_ca_is_not_in_the_store(self, cluster: Cluster, root: Authority) -> None:
        answer = root.sign(cluster.request_certificate(Purpose.TOMCAT))
        with pytest.raises(
            ChainIncompleteError, match=r"CN=Example Root CA.*is not in tomcat-trust as an authority"
        ) as refused:
            cluster.install_certificate(Purpose.TOMCAT, answer)
        assert "--store tomcat-trust" in refused.value.remedy
        assert cluster.identity(Purpose.TOMCAT).certificate.is_self_signed

    def test_the_ca_in_another_store_does_not_help(self, cluster: Cluster, root: Authority) -> None:
        trust(cluster, Store.CALLMANAGER_TRUST, root)
        answer = root.sign(cluster.request_certificate(Purpose.TOMCAT))
        with pytest.raises(ChainIncompleteError):
            cluster.install_certificate(Purpose.TOMCAT, answer)

    def test_an_intermediate_may_come_with_it_when_the_root_is_trusted(
        self, cluster: Cluster, root: Authority, intermediate: Authority
    ) -> None:
        trust(cluster, Store.CALLMANAGER_TRUST, root)
        answer = intermediate.sign(cluster.request_certificate(Purpose.CALLMANAGER))
        cluster.install_certificate(Purpose.CALLMANAGER, answer, [intermediate.certificate])
        assert cluster.identity(Purpose.CALLMANAGER).certificate == answer

    def test_without_its_intermediate_the_chain_is_incomplete(
        self, cluster: Cluster, root: Authority, intermediate: Authority
    ) -> None:
        trust(cluster, Store.CALLMANAGER_TRUST, root)
        answer = intermediate.sign(cluster.request_certificate(Purpose.CALLMANAGER))
        with pytest.raises(ChainIncompleteError, match="Example Issuing CA"):
            cluster.install_certificate(Purpose.CALLMANAGER, answer)

    def test_to_an_older_request_is_refused(self, cluster: Cluster, root: Authority) -> None:
        trust(cluster, Store.TOMCAT_TRUST, root)
        older = cluster.request_certificate(Purpose.TOMCAT)
        cluster.request_certificate(Purpose.TOMCAT)
        with pytest.raises(CertificateForeignError, match="another key than the latest CSR"):
            cluster.install_certificate(Purpose.TOMCAT, root.sign(older))

    @pytest.mark.parametrize(("start", "days"), [(START - timedelta(days=800), 700), (NOW + timedelta(days=1), 700)])
    def test_that_is_not_valid_now_is_refused(
        self, start: datetime, days: int, cluster: Cluster, root: Authority
    ) -> None:
        trust(cluster, Store.TOMCAT_TRUST, root)
        answer = root.sign(cluster.request_certificate(Purpose.TOMCAT), start=start, days=days)
        with pytest.raises(CertificateOutOfDateError):
            cluster.install_certificate(Purpose.TOMCAT, answer)

    def test_nobody_asked_for_is_refused(self, cluster: Cluster, root: Authority) -> None:
        with pytest.raises(RequestUnknownError, match="no CSR of CAPF"):
            cluster.install_certificate(Purpose.CAPF, root.certificate)

    def test_answers_one_request_only_once(self, cluster: Cluster, root: Authority) -> None:
        trust(cluster, Store.TOMCAT_TRUST, root)
        answer = root.sign(cluster.request_certificate(Purpose.TOMCAT))
        cluster.install_certificate(Purpose.TOMCAT, answer)
        with pytest.raises(RequestUnknownError):
            cluster.install_certificate(Purpose.TOMCAT, answer)

    def test_takes_the_place_of_the_old_copies_in_the_trust_stores(self, cluster: Cluster, root: Authority) -> None:
        trust(cluster, Store.TOMCAT_TRUST, root)
        old = cluster.identity(Purpose.TOMCAT).certificate
        answer = root.sign(cluster.request_certificate(Purpose.TOMCAT))
        cluster.install_certificate(Purpose.TOMCAT, answer)
        held = {entry.certificate: entry.origin for entry in cluster.trust_entries(Store.TOMCAT_TRUST)}
        assert held[answer] == OWN
        assert old not in held

    def test_signs_the_itl_of_its_node_from_then_on(self, cluster: Cluster, root: Authority) -> None:
        trust(cluster, Store.CALLMANAGER_TRUST, root)
        answer = root.sign(cluster.request_certificate(Purpose.CALLMANAGER, "source-sub1"))
        _, rebuilt = cluster.install_certificate(Purpose.CALLMANAGER, answer, node="source-sub1")
        assert rebuilt == ("ITL of source-sub1",)
        data = cluster.trust_list("ITL", "source-sub1") or b""
        assert TrustList.parse(data).header.issuer == "CN=Example Root CA"
        assert all(check.verdict == "pass" for check in check_list(data, NOW))

    def test_for_several_servers_serves_every_node_with_one_key(self, cluster: Cluster, root: Authority) -> None:
        trust(cluster, Store.CALLMANAGER_TRUST, root)
        answer = root.sign(cluster.request_certificate(Purpose.CALLMANAGER, multi_server=True))
        cluster.install_certificate(Purpose.CALLMANAGER, answer)
        for node in ("source-pub", "source-sub1"):
            identity = cluster.identity(Purpose.CALLMANAGER, node)
            assert identity.certificate == answer
            assert isinstance(cluster.private_key(identity), rsa.RSAPrivateKey)
            data = cluster.trust_list("ITL", node) or b""
            assert all(check.verdict == "pass" for check in check_list(data, NOW))

    def test_for_several_servers_is_taken_while_a_csr_of_one_server_waits(
        self, cluster: Cluster, root: Authority
    ) -> None:
        trust(cluster, Store.CALLMANAGER_TRUST, root)
        for_one = root.sign(cluster.request_certificate(Purpose.CALLMANAGER))
        for_all = root.sign(cluster.request_certificate(Purpose.CALLMANAGER, multi_server=True))
        cluster.install_certificate(Purpose.CALLMANAGER, for_all)
        assert cluster.identity(Purpose.CALLMANAGER, "source-sub1").certificate == for_all
        cluster.install_certificate(Purpose.CALLMANAGER, for_one)
        assert cluster.identity(Purpose.CALLMANAGER).certificate == for_one

    def test_its_key_never_lies_open_in_the_database(self, cluster: Cluster) -> None:
        cluster.request_certificate(Purpose.TOMCAT)
        folder = cluster.location.folder
        lying = b"".join(path.read_bytes() for path in folder.glob("cluster.sqlite*"))
        assert b"PRIVATE KEY" not in lying
        assert b"\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" not in lying


Told = Callable[[Purpose, str | None], tuple[str, ...]]


class TestConsequences:
    @pytest.fixture
    def told(self, cluster: Cluster) -> Told:
        def tell(purpose: Purpose, node: str | None) -> tuple[str, ...]:
            return cluster.consequences(purpose, node).sentences()

        return tell

    def test_of_the_callmanager_certificate_of_a_tftp_node(self, cluster: Cluster) -> None:
        told = cluster.consequences(Purpose.CALLMANAGER, "source-sub1")
        assert told.phones == "All phones reset: TFTP runs on this node."
        assert told.lists == ("ITL of source-sub1",)
        assert [kind.value for kind in told.export] == ["tftp"]
        assert any("signs trust lists" in warning for warning in told.warnings)

    def test_of_a_tvs_certificate_name_the_groups_whose_phones_reset(self, cluster: Cluster) -> None:
        told = cluster.consequences(Purpose.TVS, "source-sub1")
        assert told.phones == "Phones of these CallManager groups reset: Default."
        assert told.lists == ("ITL of source-pub", "ITL of source-sub1")
        assert told.export == ()

    def test_of_tomcat_touch_no_phone_but_want_an_export(self, told: Told) -> None:
        sentences = told(Purpose.TOMCAT, None)
        assert sentences[0] == "No phone resets."
        assert any("export (tomcat) and consolidate again" in sentence for sentence in sentences)

    def test_of_capf_tell_about_the_lscs(self, told: Told) -> None:
        assert "LSCs issued by the old CAPF" in told(Purpose.CAPF, None)[0]

    def test_in_mixed_mode_the_ctl_is_named(self, make_cluster: MakeCluster) -> None:
        cluster = make_cluster("mixed", nodes=1, secure=True)
        told = cluster.consequences(Purpose.CALLMANAGER)
        assert told.lists == ("ITL of mixed-pub", "CTL")
        assert any("utils ctl update CTLFile" in warning for warning in told.warnings)

    def test_are_what_regeneration_then_does(self, make_cluster: MakeCluster) -> None:
        cluster = make_cluster("mixed", nodes=2, secure=True)
        for purpose in (Purpose.CALLMANAGER, Purpose.TVS, Purpose.CAPF, Purpose.ITL_RECOVERY, Purpose.TOMCAT):
            foretold = cluster.consequences(purpose).lists
            _, rebuilt = cluster.regenerate(purpose)
            assert sorted(rebuilt) == sorted(foretold)


def test_what_waits_for_a_certificate_is_told_until_its_answer_is_installed(cluster: Cluster, root: Authority) -> None:
    assert cluster.waiting_requests() == ()
    node = cluster.publisher.name
    shared = cluster.request_certificate(Purpose.TOMCAT, multi_server=True)
    tvs = cluster.request_certificate(Purpose.TVS)
    assert cluster.request_certificate(Purpose.CAPF)
    capf = cluster.request_certificate(Purpose.CAPF)  # in place of the first
    waiting = [(each.purpose, each.node, each.pem) for each in cluster.waiting_requests()]
    assert waiting == [(Purpose.CAPF, node, capf), (Purpose.TVS, node, tvs), (Purpose.TOMCAT, None, shared)]
    assert cluster.waiting_request(Purpose.TOMCAT, None).pem == shared
    with pytest.raises(RequestUnknownError, match=f"no CSR of tomcat waits for node {node}"):
        cluster.waiting_request(Purpose.TOMCAT, node)

    trust(cluster, Store.CAPF_TRUST, root)
    cluster.install_certificate(Purpose.CAPF, root.sign(capf))
    assert [each.purpose for each in cluster.waiting_requests()] == [Purpose.TVS, Purpose.TOMCAT]
