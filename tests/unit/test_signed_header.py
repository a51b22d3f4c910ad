"""Signed headers are written as Unified CM writes them, read as tolerantly as phones read them, and verified."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certferry.errors import MalformedError
from certferry.wire.signed_header import (
    Digest,
    DigestUnknownError,
    HeaderLengthError,
    SignatureAlgorithmError,
    SignatureLengthError,
    SignedHeader,
    SignerKeyError,
    header_of,
    require_key_of,
    sign_with,
    signed_bytes,
    verify,
    verify_with_key,
    walk_header,
)
from certferry.wire.tlv import (
    TagMissingError,
    TagRepeatedError,
    TruncatedError,
    ValueLengthError,
    ValueTooLongError,
    number,
    tlv,
)
from conftest import MakeCertificate

HEADER = SignedHeader(
    version=(1, 2),
    subject="CN=pub;O=Example",
    issuer="CN=ca",
    serial=bytes.fromhex("70CAF6"),
    digest=Digest.SHA512,
    filename="ITLFile.tlv",
    timestamp=1_425_667_513,
    signature=bytes(range(256)),
)
Rebuild = Callable[..., bytes]


def header_bytes(**changed: bytes | None) -> bytes:
    """The header in parts, any of which a test replaces or, with None, leaves out."""
    algorithm = changed.get("algorithm", number(10, 0, 1)) or b""
    modulus = changed.get("modulus", number(11, 1, 1)) or b""
    digest = changed.get("digest", number(8, 1, 1)) or b""
    parts: dict[str, bytes | None] = {
        "version": b"\x01\0\x02\x01\x02",
        "length": None,
        "signer_version": None,
        "signer": tlv(3, tlv(4, b"CN=pub\0") + tlv(5, b"\x07") + tlv(6, b"CN=ca\0")),
        "info": tlv(7, digest + tlv(9, algorithm + modulus)),
        "signature": tlv(12, bytes(128)),
        "filename": tlv(14, b"CTLFile.tlv\0"),
        "timestamp": number(15, 1, 4),
        "trailing": None,
    }
    parts |= {name: value for name, value in changed.items() if name in parts}
    if "length" not in changed:
        size = 5 + sum(len(part) for part in parts.values() if part)
        parts["length"] = number(2, size, 2)
    return b"".join(part for part in parts.values() if part)


@pytest.fixture(scope="module", params=[1024, 2048, 4096])
def sized_key(request: pytest.FixtureRequest) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, request.param)


@pytest.fixture(scope="module")
def small_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)


def public_der(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)


# --- writing -------------------------------------------------------------------------------------------------


def test_elements_stand_in_the_order_of_unified_cm() -> None:
    assert [tag for tag, _, _ in walk_header(HEADER.encode())] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15]


def test_the_signer_version_follows_the_header_length() -> None:
    data = replace(HEADER, signer_version=(1, 1)).encode()
    assert [tag for tag, _, _ in walk_header(data)][:4] == [1, 2, 28, 3]
    assert data[10:15] == b"\x1c\0\x02\x01\x01"


def test_a_whole_header_byte_for_byte() -> None:
    header = replace(HEADER, signature=bytes(64), digest=Digest.SHA1)
    assert header.encode().hex() == (
        "0100020102"
        "020002009c"
        "030023" + "040011" + b"CN=pub;O=Example\0".hex() + "05000370caf6" + "060006" + b"CN=ca\0".hex()
        + "07000f" + "08000101" + "090008" + "0a000100" + "0b000100"
        + "0c0040" + "00" * 64
        + "0e000c" + b"ITLFile.tlv\0".hex()
        + "0f000454f9f5b9"
        + "0d"
    )  # fmt: skip


@pytest.mark.parametrize("extra", range(4))
def test_padding_is_bare_bytes_up_to_a_multiple_of_four(extra: int) -> None:
    data = replace(HEADER, filename="f" * (8 + extra)).encode()
    assert len(data) % 4 == 0
    assert int.from_bytes(data[8:10], "big") == len(data)
    assert len(data) - len(data.rstrip(b"\x0d")) <= 3


@pytest.mark.parametrize(("size", "code"), [(64, 0), (128, 1), (256, 2), (512, 3)])
def test_the_modulus_code_follows_from_the_signature(size: int, code: int) -> None:
    data = replace(HEADER, signature=bytes(size)).encode()
    (modulus,) = [data[start:stop] for tag, start, stop in walk_header(data) if tag == 11]
    assert modulus[0] == code
    assert SignedHeader.parse(data).modulus_bits == size * 8


@pytest.mark.parametrize("size", [0, 384, 255])
def test_a_signature_without_a_modulus_code_is_not_written(size: int) -> None:
    with pytest.raises(SignatureLengthError, match=f"{size} bytes"):
        replace(HEADER, signature=bytes(size)).encode()


def test_a_header_longer_than_its_length_can_tell_is_not_written() -> None:
    with pytest.raises(ValueTooLongError):
        replace(HEADER, others=((26, bytes(65400)),)).encode()


# --- reading -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        replace(HEADER, timestamp=None, version=(1, 1)),
        replace(HEADER, timestamp=0),
        replace(HEADER, signer_version=(1, 0)),
        replace(HEADER, others=((16, b"abc"), (26, b"\1"), (99, b""))),
    ],
    ids=["plain", "firmware", "epoch", "signer version", "other elements"],
)
def test_what_is_written_is_read_back(header: SignedHeader) -> None:
    data = header.encode()
    assert SignedHeader.parse(data) == header
    assert SignedHeader.parse_prefix(data + b"body") == (header, len(data))


def test_another_writers_order_is_read_the_same() -> None:
    usual = header_bytes()
    swapped = header_bytes(signer=tlv(3, tlv(6, b"CN=ca\0") + tlv(4, b"CN=pub\0") + tlv(5, b"\x07")))
    assert swapped != usual
    assert SignedHeader.parse(swapped) == SignedHeader.parse(usual)


def test_top_level_elements_may_come_in_any_order() -> None:
    data = header_bytes()
    parts, position = [], 0
    while position < len(data):
        end = position + 3 + int.from_bytes(data[position + 1 : position + 3], "big")
        parts.append(data[position:end])
        position = end
    for at in range(len(parts)):
        assert SignedHeader.parse(b"".join(parts[at:] + parts[:at])) == SignedHeader.parse(data)


def test_unknown_trailing_elements_and_a_higher_minor_version_are_no_obstacle() -> None:
    data = header_bytes(version=b"\x01\0\x02\x01\x09", trailing=tlv(200, b"new") + tlv(200, b"") + b"\r\r\r")
    header = SignedHeader.parse(data)
    assert (header.version, header.others) == ((1, 9), ((200, b"new"), (200, b"")))


def test_unknown_elements_inside_a_container_are_skipped() -> None:
    signer = tlv(3, tlv(4, b"CN=pub\0") + tlv(77, b"") + tlv(5, b"\x07") + tlv(6, b"CN=ca\0") + tlv(78, b""))
    assert SignedHeader.parse(header_bytes(signer=signer)).others == ()


def test_a_padding_byte_inside_the_body_is_not_looked_at() -> None:
    assert SignedHeader.parse_prefix(header_bytes() + b"\x0d" * 9)[1] == len(header_bytes())


def test_padding_does_not_count_as_an_element() -> None:
    assert SignedHeader.parse(header_bytes(trailing=b"\x0d" * 3)) == SignedHeader.parse(header_bytes())


# --- contradictions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("absent", "tag"),
    [
        ("version", 1),
        ("length", 2),
        ("signer", 3),
        ("info", 7),
        ("digest", 8),
        ("algorithm", 10),
        ("modulus", 11),
        ("signature", 12),
        ("filename", 14),
    ],
)
def test_a_header_without_a_mandatory_element_is_refused(absent: str, tag: int) -> None:
    with pytest.raises(TagMissingError, match=f"tag {tag} "):
        SignedHeader.parse(header_bytes(**{absent: None}))


@pytest.mark.parametrize("again", [tlv(14, b"x\0"), tlv(12, bytes(128)), number(2, 300, 2), tlv(3, b""), tlv(5, b"\1")])
def test_an_element_given_twice_is_refused(again: bytes) -> None:
    with pytest.raises((TagRepeatedError, HeaderLengthError)):
        SignedHeader.parse(header_bytes(trailing=again))


@pytest.mark.parametrize("length", [0, 9, 65535])
def test_a_header_length_that_cannot_be_is_refused(length: int) -> None:
    with pytest.raises(HeaderLengthError, match=f"offset 8 is {length}"):
        SignedHeader.parse(header_bytes(length=number(2, length, 2)))


def test_a_header_length_inside_an_element_is_refused() -> None:
    with pytest.raises(TruncatedError):
        SignedHeader.parse(header_bytes(length=number(2, len(header_bytes()) - 2, 2)))


def test_a_container_longer_than_the_header_is_refused() -> None:
    data = bytearray(header_bytes())
    data[11:13] = b"\xff\xff"
    with pytest.raises(TruncatedError, match="tag 3 announces 65535 bytes"):
        SignedHeader.parse(bytes(data))


def test_a_container_that_ends_inside_an_element_is_refused() -> None:
    data = bytearray(header_bytes())
    data[12] -= 1
    with pytest.raises(TruncatedError, match="tag 6"):
        SignedHeader.parse(bytes(data))


def test_deeply_nested_containers_are_refused_without_exhausting_the_reader() -> None:
    nested = b""
    for _ in range(15000):
        nested = b"\x03" + len(nested).to_bytes(2, "big") + nested
    with pytest.raises(MalformedError):
        SignedHeader.parse(nested)
    assert sum(1 for _ in walk_header(nested)) == 15000


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"digest": number(8, 4, 1)}, DigestUnknownError),
        ({"digest": number(8, 1, 2)}, ValueLengthError),
        ({"algorithm": number(10, 1, 1)}, SignatureAlgorithmError),
        ({"modulus": number(11, 2, 1)}, SignatureLengthError),
        ({"modulus": number(11, 4, 1)}, SignatureLengthError),
        ({"signature": tlv(12, bytes(127))}, SignatureLengthError),
        ({"version": tlv(1, b"\1")}, ValueLengthError),
        ({"length": tlv(2, b"\1\1\1")}, ValueLengthError),
        ({"timestamp": tlv(15, b"\1")}, ValueLengthError),
        ({"signer_version": tlv(28, b"")}, ValueLengthError),
    ],
)
def test_a_value_that_contradicts_the_format_is_refused(changed: dict[str, bytes], error: type[MalformedError]) -> None:
    with pytest.raises(error):
        SignedHeader.parse(header_bytes(**changed))


@pytest.mark.parametrize("cut", [0, 1, 4, 9, 20, 100, 200])
def test_a_header_cut_anywhere_is_refused(cut: int) -> None:
    with pytest.raises(MalformedError):
        SignedHeader.parse(HEADER.encode()[:cut])


# --- signing and verifying -----------------------------------------------------------------------------------


@pytest.mark.parametrize("digest", list(Digest))
def test_every_key_size_and_digest_that_phones_know_signs_and_verifies(
    digest: Digest, sized_key: rsa.RSAPrivateKey, make_certificate: MakeCertificate
) -> None:
    certificate = make_certificate("CN=signer", key=sized_key)
    data = sign_with(sized_key, replace(HEADER, digest=digest), b"body")
    assert SignedHeader.parse(data).modulus_bits == sized_key.key_size
    assert verify(data, certificate)
    assert verify_with_key(data, public_der(sized_key))


def test_the_signature_covers_the_file_with_the_whole_signature_element_cut_out(small_key: rsa.RSAPrivateKey) -> None:
    data = sign_with(small_key, HEADER, b"the body")
    ((start, stop),) = [(start, stop) for tag, start, stop in walk_header(data) if tag == 12]
    assert signed_bytes(data) == data[: start - 3] + data[stop:]
    assert signed_bytes(data)[8:10] == data[8:10], "the length stays that of the signed header"
    small_key.public_key().verify(data[start:stop], signed_bytes(data), padding.PKCS1v15(), hashes.SHA512())


def test_signing_again_replaces_the_signature(small_key: rsa.RSAPrivateKey) -> None:
    once = sign_with(small_key, HEADER, b"body")
    assert sign_with(small_key, SignedHeader.parse(once), b"body") == once


def test_a_file_that_another_writer_ordered_verifies(small_key: rsa.RSAPrivateKey) -> None:
    signer = tlv(3, tlv(4, b"CN=pub\0") + tlv(6, b"CN=ca\0") + tlv(5, b"\x07"))
    version = tlv(28, b"\1\0")
    unsigned = header_bytes(signer=signer, signer_version=version) + b"body"
    signature = small_key.sign(signed_bytes(unsigned), padding.PKCS1v15(), hashes.SHA1())
    data = header_bytes(signer=signer, signer_version=version, signature=tlv(12, signature)) + b"body"
    assert verify_with_key(data, public_der(small_key))


def test_a_change_of_any_byte_is_noticed(small_key: rsa.RSAPrivateKey) -> None:
    data = sign_with(small_key, replace(HEADER, signer_version=(1, 1)), b"the body")
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 0x01
        try:
            assert not verify_with_key(bytes(changed), public_der(small_key)), f"byte {position}"
        except MalformedError:
            continue


@pytest.mark.parametrize("change", [lambda body: body + b"\0", lambda body: body[:-1]], ids=["longer", "shorter"])
def test_a_longer_or_shorter_body_is_noticed(small_key: rsa.RSAPrivateKey, change: Callable[[bytes], bytes]) -> None:
    assert not verify_with_key(change(sign_with(small_key, HEADER, b"the body")), public_der(small_key))


def test_another_key_does_not_verify(small_key: rsa.RSAPrivateKey, rsa_key: rsa.RSAPrivateKey) -> None:
    assert not verify_with_key(sign_with(small_key, HEADER, b""), public_der(rsa_key))
    other = rsa.generate_private_key(65537, 1024)
    assert not verify_with_key(sign_with(small_key, HEADER, b""), public_der(other))


def test_an_ec_certificate_and_bytes_that_are_no_key_verify_nothing(
    small_key: rsa.RSAPrivateKey, make_certificate: MakeCertificate
) -> None:
    data = sign_with(small_key, HEADER, b"")
    assert not verify(data, make_certificate("CN=pub-EC", ec=True))
    assert not verify_with_key(data, b"no key")
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    assert not verify_with_key(data, point.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def test_a_3072_bit_key_is_refused_before_it_signs() -> None:
    with pytest.raises(SignerKeyError, match="3072 bits has no known modulus code"):
        sign_with(rsa.generate_private_key(65537, 3072), HEADER, b"")


def test_an_ec_key_is_refused_before_it_signs() -> None:
    with pytest.raises(SignerKeyError, match="not an RSA key"):
        sign_with(ec.generate_private_key(ec.SECP256R1()), HEADER, b"")  # type: ignore[arg-type] # a caller's mistake


def test_a_512_bit_signature_is_read_but_no_such_key_signs() -> None:
    assert SignedHeader.parse(replace(HEADER, signature=bytes(64)).encode()).modulus_bits == 512


def test_there_is_nothing_to_cut_out_of_an_unsigned_header() -> None:
    with pytest.raises(TagMissingError, match="no signature"):
        signed_bytes(header_bytes(signature=None))


def test_a_header_made_for_a_signer_names_it(make_certificate: MakeCertificate, rsa_key: rsa.RSAPrivateKey) -> None:
    signer = make_certificate("CN=pub", issuer="CN=ca", serial=0x8001)
    header = header_of(signer, "f", digest=Digest.SHA1, timestamp=None, version=(1, 0))
    assert (header.subject, header.issuer, header.serial) == ("CN=pub", "CN=ca", b"\x80\x01")
    require_key_of(signer, rsa_key)


def test_a_key_that_is_not_rsa_is_nobodys(make_certificate: MakeCertificate) -> None:
    key: Any = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(SignerKeyError, match="not an RSA key"):
        require_key_of(make_certificate("CN=ec", key=key), key)


def test_a_key_that_is_not_the_signers_is_noticed(
    make_certificate: MakeCertificate, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    with pytest.raises(SignerKeyError, match="CN=pub"):
        require_key_of(make_certificate("CN=pub"), other_rsa_key)
