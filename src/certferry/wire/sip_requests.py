r"""SIP between a registered phone and its registrar: NOTIFY resets the phone, REFER brings an alarm of the phone.

::

    NOTIFY sip:SEP...@10.0.0.9:50000 SIP/2.0           REFER sip:10.0.0.1 SIP/2.0
    Via: SIP/2.0/TCP 10.0.0.1:5060;branch=z9hG4bK...   Via: SIP/2.0/TCP 10.0.0.9:50000;branch=z9hG4bK...
    From: <sip:10.0.0.1>;tag=...                       From: <sip:SEP...@10.0.0.1>;tag=...
    To: <sip:SEP...@10.0.0.9:50000>                    To: <sip:10.0.0.1>
    Call-ID: REQUEST@10.0.0.1                          Call-ID: 2@10.0.0.9
    CSeq: 101 NOTIFY                                   CSeq: 102 REFER
    Event: service-control                             Contact: <sip:SEP...@10.0.0.9:50000>
    Subscription-State: active                         Refer-To: <cid:2@10.0.0.9>
    Content-Type: text/plain                           Content-Type: application/x-cisco-alarm+xml

    action=reset                                       <x-cisco-alarm>...

That the alarm has this content type is from Cisco's documents (phone-trust 4.6). The method that carries it, and
event and body of the NOTIFY, are our deduction: ``ALARM_METHOD``, ``RESET_EVENT`` and ``RESET_BODY`` say each once.
"""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, unquote

from certferry.wire.sip import SipMalformedError, SipMessage, contact_of, device_of

ALARM_METHOD = "REFER"
ALARM_TYPE = "application/x-cisco-alarm+xml"
RESET_EVENT = "service-control"
RESET_BODY = b"action=reset\r\n"

_VERSION = "SIP/2.0"
_REQUEST = re.compile(r"([A-Z]{1,16}) (sips?:[^\s<>]{1,256}) SIP/2\.0")
_CSEQ = re.compile(r"([0-9]{1,10})\s+([A-Z]{1,16})")
_ACTION = re.compile(rb"^action=([a-z]{1,16})\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Notify:
    """A NOTIFY that has a phone do something: ``action`` is ``reset``.

    ``request_id`` is whatever names the request at us; the Call-ID begins with it, so that a phone which is told
    twice can know. ``uri`` is the phone's own address, ``host`` that of the registrar.
    """

    uri: str
    host: str
    via: str
    sender: str
    recipient: str
    call_id: str
    cseq: int = 101
    body: bytes = RESET_BODY

    @classmethod
    def reset(cls, device: str, *, request_id: str, host: str, peer: str, transport: str = "TCP") -> Self:
        """Make the NOTIFY that resets ``device`` at ``peer`` (address and port as one text)."""
        token = quote(request_id, safe="")
        return cls(
            uri=f"sip:{device}@{peer}",
            host=host,
            via=f"{_VERSION}/{transport} {host};branch=z9hG4bK{token}",
            sender=f"<sip:{host}>;tag={token}",
            recipient=f"<sip:{device}@{peer}>",
            call_id=f"{token}@{host}",
        )

    @property
    def request_id(self) -> str:
        """The request that this is sent for."""
        return unquote(self.call_id.partition("@")[0])

    @property
    def action(self) -> str:
        """What the phone is to do; empty when the body does not say."""
        found = _ACTION.search(self.body)
        return found[1].decode() if found else ""

    @classmethod
    def of_message(cls, message: SipMessage) -> Self:
        """Take a NOTIFY for service control out of a message; raise ``SipMalformedError`` when it is not one."""
        uri = _uri(message, "NOTIFY")
        if _needed(message, "Event").partition(";")[0].strip().lower() != RESET_EVENT:
            raise SipMalformedError(f"a NOTIFY of another event than {RESET_EVENT}")
        sender = _needed(message, "From")
        return cls(
            uri=uri,
            host=_host(sender),
            via=_needed(message, "Via"),
            sender=sender,
            recipient=_needed(message, "To"),
            call_id=_needed(message, "Call-ID"),
            cseq=_cseq(message, "NOTIFY"),
            body=message.body,
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a NOTIFY; raise ``SipMalformedError`` for what is none."""
        return cls.of_message(SipMessage.parse(data))

    def encode(self) -> bytes:
        """Write the request; raise ``SipMalformedError`` for text that breaks lines."""
        headers = (
            ("Via", self.via),
            ("From", self.sender),
            ("To", self.recipient),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.cseq} NOTIFY"),
            ("Max-Forwards", "70"),
            ("Contact", f"<sip:{self.host}>"),
            ("Event", RESET_EVENT),
            ("Subscription-State", "active"),
            ("Content-Type", "text/plain"),
        )
        return SipMessage(f"NOTIFY {self.uri} {_VERSION}", headers, self.body).encode()


@dataclass(frozen=True, slots=True)
class Refer:
    """A REFER in which a phone sends an alarm; ``alarm`` is the XML as it came."""

    device: str
    host: str
    via: str
    sender: str
    recipient: str
    contact: str
    call_id: str
    cseq: int
    alarm: bytes

    @classmethod
    def of(
        cls,
        device: str,
        host: str,
        *,
        local: str,
        call_id: str,
        tag: str,
        alarm: bytes,
        cseq: int = 102,
        transport: str = "TCP",
    ) -> Self:
        """Make the REFER that ``device`` sends to ``host`` from ``local`` (address and port as one text)."""
        return cls(
            device=device,
            host=host,
            via=f"{_VERSION}/{transport} {local};branch=z9hG4bK{tag}{cseq}",
            sender=f"<sip:{device}@{host}>;tag={tag}",
            recipient=f"<sip:{host}>",
            contact=contact_of(device, local, transport),
            call_id=call_id,
            cseq=cseq,
            alarm=alarm,
        )

    @classmethod
    def of_message(cls, message: SipMessage) -> Self:
        """Take a REFER with an alarm out of a message; raise ``SipMalformedError`` when it is not one."""
        uri = _uri(message, ALARM_METHOD)
        if (message.first("Content-Type") or "").partition(";")[0].strip().lower() != ALARM_TYPE:
            raise SipMalformedError(f"a {ALARM_METHOD} without {ALARM_TYPE}")
        contact, sender = _needed(message, "Contact"), _needed(message, "From")
        return cls(
            device=device_of(contact, sender),
            host=_host(uri),
            via=_needed(message, "Via"),
            sender=sender,
            recipient=_needed(message, "To"),
            contact=contact,
            call_id=_needed(message, "Call-ID"),
            cseq=_cseq(message, ALARM_METHOD),
            alarm=message.body,
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a REFER; raise ``SipMalformedError`` for what is none."""
        return cls.of_message(SipMessage.parse(data))

    def encode(self) -> bytes:
        """Write the request; raise ``SipMalformedError`` for text that breaks lines."""
        headers = (
            ("Via", self.via),
            ("From", self.sender),
            ("To", self.recipient),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.cseq} {ALARM_METHOD}"),
            ("Max-Forwards", "70"),
            ("Contact", self.contact),
            ("Refer-To", f"<cid:{self.call_id}>"),
            ("Content-Type", ALARM_TYPE),
        )
        return SipMessage(f"{ALARM_METHOD} sip:{self.host} {_VERSION}", headers, self.alarm).encode()


def _uri(message: SipMessage, method: str) -> str:
    found = _REQUEST.fullmatch(message.start)
    if found is None or found[1] != method:
        raise SipMalformedError(f"{message.start[:60]!r} is no {method}")
    return found[2]


def _needed(message: SipMessage, name: str) -> str:
    value = message.first(name)
    if not value:
        raise SipMalformedError(f"a {message.start.partition(' ')[0][:16]} without {name}")
    return value


def _host(text: str) -> str:
    """The address, with its port, of the first SIP URI in ``text``."""
    found = re.search(r"sips?:(?:[^@\s<>]*@)?([^\s<>@;]+)", text)
    if found is None:
        raise SipMalformedError(f"{text[:40]!r} holds no SIP address")
    return found[1]


def _cseq(message: SipMessage, method: str) -> int:
    text = _needed(message, "CSeq")
    found = _CSEQ.fullmatch(text)
    if found is None or found[2] != method:
        raise SipMalformedError(f"CSeq {text[:40]!r} is not that of a {method}")
    return int(found[1])
