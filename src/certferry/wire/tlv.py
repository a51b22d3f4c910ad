"""Bounded reading and writing of TLVs: tag 1 byte, length 2 bytes, value; all integers big-endian (phone-trust 1.1).

::

    +-----+--------+----------------+
    | tag | length | value ...      |
    |  1  |   2    | `length` bytes |
    +-----+--------+----------------+

A ``Cursor`` cannot read past its end, and a cursor made from it by ``sub`` or ``tlv`` cannot read past its own:
nested lengths hold by construction. Every error names the offset from the start of the whole input.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Self

from certferry.errors import MalformedError

MAX_VALUE = 0xFFFF
"""The longest value that a 2-byte length can tell."""

_HEAD = Struct(">BH")


class TruncatedError(MalformedError):
    """The bytes end, or the surrounding element ends, before what they announce."""

    code = "wire.truncated"
    remedy = "Fetch the file or message again; it was cut short or its lengths are wrong."


class ValueLengthError(MalformedError):
    """A value does not have the length that its tag calls for."""

    code = "wire.value-length"
    remedy = "Fetch the file or message again; if it stays so, its maker wrote this element wrong."


class ValueTooLongError(MalformedError):
    """A value is too long or too large for its place on the wire, so it cannot be written."""

    code = "wire.value-too-long"
    remedy = "Shorten the value; the sentence before this one names its limit."


class TagMissingError(MalformedError):
    """A header, record or message lacks an element that it cannot do without."""

    code = "wire.tag-missing"
    remedy = "Fetch the file or message again; if it stays so, its maker left out what every reader needs."


class TagRepeatedError(MalformedError):
    """One element stands twice where it may stand once, so its meaning would depend on the reader."""

    code = "wire.tag-repeated"
    remedy = "Do not use the file or message: two readers may understand it differently."


class TextMalformedError(MalformedError):
    """A text element is not UTF-8, or has a NUL elsewhere than at its end."""

    code = "wire.text"
    remedy = "Fetch the file or message again; names in it must be UTF-8 text with one NUL at the end."


@dataclass(frozen=True, slots=True)
class Element:
    """One TLV as read: ``offset`` is where its value starts in the whole input."""

    tag: int
    value: bytes
    offset: int

    @property
    def number(self) -> int:
        """The value as an unsigned integer of whatever length it has."""
        return int.from_bytes(self.value, "big")

    @property
    def text(self) -> str:
        """The value as UTF-8 text without its final NUL; raise ``TextMalformedError`` when it is none."""
        return text_of(self.tag, self.value, self.offset)

    def sized(self, *sizes: int) -> Self:
        """Return this element; raise ``ValueLengthError`` unless its value has one of ``sizes`` bytes."""
        if len(self.value) not in sizes:
            wanted = " or ".join(map(str, sizes))
            raise ValueLengthError(
                f"tag {self.tag} at offset {self.offset} has {len(self.value)} bytes instead of {wanted}"
            )
        return self

    def cursor(self) -> "Cursor":
        """Step inside: a cursor that can read this value and nothing else."""
        return Cursor(self.value, base=self.offset)


class Cursor:
    """A reading position in bytes that never leaves them.

    ``base`` is the offset of ``data`` in the whole input, so that ``offset`` and errors are absolute.
    """

    __slots__ = ("_base", "_data", "_end", "_position")

    def __init__(self, data: bytes, *, base: int = 0) -> None:
        self._data = data
        self._base = base
        self._position = 0
        self._end = len(data)

    @property
    def offset(self) -> int:
        """The absolute offset of the next byte."""
        return self._base + self._position

    @property
    def remaining(self) -> int:
        """How many bytes can still be read."""
        return self._end - self._position

    @property
    def at_end(self) -> bool:
        """Whether everything has been read."""
        return self._position == self._end

    def take(self, size: int) -> bytes:
        """Read exactly ``size`` bytes; raise ``TruncatedError`` when fewer are left."""
        start = self._position
        if not 0 <= size <= self._end - start:
            raise TruncatedError(f"{size} bytes are needed at offset {self.offset} but {self.remaining} are left")
        self._position = start + size
        return self._data[start : self._position]

    def u8(self) -> int:
        """Read one byte as a number."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Read two bytes as a number."""
        return int.from_bytes(self.take(2), "big")

    def tlv(self) -> Element:
        """Read one TLV: tag 1 byte, length 2 bytes, value."""
        tag = self.u8()
        size = self.u16()
        offset = self.offset
        return Element(tag, self.take(size), offset)

    def sub(self, size: int) -> "Cursor":
        """Take the next ``size`` bytes as a cursor of their own, which cannot read past them."""
        base = self.offset
        return Cursor(self.take(size), base=base)

    def rest(self) -> bytes:
        """Read everything that is left."""
        return self.take(self.remaining)


def span(data: bytes, position: int, end: int) -> tuple[int, int, int]:
    """Read the TLV head at ``position``: its tag and where its value starts and ends, without copying the value.

    The quick way through long flat files; raise ``TruncatedError`` when the TLV does not end by ``end``.
    """
    start = position + _HEAD.size
    if start > end:
        raise TruncatedError(f"a tag and a length are needed at offset {position} but {end - position} bytes are left")
    tag, size = _HEAD.unpack_from(data, position)
    if start + size > end:
        raise TruncatedError(f"tag {tag} announces {size} bytes at offset {start} but {end - start} are left")
    return tag, start, start + size


def spans(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Walk the flat TLVs from ``position`` to ``end``, each as ``span`` gives it."""
    while position < end:
        tag, start, position = span(data, position, end)
        yield tag, start, position


def text_of(tag: int, value: bytes, offset: int) -> str:
    """Decode a text value: UTF-8, its final NUL taken off; ``tag`` and ``offset`` are for the error."""
    raw = value.removesuffix(b"\0")
    if 0 in raw:
        raise TextMalformedError(f"the text of tag {tag} at offset {offset} has a NUL inside")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise TextMalformedError(f"the text of tag {tag} at offset {offset} is not UTF-8") from error


def tlv(tag: int, value: bytes) -> bytes:
    """Write one TLV; raise ``ValueTooLongError`` when ``value`` has more than 65535 bytes."""
    if len(value) > MAX_VALUE:
        raise ValueTooLongError(f"the value of tag {tag} has {len(value)} bytes, more than {MAX_VALUE}")
    return bytes((tag,)) + len(value).to_bytes(2, "big") + value


def text(tag: int, value: str) -> bytes:
    """Write a text element: UTF-8 with one final NUL that its length counts (phone-trust 1.1)."""
    if "\0" in value:
        raise TextMalformedError(f"the text of tag {tag} may not hold a NUL")
    return tlv(tag, value.encode() + b"\0")


def number(tag: int, value: int, size: int) -> bytes:
    """Write an unsigned integer of ``size`` bytes; raise ``ValueTooLongError`` when it does not fit."""
    if not 0 <= value < 1 << 8 * size:
        raise ValueTooLongError(f"{value} does not fit the {size} bytes of tag {tag}")
    return tlv(tag, value.to_bytes(size, "big"))
