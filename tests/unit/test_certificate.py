"""A certificate is its DER and the fields that trust lists and stores take from it, read once."""

from base64 import b64encode
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from certferry.wire.certificate import LARGEST, Certificate, CertificateMalformedError
from conftest import MakeCertificate, x509_name

SUBJECT = "CN=pub.example.com;OU=Voice;O=Example;L=Tokyo;ST=Tokyo;C=JP"
SERIAL_BYTES = bytes.fromhex("7123456789ABCDEF")


@pytest.fixture(scope="module")
def certificate(make_certificate: MakeCertificate) -> Certificate:
    return make_certificate(SUBJECT, issuer="CN=ca", serial=int.from_bytes(SERIAL_BYTES, "big"))


def test_names_are_in_the_clusters_form(certificate: Certificate) -> None:
    assert (certificate.subject, certificate.issuer) == (SUBJECT, "CN=ca")
    assert certificate.common_name == "pub.example.com"


def test_a_certificate_without_a_common_name_has_an_empty_one(make_certificate: MakeCertificate) -> None:
    assert make_certificate("O=Example").common_name == ""


def test_the_serial_is_its_bytes_and_prints_in_upper_case(certificate: Certificate) -> None:
    assert (certificate.serial, certificate.serial_hex) == (SERIAL_BYTES, "7123456789ABCDEF")


@pytest.mark.parametrize(
    ("number", "magnitude"), [(1, "01"), (0x80, "80"), (0xFF01, "FF01"), (0x1 << 152, "01" + "00" * 19)]
)
def test_a_serial_has_no_leading_zero(make_certificate: MakeCertificate, number: int, magnitude: str) -> None:
    assert make_certificate("CN=pub", serial=number).serial_hex == magnitude


def test_validity_is_in_utc(make_certificate: MakeCertificate) -> None:
    start, end = datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2031, 3, 1, tzinfo=UTC)
    made = make_certificate("CN=pub", not_before=start, not_after=end)
    assert (made.not_before, made.not_after) == (start, end)


def test_an_rsa_key_is_the_pkcs1_structure_of_a_trust_list(
    make_certificate: MakeCertificate, rsa_key: rsa.RSAPrivateKey
) -> None:
    made = make_certificate("CN=pub")
    assert (made.key_kind, made.key_bits, len(made.public_key)) == ("RSA", 2048, 270)
    assert made.public_key == rsa_key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)


def test_an_ec_key_is_the_uncompressed_point(make_certificate: MakeCertificate) -> None:
    made = make_certificate("CN=pub-EC", ec=True)
    assert (made.key_kind, made.key_bits, len(made.public_key), made.public_key[0]) == ("EC", 256, 65, 4)


def test_the_signature_is_as_long_as_the_issuers_key(certificate: Certificate) -> None:
    assert len(certificate.signature) == 256
    assert certificate.der.endswith(certificate.signature)


def test_fingerprints_are_lower_case_hex_of_the_der(certificate: Certificate) -> None:
    assert certificate.sha1 == certificate.x509.fingerprint(hashes.SHA1()).hex()
    assert certificate.sha256 == certificate.x509.fingerprint(hashes.SHA256()).hex()


def test_der_and_pem_give_back_the_same_certificate(certificate: Certificate) -> None:
    assert Certificate.parse(certificate.der) == certificate
    assert Certificate.from_pem(certificate.pem) == certificate
    assert Certificate.from_pem(certificate.pem.encode()) == certificate
    assert certificate.pem.endswith("-----END CERTIFICATE-----\n")


def test_the_first_certificate_of_a_pem_text_is_read(
    certificate: Certificate, make_certificate: MakeCertificate
) -> None:
    assert Certificate.from_pem("a comment\n" + certificate.pem + make_certificate("CN=next").pem) == certificate


def test_equality_and_hash_are_those_of_the_der(certificate: Certificate, make_certificate: MakeCertificate) -> None:
    assert len({certificate, Certificate.parse(certificate.der)}) == 1
    assert certificate != make_certificate(SUBJECT, issuer="CN=ca")


def test_self_signed_means_subject_is_issuer(certificate: Certificate, make_certificate: MakeCertificate) -> None:
    assert make_certificate("CN=pub").is_self_signed
    assert not certificate.is_self_signed


@pytest.mark.parametrize("data", [b"", b"\x30\x00", b"not a certificate"])
def test_bytes_that_are_no_certificate_are_refused(data: bytes) -> None:
    with pytest.raises(CertificateMalformedError):
        Certificate.parse(data)


def test_bytes_after_the_certificate_are_refused(certificate: Certificate) -> None:
    with pytest.raises(CertificateMalformedError):
        Certificate.parse(certificate.der + b"\0")


def test_a_certificate_of_an_unknown_version_is_refused_in_pem_too(certificate: Certificate) -> None:
    version = certificate.der.index(b"\xa0\x03\x02\x01\x02") + 4
    odd = certificate.der[:version] + b"\x2e" + certificate.der[version + 1 :]
    pem = f"-----BEGIN CERTIFICATE-----\n{b64encode(odd).decode()}\n-----END CERTIFICATE-----\n"
    with pytest.raises(CertificateMalformedError, match="version"):
        Certificate.from_pem(pem)


@pytest.mark.parametrize("pem", ["", b"\xff", "-----BEGIN CERTIFICATE-----\n", "\udcff"])
def test_text_that_is_no_pem_is_refused(pem: str | bytes) -> None:
    with pytest.raises(CertificateMalformedError, match="not a PEM certificate"):
        Certificate.from_pem(pem)


@pytest.mark.parametrize("names", [{"subject": "CN=pub\0.evil"}, {"subject": "CN=pub", "issuer": "CN=ca;O=x\0"}])
def test_a_name_that_would_end_early_for_a_phone_is_refused(
    make_certificate: MakeCertificate, names: dict[str, str]
) -> None:
    with pytest.raises(CertificateMalformedError, match="has a NUL inside"):
        make_certificate(**names)


def test_what_no_trust_list_and_no_tvs_message_can_carry_is_refused_unread(make_certificate: MakeCertificate) -> None:
    assert len(make_certificate("OU=" + "x" * 30_000).der) < LARGEST
    with pytest.raises(CertificateMalformedError, match=f"{LARGEST} are the most read"):
        make_certificate("OU=" + "x" * 33_000)


def test_a_key_that_is_neither_rsa_nor_ec_is_refused() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    made = (
        x509.CertificateBuilder()
        .subject_name(x509_name("CN=pub"))
        .issuer_name(x509_name("CN=pub"))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
        .sign(key, None)
    )
    with pytest.raises(CertificateMalformedError, match="neither an RSA nor an EC key"):
        Certificate.of(made)


def test_a_negative_serial_is_read_without_a_warning(certificate: Certificate) -> None:
    negative = Certificate.parse(certificate.der.replace(SERIAL_BYTES, b"\x81" + SERIAL_BYTES[1:], 1))
    assert len(negative.serial) == 8
    assert not negative.is_self_signed
    assert "BEGIN" in negative.pem
    assert Certificate.from_pem(negative.pem) == negative


def test_a_country_of_the_wrong_length_is_read_without_a_warning(certificate: Certificate) -> None:
    odd = certificate.der.replace(b"\x13\x02JP", b"\x1e\x02JP", 1)
    assert odd != certificate.der
    assert Certificate.parse(odd).subject.startswith("CN=pub.example.com")


@given(
    changes=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=3),
    cut=st.none() | st.integers(0, 700),
)
def test_damaged_certificates_are_read_or_refused(
    changes: list[tuple[int, int]], cut: int | None, certificate: Certificate
) -> None:
    data = bytearray(certificate.der)
    for position, value in changes:
        data[position % len(data)] = value
    try:
        assert Certificate.parse(bytes(data[:cut])).der == data[:cut]
    except CertificateMalformedError as refusal:
        assert refusal.code == "wire.certificate"  # noqa: PT017 -- most damage is refused, some is not
