"""Whatever is encrypted for a phone comes out there; bytes that are no such file are refused, whatever they are."""

from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from certferry.errors import MalformedError
from certferry.wire.certificate import Certificate
from certferry.wire.encrypted_file import DecryptionError, EncryptedFile, encrypt_file
from certferry.wire.signed_header import Digest
from conftest import MakeCertificate

blocks = st.binary(min_size=16, max_size=16)


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)


@pytest.fixture(scope="module")
def phone(make_certificate: MakeCertificate, key: rsa.RSAPrivateKey) -> Certificate:
    return make_certificate("CN=both phone and signer", key=key)


@pytest.fixture(scope="module")
def encrypted(phone: Certificate, key: rsa.RSAPrivateKey) -> bytes:
    return encrypt_file("SEP0.cnf.xml", b"<device/>", phone, key, phone, aes_key=bytes(16), iv=bytes(16), timestamp=1)


@given(st.binary(max_size=400), blocks, blocks, st.sampled_from(Digest))
def test_any_plaintext_is_encrypted_verified_and_opened(  # noqa: PLR0917 -- what hypothesis draws, then fixtures
    phone: Certificate, key: rsa.RSAPrivateKey, plaintext: bytes, aes_key: bytes, iv: bytes, digest: Digest
) -> None:
    data = encrypt_file("a", plaintext, phone, key, phone, aes_key=aes_key, iv=iv, digest=digest, timestamp=0)
    file = EncryptedFile.parse(data)
    assert file.verify(phone)
    assert (file.decrypt(key), file.iv, file.encode()) == (plaintext, iv, data)


@given(position=st.integers(0), flip=st.integers(1, 255))
def test_a_changed_byte_is_refused_or_neither_verifies_nor_yields_other_content(
    position: int, flip: int, encrypted: bytes, phone: Certificate, key: rsa.RSAPrivateKey
) -> None:
    data = bytearray(encrypted)
    data[position % len(data)] ^= flip
    with suppress(MalformedError, DecryptionError):
        file = EncryptedFile.parse(bytes(data))
        assert not file.verify(phone)
        assert file.decrypt(key) == b"<device/>"


@given(cut=st.integers(0))
def test_a_file_cut_anywhere_is_refused_or_does_not_verify(cut: int, encrypted: bytes, phone: Certificate) -> None:
    with suppress(MalformedError):
        assert not EncryptedFile.parse(encrypted[: cut % len(encrypted)]).verify(phone)


@given(st.binary(max_size=400))
def test_no_bytes_raise_anything_but_a_refusal(data: bytes) -> None:
    with suppress(MalformedError):
        EncryptedFile.parse(data)
