r"""As much SIP as registration takes: REGISTER, its answers, and messages cut out of a stream by Content-Length.

::

    REGISTER sip:10.0.0.1 SIP/2.0                      SIP/2.0 200 OK
    Via: SIP/2.0/TCP 10.0.0.9:50000;branch=z9hG4bK1    Via, From, To (with a tag), Call-ID, CSeq as asked
    From: <sip:SEP...@10.0.0.1>;tag=a1                 Contact: as asked
    To: <sip:SEP...@10.0.0.1>                          Expires: 120
    Call-ID: 1@10.0.0.9                                Content-Length: 0
    CSeq: 101 REGISTER
    Contact: <sip:SEP...@10.0.0.9:50000>;+u.sip!devicename.ccm.cisco.com="SEP..."
    Expires: 120
    Content-Length: 0

Phones register with Unified CM over TCP or TLS, so a message ends where its Content-Length says. Header names
count without case, one-letter names and folded lines are read (RFC 3261, 7.3).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from certferry.errors import MalformedError

MAX_HEADERS = 8 * 1024
"""Longest start line and headers of one message, in bytes."""
MAX_BODY = 16 * 1024
DEVICE_PARAMETER = "+u.sip!devicename.ccm.cisco.com"
"""The Contact parameter in which a phone names itself."""

_END = b"\r\n\r\n"
_VERSION = "SIP/2.0"
_LONG_NAME = {
    "v": "via",
    "f": "from",
    "t": "to",
    "i": "call-id",
    "m": "contact",
    "l": "content-length",
    "c": "content-type",
}
_ECHOED = ("Via", "From", "To", "Call-ID", "CSeq")
_NAMED_DEVICE = re.compile(re.escape(DEVICE_PARAMETER) + r'\s*=\s*"?([A-Za-z0-9]{1,64})"?', re.IGNORECASE)
_USER = re.compile(r"sips?:([A-Za-z0-9]{1,64})@", re.IGNORECASE)
_URI = re.compile(r"sips?:(?:[^@\s<>]*@)?([^\s<>@;]+)", re.IGNORECASE)
_CSEQ = re.compile(r"([0-9]{1,10})\s+REGISTER")
_CONTACT_EXPIRES = re.compile(r";\s*expires\s*=\s*([0-9]{1,9})", re.IGNORECASE)
_NAME = re.compile("[!-9;-~]+")
_SAFE = re.compile(r"[^\x00-\x1f\x7f]*")

REASONS = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


class SipMalformedError(MalformedError):
    """Bytes that are no SIP message this product speaks, or a value that none can carry."""

    code = "wire.sip"
    remedy = "Check that the peer on this port registers phones by SIP over TCP or TLS."


@dataclass(frozen=True, slots=True)
class SipMessage:
    """Any SIP message: its start line, its headers as (name, value) in order, its body.

    Content-Length is not among the headers: the body has it.
    """

    start: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read one whole message; raise ``SipMalformedError`` for what is none."""
        if frame_length(data) != len(data):
            raise SipMalformedError(f"{len(data)} bytes are not one whole SIP message")
        head, _, body = data.partition(_END)
        start, headers = _head(head)
        if _VERSION not in start or not _SAFE.fullmatch(start):
            raise SipMalformedError(f"{start[:40]!r} at offset 0 is no SIP start line")
        return cls(start, tuple(header for header in headers if not _is_length(header[0])), body)

    def encode(self) -> bytes:
        """Write the message, Content-Length last; raise ``SipMalformedError`` for text that breaks lines."""
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers)]
        for line in lines:
            if not _SAFE.fullmatch(line):
                raise SipMalformedError(f"{line[:40]!r} holds a control character")
        try:
            text = "\r\n".join([*lines, f"Content-Length: {len(self.body)}"])
            return text.encode("utf-8", "surrogateescape") + _END + self.body
        except UnicodeEncodeError as error:
            raise SipMalformedError("a header holds text that cannot be written") from error

    def all(self, name: str) -> tuple[str, ...]:
        """Return the values of every header called ``name``, in order."""
        wanted = name.lower()
        return tuple(
            value for header, value in self.headers if _LONG_NAME.get(header.lower(), header.lower()) == wanted
        )

    def first(self, name: str) -> str | None:
        """Return the value of the first header called ``name``, or None."""
        return next(iter(self.all(name)), None)


@dataclass(frozen=True, slots=True)
class Register:
    """A phone's REGISTER.

    ``host`` is the registrar as the phone addresses it; ``via``, ``sender`` (From), ``recipient`` (To) and
    ``contact`` are header values; ``expires`` is in seconds and 0 takes the registration back. ``device`` is
    what the Contact names, else the user part of Contact or To.
    """

    device: str
    host: str
    via: tuple[str, ...]
    sender: str
    recipient: str
    contact: str
    call_id: str
    cseq: int
    expires: int = 120

    @classmethod
    def of(
        cls,
        device: str,
        host: str,
        *,
        local: str,
        call_id: str,
        tag: str,
        cseq: int = 101,
        transport: str = "TCP",
        expires: int = 120,
    ) -> Self:
        """Make the REGISTER that ``device`` sends to ``host`` from ``local`` (address and port as one text)."""
        return cls(
            device=device,
            host=host,
            via=(f"{_VERSION}/{transport} {local};branch=z9hG4bK{tag}{cseq}",),
            sender=f"<sip:{device}@{host}>;tag={tag}",
            recipient=f"<sip:{device}@{host}>",
            contact=contact_of(device, local, transport),
            call_id=call_id,
            cseq=cseq,
            expires=expires,
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a REGISTER; raise ``SipMalformedError`` for what is none."""
        return cls.of_message(SipMessage.parse(data))

    @classmethod
    def of_message(cls, message: SipMessage) -> Self:
        """Take a REGISTER out of a message; raise ``SipMalformedError`` when it is not one."""
        method, _, rest = message.start.partition(" ")
        uri = _URI.match(rest)
        if method != "REGISTER" or uri is None or not rest.endswith(f" {_VERSION}"):
            raise SipMalformedError(f"{message.start[:60]!r} is no REGISTER")
        recipient, contact = _needed(message, "To"), _needed(message, "Contact")
        return cls(
            device=device_of(contact, recipient),
            host=uri[1],
            via=message.all("Via"),
            sender=_needed(message, "From"),
            recipient=recipient,
            contact=contact,
            call_id=_needed(message, "Call-ID"),
            cseq=_cseq(_needed(message, "CSeq")),
            expires=_expires(message, contact),
        )

    def encode(self) -> bytes:
        """Write the request; raise ``SipMalformedError`` for text that breaks lines."""
        headers = [
            *(("Via", via) for via in self.via),
            ("From", self.sender),
            ("To", self.recipient),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.cseq} REGISTER"),
            ("Max-Forwards", "70"),
            ("Contact", self.contact),
            ("Expires", str(self.expires)),
        ]
        return SipMessage(f"REGISTER sip:{self.host} {_VERSION}", tuple(headers)).encode()


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: its status, and the headers of the request that it carries back."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def to(cls, request: SipMessage, status: int, *, tag: str, expires: int | None = None) -> Self:
        """Answer ``request``, whatever it is; ``tag`` marks our side in To, ``expires`` is what was granted."""
        headers = [(name, _tagged(value, tag) if name == "To" else value)
                   for name in _ECHOED for value in request.all(name)]  # fmt: skip
        if expires is not None:
            headers += [("Contact", contact) for contact in request.all("Contact")]
            headers.append(("Expires", str(expires)))
        return cls(status, REASONS.get(status, "Unknown"), tuple(headers))

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read an answer; raise ``SipMalformedError`` for what is none."""
        return cls.of_message(SipMessage.parse(data))

    @classmethod
    def of_message(cls, message: SipMessage) -> Self:
        """Take an answer out of a message; raise ``SipMalformedError`` when it is none."""
        found = re.fullmatch(rf"{re.escape(_VERSION)} ([1-6][0-9]{{2}}) ?(.*)", message.start)
        if found is None:
            raise SipMalformedError(f"{message.start[:60]!r} is no SIP answer")
        return cls(int(found[1]), found[2], message.headers)

    def encode(self) -> bytes:
        """Write the answer; raise ``SipMalformedError`` for text that breaks lines."""
        return SipMessage(f"{_VERSION} {self.status} {self.reason}", self.headers).encode()

    def first(self, name: str) -> str | None:
        """Return the value of the first header called ``name``, or None."""
        return SipMessage("", self.headers).first(name)


def contact_of(device: str, local: str, transport: str) -> str:
    """Write the Contact in which a phone names itself and where it is (``local``: address and port as one text)."""
    return f'<sip:{device}@{local};transport={transport.lower()}>;{DEVICE_PARAMETER}="{device}"'


def frame_length(data: bytes) -> int | None:
    """Tell how long the message at the start of ``data`` is, or None while its headers are incomplete.

    The message itself may still be incomplete. Raise ``SipMalformedError`` as soon as it is above the limits or
    its Content-Length is no number. CRLFs between messages (keep-alives) are the caller's to strip.
    """
    end = data.find(_END, 0, MAX_HEADERS)
    if end < 0:
        if len(data) >= MAX_HEADERS:
            raise SipMalformedError(f"no end of headers within {MAX_HEADERS} bytes")
        return None
    return end + len(_END) + _content_length(_head(data[:end])[1])


@lru_cache(maxsize=16)
def _head(data: bytes) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Take start line and headers apart, once for a message that is measured first and then read."""
    start, *lines = _text(data).split("\r\n")
    return start, tuple(_headers(lines))


def _content_length(headers: Iterable[tuple[str, str]]) -> int:
    lengths = {value for name, value in headers if _is_length(name)}
    if not lengths:
        return 0
    text = lengths.pop()
    if lengths or not re.fullmatch("[0-9]{1,9}", text):
        raise SipMalformedError(f"Content-Length {text[:20]!r} is no number, or there are two")
    if int(text) > MAX_BODY:
        raise SipMalformedError(f"a body of {text} bytes is above the limit of {MAX_BODY}")
    return int(text)


def _is_length(name: str) -> bool:
    return name.lower() in {"content-length", "l"}


def _headers(lines: Iterable[str]) -> list[tuple[str, str]]:
    headers: list[tuple[str, str]] = []
    for raw in lines:
        line = raw.replace("\t", " ")
        if not _SAFE.fullmatch(line):
            raise SipMalformedError(f"{line[:40]!r} holds a control character")
        if line.startswith(" ") and headers:
            name, value = headers[-1]
            headers[-1] = (name, f"{value} {line.strip()}".strip())
        else:
            headers.append(_header(line))
    return headers


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not _NAME.fullmatch(name.rstrip()):
        raise SipMalformedError(f"{line[:40]!r} is no SIP header")
    return name.rstrip(), value.strip()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _needed(message: SipMessage, name: str) -> str:
    value = message.first(name)
    if not value:
        raise SipMalformedError(f"a REGISTER without {name}")
    return value


def device_of(contact: str, recipient: str) -> str:
    """The device that Contact names, else the user part of either header; raise ``SipMalformedError`` for none."""
    found = _NAMED_DEVICE.search(contact) or _USER.search(contact) or _USER.search(recipient)
    if found is None:
        raise SipMalformedError("neither Contact nor To names a device")
    return found[1].upper()


def _cseq(text: str) -> int:
    found = _CSEQ.fullmatch(text)
    if found is None:
        raise SipMalformedError(f"CSeq {text[:40]!r} is not that of a REGISTER")
    return int(found[1])


def _expires(message: SipMessage, contact: str) -> int:
    """Seconds asked for; the Contact's own parameter outweighs the header (RFC 3261, 10.2.1.1)."""
    asked = _CONTACT_EXPIRES.search(contact)
    text = asked[1] if asked else message.first("Expires") or "120"
    if not re.fullmatch("[0-9]{1,10}", text):
        raise SipMalformedError(f"Expires {text[:20]!r} is no number of seconds")
    return int(text)


def _tagged(recipient: str, tag: str) -> str:
    return recipient if ";tag=" in recipient.lower() else f"{recipient};tag={tag}"
