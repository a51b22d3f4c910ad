"""The number by which OpenSSL finds a certificate in a folder: its name there is ``HASH.0`` (openssl-rehash(1)).

The hash is of the subject in canonical form (X509_NAME_hash): each RDN a SET, one behind the other, without a SEQUENCE
around all; in it every attribute's text is UTF-8, in lower case as far as it is ASCII, without space at its ends and
with a single space wherever there was more; what is no text stays as it is::

    | SET | SEQUENCE | OID | UTF8String |    then another SET ...

Of its SHA-1 the first four bytes are taken, the lowest first, and written as eight digits in hex.
"""

from functools import lru_cache
from hashlib import sha1

from certferry.errors import MalformedError
from certferry.wire.der import LONG_FORM, extent_of

_OID, _UTF8_STRING, _SEQUENCE, _SET, _VERSION = 0x06, 0x0C, 0x30, 0x31, 0xA0
_ENCODINGS = {
    _UTF8_STRING: "utf-8",
    0x13: "latin-1",  # PrintableString
    0x14: "latin-1",  # TeletexString, which OpenSSL takes for Latin-1
    0x16: "latin-1",  # IA5String
    0x1A: "latin-1",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}


class SubjectMalformedError(MalformedError):
    """The subject cannot be read, which OpenSSL cannot either."""

    code = "wire.subject"
    remedy = "Give an X.509 certificate in DER, with names in the encodings of X.520."


def subject_hash(der: bytes) -> str:
    """Return the hash of a certificate's subject, as ``openssl x509 -subject_hash`` prints it.

    Only as much is looked at as leads there. Raises ``SubjectMalformedError``.
    """
    begin, end = _subject(der)
    canonical = bytearray()
    while begin < end:
        content, begin = _element(der, begin, _SET)
        canonical += _relative_name(der[content:begin])
    digest = sha1(canonical, usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


def _subject(der: bytes) -> tuple[int, int]:
    """Return where the RDNs begin and end: behind version, serial, algorithm, issuer and validity."""
    begin, _ = _element(der, 0, _SEQUENCE)
    begin, _ = _element(der, begin, _SEQUENCE)
    if der[begin : begin + 1] == bytes([_VERSION]):
        _, begin = _element(der, begin)
    for _ in ("serial", "algorithm", "issuer", "validity"):
        _, begin = _element(der, begin)
    return _element(der, begin, _SEQUENCE)


@lru_cache(maxsize=4096)
def _relative_name(attributes: bytes) -> bytes:
    """Write one RDN in canonical form; those of one organisation have all but one of theirs in common."""
    canonical, begin = [], 0
    while begin < len(attributes):
        content, begin = _element(attributes, begin, _SEQUENCE)
        canonical.append(_attribute(attributes[content:begin]))
    return _encoded(_SET, b"".join(sorted(canonical)))


def _attribute(data: bytes) -> bytes:
    _, value = _element(data, 0, _OID)
    encoding = _ENCODINGS.get(data[value]) if value < len(data) else None
    if encoding is None:
        return _encoded(_SEQUENCE, data)
    begin, end = _element(data, value)
    try:
        text = data[begin:end].decode(encoding).encode()
    except UnicodeError as error:
        raise SubjectMalformedError(f"not a subject: {error}") from error
    # Of bytes, split() and lower() know ASCII only, as OpenSSL does.
    return _encoded(_SEQUENCE, data[:value] + _encoded(_UTF8_STRING, b" ".join(text.split()).lower()))


def _encoded(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < LONG_FORM:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, LONG_FORM | len(length)]) + length + content


def _element(data: bytes, at: int, tag: int | None = None) -> tuple[int, int]:
    """Return where the content of the element at ``at`` begins and ends."""
    extent = extent_of(data, at)
    if extent is None or tag not in (None, data[at]):
        raise SubjectMalformedError(f"not a certificate: the element expected at offset {at} is not there")
    if extent[1] > len(data):
        raise SubjectMalformedError(f"not a certificate: the element at offset {at} is longer than the rest")
    return extent
