"""The signed header that stands before every trust list and every signed configuration or firmware file.

In the order in which Unified CM writes it (phone-trust 1.2, 1.3)::

    +-- 1 VERSION 2 --+-- 2 HEADER_LENGTH 2 --+- [28 SIGNER_VERSION 2] -+
    +-- 3 SIGNERID { 4 SIGNERNAME, 5 SERIALNUMBER, 6 CANAME } ----------+
    +-- 7 SIGNATUREINFO { 8 DIGEST 1, 9 { 10 ALGORITHM 1, 11 MODULUS 1 }}
    +-- 12 SIGNATURE 128, 256 or 512 -----------------------------------+  cut out before signing
    +-- 14 FILENAME --+-- 15 TIMESTAMP 4 --+-- others --+-- 13 13 13 ---+
    +-- body: the records of a trust list, or a payload to the end -----+

Padding is a bare 0x0d byte without a length, up to a multiple of 4. HEADER_LENGTH counts from offset 0 to the
end of the padding, the signature TLV included. Phones take the elements in any order and skip those that they
do not know, so this reader does too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import lru_cache
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from certferry.errors import MalformedError, Refusal
from certferry.wire.certificate import Certificate
from certferry.wire.tlv import Element, TagMissingError, TagRepeatedError, number, span, text, tlv


class HeaderTag(IntEnum):
    """Tags of the header; ``wire.encrypted_file`` has 16 to 27 of its own."""

    VERSION = 1
    HEADER_LENGTH = 2
    SIGNER_ID = 3
    SIGNER_NAME = 4
    SERIAL_NUMBER = 5
    CA_NAME = 6
    SIGNATURE_INFO = 7
    DIGEST_ALGORITHM = 8
    SIGNATURE_ALGORITHM_INFO = 9
    SIGNATURE_ALGORITHM = 10
    SIGNATURE_MODULUS = 11
    SIGNATURE = 12
    PADDING = 13
    FILENAME = 14
    TIMESTAMP = 15
    SIGNER_VERSION = 28


class Digest(IntEnum):
    """The hash under the signature (tag 8). Unified CM offers SHA-1, its default, and SHA-512."""

    SHA1 = 1
    SHA256 = 2
    SHA512 = 3


class HeaderLengthError(MalformedError):
    """HEADER_LENGTH points behind the end of the file, or before the end of the header's own elements."""

    code = "wire.header-length"
    remedy = "Fetch the file again; it was cut short, or its header was written wrong."


class DigestUnknownError(MalformedError):
    """The digest code is none of SHA-1, SHA-256 and SHA-512."""

    code = "wire.digest-unknown"
    remedy = "Sign the file with SHA-1 or SHA-512, the two that Unified CM offers."


class SignatureAlgorithmError(MalformedError):
    """The signature algorithm is not RSA with PKCS#1 v1.5, the only one ever seen in these files."""

    code = "wire.signature-algorithm"
    remedy = "Sign the file with an RSA key."


class SignatureLengthError(MalformedError):
    """The signature's length is not that of a key of the announced modulus, or of any known modulus."""

    code = "wire.signature-length"
    remedy = "Fetch the file again; if it stays so, sign it again with an RSA key of 1024, 2048 or 4096 bits."


class SignerKeyError(Refusal):
    """The key cannot sign a file that phones would verify."""

    code = "wire.signer-key"
    remedy = "Sign with the RSA key of the signer's certificate; 1024, 2048 or 4096 bits."


MODULUS_BITS = (512, 1024, 2048, 4096)
"""Modulus sizes by their code in tag 11; 3072 has no known code."""

HASHES: dict[Digest, hashes.HashAlgorithm] = {
    Digest.SHA1: hashes.SHA1(),  # noqa: S303 -- Unified CM's default, and all that old phones know
    Digest.SHA256: hashes.SHA256(),
    Digest.SHA512: hashes.SHA512(),
}
"""The hash functions by their code."""

_SIGNING_BITS = frozenset(MODULUS_BITS[1:])
_CONTAINERS = frozenset({HeaderTag.SIGNER_ID, HeaderTag.SIGNATURE_INFO, HeaderTag.SIGNATURE_ALGORITHM_INFO})
_KNOWN = frozenset(HeaderTag)
_MANDATORY = _KNOWN - {HeaderTag.PADDING, HeaderTag.TIMESTAMP, HeaderTag.SIGNER_VERSION}
_SIZES = {
    HeaderTag.VERSION: 2,
    HeaderTag.DIGEST_ALGORITHM: 1,
    HeaderTag.SIGNATURE_ALGORITHM: 1,
    HeaderTag.SIGNATURE_MODULUS: 1,
    HeaderTag.TIMESTAMP: 4,
    HeaderTag.SIGNER_VERSION: 2,
}
_RSA_PKCS1 = 0
_ALIGNMENT = 4


@dataclass(frozen=True, slots=True)
class SignedHeader:
    """Who signed a file, how, and what the file is called.

    ``version`` is (major, minor): 1.2 for trust lists, 1.0 for configuration, 1.1 for firmware. ``subject``,
    ``issuer`` and ``serial`` name the signer's certificate; ``timestamp`` is Unix seconds, absent in firmware
    files; ``signer_version`` is (1, 0) or (1, 1), and 1.1 tells phones that the cluster does advanced encryption
    (phone-trust 1.4). ``others`` are top-level elements of tags not known here, in file order. An empty
    ``signature`` makes a header that is still to be signed.
    """

    version: tuple[int, int]
    subject: str
    issuer: str
    serial: bytes
    digest: Digest
    filename: str
    timestamp: int | None = None
    signer_version: tuple[int, int] | None = None
    signature: bytes = field(default=b"", repr=False)
    others: tuple[tuple[int, bytes], ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the header at the start of ``data``; the errors are those of ``parse_prefix``."""
        return cls.parse_prefix(data)[0]

    @classmethod
    def parse_prefix(cls, data: bytes) -> tuple[Self, int]:
        """Read the header at the start of ``data`` and tell its length, which is where the body starts.

        Raise a ``MalformedError`` of its own kind for a cut file, a header length behind the end of the file, a
        missing or repeated element, an unknown digest, and a signature that does not fit its modulus code.
        """
        found, others = _collect(data)
        timestamp, signer_version = found.get(HeaderTag.TIMESTAMP), found.get(HeaderTag.SIGNER_VERSION)
        header = cls(
            version=_pair(found[HeaderTag.VERSION]),
            subject=found[HeaderTag.SIGNER_NAME].text,
            issuer=found[HeaderTag.CA_NAME].text,
            serial=found[HeaderTag.SERIAL_NUMBER].value,
            digest=_digest(found[HeaderTag.DIGEST_ALGORITHM]),
            filename=found[HeaderTag.FILENAME].text,
            timestamp=timestamp.number if timestamp else None,
            signer_version=_pair(signer_version) if signer_version else None,
            signature=_signature(found),
            others=others,
        )
        return header, found[HeaderTag.HEADER_LENGTH].number

    @property
    def modulus_bits(self) -> int:
        """The size of the key that signed, told from the signature; 0 before signing."""
        return len(self.signature) * 8

    def encode(self) -> bytes:
        """Write the header in Unified CM's order; raise ``SignatureLengthError`` when it is not signed."""
        before, after = self.around_signature(len(self.signature))
        return before + tlv(HeaderTag.SIGNATURE, self.signature) + after

    def around_signature(self, size: int) -> tuple[bytes, bytes]:
        """Write what stands before and after a signature of ``size`` bytes: the part of the header it covers."""
        if size * 8 not in MODULUS_BITS:
            raise SignatureLengthError(f"a signature of {size} bytes fits no modulus with a known code")
        after = text(HeaderTag.FILENAME, self.filename)
        if self.timestamp is not None:
            after += number(HeaderTag.TIMESTAMP, self.timestamp, 4)
        after += b"".join(tlv(tag, value) for tag, value in self.others)
        middle = self._signer_version() + self._signer_id() + self._signature_info(MODULUS_BITS.index(size * 8))
        version = tlv(HeaderTag.VERSION, bytes(self.version))
        bare = len(version) + 5 + len(middle) + 3 + size + len(after)
        pad = -bare % _ALIGNMENT
        before = version + number(HeaderTag.HEADER_LENGTH, bare + pad, 2) + middle
        return before, after + bytes((HeaderTag.PADDING,)) * pad

    def _signer_version(self) -> bytes:
        return b"" if self.signer_version is None else tlv(HeaderTag.SIGNER_VERSION, bytes(self.signer_version))

    def _signer_id(self) -> bytes:
        subject = text(HeaderTag.SIGNER_NAME, self.subject)
        serial = tlv(HeaderTag.SERIAL_NUMBER, self.serial)
        return tlv(HeaderTag.SIGNER_ID, subject + serial + text(HeaderTag.CA_NAME, self.issuer))

    def _signature_info(self, modulus_code: int) -> bytes:
        algorithm = number(HeaderTag.SIGNATURE_ALGORITHM, _RSA_PKCS1, 1)
        modulus = number(HeaderTag.SIGNATURE_MODULUS, modulus_code, 1)
        info = tlv(HeaderTag.SIGNATURE_ALGORITHM_INFO, algorithm + modulus)
        return tlv(HeaderTag.SIGNATURE_INFO, number(HeaderTag.DIGEST_ALGORITHM, self.digest, 1) + info)


def walk_header(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Walk the header in file order: tag, where its value starts, where it ends; containers before their content.

    Padding is left out. Raise ``TruncatedError`` for an element that leaves its container or the header, and
    ``HeaderLengthError`` for a header length that cannot be.
    """
    position, bounds = 0, [len(data)]
    while position < bounds[0]:
        if data[position] == HeaderTag.PADDING and len(bounds) == 1:
            position += 1
            continue
        tag, start, stop = span(data, position, bounds[-1])
        yield tag, start, stop
        position = start if tag in _CONTAINERS else stop
        if tag in _CONTAINERS:
            bounds.append(stop)
        elif tag == HeaderTag.HEADER_LENGTH:
            bounds[0] = _header_length(data, Element(tag, data[start:stop], start))
        while len(bounds) > 1 and position == bounds[-1]:
            bounds.pop()
    if position > bounds[0]:
        raise HeaderLengthError(f"the header's elements go on at offset {bounds[0]}, where it says that it ends")


def _header_length(data: bytes, element: Element) -> int:
    length = element.sized(2).number
    so_far = element.offset + 2
    if not so_far <= length <= len(data):
        raise HeaderLengthError(
            f"the header length at offset {element.offset} is {length}, but {so_far} bytes of header were read "
            f"and the file has {len(data)}"
        )
    return length


def _collect(data: bytes) -> tuple[dict[int, Element], tuple[tuple[int, bytes], ...]]:
    """Gather the elements of known tags, and the unknown ones outside containers in their order."""
    found: dict[int, Element] = {}
    others: list[tuple[int, bytes]] = []
    inside = 0
    for tag, start, stop in walk_header(data):
        element = Element(tag, data[start:stop], start)
        if tag in found:
            raise TagRepeatedError(f"the header has tag {tag} again at offset {start - 3}")
        if tag in _KNOWN:
            found[tag] = element
        elif start > inside:
            others.append((tag, element.value))
        if tag in _CONTAINERS:
            inside = max(inside, stop)
    _check(found)
    return found, tuple(others)


def _check(found: dict[int, Element]) -> None:
    missing = sorted(_MANDATORY - found.keys())
    if missing:
        raise TagMissingError(f"the header lacks tag {missing[0]} ({HeaderTag(missing[0]).name})")
    for tag, size in _SIZES.items():
        if tag in found:
            found[tag].sized(size)


def _pair(element: Element) -> tuple[int, int]:
    return element.value[0], element.value[1]


def _digest(element: Element) -> Digest:
    try:
        return Digest(element.number)
    except ValueError as error:
        raise DigestUnknownError(f"digest algorithm {element.number} at offset {element.offset} is unknown") from error


def _signature(found: dict[int, Element]) -> bytes:
    algorithm, modulus = found[HeaderTag.SIGNATURE_ALGORITHM], found[HeaderTag.SIGNATURE_MODULUS].number
    if algorithm.number != _RSA_PKCS1:
        raise SignatureAlgorithmError(
            f"signature algorithm {algorithm.number} at offset {algorithm.offset} is not RSA (0)"
        )
    signature = found[HeaderTag.SIGNATURE]
    if modulus >= len(MODULUS_BITS) or len(signature.value) * 8 != MODULUS_BITS[modulus]:
        raise SignatureLengthError(
            f"the signature of {len(signature.value)} bytes at offset {signature.offset} does not fit modulus "
            f"code {modulus}"
        )
    return signature.value


def header_of(
    signer: Certificate,
    filename: str,
    *,
    digest: Digest,
    timestamp: int | None,
    version: tuple[int, int],
    signer_version: tuple[int, int] | None = None,
) -> SignedHeader:
    """Make a header that is still to be signed, naming ``signer``."""
    return SignedHeader(
        version=version,
        subject=signer.subject,
        issuer=signer.issuer,
        serial=signer.serial,
        digest=digest,
        filename=filename,
        timestamp=timestamp,
        signer_version=signer_version,
    )


def sign_with(key: rsa.RSAPrivateKey, header: SignedHeader, body: bytes) -> bytes:
    """Write ``header`` signed with ``key``, then ``body``: a whole file (phone-trust 1.8).

    A signature already in ``header`` is replaced. Raise ``SignerKeyError`` for a key that is not RSA of 1024,
    2048 or 4096 bits.
    """
    _require_rsa(key)
    if key.key_size not in _SIGNING_BITS:
        raise SignerKeyError(f"an RSA key of {key.key_size} bits has no known modulus code in these files")
    before, after = header.around_signature(key.key_size // 8)
    signature = key.sign(before + after + body, padding.PKCS1v15(), HASHES[header.digest])
    return replace(header, signature=signature).encode() + body


def require_key_of(signer: Certificate, key: rsa.RSAPrivateKey) -> None:
    """Raise ``SignerKeyError`` unless ``key`` is the RSA private key of ``signer``."""
    _require_rsa(key)
    if key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1) != signer.public_key:
        raise SignerKeyError(f"the key is not that of the certificate {signer.subject}")


def _require_rsa(key: object) -> None:
    if not isinstance(key, rsa.RSAPrivateKey):
        raise SignerKeyError(f"a {type(key).__name__} is not an RSA key, and phones verify no other signature")


def signed_bytes(data: bytes) -> bytes:
    """Return what the signature covers: the whole file with the complete signature TLV cut out.

    The header length stays the final one, that counts the signature (phone-trust 1.8). Raise
    ``TagMissingError`` when there is no signature.
    """
    for tag, start, stop in walk_header(data):
        if tag == HeaderTag.SIGNATURE:
            return data[: start - 3] + data[stop:]
    raise TagMissingError("the header has no signature to cut out")


def verify(data: bytes, certificate: Certificate) -> bool:
    """Whether the key of ``certificate`` signed the whole of ``data``.

    Only the key counts, as on a phone; whether the header *names* this certificate is the caller's question.
    Raise ``MalformedError`` when ``data`` has no readable header.
    """
    return verify_with_key(data, certificate.public_key)


def verify_with_key(data: bytes, public_key: bytes) -> bool:
    """Whether the RSA key ``public_key``, a PKCS#1 RSAPublicKey in DER, signed the whole of ``data``.

    False also for a key that is no RSA key: no other signature is known in these files (phone-trust 1.8).
    """
    header = SignedHeader.parse(data)
    key = _loaded(bytes(public_key))
    if key is None:
        return False
    try:
        key.verify(header.signature, signed_bytes(data), padding.PKCS1v15(), HASHES[header.digest])
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=1024)
def _loaded(public_key: bytes) -> rsa.RSAPublicKey | None:
    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, rsa.RSAPublicKey) else None
