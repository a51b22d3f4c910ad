"""One TFTP transfer as seen by either side, without sockets and without a clock.

The protocol is a lock-step: each packet is the answer to the one before it, and the side that waits repeats its
last packet when nothing came in time. Both sessions therefore hold one packet (``the one to repeat``), the packet
they wait for, and a deadline::

    SendSession (server)                      ReceiveSession (client)
    ---------------------------------------   -----------------------------------------------
    sends           waits for                 sends             waits for
    OACK            ACK 0                     RRQ               OACK, or DATA 1
    DATA n          ACK n                     ACK n             DATA n+1
    last DATA       ACK -> done               last ACK          nothing: done

Only the *awaited* acknowledgment makes the sender send: a repeated, late or foreign one makes it send nothing, so a
doubled packet never doubles the rest of the transfer (the sorcerer's apprentice, RFC 1123 4.2.3.1). The receiver
does acknowledge a repeated block again: its acknowledgment may be what was lost.

Block numbers are 16 bits and wrap from 65,535 to 0, so that files above 32 MB fit 512-byte blocks (phone-trust 5.2).
A caller asks ``next_deadline()`` and calls ``expired(now)`` when it has passed; every returned packet is to be sent.
"""

from struct import Struct

from certferry.wire import tftp
from certferry.wire.tftp import (
    DEFAULT_BLKSIZE,
    NO_OPTIONS,
    Ack,
    Data,
    ErrorCode,
    ErrorPacket,
    Mode,
    Opcode,
    OptionAck,
    Options,
    ReadRequest,
)

_PACK = Struct(">HH").pack
_DATA, _ACK = int(Opcode.DATA), int(Opcode.ACK)  # plain numbers pack faster than members of an enumeration
_ERROR = Opcode.ERROR.to_bytes(2, "big")
_WRAP = 0xFFFF
_GRACE = 60.0
_SLOWEST_BLOCK = 1.0
LARGEST_FILE = 256 * 1024 * 1024


def to_netascii(text: bytes) -> bytes:
    """Write line ends as CR LF and a bare CR as CR NUL (RFC 764)."""
    return text.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")


def from_netascii(text: bytes) -> bytes:
    """Undo ``to_netascii``."""
    return text.replace(b"\r\n", b"\n").replace(b"\r\0", b"\r")


class _AsNetascii:
    """A file as ``to_netascii`` writes it, given out in pieces, each asked for once and in turn: no copy is made."""

    __slots__ = ("_at", "_left", "_text")

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0
        self._left = b""

    def __len__(self) -> int:
        return len(self._text) + self._text.count(b"\r") + self._text.count(b"\n")

    def __getitem__(self, piece: slice) -> bytes:
        size = piece.stop - piece.start
        end = self._at + size - len(self._left)  # as many bytes as are missing become as many or more
        written = self._left + to_netascii(self._text[self._at : end])
        self._at, self._left = end, written[size:]
        return written[:size]


class SendSession:
    """A server sends one file.

    ``timeout`` is the seconds before a packet is repeated, unless the peer asked for its own and has answered once;
    ``tries`` is how often one packet is sent in all. So a request in a made-up name, with whatever timeout, holds a
    place no longer than any other that nobody answers for. A peer that acknowledges as slowly as it can is cut after
    a minute plus a second for each block, so that it can't hold its place for ever.
    """

    __slots__ = (
        "_awaited",
        "_blksize",
        "_block",
        "_content",
        "_deadline",
        "_first_timeout",
        "_last_block",
        "_last_moment",
        "_packet",
        "_timeout",
        "_tries",
        "_tries_left",
        "done",
        "failed",
    )

    def __init__(
        self, request: ReadRequest, content: bytes, now: float, *, timeout: float = 1.0, tries: int = 5
    ) -> None:
        self.done = False
        self.failed = False
        self._content = content if request.mode == "octet" else _AsNetascii(content)
        size, asked = len(self._content), request.options
        granted = asked if asked is NO_OPTIONS else _granted(asked, size)
        self._blksize = granted.blksize or DEFAULT_BLKSIZE
        self._last_block = size // self._blksize + 1
        self._first_timeout = timeout
        self._timeout = granted.timeout or timeout
        self._tries = tries
        self._last_moment = now + _GRACE + _SLOWEST_BLOCK * self._last_block
        self._block = 0
        self._packet = b"" if asked is NO_OPTIONS or not granted else OptionAck(granted).encode()
        self._awaited: bytes | None = _PACK(_ACK, 0)
        self._tries_left = tries
        self._deadline = now + self._first_timeout

    def start(self, now: float) -> list[bytes]:
        """Return the first packet: the option acknowledgment, or block 1 when no option was granted."""
        if not self._packet:
            return self._send_next(now)
        self._deadline = now + self._first_timeout
        return [self._packet]

    def receive(self, packet: bytes, now: float) -> list[bytes]:
        """Take a packet of the peer; what is not the awaited acknowledgment is passed over, an error ends it all."""
        if packet == self._awaited:
            return self._send_next(now)
        if packet[:2] == _ERROR and not self.done:
            self._fail()
        return []

    def next_deadline(self) -> float | None:
        """When ``expired`` is to be called; None once the transfer is over."""
        return None if self._awaited is None else min(self._deadline, self._last_moment)

    def expired(self, now: float) -> list[bytes]:
        """Repeat the last packet if its time is up; give up after the last try."""
        if self._awaited is None or now < min(self._deadline, self._last_moment):
            return []
        self._tries_left -= 1
        if self._tries_left <= 0 or now >= self._last_moment:
            self._fail()
            return []
        self._deadline = now + (self._timeout if self._block else self._first_timeout)
        return [self._packet]

    def _send_next(self, now: float) -> list[bytes]:
        """Go on to the next block; this is done 60,000 times a second, so it is all in one place."""
        block = self._block
        if block == self._last_block:
            self.done, self._awaited = True, None
            return []
        start = block * self._blksize
        self._block = block = block + 1
        number = block & _WRAP
        self._packet = packet = _PACK(_DATA, number) + self._content[start : start + self._blksize]
        self._awaited = _PACK(_ACK, number)
        self._tries_left = self._tries
        self._deadline = now + self._timeout
        return [packet]

    def _fail(self) -> None:
        self.failed, self._awaited = True, None


def _granted(asked: Options, size: int) -> Options:
    return asked if asked.tsize is None else Options(asked.blksize, asked.timeout, size)


class ReceiveSession:
    """A client fetches one file; ``content`` is the file once ``done``.

    When ``failed``, ``error`` is the error packet that ended the transfer, received or sent; None when the peer fell
    silent. A file above ``limit`` bytes is refused.
    """

    __slots__ = (
        "_blksize",
        "_content",
        "_deadline",
        "_expected",
        "_limit",
        "_negotiated",
        "_packet",
        "_request",
        "_timeout",
        "_tries",
        "_tries_left",
        "done",
        "error",
        "failed",
    )

    def __init__(
        self,
        name: str,
        *,
        mode: Mode = "octet",
        options: Options = NO_OPTIONS,
        timeout: float = 0.5,
        tries: int = 5,
        limit: int = LARGEST_FILE,
    ) -> None:
        self.done = False
        self.failed = False
        self.error: ErrorPacket | None = None
        self._request = ReadRequest(name, mode, options)
        self._content = bytearray()
        self._blksize = DEFAULT_BLKSIZE
        self._expected = 1
        self._negotiated = False
        self._timeout = timeout
        self._tries = tries
        self._tries_left = tries
        self._limit = limit
        self._packet = self._request.encode()
        self._deadline = 0.0

    @property
    def content(self) -> bytes:
        """What arrived so far, in the mode's own line ends undone."""
        data = bytes(self._content)
        return data if self._request.mode == "octet" else from_netascii(data)

    def start(self, now: float) -> list[bytes]:
        """Return the request."""
        return self._send(self._packet, now)

    def receive(self, packet: bytes, now: float) -> list[bytes]:
        """Take a packet of the peer; what is no answer to the last one sent is passed over."""
        if self.failed:
            return []
        try:
            answer = tftp.parse(packet)
        except tftp.TftpMalformedError:
            return []
        if isinstance(answer, Data):
            return self._take_block(answer, now)
        if self.done:
            return []
        if isinstance(answer, OptionAck):
            return self._take_options(answer.options, now)
        if isinstance(answer, ErrorPacket):
            self.failed, self.error = True, answer
        return []

    def next_deadline(self) -> float | None:
        """When ``expired`` is to be called; None once the transfer is over."""
        return None if self.done or self.failed else self._deadline

    def expired(self, now: float) -> list[bytes]:
        """Repeat the last packet if its time is up; give up after the last try."""
        if self.done or self.failed or now < self._deadline:
            return []
        self._tries_left -= 1
        if self._tries_left <= 0:
            self.failed = True
            return []
        self._deadline = now + self._timeout
        return [self._packet]

    def _take_block(self, data: Data, now: float) -> list[bytes]:
        if self._expected > 1 and data.block == (self._expected - 1) & _WRAP:
            return [self._packet]
        if self.done or data.block != self._expected & _WRAP:
            return []
        if len(data.payload) > self._blksize:
            return self._refuse(ErrorCode.ILLEGAL_OPERATION, f"a block of {len(data.payload)} bytes")
        if len(self._content) + len(data.payload) > self._limit:
            return self._refuse(ErrorCode.DISK_FULL, f"the file is above {self._limit} bytes")
        self._content += data.payload
        self._expected += 1
        self.done = len(data.payload) < self._blksize
        return self._send(Ack(data.block).encode(), now)

    def _take_options(self, granted: Options, now: float) -> list[bytes]:
        if self._expected > 1:
            return []
        if not self._may_grant(granted):
            return self._refuse(ErrorCode.OPTION_REFUSED, "an option that was not asked for")
        if (granted.tsize or 0) > self._limit:
            return self._refuse(ErrorCode.DISK_FULL, f"the file is above {self._limit} bytes")
        if self._negotiated:
            return [self._packet]
        self._negotiated = True
        self._blksize = granted.blksize or DEFAULT_BLKSIZE
        return self._send(Ack(0).encode(), now)

    def _may_grant(self, granted: Options) -> bool:
        asked = self._request.options
        return (
            (granted.blksize is None or granted.blksize <= (asked.blksize or 0))
            and (granted.timeout is None or granted.timeout == asked.timeout)
            and (granted.tsize is None or asked.tsize is not None)
        )

    def _refuse(self, code: ErrorCode, message: str) -> list[bytes]:
        self.failed, self.error = True, ErrorPacket(code, message)
        return [self.error.encode()]

    def _send(self, packet: bytes, now: float) -> list[bytes]:
        self._packet = packet
        self._tries_left = self._tries
        self._deadline = now + self._timeout
        return [packet]
