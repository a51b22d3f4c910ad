"""Encrypted and signed configuration files (.enc.sgn): for one phone, by the public key of its certificate.

A signed header of version 2.0 with elements of its own, then the ciphertext (phone-trust 1.2, 1.3, 2.2)::

    +-- signed header: ..., 14 FILENAME, 15 TIMESTAMP, then ---------------------+
    | 16 { 17 { 18 zero 1, 19 IV 16, 20 PAD_COUNT 2 }                            |
    |      21 { 22 zero 1, 23 KEY_BITS 2, 24 KEY_ALGORITHM 1, 25 WRAPPED_KEY } } |
    | 26 PLAINTEXT_DIGEST_ALGORITHM 1, 27 PLAINTEXT_DIGEST 20, 32 or 64          |
    +-- AES-128-CBC ciphertext, to the end of the file --------------------------+

The AES key is wrapped with RSA PKCS#1 v1.5, so phones with EC keys cannot have such files. The last block is
filled with 1 to 16 bytes 0x0d, their count in PAD_COUNT. The signature covers the header without itself and the
ciphertext; the digest is that of the plaintext, for anybody to read: two files of one content show that they are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum
from hmac import compare_digest
from typing import Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC

from certferry.errors import MalformedError, Refusal
from certferry.wire.certificate import Certificate
from certferry.wire.signed_file import SUFFIX
from certferry.wire.signed_header import (
    HASHES,
    Digest,
    DigestUnknownError,
    SignedHeader,
    header_of,
    require_key_of,
    sign_with,
    verify,
    walk_header,
)
from certferry.wire.tlv import Element, TagMissingError, TagRepeatedError, number, spans, tlv

ENCRYPTED_SUFFIX = ".enc" + SUFFIX
BLOCK = 16
"""Bytes of an AES block, of the IV and of the AES-128 key."""


class EncryptionTag(IntEnum):
    """Tags of the header that only encrypted files have; 18, 22 and 24 never had another value than the one here."""

    ENCRYPTION = 16
    CIPHER = 17
    CIPHER_ZERO = 18
    IV = 19
    PAD_COUNT = 20
    KEY = 21
    KEY_ZERO = 22
    KEY_BITS = 23
    KEY_ALGORITHM = 24
    WRAPPED_KEY = 25
    PLAINTEXT_DIGEST_ALGORITHM = 26
    PLAINTEXT_DIGEST = 27


class CiphertextError(MalformedError):
    """What stands behind the header cannot be a ciphertext, or the header says of it what cannot be."""

    code = "wire.ciphertext"
    remedy = "Fetch the file again; it was cut short, or is not encrypted for a phone."


class PhoneKeyError(Refusal):
    """No file can be encrypted for this certificate."""

    code = "wire.phone-key"
    remedy = "Give the phone's LSC or MIC with an RSA key of 1024 to 4096 bits; send other phones the signed file."


class DecryptionError(Refusal):
    """The key does not open the file, or what comes out is not what the header says."""

    code = "wire.decryption"
    remedy = "Use the private key of the phone that the file was made for; if it is that one, make the file again."


_CONTAINERS = frozenset({EncryptionTag.CIPHER, EncryptionTag.KEY})
_SIZES = {
    EncryptionTag.IV: BLOCK,
    EncryptionTag.PAD_COUNT: 2,
    EncryptionTag.KEY_BITS: 2,
    EncryptionTag.PLAINTEXT_DIGEST_ALGORITHM: 1,
}
_OWN = frozenset(EncryptionTag)
_MANDATORY = (EncryptionTag.WRAPPED_KEY, EncryptionTag.PLAINTEXT_DIGEST, *_SIZES)
_PAD = b"\x0d"
_KEY_ALGORITHM = 1
_PHONE_BITS = range(1024, 4096 + 1)


@dataclass(frozen=True, slots=True)
class EncryptedFile:
    """One encrypted file, and ``data``, the whole of it as it was read or written.

    ``pad_count`` is how many bytes (1 to 16) fill the last block; ``wrapped_key`` is the AES key as only the
    phone can read it; ``digest`` of the kind ``digest_algorithm`` is that of the plaintext.
    """

    header: SignedHeader
    data: bytes = field(repr=False)
    header_length: int
    iv: bytes
    pad_count: int
    wrapped_key: bytes = field(repr=False)
    digest_algorithm: Digest
    digest: bytes = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read an encrypted file.

        Raise the errors of ``SignedHeader.parse_prefix``, ``TagMissingError`` for a file that is signed only, and
        ``CiphertextError`` for lengths that contradict each other.
        """
        header, length = SignedHeader.parse_prefix(data)
        found = _collect(data)
        return cls(
            header=header,
            data=data,
            header_length=length,
            iv=found[EncryptionTag.IV].value,
            pad_count=_pad_count(found[EncryptionTag.PAD_COUNT], len(data) - length),
            wrapped_key=_wrapped_key(found),
            digest_algorithm=(algorithm := _algorithm(found[EncryptionTag.PLAINTEXT_DIGEST_ALGORITHM])),
            digest=found[EncryptionTag.PLAINTEXT_DIGEST].sized(HASHES[algorithm].digest_size).value,
        )

    @property
    def ciphertext(self) -> bytes:
        """What stands behind the header."""
        return self.data[self.header_length :]

    def encode(self) -> bytes:
        """Return the whole file, byte for byte."""
        return self.data

    def verify(self, certificate: Certificate) -> bool:
        """Whether the key of ``certificate`` signed header and ciphertext."""
        return verify(self.data, certificate)

    def decrypt(self, key: rsa.RSAPrivateKey) -> bytes:
        """Return the plaintext, which ``key``, the phone's, opens; ask ``verify`` first whose word it is.

        Raise ``DecryptionError``, always in the same words: how it failed is for nobody to learn.
        """
        try:
            decryptor = Cipher(AES128(key.decrypt(self.wrapped_key, padding.PKCS1v15())), CBC(self.iv)).decryptor()
        except ValueError:
            raise self._shut() from None
        plaintext = (decryptor.update(self.ciphertext) + decryptor.finalize())[: -self.pad_count]
        if not compare_digest(_digest_of(plaintext, self.digest_algorithm), self.digest):
            raise self._shut()
        return plaintext

    def _shut(self) -> DecryptionError:
        return DecryptionError(f"the key does not open {self.header.filename}")


def encrypt_file(
    name: str,
    plaintext: bytes,
    signer: Certificate,
    signing_key: rsa.RSAPrivateKey,
    phone: Certificate,
    *,
    aes_key: bytes,
    iv: bytes,
    digest: Digest = Digest.SHA1,
    timestamp: int,
) -> bytes:
    """Write ``plaintext`` for one phone, signed; the header calls it ``<name>.enc.sgn``.

    ``aes_key`` and ``iv`` are 16 bytes each, random and used once. ``timestamp`` is Unix seconds. Raise
    ``PhoneKeyError`` when the key of ``phone`` is not RSA of 1024 to 4096 bits, and ``SignerKeyError`` when
    ``signing_key`` is not the RSA key of ``signer`` or has a size without a modulus code.
    """
    require_key_of(signer, signing_key)
    wrapped = _wrap(aes_key, phone)
    pad_count = BLOCK - len(plaintext) % BLOCK
    filename = name.removesuffix(SUFFIX).removesuffix(".enc") + ENCRYPTED_SUFFIX
    header = replace(
        header_of(signer, filename, digest=digest, timestamp=timestamp, version=(2, 0)),
        others=(
            (EncryptionTag.ENCRYPTION, _cipher(iv, pad_count) + _key(wrapped)),
            (EncryptionTag.PLAINTEXT_DIGEST_ALGORITHM, bytes((digest,))),
            (EncryptionTag.PLAINTEXT_DIGEST, _digest_of(plaintext, digest)),
        ),
    )
    encryptor = Cipher(AES128(aes_key), CBC(iv)).encryptor()
    ciphertext = encryptor.update(plaintext + _PAD * pad_count) + encryptor.finalize()
    return sign_with(signing_key, header, ciphertext)


def _cipher(iv: bytes, pad_count: int) -> bytes:
    zero = number(EncryptionTag.CIPHER_ZERO, 0, 1)
    return tlv(EncryptionTag.CIPHER, zero + tlv(EncryptionTag.IV, iv) + number(EncryptionTag.PAD_COUNT, pad_count, 2))


def _key(wrapped: bytes) -> bytes:
    content = number(EncryptionTag.KEY_ZERO, 0, 1)
    content += number(EncryptionTag.KEY_BITS, len(wrapped) * 8, 2)
    content += number(EncryptionTag.KEY_ALGORITHM, _KEY_ALGORITHM, 1)
    return tlv(EncryptionTag.KEY, content + tlv(EncryptionTag.WRAPPED_KEY, wrapped))


def _wrap(aes_key: bytes, phone: Certificate) -> bytes:
    key = phone.x509.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise PhoneKeyError(f"the phone {phone.common_name} has an {phone.key_kind} key, and only RSA can wrap a key")
    if key.key_size not in _PHONE_BITS:
        raise PhoneKeyError(f"the phone {phone.common_name} has an RSA key of {key.key_size} bits")
    return key.encrypt(aes_key, padding.PKCS1v15())


def _digest_of(plaintext: bytes, algorithm: Digest) -> bytes:
    state = hashes.Hash(HASHES[algorithm])
    state.update(plaintext)
    return state.finalize()


def _collect(data: bytes) -> dict[EncryptionTag, Element]:
    """Gather the elements that only encrypted files have, wherever in their containers they stand."""
    found: dict[EncryptionTag, Element] = {}
    for element in _elements(data):
        tag = EncryptionTag(element.tag)
        if tag in found:
            raise TagRepeatedError(f"the header has tag {tag} again at offset {element.offset - 3}")
        found[tag] = element
    for tag in _MANDATORY:
        if tag not in found:
            raise TagMissingError(f"the header lacks tag {tag} ({tag.name}), which encrypted files have")
    for tag, size in _SIZES.items():
        found[tag].sized(size)
    return found


def _elements(data: bytes) -> Iterator[Element]:
    for tag, start, stop in walk_header(data):
        if tag in _OWN:
            yield Element(tag, data[start:stop], start)
        if tag == EncryptionTag.ENCRYPTION:
            yield from _inside(data, start, stop, _CONTAINERS)


def _inside(data: bytes, start: int, stop: int, containers: frozenset[EncryptionTag]) -> Iterator[Element]:
    for tag, inner_start, inner_stop in spans(data, start, stop):
        if tag in _OWN:
            yield Element(tag, data[inner_start:inner_stop], inner_start)
        if tag in containers:
            yield from _inside(data, inner_start, inner_stop, frozenset())


def _pad_count(element: Element, ciphertext: int) -> int:
    if not 1 <= element.number <= BLOCK:
        raise CiphertextError(f"the pad count at offset {element.offset} is {element.number}, not 1 to {BLOCK}")
    if not ciphertext or ciphertext % BLOCK:
        raise CiphertextError(f"the ciphertext has {ciphertext} bytes, no whole blocks of {BLOCK}")
    return element.number


def _wrapped_key(found: dict[EncryptionTag, Element]) -> bytes:
    wrapped, bits = found[EncryptionTag.WRAPPED_KEY], found[EncryptionTag.KEY_BITS].number
    if len(wrapped.value) * 8 != bits:
        raise CiphertextError(
            f"the wrapped key at offset {wrapped.offset} has {len(wrapped.value)} bytes and is for a key of {bits} bits"
        )
    return wrapped.value


def _algorithm(element: Element) -> Digest:
    try:
        return Digest(element.number)
    except ValueError as error:
        raise DigestUnknownError(f"digest algorithm {element.number} at offset {element.offset} is unknown") from error
