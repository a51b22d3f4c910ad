r"""Messages of the Trust Verification Service, TLS port 2445: a phone asks about a certificate, TVS answers.

::

    offset 0      1      2       3         4            8             10
           +------+------+-------+---------+------------+-------------+-------------//
           | 0x57 | 0x01 |command|reserved | session id | body length | elements ...
           |  1   |  1   |   1   |    1    |     4      |      2      | tag 1, length 2, value
           +------+------+-------+---------+------------+-------------+-------------//

    command 1  verify this certificate      1 device, 2 certificate
            2  its answer                   7 status [8 roles, 9 TTL]
            3  give me a certificate        1 device, 3 subject, 4 issuer, 5 serial
            4  its answer                   7 status [2 certificate, 8 roles, 9 TTL]

The body length leaves out the ten bytes before the body. The reserved byte is written as 0 and ignored when read
(Unified CM sends what was in memory, 0xf7 in the published trace). The session id is the client's and comes back
in the answer. Elements that are not named here are skipped (phone-trust 3.1 to 3.4).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import ClassVar, Self

from certferry.errors import MalformedError
from certferry.wire.tlv import Cursor, tlv

PORT = 2445
HEADER_SIZE = 10
MAX_MESSAGE = 16 * 1024
"""Longest message read, header included; the longest published one has 1480 bytes."""
DEFAULT_TTL = 86_400
"""Seconds for which a phone keeps an answer: one day (phone-trust 3.7)."""

_HEADER = Struct(">BBBxIH")
_DISCRIMINATOR = 0x57
_VERSION = 0x01
_DEVICE_KIND = 0x01
_DEVICE, _CERTIFICATE, _SUBJECT, _ISSUER, _SERIAL, _STATUS, _ROLES, _TTL = 1, 2, 3, 4, 5, 7, 8, 9
_LAST_U32 = 0xFFFF_FFFF


class TvsMalformedError(MalformedError):
    """Bytes that are no TVS message, or a value that no TVS message can carry."""

    code = "wire.tvs"
    remedy = "Check that the peer on this port speaks TVS; its session must be closed, the next one starts clean."


class Command(IntEnum):
    """What a message is."""

    VERIFY_CERTIFICATE = 1
    CERTIFICATE_VERIFIED = 2
    QUERY_CERTIFICATE = 3
    CERTIFICATE_FOUND = 4


class Status(IntEnum):
    """What TVS says of a certificate; on the wire every value but 0 means that it is not trusted."""

    VALID = 0
    INVALID = 1


@dataclass(frozen=True, slots=True)
class CertificateVerificationRequest:
    """Command 1: whether exactly this certificate is trusted, and as what.

    ``device`` is as phones write it, ``CP-8861-SEPB000B4BA0AEE``; ``certificate`` is DER.
    """

    session_id: int
    device: str
    certificate: bytes
    command: ClassVar[Command] = Command.VERIFY_CERTIFICATE

    def encode(self) -> bytes:
        """Write the message; raise ``TvsMalformedError`` for a value that does not fit."""
        return _frame(self.command, self.session_id, _device(self.device) + _element(_CERTIFICATE, self.certificate))

    @classmethod
    def of_elements(cls, session_id: int, elements: dict[int, bytes]) -> Self:
        """Take the message's fields from its elements."""
        return cls(session_id, _device_of(elements), _needed(elements, _CERTIFICATE))


@dataclass(frozen=True, slots=True)
class CertificateVerificationReply:
    """Command 2: the answer to command 1. A negative one has neither roles nor TTL (``ttl`` None)."""

    session_id: int
    status: Status
    roles: tuple[int, ...] = ()
    ttl: int | None = None
    command: ClassVar[Command] = Command.CERTIFICATE_VERIFIED

    def encode(self) -> bytes:
        """Write the message; raise ``TvsMalformedError`` for a value that does not fit."""
        return _frame(self.command, self.session_id, _verdict(self.status) + _terms(self.status, self.roles, self.ttl))

    @classmethod
    def of_elements(cls, session_id: int, elements: dict[int, bytes]) -> Self:
        """Take the message's fields from its elements."""
        return cls(session_id, _status_of(elements), tuple(elements.get(_ROLES, b"")), _ttl_of(elements))


@dataclass(frozen=True, slots=True)
class CertificateQueryRequest:
    """Command 3: give me the certificate with this subject, issuer and serial.

    What a phone sends about the unknown signer of a new CTL, ITL or configuration: the question on which a
    migration stands. ``subject`` and ``issuer`` are texts as the file's author wrote them; ``serial`` is the
    magnitude, perhaps with leading zeros.
    """

    session_id: int
    device: str
    subject: str
    issuer: str
    serial: bytes
    command: ClassVar[Command] = Command.QUERY_CERTIFICATE

    def encode(self) -> bytes:
        """Write the message; raise ``TvsMalformedError`` for a value that does not fit."""
        body = _device(self.device) + _name(_SUBJECT, self.subject) + _name(_ISSUER, self.issuer)
        return _frame(self.command, self.session_id, body + _element(_SERIAL, self.serial))

    @classmethod
    def of_elements(cls, session_id: int, elements: dict[int, bytes]) -> Self:
        """Take the message's fields from its elements, issuer and serial in either order."""
        issuer, serial = _issuer_and_serial(_needed(elements, _ISSUER), _needed(elements, _SERIAL))
        return cls(session_id, _device_of(elements), _text_of(elements.get(_SUBJECT, b"")), _text_of(issuer), serial)


@dataclass(frozen=True, slots=True)
class CertificateQueryReply:
    """Command 4: the answer to command 3. A negative one has only its status."""

    session_id: int
    status: Status
    certificate: bytes | None = None
    roles: tuple[int, ...] = ()
    ttl: int | None = None
    command: ClassVar[Command] = Command.CERTIFICATE_FOUND

    def encode(self) -> bytes:
        """Write the message, elements in Unified CM's order 7, 2, 8, 9; raise ``TvsMalformedError`` as above."""
        found = b"" if self.certificate is None else _element(_CERTIFICATE, self.certificate)
        body = _verdict(self.status) + found + _terms(self.status, self.roles, self.ttl)
        return _frame(self.command, self.session_id, body)

    @classmethod
    def of_elements(cls, session_id: int, elements: dict[int, bytes]) -> Self:
        """Take the message's fields from its elements."""
        roles = tuple(elements.get(_ROLES, b""))
        return cls(session_id, _status_of(elements), elements.get(_CERTIFICATE), roles, _ttl_of(elements))


Request = CertificateVerificationRequest | CertificateQueryRequest
Reply = CertificateVerificationReply | CertificateQueryReply
Message = Request | Reply

_OF_COMMAND: dict[int, Callable[[int, dict[int, bytes]], Message]] = {
    Command.VERIFY_CERTIFICATE: CertificateVerificationRequest.of_elements,
    Command.CERTIFICATE_VERIFIED: CertificateVerificationReply.of_elements,
    Command.QUERY_CERTIFICATE: CertificateQueryRequest.of_elements,
    Command.CERTIFICATE_FOUND: CertificateQueryReply.of_elements,
}


def frame_length(header: bytes, limit: int = MAX_MESSAGE) -> int:
    """Tell from the first ten bytes how long the whole message is.

    Raise ``TvsMalformedError`` for fewer bytes, for what is no TVS message and for one above ``limit`` bytes.
    """
    if len(header) < HEADER_SIZE:
        raise TvsMalformedError(f"{len(header)} bytes are too few for a TVS message header of {HEADER_SIZE}")
    discriminator, version, command, _, body = _HEADER.unpack_from(header)
    if (discriminator, version) != (_DISCRIMINATOR, _VERSION):
        raise TvsMalformedError(f"bytes {discriminator:02x} {version:02x} at offset 0 are not 57 01")
    if command not in _OF_COMMAND:
        raise TvsMalformedError(f"command {command} at offset 2 is none of 1 to 4")
    if HEADER_SIZE + body > limit:
        raise TvsMalformedError(f"a message of {HEADER_SIZE + body} bytes is above the limit of {limit}")
    return HEADER_SIZE + int(body)


def parse_message(data: bytes) -> Message:
    """Read one whole message; raise ``TvsMalformedError``, which names the offset, for what is none."""
    length = frame_length(data, limit=HEADER_SIZE + 0xFFFF)
    if len(data) != length:
        raise TvsMalformedError(f"the header announces {length} bytes, {len(data)} are here")
    _, _, command, session_id, _ = _HEADER.unpack_from(data)
    return _OF_COMMAND[command](session_id, _elements(data))


# Reading


def _elements(data: bytes) -> dict[int, bytes]:
    cursor = Cursor(data[HEADER_SIZE:], base=HEADER_SIZE)
    elements: dict[int, bytes] = {}
    try:
        while not cursor.at_end:
            element = cursor.tlv()
            if element.tag in elements:
                raise TvsMalformedError(f"element {element.tag} stands a second time at offset {element.offset}")
            elements[element.tag] = element.value
    except MalformedError as error:
        raise TvsMalformedError(error.sentence) from error
    return elements


def _needed(elements: dict[int, bytes], tag: int) -> bytes:
    if tag not in elements:
        raise TvsMalformedError(f"element {tag} is missing from the body at offset {HEADER_SIZE}")
    return elements[tag]


def _device_of(elements: dict[int, bytes]) -> str:
    # The byte before the name has only been seen as 1; what else it might be does not matter to an answer.
    return _text_of(elements.get(_DEVICE, b"")[1:])


def _status_of(elements: dict[int, bytes]) -> Status:
    return Status.INVALID if any(_needed(elements, _STATUS)) else Status.VALID


def _ttl_of(elements: dict[int, bytes]) -> int | None:
    value = elements.get(_TTL)
    if value is not None and len(value) != 4:  # noqa: PLR2004 -- a 32-bit number has 4 bytes
        raise TvsMalformedError(f"element {_TTL} has {len(value)} bytes, a TTL has 4")
    return None if value is None else int.from_bytes(value, "big")


def _issuer_and_serial(fourth: bytes, fifth: bytes) -> tuple[bytes, bytes]:
    """Tell issuer from serial: no published dump shows which of elements 4 and 5 is which (phone-trust 3.3)."""
    if _is_name(fifth) and not _is_name(fourth):
        return fifth, fourth
    return fourth, fifth


def _is_name(value: bytes) -> bool:
    return value.endswith(b"\0") and b"=" in value


def _text_of(value: bytes) -> str:
    return value.removesuffix(b"\0").decode("utf-8", "surrogateescape")


# Writing


def _frame(command: Command, session_id: int, body: bytes) -> bytes:
    if not 0 <= session_id <= _LAST_U32 or len(body) > 0xFFFF:  # noqa: PLR2004 -- the field has 16 bits
        raise TvsMalformedError(f"session id {session_id} or a body of {len(body)} bytes does not fit its field")
    return _HEADER.pack(_DISCRIMINATOR, _VERSION, command, session_id, len(body)) + body


def _element(tag: int, value: bytes) -> bytes:
    try:
        return tlv(tag, value)
    except MalformedError as error:
        raise TvsMalformedError(error.sentence) from error


def _device(name: str) -> bytes:
    return _element(_DEVICE, bytes([_DEVICE_KIND]) + _bytes_of(name))


def _name(tag: int, text: str) -> bytes:
    return _element(tag, _bytes_of(text) + b"\0")


def _bytes_of(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise TvsMalformedError(f"{text[:40]!r} is no text that a message can carry") from error


def _verdict(status: Status) -> bytes:
    return _element(_STATUS, bytes([status]))


def _terms(status: Status, roles: tuple[int, ...], ttl: int | None) -> bytes:
    """Roles, one byte each and perhaps none, then the TTL; an answer that says no has neither."""
    if any(not 0 <= role <= 0xFF for role in roles) or not 0 <= (ttl or 0) <= _LAST_U32:  # noqa: PLR2004 -- a byte
        raise TvsMalformedError(f"roles {roles} or TTL {ttl} does not fit its field")
    named = _element(_ROLES, bytes(roles)) if roles or status is Status.VALID else b""
    return named + (b"" if ttl is None else _element(_TTL, ttl.to_bytes(4, "big")))
