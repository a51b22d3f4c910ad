"""An encrypted file is for one phone: signed for everybody to verify, opened by that phone's key alone."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC

from certferry.errors import MalformedError
from certferry.wire.certificate import Certificate
from certferry.wire.encrypted_file import (
    CiphertextError,
    DecryptionError,
    EncryptedFile,
    EncryptionTag,
    PhoneKeyError,
    encrypt_file,
)
from certferry.wire.signed_file import SignedFile, sign_file
from certferry.wire.signed_header import Digest, DigestUnknownError, SignerKeyError, sign_with, walk_header
from certferry.wire.tlv import TagMissingError, TagRepeatedError, TruncatedError, ValueLengthError, number, tlv
from conftest import MakeCertificate

XML = b"<device><password>of the phone alone</password></device>\n"
NOW = 1_790_000_000
AES_KEY, IV = bytes(range(16)), bytes(range(16, 32))


@pytest.fixture(scope="module")
def signer(make_certificate: MakeCertificate) -> Certificate:
    return make_certificate("CN=tftp;O=Example")


@pytest.fixture(scope="module")
def phone(make_certificate: MakeCertificate, other_rsa_key: rsa.RSAPrivateKey) -> Certificate:
    return make_certificate("CN=CP-8861-SEP00112233AABB", key=other_rsa_key)


def encrypted(
    signer: Certificate, key: rsa.RSAPrivateKey, phone: Certificate, xml: bytes = XML, digest: Digest = Digest.SHA1
) -> bytes:
    name = "SEP00112233AABB.cnf.xml"
    return encrypt_file(name, xml, signer, key, phone, aes_key=AES_KEY, iv=IV, digest=digest, timestamp=NOW)


@pytest.fixture(scope="module")
def data(signer: Certificate, rsa_key: rsa.RSAPrivateKey, phone: Certificate) -> bytes:
    return encrypted(signer, rsa_key, phone)


def test_the_phones_key_opens_it_and_the_signer_is_verified(
    data: bytes, signer: Certificate, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    file = EncryptedFile.parse(data)
    assert file.verify(signer)
    assert file.decrypt(other_rsa_key) == XML
    assert file.encode() == data


def test_no_other_key_opens_it_and_none_learns_why(data: bytes, rsa_key: rsa.RSAPrivateKey) -> None:
    shorter = rsa.generate_private_key(65537, 1024)
    said = set()
    for key in (rsa_key, shorter):
        with pytest.raises(DecryptionError) as refused:
            EncryptedFile.parse(data).decrypt(key)
        said.add(refused.value.sentence)
    assert said == {"the key does not open SEP00112233AABB.cnf.xml.enc.sgn"}


def test_nothing_of_the_content_can_be_read_in_the_file(data: bytes) -> None:
    assert b"password" not in data
    assert AES_KEY not in data


def test_the_header_is_of_version_2_0_and_names_the_encrypted_file(data: bytes) -> None:
    header = EncryptedFile.parse(data).header
    assert (header.version, header.filename, header.timestamp) == ((2, 0), "SEP00112233AABB.cnf.xml.enc.sgn", NOW)


def test_elements_stand_in_the_order_that_phones_know(data: bytes) -> None:
    assert [tag for tag, _, _ in walk_header(data)] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 26, 27]
    _, start, stop = next(span for span in walk_header(data) if span[0] == EncryptionTag.ENCRYPTION)
    cipher = tlv(17, number(18, 0, 1) + tlv(19, IV) + number(20, 16 - len(XML) % 16, 2))
    key_head = number(22, 0, 1) + number(23, 2048, 2) + number(24, 1, 1) + b"\x19\x01\x00"
    assert data[start:stop].startswith(cipher + b"\x15" + (len(key_head) + 256).to_bytes(2, "big") + key_head)
    assert stop - start == len(cipher) + 3 + len(key_head) + 256


def test_it_is_aes_128_cbc_with_the_last_block_filled_with_0x0d(data: bytes, other_rsa_key: rsa.RSAPrivateKey) -> None:
    file = EncryptedFile.parse(data)
    assert other_rsa_key.decrypt(file.wrapped_key, padding.PKCS1v15()) == AES_KEY
    decryptor = Cipher(AES128(AES_KEY), CBC(IV)).decryptor()
    assert decryptor.update(file.ciphertext) + decryptor.finalize() == XML + b"\x0d" * file.pad_count


@pytest.mark.parametrize(("size", "pad"), [(0, 16), (1, 15), (15, 1), (16, 16), (17, 15), (32, 16)])
def test_the_last_block_is_always_filled_with_1_to_16_bytes(  # noqa: PLR0917 -- fixtures, then parameters
    signer: Certificate, rsa_key: rsa.RSAPrivateKey, phone: Certificate, other_rsa_key: rsa.RSAPrivateKey,
    size: int, pad: int,
) -> None:  # fmt: skip
    file = EncryptedFile.parse(encrypted(signer, rsa_key, phone, bytes(size)))
    assert (file.pad_count, len(file.ciphertext)) == (pad, size + pad)
    assert file.decrypt(other_rsa_key) == bytes(size)


@pytest.mark.parametrize(("digest", "size"), [(Digest.SHA1, 20), (Digest.SHA256, 32), (Digest.SHA512, 64)])
def test_the_digest_of_the_plaintext_is_of_the_signatures_kind(
    signer: Certificate, rsa_key: rsa.RSAPrivateKey, phone: Certificate, digest: Digest, size: int
) -> None:
    file = EncryptedFile.parse(encrypted(signer, rsa_key, phone, digest=digest))
    assert (file.digest_algorithm, file.header.digest, len(file.digest)) == (digest, digest, size)


@pytest.mark.parametrize("name", ["a.xml", "a.xml.sgn", "a.xml.enc.sgn"])
def test_a_name_gets_its_suffix_once(
    signer: Certificate, rsa_key: rsa.RSAPrivateKey, phone: Certificate, name: str
) -> None:
    data = encrypt_file(name, b"", signer, rsa_key, phone, aes_key=AES_KEY, iv=IV, timestamp=NOW)
    assert EncryptedFile.parse(data).header.filename == "a.xml.enc.sgn"


def test_the_signature_covers_header_and_ciphertext(data: bytes, signer: Certificate) -> None:
    for part in (IV, data[-1:], b"AABB.cnf"):
        position = data.rindex(part)
        changed = data[:position] + bytes((data[position] ^ 1,)) + data[position + 1 :]
        assert not EncryptedFile.parse(changed).verify(signer)


def test_a_phone_with_an_ec_key_is_refused(
    signer: Certificate, rsa_key: rsa.RSAPrivateKey, make_certificate: MakeCertificate
) -> None:
    with pytest.raises(PhoneKeyError, match="EC key"):
        encrypted(signer, rsa_key, make_certificate("CN=SEP00112233AABB", ec=True))


def test_a_signer_that_is_not_the_keys_is_refused(
    signer: Certificate, other_rsa_key: rsa.RSAPrivateKey, phone: Certificate
) -> None:
    with pytest.raises(SignerKeyError):
        encrypted(signer, other_rsa_key, phone)


def test_a_file_that_is_signed_only_is_not_encrypted(signer: Certificate, rsa_key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(TagMissingError, match="encrypted"):
        EncryptedFile.parse(sign_file("a.xml", XML, signer, rsa_key, timestamp=NOW))


def rewritten(data: bytes, key: rsa.RSAPrivateKey, *others: tuple[int, bytes], body: bytes | None = None) -> bytes:
    """Sign the same file anew with other elements of encryption."""
    file = SignedFile.parse(data)
    return sign_with(key, replace(file.header, others=others), file.payload if body is None else body)


def cipher(pad: int = 1, iv: bytes = IV) -> bytes:
    return tlv(17, tlv(19, iv) + number(20, pad, 2))


WRAPPED = tlv(21, number(23, 2048, 2) + tlv(25, bytes(256)))
DIGEST = ((26, b"\x01"), (27, bytes(20)))
SOUND = ((16, cipher() + WRAPPED), *DIGEST)


def test_order_and_unknown_elements_inside_do_not_matter(data: bytes, rsa_key: rsa.RSAPrivateKey) -> None:
    inside = tlv(99, b"new") + WRAPPED + tlv(17, tlv(98, b"") + number(20, 5, 2) + tlv(19, IV))
    file = EncryptedFile.parse(rewritten(data, rsa_key, *reversed(DIGEST), (97, b"x"), (16, inside)))
    assert (file.pad_count, file.iv, len(file.wrapped_key)) == (5, IV, 256)


@pytest.mark.parametrize(
    ("others", "error"),
    [
        (SOUND[:2], TagMissingError),
        (DIGEST, TagMissingError),
        (((16, WRAPPED), *DIGEST), TagMissingError),
        (((16, cipher()), *DIGEST), TagMissingError),
        ((*SOUND, SOUND[0]), TagRepeatedError),
        (((16, cipher() + cipher() + WRAPPED), *DIGEST), TagRepeatedError),
        (((16, cipher() + WRAPPED[:-1]), *DIGEST), TruncatedError),
        (((16, cipher(iv=bytes(15)) + WRAPPED), *DIGEST), ValueLengthError),
        (((16, cipher(pad=0) + WRAPPED), *DIGEST), CiphertextError),
        (((16, cipher(pad=17) + WRAPPED), *DIGEST), CiphertextError),
        (((16, cipher() + tlv(21, number(23, 1024, 2) + tlv(25, bytes(256)))), *DIGEST), CiphertextError),
        ((SOUND[0], (26, b"\x04"), SOUND[2]), DigestUnknownError),
        ((SOUND[0], (26, b"\x03"), SOUND[2]), ValueLengthError),
    ],
    ids=[
        "no digest", "no encryption", "no cipher", "no key", "twice", "cipher twice", "cut", "short IV", "no pad",
        "a pad longer than a block", "wrapped key of another size", "unknown digest", "digest of another kind",
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(
    data: bytes, rsa_key: rsa.RSAPrivateKey, others: tuple[tuple[int, bytes], ...], error: type[MalformedError]
) -> None:
    with pytest.raises(error):
        EncryptedFile.parse(rewritten(data, rsa_key, *others))


@pytest.mark.parametrize("body", [b"", bytes(15), bytes(17)])
def test_a_ciphertext_of_no_whole_blocks_is_refused(data: bytes, rsa_key: rsa.RSAPrivateKey, body: bytes) -> None:
    with pytest.raises(CiphertextError):
        EncryptedFile.parse(rewritten(data, rsa_key, *SOUND, body=body))


def test_containers_in_containers_cost_nothing(data: bytes, rsa_key: rsa.RSAPrivateKey) -> None:
    nested = b""
    for _ in range(9000):
        nested = tlv(16, tlv(17, nested)) if len(nested) < 30_000 else nested
    with pytest.raises(MalformedError):
        EncryptedFile.parse(rewritten(data, rsa_key, (16, nested), *DIGEST))


def test_a_key_that_is_not_16_bytes_opens_nothing(
    data: bytes, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    wrapped = other_rsa_key.public_key().encrypt(bytes(24), padding.PKCS1v15())
    others = ((16, cipher() + tlv(21, number(23, 2048, 2) + tlv(25, wrapped))), *DIGEST)
    with pytest.raises(DecryptionError):
        EncryptedFile.parse(rewritten(data, rsa_key, *others)).decrypt(other_rsa_key)
