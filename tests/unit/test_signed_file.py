"""A signed file is a header and the original bytes; the signature covers both."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from certferry.errors import MalformedError
from certferry.wire.certificate import Certificate
from certferry.wire.signed_file import SignedFile, sign_file, strip
from certferry.wire.signed_header import Digest, SignedHeader, SignerKeyError, sign_with
from conftest import MakeCertificate

CONFIGURATION = b"<device><fullConfig>true</fullConfig></device>\n"
NOW = 1_790_000_000
FIRMWARE_NAME = "CN=someSigner;OU=someOrgUnit;O=someOrg"
FIRMWARE_ISSUER = "CN=someCA;OU=someOrgUnit;O=someOrg"


@pytest.fixture(scope="module")
def signer(make_certificate: MakeCertificate) -> Certificate:
    return make_certificate("CN=tftp;O=Example")


@pytest.fixture(scope="module")
def signed(signer: Certificate, rsa_key: rsa.RSAPrivateKey) -> bytes:
    return sign_file("SEP00112233AABB.cnf.xml", CONFIGURATION, signer, rsa_key, digest=Digest.SHA512, timestamp=NOW)


def test_a_configuration_file_carries_version_1_0_and_its_signed_name(signed: bytes) -> None:
    header = SignedFile.parse(signed).header
    assert (header.version, header.filename) == ((1, 0), "SEP00112233AABB.cnf.xml.sgn")
    assert (header.timestamp, header.digest, header.subject) == (NOW, Digest.SHA512, "CN=tftp;O=Example")


def test_a_name_that_is_signed_already_gets_no_second_suffix(signer: Certificate, rsa_key: rsa.RSAPrivateKey) -> None:
    data = sign_file("Japan/g3-tones.xml.sgn", b"", signer, rsa_key, timestamp=NOW)
    assert SignedFile.parse(data).header.filename == "Japan/g3-tones.xml.sgn"


def test_the_payload_is_the_original_bytes_unmodified(signed: bytes) -> None:
    assert SignedFile.parse(signed).payload == CONFIGURATION
    assert strip(signed) == CONFIGURATION
    assert signed.endswith(CONFIGURATION)


def test_a_parsed_file_encodes_to_the_same_bytes(signed: bytes) -> None:
    assert SignedFile.parse(signed).encode() == signed


def test_an_empty_payload_is_a_payload(signer: Certificate, rsa_key: rsa.RSAPrivateKey) -> None:
    data = sign_file("empty.xml", b"", signer, rsa_key, timestamp=NOW)
    assert strip(data) == b""
    assert SignedFile.parse(data).verify(signer)


def test_the_signers_certificate_verifies_header_and_payload(signed: bytes, signer: Certificate) -> None:
    assert SignedFile.parse(signed).verify(signer)


def test_a_renewed_certificate_with_the_same_key_verifies_too(signed: bytes, make_certificate: MakeCertificate) -> None:
    assert SignedFile.parse(signed).verify(make_certificate("CN=renewed"))


def test_a_certificate_with_another_key_does_not_verify(
    signed: bytes, make_certificate: MakeCertificate, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    assert not SignedFile.parse(signed).verify(make_certificate("CN=tftp;O=Example", key=other_rsa_key))


@pytest.mark.parametrize(
    ("part", "replacement"),
    [
        (CONFIGURATION, CONFIGURATION.replace(b"true", b"fals")),
        (b"SEP00112233AABB", b"SEP00112233AABC"),
        (b"CN=tftp", b"CN=tftq"),
        (NOW.to_bytes(4, "big"), (NOW + 1).to_bytes(4, "big")),
        (b"\x08\0\x01\x03", b"\x08\0\x01\x02"),
        (b"\x01\0\x02\x01\x00", b"\x01\0\x02\x01\x01"),
    ],
    ids=["payload", "file name", "signer", "timestamp", "digest", "version"],
)
def test_tampering_with_a_part_breaks_the_signature(
    signed: bytes, signer: Certificate, part: bytes, replacement: bytes
) -> None:
    assert part in signed
    assert not SignedFile.parse(signed.replace(part, replacement, 1)).verify(signer)


def test_a_firmware_header_without_timestamp_is_408_bytes_and_read() -> None:
    header = SignedHeader(
        version=(1, 1),
        subject=FIRMWARE_NAME,
        issuer=FIRMWARE_ISSUER,
        serial=bytes.fromhex("1234567890abcdef"),
        digest=Digest.SHA1,
        filename="SIP88xx.12-1-1.loads",
        signature=bytes(256),
    )
    parsed = SignedFile.parse(header.encode() + b"firmware")
    assert (parsed.header_length, parsed.payload) == (408, b"firmware")
    assert (parsed.header, parsed.header.timestamp) == (header, None)
    longer_name = replace(header, filename="rootfs88xx.12-1-1SR1-4.sbn")
    assert len(longer_name.encode()) == 412


def test_a_file_is_signed_without_timestamp_as_firmware_is(signer: Certificate, rsa_key: rsa.RSAPrivateKey) -> None:
    data = sign_file("x.loads", b"", signer, rsa_key, timestamp=None, version=(1, 1))
    assert SignedFile.parse(data).header.timestamp is None
    assert SignedFile.parse(data).verify(signer)


def test_a_key_of_another_certificate_cannot_sign(signer: Certificate, other_rsa_key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(SignerKeyError):
        sign_file("x.xml", b"", signer, other_rsa_key, timestamp=NOW)


def test_a_payload_larger_than_a_two_byte_length_is_no_obstacle(
    signer: Certificate, rsa_key: rsa.RSAPrivateKey
) -> None:
    payload = bytes(200_000)
    data = sign_with(rsa_key, SignedFile.parse(sign_file("x", b"", signer, rsa_key, timestamp=NOW)).header, payload)
    assert strip(data) == payload
    assert SignedFile.parse(data).verify(signer)


def test_a_file_that_is_not_signed_is_refused() -> None:
    with pytest.raises(MalformedError):
        SignedFile.parse(CONFIGURATION)


def test_a_header_cut_short_is_refused(signed: bytes) -> None:
    with pytest.raises(MalformedError):
        strip(signed[:300])
