"""The hash of a subject, by which OpenSSL finds a certificate in a folder."""

import contextlib
import shutil
import subprocess
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import NameAttribute, NameOID, ObjectIdentifier, RelativeDistinguishedName
from cryptography.x509.name import _ASN1Type
from hypothesis import given, settings
from hypothesis import strategies as st

from certferry.wire.subject_hash import SubjectMalformedError, subject_hash

pytestmark = pytest.mark.slow

KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER = x509.Name([NameAttribute(NameOID.COMMON_NAME, "another issuer")])
COMMON, ORG, UNIT = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME


def certificate_of(subject: x509.Name) -> bytes:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(ISSUER).public_key(KEY.public_key())
    builder = builder.serial_number(0x1234).not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
    signed = builder.not_valid_after(datetime(2040, 1, 1, tzinfo=UTC)).sign(KEY, hashes.SHA256())
    return signed.public_bytes(Encoding.DER)


def name(*attributes: NameAttribute[str] | NameAttribute[bytes]) -> x509.Name:
    return x509.Name(attributes)


def of_type(text: str, kind: _ASN1Type, oid: ObjectIdentifier = COMMON) -> NameAttribute[str]:
    return NameAttribute(oid, text, kind)


def of_openssl(der: bytes) -> str:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    command = [program, "x509", "-inform", "DER", "-noout", "-subject_hash"]
    return subprocess.run(command, input=der, capture_output=True, check=True).stdout.decode().strip()


SUBJECTS = {
    "as Unified CM writes them": name(
        of_type("US", _ASN1Type.PrintableString, NameOID.COUNTRY_NAME),
        of_type("Example", _ASN1Type.UTF8String, ORG),
        of_type("Voice", _ASN1Type.UTF8String, UNIT),
        of_type("CAPF-9f3a21b7", _ASN1Type.UTF8String),
    ),
    "none at all": name(),
    "capitals": name(of_type("CAPF-ABCDEF", _ASN1Type.UTF8String)),
    "space at the ends and between": name(of_type("  a   b\t\n c  ", _ASN1Type.UTF8String)),
    "nothing but space": name(of_type("   ", _ASN1Type.UTF8String)),
    "letters beyond ASCII": name(of_type("ÄÖÜ 電話 İ", _ASN1Type.UTF8String)),
    "a space beyond ASCII": name(of_type("a\u00a0 \u3000b\x85", _ASN1Type.UTF8String)),
    "two bytes a letter": name(of_type("Grün 電話", _ASN1Type.BMPString)),
    "four bytes a letter": name(of_type("Grün 電話 ☎", _ASN1Type.UniversalString)),
    "Teletex": name(of_type("PLAIN Text", _ASN1Type.T61String)),
    "IA5": name(of_type("Pub@Example.COM", _ASN1Type.IA5String, NameOID.EMAIL_ADDRESS)),
    "digits only, which stay as they are": name(of_type("12  34", _ASN1Type.NumericString)),
    "long": name(of_type("x" * 40, _ASN1Type.UTF8String), *[of_type("unit " * 12, _ASN1Type.UTF8String, UNIT)] * 9),
    "long in one attribute": name(
        NameAttribute(ObjectIdentifier("1.3.6.1.4.1.99999.1"), "Long " * 200, _ASN1Type.UTF8String)
    ),
    "several attributes in one RDN": x509.Name(
        [
            RelativeDistinguishedName(
                [
                    of_type("zz", _ASN1Type.UTF8String),
                    of_type("ZZ", _ASN1Type.PrintableString, UNIT),
                    NameAttribute(ORG, "M"),
                ]
            )
        ]
    ),
    "an unknown attribute": name(NameAttribute(ObjectIdentifier("1.2.3.4.5"), "Value")),
    "bits, which are no text": name(
        NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\x00\x41\x42  \x43", _ASN1Type.BitString)
    ),
}


@pytest.mark.parametrize("kind", SUBJECTS)
def test_it_is_what_openssl_says(kind: str) -> None:
    der = certificate_of(SUBJECTS[kind])
    assert subject_hash(der) == of_openssl(der)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([COMMON, ORG, UNIT, NameOID.LOCALITY_NAME]),
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=16),
        ),
        max_size=4,
    )
)
def test_whatever_the_letters_it_is_what_openssl_says(attributes: list[tuple[ObjectIdentifier, str]]) -> None:
    der = certificate_of(name(*(of_type(text, _ASN1Type.UTF8String, oid) for oid, text in attributes)))
    assert subject_hash(der) == of_openssl(der)


def test_spellings_that_openssl_takes_for_one_name_have_one_hash() -> None:
    spellings = [
        of_type("CAPF  9F", _ASN1Type.UTF8String),
        of_type(" capf 9f", _ASN1Type.BMPString),
        of_type("Capf 9F ", _ASN1Type.PrintableString),
    ]
    assert len({subject_hash(certificate_of(name(spelling))) for spelling in spellings}) == 1


def test_a_certificate_of_version_1_has_no_version_before_its_serial() -> None:
    der = certificate_of(SUBJECTS["capitals"])
    version = b"\xa0\x03\x02\x01\x02"
    begin = der.index(version)
    # Not signed, and lengths stay as they were: as far as is looked at, this is version 1.
    assert subject_hash(der[:begin] + der[begin + len(version) :] + bytes(len(version))) == subject_hash(der)


@pytest.mark.parametrize("text", [b"\xff\xfe", b"\xed\xa0\x80"])
def test_text_that_is_not_in_its_encoding_is_malformed(text: bytes) -> None:
    der = certificate_of(name(of_type("x" * len(text), _ASN1Type.UTF8String)))
    with pytest.raises(SubjectMalformedError, match="not a subject"):
        subject_hash(der.replace(b"x" * len(text), text))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 10, 100])
def test_what_is_cut_off_is_malformed(size: int) -> None:
    with pytest.raises(SubjectMalformedError, match="not a certificate"):
        subject_hash(certificate_of(SUBJECTS["capitals"])[:size])


WHOLE = certificate_of(SUBJECTS["several attributes in one RDN"])


@given(
    st.binary(max_size=64)
    | st.binary(max_size=32).map(lambda tail: b"\x30\x82\x01\x00\x30" + tail)
    | st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)).map(
        lambda change: WHOLE[: change[0]] + bytes([change[1]]) + WHOLE[change[0] + 1 :]
    )
)
def test_arbitrary_bytes_have_a_hash_or_are_malformed(data: bytes) -> None:
    with contextlib.suppress(SubjectMalformedError):
        assert len(subject_hash(data)) == 8
