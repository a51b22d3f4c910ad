"""``certferry cert``: what OS Administration > Certificate Management does, from the command line."""

import subprocess
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from certferry.cluster.cluster import Cluster
from certferry.lab.keys import PooledKeys
from certferry.trust.purpose import Purpose
from certferry.wire.certificate import Certificate
from command_line import certferry, loopback_cluster
from conftest import MakeCertificate

_serials = count(4711)
FIELDS = {"subject", "issuer", "serial", "not_before", "not_after", "key", "sha256"}


@pytest.fixture
def cluster(tmp_path: Path, key_pool: PooledKeys) -> Cluster:
    return loopback_cluster(tmp_path / "cluster", key_pool, count=2, secure=True)


@pytest.fixture
def at(cluster: Cluster) -> list[str]:
    return ["--cluster", str(cluster.location.folder)]


@pytest.fixture
def stranger(make_certificate: MakeCertificate, tmp_path: Path) -> Path:
    file = tmp_path / "stranger.pem"
    file.write_text(make_certificate("CN=stranger;O=Elsewhere", not_after=datetime(2030, 1, 1, tzinfo=UTC)).pem)
    return file


# --- list, show, download


def test_own_certificates_and_trust_stores_are_listed_with_all_fields(at: list[str]) -> None:
    listed = certferry("cert", "list", *at, "--json").json
    assert {each["purpose"] for each in listed["own"]} >= {
        "CallManager",
        "tomcat",
        "TVS",
        "CAPF",
        "ITLRecovery",
        "ipsec",
    }
    assert all(FIELDS | {"node"} <= set(each) for each in listed["own"])
    assert all(FIELDS | {"store", "file", "from", "own"} <= set(each) for each in listed["trust"])
    text = certferry("cert", "list", *at).stdout
    assert text.startswith("own certificate ")
    assert "CallManager-trust" in text


def test_a_list_can_be_of_one_node_one_store_or_what_expires_soon(at: list[str]) -> None:
    node = certferry("cert", "list", "--node", "SOURCE-SUB1", *at, "--json").json
    assert {each["node"] for each in node["own"]} == {"source-sub1", None}
    store = certferry("cert", "list", "--store", "Phone-SAST-trust", *at, "--json").json
    assert store["own"] == []
    assert {each["store"] for each in store["trust"]} <= {"Phone-SAST-trust"}
    assert certferry("cert", "list", "--expiring", "1", *at, "--json").json == {"own": [], "trust": []}
    assert certferry("cert", "list", "--expiring", "40000", *at, "--json").json["own"]
    assert certferry("cert", "list", "--node", "nobody", *at).code == 2
    assert certferry("cert", "list", "--store", "no-trust", *at).code == 2


def test_a_certificate_is_shown_with_its_pem(at: list[str], cluster: Cluster) -> None:
    shown = certferry("cert", "show", "callmanager", "--node", "source-sub1", *at, "--json").json
    held = cluster.identity(Purpose.CALLMANAGER, "source-sub1").certificate
    assert shown["sha256"] == held.sha256
    assert Certificate.from_pem(shown["pem"]) == held
    assert held.pem in certferry("cert", "show", "callmanager", "--node", "source-sub1", *at).stdout


@pytest.mark.parametrize("reference", ["nothing", "", "000000", "CallManagers"])
def test_a_certificate_nobody_knows_is_wrong_usage(at: list[str], reference: str) -> None:
    assert certferry("cert", "show", reference, *at).code == 2
    assert certferry("cert", "show", reference, "--store", "tomcat-trust", *at).code == 2


def test_a_download_is_pem_on_standard_output_or_a_file_never_a_key(at: list[str], tmp_path: Path) -> None:
    pem = certferry("cert", "download", "tomcat", *at).stdout
    assert pem.startswith("-----BEGIN CERTIFICATE-----")
    assert "PRIVATE" not in pem
    told = certferry("cert", "download", "tomcat", "--der", "--to", tmp_path / "tomcat.der", *at, "--json").json
    assert told["to"] == str(tmp_path / "tomcat.der")
    assert Certificate.parse((tmp_path / "tomcat.der").read_bytes()) == Certificate.from_pem(pem)
    assert certferry("cert", "download", "tomcat", *at, "--json").json["pem"] == pem
    nowhere = certferry("cert", "download", "tomcat", "--to", tmp_path / "no" / "folder", *at, "--json")
    assert (nowhere.code, nowhere.error["code"]) == (1, "cli.file-unwritable")


# --- regenerate


def test_regenerating_says_first_what_follows_and_asks(at: list[str], cluster: Cluster) -> None:
    before = cluster.identity(Purpose.CALLMANAGER).certificate
    asked = certferry("cert", "regenerate", "CallManager", *at, "--json")
    assert (asked.code, asked.error["code"]) == (2, "cli.confirmation")
    assert "ITL" in asked.stderr
    assert cluster.identity(Purpose.CALLMANAGER).certificate == before
    done = certferry("cert", "regenerate", "CallManager", "--yes", *at, "--json").json
    assert done["regenerated"]["sha256"] == cluster.identity(Purpose.CALLMANAGER).certificate.sha256 != before.sha256
    assert any("ITL" in name for name in done["rebuilt"])
    assert done["consequences"]


# --- upload and delete


def test_a_certificate_uploaded_to_a_store_is_there_and_can_be_deleted(
    at: list[str], cluster: Cluster, stranger: Path
) -> None:
    words = ["upload", stranger, "--store", "Phone-SAST-trust", "--description", "by hand"]
    added = certferry("cert", *words, *at, "--json").json
    assert (added["action"], added["store"]) == ("add", "Phone-SAST-trust")
    assert certferry("cert", *words, *at, "--json").json["action"] == "skip"
    (entry,) = [e for e in cluster.trust_entries() if e.certificate.common_name == "stranger"]
    assert (entry.origin, entry.description) == ("upload", "by hand")
    deleted = certferry("cert", "delete", "stranger", "--store", "Phone-SAST-trust", "--yes", *at, "--json").json
    assert deleted["deleted"]["sha256"] == entry.certificate.sha256
    assert certferry("bulk", "undo", deleted["undo"], "--yes", *at).code == 0
    assert entry.certificate in {e.certificate for e in cluster.trust_entries()}


def test_a_certificate_is_not_deleted_before_somebody_confirmed_it(at: list[str], stranger: Path) -> None:
    certferry("cert", "upload", stranger, "--store", "tomcat-trust", *at)
    asked = certferry("cert", "delete", "stranger", "--store", "tomcat-trust", *at, "--json")
    assert (asked.code, asked.error["code"]) == (2, "cli.confirmation")


def test_the_clusters_own_certificates_cannot_be_deleted(at: list[str], cluster: Cluster) -> None:
    own = [entry for entry in cluster.trust_entries() if entry.is_own]
    for entry in own:
        words = ["delete", entry.certificate.sha256, "--store", entry.store.value, "--yes"]
        ended = certferry("cert", *words, *at, "--json")
        assert ended.code in {1, 2}
        assert ended.error["code"] == "cluster.trust-entry-own"
    assert [entry for entry in cluster.trust_entries() if entry.is_own] == own


def test_what_a_store_does_not_take_is_refused_with_the_reason(
    at: list[str], make_certificate: MakeCertificate, tmp_path: Path
) -> None:
    old = datetime(2019, 1, 1, tzinfo=UTC)
    expired = make_certificate("CN=old", not_before=old, not_after=old + timedelta(days=1))
    (tmp_path / "old.pem").write_text(expired.pem)
    ended = certferry("cert", "upload", tmp_path / "old.pem", "--store", "tomcat-trust", *at, "--json")
    assert (ended.code, ended.error["code"]) == (1, "cert.upload-refused")
    assert "expired" in ended.error["sentence"]


def test_an_upload_goes_to_one_place(at: list[str], stranger: Path) -> None:
    assert certferry("cert", "upload", stranger, *at).code == 2
    assert certferry("cert", "upload", stranger, "--store", "tomcat-trust", "--purpose", "tomcat", *at).code == 2


# --- CSR


def test_a_certificate_signed_by_a_ca_takes_the_place_of_the_own_one(
    at: list[str], cluster: Cluster, tmp_path: Path, rsa_key: rsa.RSAPrivateKey
) -> None:
    told = certferry("cert", "csr", "tomcat", "--san", "phones.example", "--to", tmp_path / "csr.pem", *at, "--json")
    assert told.json["csr"] == (tmp_path / "csr.pem").read_text()
    request = x509.load_pem_x509_csr((tmp_path / "csr.pem").read_bytes())
    ca = _authority(rsa_key)
    signed = _signed(request, ca, rsa_key)
    (tmp_path / "signed.pem").write_text(signed.pem + ca.pem)
    (tmp_path / "ca.pem").write_text(ca.pem)
    words = ["upload", tmp_path / "signed.pem", "--purpose", "tomcat", "--yes"]
    early = certferry("cert", *words, *at, "--json")
    assert early.code == 1
    assert certferry("cert", "upload", tmp_path / "ca.pem", "--store", "tomcat-trust", *at).code == 0
    done = certferry("cert", *words, *at, "--json")
    assert done.code == 0, done.stderr
    assert done.json["installed"]["issuer"] == ca.subject
    assert cluster.identity(Purpose.TOMCAT).certificate == signed


def test_openssl_reads_the_request(at: list[str], tmp_path: Path) -> None:
    pem = certferry("cert", "csr", "CallManager", "--node", "source-sub1", *at).stdout
    try:
        words = ["openssl", "req", "-verify", "-noout", "-subject"]
        read = subprocess.run(words, input=pem, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert "source-sub1" in read.stdout


def test_a_certificate_that_answers_no_request_is_refused(at: list[str], stranger: Path) -> None:
    ended = certferry("cert", "upload", stranger, "--purpose", "tomcat", "--yes", *at, "--json")
    assert ended.code in {1, 2}
    assert ended.error["code"] == "cert.request-unknown"
    assert certferry("cert", "csr", "ITLRecovery", *at).code in {1, 2}


def _authority(key: rsa.RSAPrivateKey) -> Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    builder = _builder(name, name).public_key(key.public_key())
    return Certificate.of(
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(
            key, hashes.SHA256()
        )
    )


def _signed(request: x509.CertificateSigningRequest, ca: Certificate, key: rsa.RSAPrivateKey) -> Certificate:
    builder = _builder(request.subject, ca.x509.subject).public_key(request.public_key())
    for extension in request.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return Certificate.of(builder.sign(key, hashes.SHA256()))


def _builder(subject: x509.Name, issuer: x509.Name) -> x509.CertificateBuilder:
    now = datetime.now(UTC).replace(microsecond=0)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).serial_number(next(_serials))
    return made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=365))
