"""``certferry sign`` and ``unsign``: a signed file carries the bytes it was made of, and says who signed."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from certferry.wire.signed_file import SignedFile
from command_line import certferry
from conftest import MakeCertificate

XML = b"<device><fullConfig>true</fullConfig></device>"
NAME = "SEP001122334455.cnf.xml"


def pem_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes = b"") -> str:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


@pytest.fixture
def signer(tmp_path: Path, rsa_key: rsa.RSAPrivateKey, make_certificate: MakeCertificate) -> Path:
    file = tmp_path / "signer.pem"
    file.write_text(make_certificate("CN=tftp").pem + pem_of(rsa_key))
    return file


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / NAME
    file.write_bytes(XML)
    return file


@pytest.mark.parametrize(("option", "digest"), [([], "SHA1"), (["--sha512"], "SHA512")])
def test_a_signed_file_names_itself_its_signer_and_its_digest(
    option: list[str], digest: str, signer: Path, config: Path
) -> None:
    done = certferry("sign", config, "--key", signer, *option, "--json")
    assert done.code == 0
    assert done.json["digest"] == digest
    signed = SignedFile.parse(Path(f"{config}.sgn").read_bytes())
    assert (signed.header.filename, signed.header.subject, signed.payload) == (f"{NAME}.sgn", "CN=tftp", XML)


def test_unsigning_gives_the_same_bytes_back(signer: Path, config: Path) -> None:
    certferry("sign", config, "--key", signer)
    config.unlink()
    done = certferry("unsign", f"{config}.sgn", "--certificate", signer, "--json")
    assert done.json == {"to": str(config), "filename": f"{NAME}.sgn", "signer": "CN=tftp", "verified": True}
    assert config.read_bytes() == XML


def test_a_file_changed_after_signing_ends_with_4_and_writes_nothing(signer: Path, config: Path) -> None:
    certferry("sign", config, "--key", signer)
    signed = Path(f"{config}.sgn")
    signed.write_bytes(signed.read_bytes().replace(b"true", b"fals"))
    config.unlink()
    done = certferry("unsign", signed, "--certificate", signer, "--json")
    assert (done.code, done.json["verified"]) == (4, False)
    assert not config.exists()


def test_standard_output_takes_the_file_itself(signer: Path, config: Path) -> None:
    certferry("sign", config, "--key", signer)
    assert certferry("unsign", f"{config}.sgn", "--to", "-").stdout == XML.decode()


def test_a_name_can_be_given_with_its_folder(signer: Path, config: Path) -> None:
    certferry("sign", config, "--key", signer, "--name", "Japan/mk-sip.jar")
    assert SignedFile.parse(Path(f"{config}.sgn").read_bytes()).header.filename == "Japan/mk-sip.jar.sgn"


def test_a_key_that_cannot_sign_is_refused(
    tmp_path: Path, config: Path, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey,
    make_certificate: MakeCertificate,
) -> None:  # fmt: skip
    certificate = make_certificate("CN=tftp").pem
    files = {
        "nothing": ("", "cli.key-file"),
        "no key": (certificate, "cli.key-file"),
        "a broken key": (certificate + pem_of(rsa_key)[:200], "cli.key-file"),
        "a locked key": (certificate + pem_of(rsa_key, b"secret"), "cli.key-password-missing"),
        "an EC key": (certificate + pem_of(ec.generate_private_key(ec.SECP256R1())), "cli.key-file"),
        "no certificate": (pem_of(rsa_key), "wire.certificate"),
        "another's key": (certificate + pem_of(other_rsa_key), "wire.signer-key"),
    }
    for name, (text, code) in files.items():
        (tmp_path / name).write_text(text)
        ended = certferry("sign", config, "--key", tmp_path / name, "--json")
        assert (ended.code, ended.error["code"]) == (2 if "password" in code else 1, code), name
    assert not Path(f"{config}.sgn").exists()


def test_what_is_not_signed_cannot_be_unsigned(config: Path) -> None:
    assert certferry("unsign", config, "--json").error["code"] == "cli.suffix"
    assert certferry("unsign", config, "--to", "-").code == 1
