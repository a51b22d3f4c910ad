"""TFTP packets (RFC 1350) with the options of RFC 2347, 2348 and 2349.

::

    read/write request   | 1 or 2 | name 0 | mode 0 | option 0 | value 0 | ... |
    data                 |   3    | block (2) | up to blksize bytes            |
    acknowledgment       |   4    | block (2) |
    error                |   5    | code (2)  | message 0 |
    option acknowledgment|   6    | option 0 | value 0 | ... |

The opcode is two bytes, big-endian; ``0`` is a NUL that ends a text. Phones send read requests in mode ``octet``
without options (phone-trust 5.2), so options are understood and never required.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import ClassVar, Literal, Self

from certferry.errors import MalformedError

Mode = Literal["octet", "netascii"]
DEFAULT_BLKSIZE = 512
LARGEST_REQUEST = 512
"""A request with all its options fits 512 bytes (RFC 2347)."""
RANGES = {"blksize": (8, 65464), "timeout": (1, 255), "tsize": (0, 2**63 - 1)}
"""The options understood here and the values each may have, both ends included."""
_HEAD = Struct(">HH")
_READ = b"\0\1"
_PLAIN_END = b"\0octet\0"
_WIDEST_NUMBER = 19


class TftpMalformedError(MalformedError):
    """The datagram is not a TFTP packet."""

    code = "wire.tftp"
    remedy = "Something that does not speak TFTP sent this; find it by its address."


class TftpOptionError(TftpMalformedError):
    """An option that is understood has a value it cannot have, or stands twice."""

    code = "wire.tftp-option"
    remedy = "Ask for blksize 8..65464, timeout 1..255 and tsize 0, each at most once."


class Opcode(IntEnum):
    """The first two bytes of a packet."""

    READ_REQUEST = 1
    WRITE_REQUEST = 2
    DATA = 3
    ACK = 4
    ERROR = 5
    OPTION_ACK = 6


class ErrorCode(IntEnum):
    """Error codes of RFC 1350 and, for 8, RFC 2347."""

    NOT_DEFINED = 0
    FILE_NOT_FOUND = 1
    ACCESS_VIOLATION = 2
    DISK_FULL = 3
    ILLEGAL_OPERATION = 4
    UNKNOWN_TRANSFER = 5
    FILE_EXISTS = 6
    NO_SUCH_USER = 7
    OPTION_REFUSED = 8


@dataclass(frozen=True, slots=True)
class Options:
    """Block size in bytes, retransmission time in seconds, file size in bytes; None where not asked or granted."""

    blksize: int | None = None
    timeout: int | None = None
    tsize: int | None = None

    def items(self) -> Iterator[tuple[str, int]]:
        """Yield name and value of each option that is set."""
        for name in RANGES:
            value: int | None = getattr(self, name)
            if value is not None:
                yield name, value

    def __bool__(self) -> bool:
        return any(True for _ in self.items())

    def encode(self) -> bytes:
        """Write the options as NUL-ended texts; raise ``TftpOptionError`` for a value out of range."""
        return b"".join(b"%s\0%d\0" % (name.encode(), _in_range(name, value, 0)) for name, value in self.items())


NO_OPTIONS = Options()


@dataclass(frozen=True, slots=True)
class _Request:
    opcode: ClassVar[Opcode]
    filename: str
    mode: Mode = "octet"
    options: Options = NO_OPTIONS

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read a request; options that are not known here are dropped (RFC 2347)."""
        if len(data) > LARGEST_REQUEST:
            raise TftpMalformedError(f"a request of {len(data)} bytes runs past offset {LARGEST_REQUEST}")
        texts = _texts(data)
        if len(texts) < 2:  # noqa: PLR2004 -- a name and a mode
            raise TftpMalformedError(f"no mode after the file name at offset {len(data)}")
        (_, name), (at, mode), *rest = texts
        if not name:
            raise TftpMalformedError("no file name at offset 2")
        return cls(name, _mode(mode, at), _options(rest))

    def encode(self) -> bytes:
        """Write the packet; raise ``TftpMalformedError`` when it can't be said in one."""
        texts = _text(self.filename) + _text(self.mode)
        data = self.opcode.to_bytes(2, "big") + texts + self.options.encode()
        if len(data) > LARGEST_REQUEST:
            raise TftpMalformedError(f"a request of {len(data)} bytes runs past offset {LARGEST_REQUEST}")
        return data


@dataclass(frozen=True, slots=True)
class ReadRequest(_Request):
    """Ask for a file. The text of ``filename`` is Latin-1, so that any bytes make a name."""

    opcode: ClassVar[Opcode] = Opcode.READ_REQUEST


@dataclass(frozen=True, slots=True)
class WriteRequest(_Request):
    """Offer a file."""

    opcode: ClassVar[Opcode] = Opcode.WRITE_REQUEST


@dataclass(frozen=True, slots=True)
class Data:
    """One block; the first that is shorter than the block size is the last. ``block`` counts modulo 65,536."""

    block: int
    payload: bytes

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read a data packet."""
        block, payload = _number(data), data[4:]
        if len(payload) > RANGES["blksize"][1]:
            raise TftpMalformedError(f"data runs past offset {RANGES['blksize'][1] + 4}")
        return cls(block, payload)

    def encode(self) -> bytes:
        """Write the packet."""
        return _HEAD.pack(Opcode.DATA, self.block) + self.payload


@dataclass(frozen=True, slots=True)
class Ack:
    """Block ``block`` arrived; 0 accepts an option acknowledgment."""

    block: int

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read an acknowledgment; nothing may follow the block number."""
        if len(data) > _HEAD.size:
            raise TftpMalformedError(f"{len(data) - _HEAD.size} bytes after the acknowledgment at offset {_HEAD.size}")
        return cls(_number(data))

    def encode(self) -> bytes:
        """Write the packet."""
        return _HEAD.pack(Opcode.ACK, self.block)


@dataclass(frozen=True, slots=True)
class ErrorPacket:
    """The transfer ends here; ``code`` is one of ``ErrorCode`` or a number of the peer's own."""

    code: int
    message: str = ""

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read an error packet."""
        code = _number(data)
        texts = _texts(data, start=4)
        if len(texts) > 1:
            raise TftpMalformedError(f"more than one message, the second at offset {texts[1][0]}")
        return cls(code, texts[0][1])

    def encode(self) -> bytes:
        """Write the packet."""
        return _HEAD.pack(Opcode.ERROR, self.code) + _text(self.message)


@dataclass(frozen=True, slots=True)
class OptionAck:
    """The options that a server grants."""

    options: Options

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read an option acknowledgment."""
        return cls(_options(_texts(data) if len(data) > 2 else []))  # noqa: PLR2004 -- the opcode alone

    def encode(self) -> bytes:
        """Write the packet."""
        return Opcode.OPTION_ACK.to_bytes(2, "big") + self.options.encode()


Packet = ReadRequest | WriteRequest | Data | Ack | ErrorPacket | OptionAck

_READERS: dict[int, Callable[[bytes], Packet]] = {
    Opcode.READ_REQUEST: ReadRequest.read,
    Opcode.WRITE_REQUEST: WriteRequest.read,
    Opcode.DATA: Data.read,
    Opcode.ACK: Ack.read,
    Opcode.ERROR: ErrorPacket.read,
    Opcode.OPTION_ACK: OptionAck.read,
}


def parse(data: bytes) -> Packet:
    """Read one datagram; raise ``TftpMalformedError`` or, for a wrong option, ``TftpOptionError``."""
    name = data[2 : -len(_PLAIN_END)]
    if data[:2] == _READ and data.endswith(_PLAIN_END) and name and b"\0" not in name and len(data) <= LARGEST_REQUEST:
        return ReadRequest(name.decode("latin-1"))  # as phones ask, and so what has to be fast
    reader = _READERS.get(opcode_of(data))
    if reader is None:
        raise TftpMalformedError(f"opcode {opcode_of(data)} at offset 0 is none")
    return reader(data)


def opcode_of(data: bytes) -> int:
    """Return a datagram's opcode, assigned or not; raise ``TftpMalformedError`` when it is too short for one."""
    if len(data) < 2:  # noqa: PLR2004 -- the opcode's length
        raise TftpMalformedError(f"a datagram of {len(data)} bytes ends inside the opcode at offset 0")
    return int.from_bytes(data[:2], "big")


def _number(data: bytes) -> int:
    if len(data) < _HEAD.size:
        raise TftpMalformedError(f"a packet of {len(data)} bytes ends inside the number at offset 2")
    return int.from_bytes(data[2:4], "big")


def _texts(data: bytes, start: int = 2) -> list[tuple[int, str]]:
    """Split the NUL-ended texts from ``start`` on, each with its offset."""
    if len(data) == start or data[-1] != 0:
        raise TftpMalformedError(f"a text is not ended by a NUL at offset {len(data)}")
    texts = []
    for text in data[start:-1].split(b"\0"):
        texts.append((start, text.decode("latin-1")))
        start += len(text) + 1
    return texts


def _text(text: str) -> bytes:
    if "\0" in text:
        raise TftpMalformedError(f"a NUL inside the text {text[:40]!r} at offset {text.index(chr(0))} of it")
    try:
        return text.encode("latin-1") + b"\0"
    except UnicodeEncodeError as error:
        raise TftpMalformedError(f"{text[:40]!r} is not Latin-1 at offset {error.start} of it") from error


def _mode(text: str, at: int) -> Mode:
    match text.lower():
        case "octet":
            return "octet"
        case "netascii":
            return "netascii"
        case _:
            raise TftpMalformedError(f"mode {text[:16]!r} at offset {at} is neither octet nor netascii")


def _options(texts: list[tuple[int, str]]) -> Options:
    if not any(text for _, text in texts):
        return NO_OPTIONS  # some senders pad a request with NULs
    if len(texts) % 2:
        raise TftpMalformedError(f"the option at offset {texts[-1][0]} has no value")
    found: dict[str, int] = {}
    for (name_at, name), (value_at, value) in zip(texts[::2], texts[1::2], strict=True):
        _add_option(found, name.lower(), name_at, value, value_at)
    return Options(**found)


def _add_option(found: dict[str, int], name: str, name_at: int, value: str, value_at: int) -> None:
    if name not in RANGES:
        return
    if name in found:
        raise TftpOptionError(f"option {name} stands twice, again at offset {name_at}")
    if not (value.isascii() and value.isdigit() and len(value) <= _WIDEST_NUMBER):
        raise TftpOptionError(f"{name} {value[:20]!r} at offset {value_at} is no number")
    found[name] = _in_range(name, int(value), value_at)


def _in_range(name: str, value: int, at: int) -> int:
    lowest, highest = RANGES[name]
    if not lowest <= value <= highest:
        raise TftpOptionError(f"{name} {value} at offset {at} is outside {lowest}..{highest}")
    return value
