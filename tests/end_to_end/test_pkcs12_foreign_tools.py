"""PKCS#12 files made by openssl and keytool are read; what is written here, both of them list."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import which

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certferry.wire.certificate import Certificate
from certferry.wire.pkcs12 import Bundle, BundledCertificate, Pkcs12PasswordError, Profile, parse
from conftest import MakeCertificate

PASSWORD = "s3cret!"
needs_openssl = pytest.mark.skipif(which("openssl") is None, reason="openssl is not installed")
needs_keytool = pytest.mark.skipif(which("keytool") is None, reason="keytool (a Java runtime) is not installed")
Tool = Callable[..., str]


def run(*command: str | Path, directory: Path) -> str:
    words = [str(part) for part in command]
    utf8 = {"LC_ALL": "C.UTF-8"}
    done = subprocess.run(words, check=False, cwd=directory, capture_output=True, timeout=300, env=utf8)
    output = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode == 0, output
    return output


@pytest.fixture
def openssl(tmp_path: Path) -> Tool:
    return lambda *arguments: run(which("openssl") or "openssl", *arguments, directory=tmp_path)


@pytest.fixture
def keytool(tmp_path: Path) -> Tool:
    def keytool(*arguments: str) -> str:
        settings = ("-J-Duser.language=en", "-J-Dfile.encoding=UTF-8", "-storepass", PASSWORD)
        return run(which("keytool") or "keytool", *arguments, *settings, directory=tmp_path)

    return keytool


@pytest.fixture(scope="module")
def leaf(make_certificate: MakeCertificate) -> Certificate:
    return make_certificate("CN=pub.example.com;OU=Voice;O=Example")


@pytest.fixture(scope="module")
def root(make_certificate: MakeCertificate, other_rsa_key: rsa.RSAPrivateKey) -> Certificate:
    return make_certificate("CN=Example Root CA;O=Example", key=other_rsa_key)


@pytest.fixture
def pems(tmp_path: Path, leaf: Certificate, root: Certificate, rsa_key: rsa.RSAPrivateKey) -> Path:
    (tmp_path / "leaf.pem").write_text(leaf.pem)
    (tmp_path / "root.pem").write_text(root.pem)
    key = rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(key)
    return tmp_path


def certificates(bundle: Bundle) -> list[Certificate]:
    return [entry.certificate for entry in bundle.certificates]


@needs_openssl
class TestMadeByOpenssl:
    @pytest.mark.parametrize(
        "algorithms",
        [
            pytest.param(["-legacy"], id="RC2-40 and SHA-1"),
            pytest.param(["-legacy", "-descert"], id="3DES and SHA-1"),
            pytest.param(["-keypbe", "AES-128-CBC", "-certpbe", "AES-128-CBC"], id="AES-128"),
            pytest.param([], id="AES-256 and SHA-256"),
            pytest.param(["-macalg", "sha512", "-iter", "20000"], id="SHA-512 MAC, 20,000 rounds"),
            pytest.param(["-certpbe", "NONE"], id="certificates in the clear"),
            pytest.param(["-nomaciter"], id="MAC of one round"),
        ],
    )
    def test_certificates_under_every_algorithm_are_read(
        self, openssl: Tool, pems: Path, leaf: Certificate, root: Certificate, algorithms: list[str]
    ) -> None:
        inputs = ["-nokeys", "-in", "leaf.pem", "-certfile", "root.pem", "-out", "made.p12"]
        openssl("pkcs12", "-export", *inputs, "-passout", f"pass:{PASSWORD}", *algorithms)
        data = (pems / "made.p12").read_bytes()
        bundle = parse(data, [None, PASSWORD])
        assert sorted(certificates(bundle), key=lambda c: c.subject) == [root, leaf]
        assert (bundle.keys_ignored, bundle.mac) == (0, True)
        with pytest.raises(Pkcs12PasswordError):
            parse(data, ["wrong"])

    def test_a_key_and_its_chain_give_the_chain_and_a_count(
        self, openssl: Tool, pems: Path, leaf: Certificate, root: Certificate
    ) -> None:
        inputs = ["-in", "leaf.pem", "-inkey", "key.pem", "-certfile", "root.pem", "-out", "made.p12"]
        openssl("pkcs12", "-export", *inputs, "-name", "büro", "-caname", "the root", "-passout", f"pass:{PASSWORD}")
        bundle = parse((pems / "made.p12").read_bytes(), [PASSWORD])
        # openssl gives the first -caname to the first certificate of the chain and takes "büro" as Latin-1.
        assert certificates(bundle) == [leaf, root]
        assert bundle.certificates[1].friendly_name == "the root"
        assert bundle.keys_ignored == 1

    def test_a_friendly_name_is_kept(self, openssl: Tool, pems: Path) -> None:
        inputs = ["-in", "leaf.pem", "-inkey", "key.pem", "-out", "made.p12"]
        openssl("pkcs12", "-export", *inputs, "-name", "pub.example.com", "-passout", f"pass:{PASSWORD}")
        (entry,) = parse((pems / "made.p12").read_bytes(), [PASSWORD]).certificates
        assert entry.friendly_name == "pub.example.com"

    @pytest.mark.parametrize("password", [None, ""])
    def test_an_empty_password_is_as_good_as_none(
        self, openssl: Tool, pems: Path, leaf: Certificate, password: str | None
    ) -> None:
        openssl("pkcs12", "-export", "-nokeys", "-in", "leaf.pem", "-out", "made.p12", "-passout", "pass:")
        assert certificates(parse((pems / "made.p12").read_bytes(), [password])) == [leaf]

    def test_a_file_without_a_mac_opens_with_any_password_and_says_so(
        self, openssl: Tool, pems: Path, leaf: Certificate
    ) -> None:
        inputs = ["-nokeys", "-in", "leaf.pem", "-out", "made.p12", "-nomac", "-certpbe", "NONE"]
        openssl("pkcs12", "-export", *inputs, "-passout", f"pass:{PASSWORD}")
        bundle = parse((pems / "made.p12").read_bytes(), ["any"])
        assert (certificates(bundle), bundle.mac) == ([leaf], False)


@needs_keytool
class TestMadeByKeytool:
    def trust(self, keytool: Tool, store: str, kind: str, *aliases: tuple[str, str]) -> None:
        for alias, file in aliases:
            entry = ("-noprompt", "-alias", alias, "-file", file)
            keytool("-importcert", *entry, "-keystore", store, "-storetype", kind)

    def test_a_trust_store_is_read_with_its_aliases(
        self, keytool: Tool, pems: Path, leaf: Certificate, root: Certificate
    ) -> None:
        self.trust(keytool, "trust.p12", "PKCS12", ("Pub", "leaf.pem"), ("the root", "root.pem"))
        bundle = parse((pems / "trust.p12").read_bytes(), [PASSWORD])
        named = {entry.friendly_name.lower(): entry.certificate for entry in bundle.certificates}
        assert named == {"pub": leaf, "the root": root}
        assert (bundle.keys_ignored, bundle.mac) == (0, True)

    def test_a_jks_store_taken_over_into_pkcs12_is_read(
        self, keytool: Tool, pems: Path, leaf: Certificate, root: Certificate
    ) -> None:
        self.trust(keytool, "old.jks", "JKS", ("pub", "leaf.pem"), ("root", "root.pem"))
        source = ("-srckeystore", "old.jks", "-srcstorepass", PASSWORD, "-destkeystore", "new.p12")
        keytool("-importkeystore", "-noprompt", *source, "-deststoretype", "PKCS12")
        assert set(certificates(parse((pems / "new.p12").read_bytes(), [PASSWORD]))) == {leaf, root}

    def test_key_entries_are_counted_and_their_certificates_read(self, keytool: Tool, pems: Path) -> None:
        for name in ("one", "two"):
            entry = ("-alias", name, "-keyalg", "EC", "-dname", f"CN={name}")
            keytool("-genkeypair", *entry, "-keystore", "keys.p12", "-storetype", "PKCS12")
        self.trust(keytool, "keys.p12", "PKCS12", ("pub", "leaf.pem"))
        bundle = parse((pems / "keys.p12").read_bytes(), [PASSWORD])
        assert {c.common_name for c in certificates(bundle)} == {"one", "two", "pub.example.com"}
        assert bundle.keys_ignored == 2

    def test_the_algorithms_of_java_8_are_read(self, keytool: Tool, pems: Path, leaf: Certificate) -> None:
        old = "-J-Dkeystore.pkcs12.legacy"
        entry = ("-noprompt", "-alias", "pub", "-file", "leaf.pem")
        keytool("-importcert", *entry, "-keystore", "old.p12", "-storetype", "PKCS12", old)
        assert certificates(parse((pems / "old.p12").read_bytes(), [PASSWORD])) == [leaf]


@pytest.fixture(params=list(Profile))
def written(request: pytest.FixtureRequest, tmp_path: Path, leaf: Certificate, root: Certificate) -> Path:
    bundle = Bundle((BundledCertificate(leaf, "pub.example.com"), BundledCertificate(root, "example root ca")))
    file = tmp_path / f"{request.param}.p12"
    file.write_bytes(bundle.encode(PASSWORD, request.param))
    return file


class TestWrittenHere:
    @needs_keytool
    def test_keytool_lists_each_certificate_as_trusted(
        self, keytool: Tool, written: Path, leaf: Certificate, root: Certificate
    ) -> None:
        listing = keytool("-list", "-keystore", written.name)
        assert listing.count("trustedCertEntry") == 2
        for certificate, alias in ((leaf, "pub.example.com,"), (root, "example root ca,")):
            fingerprint = certificate.sha256.upper()
            assert alias in listing
            assert ":".join(fingerprint[at : at + 2] for at in range(0, 64, 2)) in listing

    @needs_openssl
    def test_openssl_lists_each_certificate_and_no_key(
        self, openssl: Tool, written: Path, leaf: Certificate, root: Certificate
    ) -> None:
        listing = openssl("pkcs12", "-info", "-in", written.name, "-passin", f"pass:{PASSWORD}", "-nodes")
        assert "PRIVATE KEY" not in listing
        blocks = listing.split("-----BEGIN CERTIFICATE-----")[1:]
        assert [Certificate.from_pem(f"-----BEGIN CERTIFICATE-----{block}") for block in blocks] == [leaf, root]
        assert ("pbeWithSHA1And3-KeyTripleDES-CBC" in listing) == (written.stem == Profile.LEGACY)
        assert ("AES-256-CBC" in listing) == (written.stem == Profile.MODERN)

    @needs_openssl
    def test_openssl_refuses_the_wrong_password(self, openssl: Tool, written: Path) -> None:
        with pytest.raises(AssertionError, match="Mac verify error"):
            openssl("pkcs12", "-in", written.name, "-nokeys", "-passin", "pass:wrong")
