"""Signing, reading and stripping a file gives back the file, and any change to it is noticed."""

from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from certferry.errors import MalformedError
from certferry.wire.certificate import Certificate
from certferry.wire.signed_file import SignedFile, sign_file, strip
from certferry.wire.signed_header import Digest
from certferry.wire.tlv import Cursor, TruncatedError, text_of, tlv
from conftest import MakeCertificate

file_names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=80)
payloads = st.binary(max_size=400)


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)


@pytest.fixture(scope="module")
def signer(make_certificate: MakeCertificate, key: rsa.RSAPrivateKey) -> Certificate:
    return make_certificate("CN=tftp", key=key)


@pytest.fixture(scope="module")
def signed(signer: Certificate, key: rsa.RSAPrivateKey) -> bytes:
    return sign_file("SEP00112233AABB.cnf.xml", b"<device/>", signer, key, timestamp=1_790_000_000)


@given(file_names, payloads, st.sampled_from(Digest), st.none() | st.integers(0, 2**32 - 1))
def test_any_payload_is_signed_verified_and_stripped(  # noqa: PLR0917 -- what hypothesis draws, then fixtures
    signer: Certificate, key: rsa.RSAPrivateKey, name: str, payload: bytes, digest: Digest, timestamp: int | None
) -> None:
    data = sign_file(name, payload, signer, key, digest=digest, timestamp=timestamp)
    file = SignedFile.parse(data)
    assert file.verify(signer)
    assert (file.payload, file.header.timestamp, file.header.digest) == (payload, timestamp, digest)
    assert file.header_length % 4 == 0
    assert strip(data) == payload


@given(position=st.integers(0), flip=st.integers(1, 255))
def test_a_changed_byte_is_refused_or_does_not_verify(
    position: int, flip: int, signed: bytes, signer: Certificate
) -> None:
    data = bytearray(signed)
    data[position % len(data)] ^= flip
    with suppress(MalformedError):
        assert not SignedFile.parse(bytes(data)).verify(signer)


@given(cut=st.integers(0))
def test_a_file_cut_anywhere_is_refused_or_does_not_verify(cut: int, signed: bytes, signer: Certificate) -> None:
    with suppress(MalformedError):
        assert not SignedFile.parse(signed[: cut % len(signed)]).verify(signer)


@given(payloads)
def test_no_bytes_raise_anything_but_a_refusal(data: bytes) -> None:
    with suppress(MalformedError):
        assert strip(data) is not None


@given(st.lists(st.tuples(st.integers(0, 255), payloads), max_size=5))
def test_elements_are_read_as_they_were_written(elements: list[tuple[int, bytes]]) -> None:
    cursor = Cursor(b"".join(tlv(tag, value) for tag, value in elements), base=7)
    read = []
    while not cursor.at_end:
        element = cursor.tlv()
        read.append((element.tag, element.value))
    assert read == elements


@given(payloads)
def test_a_cursor_reads_elements_to_the_end_or_says_where_they_are_cut(data: bytes) -> None:
    cursor = Cursor(data)
    try:
        while not cursor.at_end:
            cursor.tlv()
    except TruncatedError as refusal:
        assert "offset" in str(refusal)  # noqa: PT017 -- most bytes are refused, some are not


@given(payloads)
def test_any_text_is_decoded_or_refused(value: bytes) -> None:
    with suppress(MalformedError):
        assert "\0" not in text_of(4, value, 0)
