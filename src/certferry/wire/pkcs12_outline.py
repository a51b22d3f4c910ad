"""What a PKCS#12 file shows without its password: its MAC, its keys, and how much work its passwords cost.

::

    PFX ::= SEQUENCE {
        INTEGER 3
        ContentInfo { OID, [0] }                    data: an OCTET STRING holding SEQUENCE OF ContentInfo,
                                                    each *data* (bags in the clear) or *encryptedData*
        MacData { DigestInfo, salt, iterations }    OPTIONAL
    }

A hostile file can ask for billions of key derivation rounds, and the library would obey. So the visible
structure (DER, or BER with indefinite lengths and strings in pieces) is read here first. What lies inside
encrypted content stays unseen: whoever knows the password can hide rounds there (``bulk.opening`` bounds them).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import prod

from certferry.errors import MalformedError

MAX_DEPTH = 40
MAX_ELEMENTS = 400_000
_LONGEST_NUMBER = 8

_INTEGER, _OCTETS, _OCTETS_IN_PIECES, _OID, _SEQUENCE, _CONTENT = 0x02, 0x04, 0x24, 0x06, 0x30, 0xA0
_CONSTRUCTED, _LONG_TAG, _INDEFINITE = 0x20, 0x1F, 0x80
_END_OF_CONTENTS = b"\0\0"

_DATA = bytes.fromhex("2a864886f70d010701")
_SHUT = (bytes.fromhex("2a864886f70d010703"), bytes.fromhex("2a864886f70d010706"))
"""Enveloped and encrypted data."""
_KEY_BAGS = (bytes.fromhex("2a864886f70d010c0a0101"), bytes.fromhex("2a864886f70d010c0a0102"))
_PKCS12_PBE = bytes.fromhex("2a864886f70d010c01")
_PKCS5 = bytes.fromhex("2a864886f70d0105")
_SCRYPT = bytes.fromhex("2b06010401da47040b")


class Pkcs12MalformedError(MalformedError):
    """The bytes are not a PKCS#12 file that can be used here."""

    code = "wire.pkcs12"
    remedy = "Give a whole PKCS#12 file (.p12, .pfx) with RSA or EC certificates; export it again if in doubt."


@dataclass(frozen=True, slots=True)
class Outline:
    """What is visible from outside.

    ``mac``: the content is protected against change. ``keys``: private keys in bags outside encrypted content.
    ``rounds``: the key derivation rounds of all passwords together. ``encrypted``: some content is.
    """

    mac: bool
    encrypted: bool
    keys: int
    rounds: int

    @classmethod
    def parse(cls, data: bytes) -> "Outline":
        """Walk the visible structure; raise ``Pkcs12MalformedError`` naming the offset where it breaks."""
        file = _Walk(data).whole()
        parts = file.parts
        if file.tag != _SEQUENCE or len(parts) not in (2, 3) or [p.tag for p in parts[:2]] != [_INTEGER, _SEQUENCE]:
            raise Pkcs12MalformedError("not a PKCS#12 file: no PFX sequence of version, content and MAC at offset 0")
        seen = list(_descend(file))
        derivations = [rounds for element in seen if (rounds := _rounds_asked_by(element))]
        mac = parts[2] if len(parts) == 3 else None  # noqa: PLR2004 -- the optional third part
        return cls(
            mac=mac is not None,
            encrypted=bool(derivations) or any(element.oid in _SHUT for element in seen),
            keys=sum(element.oid in _KEY_BAGS for element in seen),
            rounds=sum(derivations) + (_rounds_of_mac(mac) if mac else 0),
        )


@dataclass(slots=True)
class _Element:
    tag: int
    value: bytes
    parts: list["_Element"]
    depth: int
    walk: "_Walk"

    @property
    def oid(self) -> bytes:
        """The OID that a sequence opens with: what the rest of it is about."""
        if self.tag == _SEQUENCE and self.parts and self.parts[0].tag == _OID:
            return self.parts[0].value
        return b""

    @property
    def integers(self) -> Iterator[int]:
        """The integers among the parts; one of more than 8 bytes counts as 2**64, which is above every bound."""
        return (_number(part.value) for part in self.parts if part.tag == _INTEGER)

    @property
    def octets(self) -> bytes:
        return self.value or b"".join(part.octets for part in self.parts)


class _Walk:
    """A BER reader over one string, with bounds on depth and on the number of elements."""

    def __init__(self, data: bytes, depth: int = 0, budget: list[int] | None = None) -> None:
        self._data = data
        self._depth = depth
        self._budget = budget or [MAX_ELEMENTS]

    def whole(self) -> _Element:
        element, end = self._element(0, len(self._data), self._depth)
        if end != len(self._data):
            raise self._broken(end, "bytes after the end of the file")
        return element

    def inside(self, element: _Element) -> _Element:
        """Read what an octet string of this walk carries."""
        return _Walk(element.octets, element.depth + 1, self._budget).whole()

    def _element(self, at: int, end: int, depth: int) -> tuple[_Element, int]:
        self._budget[0] -= 1
        if depth > MAX_DEPTH or self._budget[0] < 0:
            raise self._broken(at, "nested too deeply, or too many elements")
        tag, start, length = self._head(at, end)
        if length is None:
            parts, after = self._parts(start, end, depth + 1, indefinite=True)
        elif tag & _CONSTRUCTED:
            parts, after = self._parts(start, start + length, depth + 1)
        else:
            return _Element(tag, self._data[start : start + length], [], depth, self), start + length
        return _Element(tag, b"", parts, depth, self), after

    def _parts(self, at: int, end: int, depth: int, *, indefinite: bool = False) -> tuple[list[_Element], int]:
        parts: list[_Element] = []
        while at < end:
            if indefinite and self._data[at : at + 2] == _END_OF_CONTENTS:
                return parts, at + 2
            part, at = self._element(at, end, depth)
            parts.append(part)
        if indefinite:
            raise self._broken(at, "an indefinite length without its end")
        return parts, at

    def _head(self, at: int, end: int) -> tuple[int, int, int | None]:
        """Read tag and length: the tag, where the value starts, how long it is (None: until its end mark)."""
        if at + 2 > end:
            raise self._broken(at, "truncated")
        tag, first = self._data[at], self._data[at + 1]
        if tag & _LONG_TAG == _LONG_TAG:
            raise self._broken(at, f"tag {tag:#04x} has no place in PKCS#12")
        if first == _INDEFINITE and tag & _CONSTRUCTED:
            return tag, at + 2, None
        start, length = at + 2, first
        if first & _INDEFINITE:
            start += first & 0x7F
            length = int.from_bytes(self._data[at + 2 : start], "big")
        if first == _INDEFINITE or start + length > end:
            raise self._broken(at, f"a length that leads beyond byte {end}")
        return tag, start, length

    def _broken(self, at: int, what: str) -> Pkcs12MalformedError:
        where = "of an inner string" if self._depth else "of the file"
        return Pkcs12MalformedError(f"not a PKCS#12 file: {what}, at offset {at} {where}")


def _number(value: bytes) -> int:
    digits = value.lstrip(b"\0")
    return int.from_bytes(digits, "big") if len(digits) <= _LONGEST_NUMBER else 1 << 8 * _LONGEST_NUMBER


def _descend(element: _Element) -> Iterator[_Element]:
    """All sequences from ``element`` down, also those inside the strings that *data* content carries."""
    if element.tag == _SEQUENCE:
        yield element
    for part in element.parts:
        yield from _descend(part)
        if element.oid == _DATA and part.tag == _CONTENT:
            yield from _carried_by(part)


def _carried_by(content: _Element) -> Iterator[_Element]:
    for string in content.parts:
        if string.tag in (_OCTETS, _OCTETS_IN_PIECES):
            yield from _descend(string.walk.inside(string))


def _rounds_asked_by(algorithm: _Element) -> int:
    """Rounds that this algorithm identifier asks for; scrypt's N, r, p multiply to about as much work each."""
    parameters = algorithm.parts[1] if len(algorithm.parts) > 1 else None
    if parameters is None:
        return 0
    if algorithm.oid == _SCRYPT:
        return prod(islice(parameters.integers, 3))
    if algorithm.oid.startswith((_PKCS12_PBE, _PKCS5)):
        return next(parameters.integers, 0)
    return 0


def _rounds_of_mac(mac: _Element) -> int:
    return next(mac.integers, 1)
