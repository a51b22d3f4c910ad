"""Lists and files made from what ``openssl`` makes: systems that are not Unified CM have nothing else."""

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certferry.wire.certificate import Certificate
from certferry.wire.encrypted_file import EncryptedFile
from certferry.wire.signed_file import SignedFile
from certferry.wire.trust_list import TrustList
from command_line import certferry
from conftest import MakeCertificate

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
XML = b"<device><fullConfig>true</fullConfig></device>"


def openssl(*arguments: object) -> bytes:
    return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=180).stdout


def made(folder: Path, name: str, *how: object) -> Path:
    """A certificate with its key behind it, in one file as operators put them together."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    how = how or ("-newkey", "rsa:2048")
    subject = f"/CN={name}.example/O=Example"
    openssl("req", "-x509", *how, "-noenc", "-keyout", key, "-out", certificate, "-subj", subject, "-days", 30)
    both = folder / f"{name}.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    return both


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("openssl")
    for name in ("sast", "tftp", "tvs"):
        made(folder, name)
    made(folder, "ecdsa", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "SEP00112233AABB.cnf.xml"
    file.write_bytes(XML)
    return file


@pytest.mark.parametrize(("name", "kind"), [("CTLFile.tlv", "CTL"), ("ITLSEP00112233AABB.tlv", "ITL")])
@pytest.mark.parametrize(("option", "digest"), [([], "SHA1"), (["--sha512"], "SHA512")])
def test_a_list_built_holds_and_is_what_phones_would_take(  # noqa: PLR0917 -- parameters, then fixtures
    tmp_path: Path, pems: Path, name: str, kind: str, option: list[str], digest: str
) -> None:
    out = tmp_path / name
    built = certferry(
        "trustlist", "build", out, "--sast", pems / "sast.pem", "--tvs", pems / "tvs.crt", *option, "--json"
    )
    assert built.code == 0
    assert (built.json["kind"], built.json["digest"], built.json["bytes"]) == (kind, digest, out.stat().st_size)
    verified = certferry("trustlist", "verify", out, "--json")
    assert (verified.code, {check["verdict"] for check in verified.json["checks"]}) == (0, {"pass"})
    assert TrustList.parse(out.read_bytes()).header.filename == f"{kind}File.tlv"


def test_records_stand_in_the_order_given_whatever_their_roles(tmp_path: Path, pems: Path) -> None:
    out = tmp_path / "ITLFile.tlv"
    given = [
        ("tvs", "TVS", 21), ("sast", "SAST", 0), ("tftp", "TFTP", 3), ("tftp", "SAST", 0), ("ecdsa", "app-server", 7),
        ("tftp", "CCM+TFTP", 2), ("tvs", "CAPF", 4), ("sast", "CCM", 1), ("sast", "TFTP", 3),
    ]  # fmt: skip
    options = [
        word for name, role, _ in given for word in (f"--{role.lower().replace('+', '-')}", pems / f"{name}.pem")
    ]
    assert certferry("trustlist", "build", *options, out).code == 0
    records = TrustList.parse(out.read_bytes()).records
    assert [(record.role, record.parsed.common_name) for record in records] == [
        (code, f"{name}.example") for name, _, code in given
    ]
    assert certferry("trustlist", "verify", out).code == 0


def test_the_first_sast_signs(tmp_path: Path, pems: Path) -> None:
    out = tmp_path / "CTLFile.tlv"
    both = ["--sast", pems / "tftp.pem", "--sast", pems / "sast.crt"]
    assert certferry("trustlist", "build", out, *both).code == 0
    assert TrustList.parse(out.read_bytes()).header.subject == "CN=tftp.example;O=Example"


def test_no_private_key_gets_into_a_list(tmp_path: Path, pems: Path) -> None:
    out = tmp_path / "CTLFile.tlv"
    certferry("trustlist", "build", out, "--sast", pems / "sast.pem", "--tftp", pems / "tftp.pem")
    secret = openssl("rsa", "-in", pems / "tftp.key", "-outform", "DER")
    data = out.read_bytes()
    assert not any(secret[start : start + 16] in data for start in range(300, len(secret) - 16))


def test_what_makes_no_list_is_refused_and_nothing_is_written(tmp_path: Path, pems: Path) -> None:
    out = tmp_path / "ITLFile.tlv"
    refused = {
        (tmp_path / "list.tlv", "--sast", pems / "sast.pem"): (2, "trustlist.name"),
        (out, "--tvs", pems / "tvs.pem"): (2, "cli.usage"),
        (out, "--sast", pems / "sast.crt"): (1, "cli.key-file"),
        (out, "--sast", pems / "ecdsa.pem"): (1, "cli.key-file"),
        (out, "--sast", pems / "nothing.pem"): (1, "cli.file-unreadable"),
        (out, "--sast", pems / "sast.pem", "--tvs", pems / "tvs.key"): (1, "wire.certificate"),
    }
    for arguments, (code, error) in refused.items():
        ended = certferry("trustlist", "build", *arguments, "--json")
        assert (ended.code, ended.error["code"]) == (code, error), arguments
    assert list(tmp_path.iterdir()) == []


def test_a_list_too_large_for_a_phone_is_refused(tmp_path: Path, pems: Path) -> None:
    many = [word for _ in range(60) for word in ("--tftp", pems / "tftp.crt")]
    ended = certferry("trustlist", "build", tmp_path / "ITLFile.tlv", "--sast", pems / "sast.pem", *many, "--json")
    assert (ended.code, ended.error["code"]) == (1, "trustlist.unusable")
    assert list(tmp_path.iterdir()) == []


def test_a_list_is_not_written_over_the_key_that_signs_it(tmp_path: Path, pems: Path) -> None:
    key = tmp_path / "CTL.pem"
    shutil.copy(pems / "sast.pem", key)
    ended = certferry("trustlist", "build", key, "--sast", tmp_path / "." / "CTL.pem", "--json")
    assert (ended.code, ended.error["code"]) == (2, "trustlist.overwrites-input")
    assert key.read_bytes() == (pems / "sast.pem").read_bytes()


def test_a_list_with_an_expired_certificate_is_built_with_a_warning(
    tmp_path: Path, pems: Path, make_certificate: MakeCertificate
) -> None:
    old = tmp_path / "old.crt"
    old.write_text(make_certificate("CN=old", not_before=datetime(2016, 1, 1, tzinfo=UTC)).pem)
    built = certferry("trustlist", "build", tmp_path / "ITLFile.tlv", "--sast", pems / "sast.pem", "--tftp", old)
    assert built.code == 0
    assert "CN=old expired on 2020-12-30" in built.stderr


NOT_ACCEPTED = "phones that hold this ITL accept no configuration"
AS_A_WAY_OUT = "give who signs them with --tftp"


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("ITLFile.tlv", [], [f"{NOT_ACCEPTED}: {AS_A_WAY_OUT}"]),
        ("ITLFile.tlv", ["--tvs"], [f"{NOT_ACCEPTED} that its TVS does not vouch for: {AS_A_WAY_OUT}"]),
        ("ITLFile.tlv", ["--tftp"], []),
        ("ITLFile.tlv", ["--ccm-tftp"], []),
        ("CTLFile.tlv", [], []),  # with a CTL alone, configurations are accepted by the ITL
    ],
)
def test_an_itl_by_which_no_configuration_is_accepted_is_built_with_a_warning(
    tmp_path: Path, pems: Path, name: str, options: list[str], told: list[str]
) -> None:
    given = [word for option in options for word in (option, pems / "tftp.crt")]
    built = certferry("trustlist", "build", tmp_path / name, "--sast", pems / "sast.pem", *given, "--json")
    assert (built.code, built.json["warnings"]) == (0, told)
    assert [line for line in built.stderr.splitlines() if line.startswith("warning")] == [f"warning {t}" for t in told]


@pytest.mark.parametrize("form", [("pkcs8", "-topk8"), ("rsa", "-aes128", "-traditional")])
def test_an_encrypted_key_is_opened_with_the_password_file_alone(
    tmp_path: Path, pems: Path, config: Path, form: tuple[str, ...]
) -> None:
    locked, password = tmp_path / "locked.pem", tmp_path / "password"
    key = openssl(form[0], *form[1:], "-in", pems / "tftp.key", "-passout", "pass:of the key")
    locked.write_bytes((pems / "tftp.crt").read_bytes() + key)
    missing = certferry("sign", config, "--key", locked, "--json")
    assert (missing.code, missing.error["code"]) == (2, "cli.key-password-missing")
    password.write_text("wrong\n")
    wrong = certferry("sign", config, "--key", locked, "--key-password-file", password, "--json")
    assert (wrong.code, wrong.error["code"]) == (1, "cli.key-password-wrong")
    assert "wrong\n" not in wrong.stdout + wrong.stderr
    password.write_text("of the key\n")
    assert certferry("sign", config, "--key", locked, "--key-password-file", password).code == 0
    signer = Certificate.from_pem((pems / "tftp.crt").read_bytes())
    assert SignedFile.parse(Path(f"{config}.sgn").read_bytes()).verify(signer)


def test_openssl_verifies_what_sign_signed(tmp_path: Path, pems: Path, config: Path) -> None:
    certferry("sign", config, "--key", pems / "tftp.pem", "--sha512")
    data = Path(f"{config}.sgn").read_bytes()
    signature = SignedFile.parse(data).header.signature
    (tmp_path / "signature").write_bytes(signature)
    (tmp_path / "signed").write_bytes(data.replace(b"\x0c\x01\x00" + signature, b""))
    openssl("x509", "-in", pems / "tftp.crt", "-pubkey", "-noout", "-out", tmp_path / "public")
    said = openssl(
        "dgst", "-sha512", "-verify", tmp_path / "public", "-signature", tmp_path / "signature", tmp_path / "signed"
    )
    assert said.strip() == b"Verified OK"


def test_openssl_decrypts_what_encrypt_encrypted(tmp_path: Path, pems: Path, config: Path) -> None:
    done = certferry("encrypt", config, "--key", pems / "tftp.pem", "--phone-certificate", pems / "tvs.crt", "--json")
    assert (done.code, done.json["phone"]) == (0, "CN=tvs.example;O=Example")
    file = EncryptedFile.parse(Path(f"{config}.enc.sgn").read_bytes())
    assert file.verify(Certificate.from_pem((pems / "tftp.crt").read_bytes()))
    (tmp_path / "wrapped").write_bytes(file.wrapped_key)
    (tmp_path / "ciphertext").write_bytes(file.ciphertext)
    key = openssl("pkeyutl", "-decrypt", "-inkey", pems / "tvs.key", "-in", tmp_path / "wrapped")
    how = ("-d", "-aes-128-cbc", "-nopad", "-K", key.hex(), "-iv", file.iv.hex())
    assert openssl("enc", *how, "-in", tmp_path / "ciphertext") == XML + b"\x0d" * file.pad_count


def test_two_encryptions_share_neither_key_nor_iv(pems: Path, config: Path) -> None:
    private = load_pem_private_key((pems / "tvs.key").read_bytes(), None)
    files = []
    for _ in range(2):
        certferry("encrypt", config, "--key", pems / "tftp.pem", "--phone-certificate", pems / "tvs.crt")
        files.append(EncryptedFile.parse(Path(f"{config}.enc.sgn").read_bytes()))
    one, other = files
    assert one.iv != other.iv
    assert one.ciphertext != other.ciphertext
    assert one.decrypt(private) == other.decrypt(private) == XML  # type: ignore[arg-type]  # it is RSA


def test_a_phone_with_an_ec_key_gets_no_encrypted_file(pems: Path, config: Path) -> None:
    ended = certferry(
        "encrypt", config, "--key", pems / "tftp.pem", "--phone-certificate", pems / "ecdsa.crt", "--json"
    )
    assert (ended.code, ended.error["code"]) == (1, "wire.phone-key")
    assert not Path(f"{config}.enc.sgn").exists()


def test_unsign_does_not_pass_ciphertext_for_a_configuration(pems: Path, config: Path) -> None:
    certferry("encrypt", config, "--key", pems / "tftp.pem", "--phone-certificate", pems / "tvs.crt")
    ended = certferry("unsign", f"{config}.enc.sgn", "--json")
    assert (ended.code, ended.error["code"]) == (2, "cli.suffix")
