"""DHCPv4 messages (RFC 2131, 2132), read and written as values.

::

    offset  length
       0      1    op             1 a client's request, 2 a server's reply
       1      1    htype          1 Ethernet
       2      1    hlen           how many bytes of chaddr count
       3      1    hops
       4      4    xid            tells one conversation from another
       8      2    secs           seconds since the client began
      10      2    flags          0x8000: please answer by broadcast
      12      4    ciaddr         the client's address, when it has one
      16      4    yiaddr         the address that is offered
      20      4    siaddr         the next server: the last resort for a phone's TFTP server
      24      4    giaddr         the relay
      28     16    chaddr         hardware address
      44     64    sname          text, NUL-ended; or options, when option 52 says so
     108    128    file           the same
     236      4    63 82 53 63
     240      n    options        | code | length | value |, 0 pads, 255 ends

An option longer than 255 bytes stands in pieces that are put together in the order options, file, sname (RFC 3396).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address
from struct import Struct
from typing import Self

from certferry.errors import MalformedError

CLIENT_PORT = 68
SERVER_PORT = 67
NOWHERE = IPv4Address(0)
COOKIE = bytes.fromhex("63825363")
_HEAD = Struct(">BBBBIHH4s4s4s4s16s64s128s4s")
_BROADCAST = 0x8000
_SMALLEST = 300
"""Some relays drop what is shorter than a BOOTP message."""
_LONGEST_PIECE = 255
_ADDRESS = 4
_HARDWARE, _SNAME, _FILE = (28, 16), (44, 64), (108, 128)


class DhcpMalformedError(MalformedError):
    """The datagram is not a DHCP message."""

    code = "wire.dhcp"
    remedy = "Something that does not speak DHCP sent this; find it by its address."


class DhcpOptionError(DhcpMalformedError):
    """An option has a length or a value that it cannot have."""

    code = "wire.dhcp-option"
    remedy = "Correct the option at the DHCP server: option 150 is a list of IPv4 addresses, four bytes each."


class Op(IntEnum):
    """Who speaks."""

    REQUEST = 1
    REPLY = 2


class Option(IntEnum):
    """The options that matter here; a message may hold others."""

    PAD = 0
    SUBNET_MASK = 1
    ROUTER = 3
    DNS = 6
    HOST_NAME = 12
    DOMAIN = 15
    ARP_TIMEOUT = 35
    REQUESTED_ADDRESS = 50
    LEASE_TIME = 51
    OVERLOAD = 52
    MESSAGE_TYPE = 53
    SERVER = 54
    PARAMETER_LIST = 55
    CLASS = 60
    CLIENT = 61
    TFTP_NAME = 66
    TFTP_ADDRESSES = 150
    END = 255


class MessageType(IntEnum):
    """Values of option 53."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


@dataclass(frozen=True, slots=True)
class DhcpMessage:
    """One message. ``options`` are whole values by code, in the order they stood; 0, 52 and 255 are never among them.

    ``sname`` and ``file`` are Latin-1, so that any bytes make a text; they are empty where they carried options.
    """

    op: Op
    transaction: int
    hardware: bytes
    options: tuple[tuple[int, bytes], ...] = ()
    broadcast: bool = False
    client_address: IPv4Address = NOWHERE
    your_address: IPv4Address = NOWHERE
    siaddr: IPv4Address = NOWHERE
    relay: IPv4Address = NOWHERE
    sname: str = ""
    file: str = ""
    hardware_type: int = 1
    hops: int = 0
    seconds: int = 0
    _by_code: Mapping[int, bytes] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_code", dict(self.options))

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read one datagram; raise ``DhcpMalformedError`` where it is none. Options are looked into when asked for."""
        if len(data) < _HEAD.size:
            raise DhcpMalformedError(f"a datagram of {len(data)} bytes ends inside the header of {_HEAD.size}")
        op, kind, width, hops, xid, seconds, flags, ci, yi, si, gi, hardware, sname, file, cookie = _HEAD.unpack_from(
            data
        )
        _check_head(op, width, cookie)
        pieces, overload = _all_pieces(data)
        return cls(
            op=Op(op),
            transaction=xid,
            hardware=hardware[:width],
            options=_joined(pieces),
            broadcast=bool(flags & _BROADCAST),
            client_address=IPv4Address(ci),
            your_address=IPv4Address(yi),
            siaddr=IPv4Address(si),
            relay=IPv4Address(gi),
            sname="" if overload & 2 else _text(sname),
            file="" if overload & 1 else _text(file),
            hardware_type=kind,
            hops=hops,
            seconds=seconds,
        )

    def encode(self) -> bytes:
        """Write the message, padded to the 300 bytes of BOOTP; raise ``DhcpMalformedError`` for what has no place."""
        addresses = (self.client_address, self.your_address, self.siaddr, self.relay)
        head = _HEAD.pack(
            self.op,
            _within(self.hardware_type, 0xFF, 1),
            len(self.hardware),
            _within(self.hops, 0xFF, 3),
            _within(self.transaction, 0xFFFFFFFF, 4),
            _within(self.seconds, 0xFFFF, 8),
            _BROADCAST if self.broadcast else 0,
            *(address.packed for address in addresses),
            _fitted(self.hardware, *_HARDWARE),
            _fitted(_bytes(self.sname), *_SNAME),
            _fitted(_bytes(self.file), *_FILE),
            COOKIE,
        )
        _check_codes([code for code, _ in self.options])
        options = b"".join(_in_pieces(code, value) for code, value in self.options)
        return (head + options + bytes([Option.END])).ljust(_SMALLEST, b"\0")

    def option(self, code: int) -> bytes | None:
        """Return an option's bytes, or None where the message has it not."""
        return self._by_code.get(code)

    @property
    def message_type(self) -> MessageType | None:
        """Option 53; None in a BOOTP message. Raises ``DhcpOptionError`` for a value that is none."""
        value = self._sized(Option.MESSAGE_TYPE, 1)
        if value is None:
            return None
        try:
            return MessageType(value[0])
        except ValueError as error:
            raise DhcpOptionError(f"option 53 is {value[0]}, which is no message type") from error

    @property
    def server(self) -> IPv4Address | None:
        """Option 54: which server speaks, or is spoken to."""
        return self._address(Option.SERVER)

    @property
    def requested_address(self) -> IPv4Address | None:
        """Option 50."""
        return self._address(Option.REQUESTED_ADDRESS)

    @property
    def subnet_mask(self) -> IPv4Address | None:
        """Option 1."""
        return self._address(Option.SUBNET_MASK)

    @property
    def routers(self) -> tuple[IPv4Address, ...]:
        """Option 3, the preferred first."""
        return self._addresses(Option.ROUTER)

    @property
    def lease_seconds(self) -> int | None:
        """Option 51; 0xffffffff means for ever."""
        value = self._sized(Option.LEASE_TIME, 4)
        return None if value is None else int.from_bytes(value, "big")

    @property
    def parameter_list(self) -> tuple[int, ...]:
        """Option 55: the codes that the client asks for."""
        return tuple(self.option(Option.PARAMETER_LIST) or b"")

    @property
    def class_identifier(self) -> str | None:
        """Option 60: what kind of client it is."""
        value = self.option(Option.CLASS)
        return None if value is None else _text(value)

    @property
    def client_identifier(self) -> bytes | None:
        """Option 61: a byte that names the kind, then the identity."""
        return self.option(Option.CLIENT)

    @property
    def tftp_name(self) -> str | None:
        """Option 66: name or dotted address of the TFTP server; None where it is missing or empty."""
        return _text(self.option(Option.TFTP_NAME) or b"") or None

    @property
    def tftp_addresses(self) -> tuple[IPv4Address, ...]:
        """Option 150 (RFC 5859), the preferred first; empty where it is missing.

        Raises ``DhcpOptionError`` when its length is 0 or not a multiple of 4.
        """
        return self._addresses(Option.TFTP_ADDRESSES)

    def _sized(self, code: int, length: int) -> bytes | None:
        value = self.option(code)
        if value is not None and len(value) != length:
            raise DhcpOptionError(f"option {int(code)} has {len(value)} bytes, not {length}")
        return value

    def _address(self, code: int) -> IPv4Address | None:
        value = self._sized(code, _ADDRESS)
        return None if value is None else IPv4Address(value)

    def _addresses(self, code: int) -> tuple[IPv4Address, ...]:
        value = self.option(code)
        if value is None:
            return ()
        if not value or len(value) % _ADDRESS:
            raise DhcpOptionError(f"option {int(code)} has {len(value)} bytes, not four for each address")
        return tuple(IPv4Address(value[at : at + _ADDRESS]) for at in range(0, len(value), _ADDRESS))


def addresses_option(code: int, addresses: Iterable[IPv4Address]) -> tuple[int, bytes]:
    """Write an option that is a list of addresses, such as 3, 6 or 150."""
    return code, b"".join(address.packed for address in addresses)


def _check_head(op: int, width: int, cookie: bytes) -> None:
    if op not in tuple(Op):
        raise DhcpMalformedError(f"op {op} at offset 0 is neither request nor reply")
    if width > _HARDWARE[1]:
        raise DhcpMalformedError(f"a hardware address of {width} bytes at offset 2 does not fit its {_HARDWARE[1]}")
    if cookie != COOKIE:
        raise DhcpMalformedError(f"{cookie.hex(' ')} at offset {_HEAD.size - 4} is not the mark of DHCP")


def _all_pieces(data: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """Read options, and file and sname where option 52 says that they carry some; also what option 52 says."""
    pieces = list(_pieces(data, _HEAD.size, len(data)))
    overloads = [value for code, value in pieces if code == Option.OVERLOAD]
    if not overloads:
        return pieces, 0
    if len(overloads) > 1 or len(overloads[0]) != 1 or not 1 <= overloads[0][0] <= 3:  # noqa: PLR2004 -- two bits
        raise DhcpOptionError("option 52 is not one byte of 1, 2 or 3")
    overload = overloads[0][0]
    for bit, (start, length) in ((1, _FILE), (2, _SNAME)):
        if overload & bit:
            pieces += _pieces(data, start, start + length)
    return pieces, overload


def _pieces(data: bytes, at: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Read one field's options; a field that ends without the end mark is taken as it is."""
    while at < end and data[at] != Option.END:
        if data[at] == Option.PAD:
            at += 1
            continue
        if at + 1 == end:
            raise DhcpMalformedError(f"option {data[at]} at offset {at} has no length")
        code, start = data[at], at + 2
        at = start + data[at + 1]
        if at > end:
            raise DhcpMalformedError(f"option {code} at offset {start - 2} runs past offset {end}")
        yield code, data[start:at]


def _joined(pieces: Iterable[tuple[int, bytes]]) -> tuple[tuple[int, bytes], ...]:
    """Put split options together (RFC 3396)."""
    joined: dict[int, bytearray] = {}
    for code, value in pieces:
        joined.setdefault(code, bytearray()).extend(value)
    return tuple((code, bytes(value)) for code, value in joined.items() if code != Option.OVERLOAD)


def _in_pieces(code: int, value: bytes) -> bytes:
    pieces = [value[at : at + _LONGEST_PIECE] for at in range(0, max(len(value), 1), _LONGEST_PIECE)]
    return b"".join(bytes([code, len(piece)]) + piece for piece in pieces)


def _check_codes(codes: list[int]) -> None:
    for at, code in enumerate(codes):
        if not Option.PAD < code < Option.END or code == Option.OVERLOAD:
            raise DhcpMalformedError(f"option {code} at place {at} is not for values")
        if code in codes[:at]:
            raise DhcpMalformedError(f"option {code} stands twice, again at place {at}")


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("latin-1")


def _bytes(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise DhcpMalformedError(f"{text[:40]!r} is not Latin-1 at offset {error.start} of it") from error


def _fitted(data: bytes, offset: int, length: int) -> bytes:
    if len(data) > length:
        raise DhcpMalformedError(f"{len(data)} bytes for the field at offset {offset} do not fit its {length}")
    return data.ljust(length, b"\0")


def _within(number: int, highest: int, offset: int) -> int:
    if not 0 <= number <= highest:
        raise DhcpMalformedError(f"{number} does not fit the field at offset {offset}")
    return number
