"""Alarms that phones send, and the one that says which trust lists a phone holds: ``DeviceTLInfo``.

::

    <x-cisco-alarm>
     └─ Alarm Name="DeviceTLInfo"
         └─ ParameterList
             ├─ String name="DeviceName"         SEP001122334455
             ├─ String name="IPv4Address"        10.0.0.9
             ├─ String name="IPv6Address"
             ├─ String name="CTL_Signature"      Not Installed        or "AB CD ... " (SHA-1)
             ├─ String name="CTL_TFTP_Server"    N/A
             ├─ String name="ITL_Signature"      AB CD ...
             ├─ String name="ITL_TFTP_Server"    cucm-pub
             └─ Enum   name="StatusCode"         3                    only after a failure

Names and values of the parameters are Cisco's (phone-trust 4.6); the elements around them are our deduction, and
said once here: ``ROOT``. What kind of element a parameter is makes no difference when read.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self
from xml.etree.ElementTree import Element, ParseError, SubElement, tostring

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from certferry.errors import MalformedError

MAX_SIZE = 16 * 1024
"""Largest alarm read, in bytes: what a SIP body may have."""
MAX_PARAMETERS = 100
ROOT = "x-cisco-alarm"
TRUST_LISTS = "DeviceTLInfo"
NOT_INSTALLED = "Not Installed"
NO_SERVER = "N/A"

_SHA1 = re.compile("[0-9A-F]{40}")
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


class PhoneAlarmMalformedError(MalformedError):
    """An alarm that cannot be read, or a value that none can carry."""

    code = "wire.phone-alarm"
    remedy = "Look at the phone's firmware: it sends an alarm this product does not know."


@dataclass(frozen=True, slots=True)
class PhoneAlarm:
    """Any alarm: its name and its parameters in order."""

    name: str
    parameters: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read an alarm; raise ``PhoneAlarmMalformedError`` for what is none."""
        root = _tree(data)
        alarm = root.find("Alarm")
        if root.tag != ROOT or alarm is None:
            raise PhoneAlarmMalformedError(f"<{root.tag[:40]}> with no <Alarm> in it is no alarm")
        return cls(alarm.get("Name", ""), tuple(_parameters(alarm)))

    def encode(self) -> bytes:
        """Write the alarm, UTF-8; raise ``PhoneAlarmMalformedError`` for text that XML cannot hold."""
        root = Element(ROOT)
        listed = SubElement(SubElement(root, "Alarm", Name=_writable(self.name)), "ParameterList")
        for name, value in self.parameters:
            kind = "Enum" if value.isdecimal() else "String"
            SubElement(listed, kind, name=_writable(name)).text = _writable(value)
        written: bytes = tostring(root, encoding="utf-8")
        return b'<?xml version="1.0" encoding="UTF-8"?>\n' + written + b"\n"


@dataclass(frozen=True, slots=True)
class DeviceTLInfo:
    """Which trust lists a phone holds and from where; SHA-1 in upper-case hex, empty: not installed.

    ``status_code`` is None after success; 3 was seen after a failure (phone-trust 4.6).
    """

    device: str
    address: str
    ctl: str = ""
    ctl_server: str = ""
    itl: str = ""
    itl_server: str = ""
    status_code: int | None = None

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the alarm; raise ``PhoneAlarmMalformedError`` for what is none, or another."""
        return cls.of_alarm(PhoneAlarm.parse(data))

    @classmethod
    def of_alarm(cls, alarm: PhoneAlarm) -> Self:
        """Take the lists out of an alarm; raise ``PhoneAlarmMalformedError`` when it says none."""
        if alarm.name != TRUST_LISTS:
            raise PhoneAlarmMalformedError(f"{alarm.name[:40]!r} is not the alarm {TRUST_LISTS}")
        values = dict(alarm.parameters)
        return cls(
            device=_device(values.get("DeviceName", "")),
            address=values.get("IPv4Address", ""),
            ctl=_signature(values, "CTL_Signature"),
            ctl_server=_server(values, "CTL_TFTP_Server"),
            itl=_signature(values, "ITL_Signature"),
            itl_server=_server(values, "ITL_TFTP_Server"),
            status_code=_status(values.get("StatusCode")),
        )

    def alarm(self) -> PhoneAlarm:
        """The alarm that says this."""
        parameters = [
            ("DeviceName", self.device),
            ("IPv4Address", self.address),
            ("IPv6Address", ""),
            ("CTL_Signature", _spaced(self.ctl)),
            ("CTL_TFTP_Server", self.ctl_server or NO_SERVER),
            ("ITL_Signature", _spaced(self.itl)),
            ("ITL_TFTP_Server", self.itl_server or NO_SERVER),
        ]
        if self.status_code is not None:
            parameters.append(("StatusCode", str(self.status_code)))
        return PhoneAlarm(TRUST_LISTS, tuple(parameters))

    def encode(self) -> bytes:
        """Write the alarm; raise ``PhoneAlarmMalformedError`` for text that XML cannot hold."""
        return self.alarm().encode()


def _tree(data: bytes) -> Element:
    if len(data) > MAX_SIZE:
        raise PhoneAlarmMalformedError(f"{len(data)} bytes are more than an alarm may have ({MAX_SIZE})")
    try:
        root: Element = fromstring(bytes(data), forbid_dtd=True)
    except DefusedXmlException as error:
        raise PhoneAlarmMalformedError("a document type or entity stands in it, which no alarm has") from error
    except (ParseError, ValueError, LookupError) as error:
        raise PhoneAlarmMalformedError(f"not well-formed XML: {error}") from error
    return root


def _parameters(alarm: Element) -> Iterator[tuple[str, str]]:
    found = alarm.findall("ParameterList/*")
    if len(found) > MAX_PARAMETERS:
        raise PhoneAlarmMalformedError(f"{len(found)} parameters; {MAX_PARAMETERS} are the most read")
    for parameter in found:
        if name := parameter.get("name"):
            yield name, (parameter.text or "").strip()


def _device(text: str) -> str:
    if not re.fullmatch("[A-Za-z0-9]{1,64}", text):
        raise PhoneAlarmMalformedError(f"DeviceName {text[:40]!r} is no device name")
    return text.upper()


def _signature(values: Mapping[str, str], name: str) -> str:
    text = values.get(name, NOT_INSTALLED)
    plain = text.replace(" ", "").upper()
    if plain == NOT_INSTALLED.replace(" ", "").upper():
        return ""
    if not _SHA1.fullmatch(plain):
        raise PhoneAlarmMalformedError(f"{name} {text[:70]!r} is neither a SHA-1 nor {NOT_INSTALLED!r}")
    return plain


def _spaced(signature: str) -> str:
    pairs = [signature[at : at + 2] for at in range(0, len(signature), 2)]
    return "".join(f"{pair} " for pair in pairs) or NOT_INSTALLED


def _server(values: Mapping[str, str], name: str) -> str:
    text = values.get(name, NO_SERVER)
    return "" if text == NO_SERVER else text


def _status(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,5}", text):
        raise PhoneAlarmMalformedError(f"StatusCode {text[:20]!r} is no number")
    return int(text)


def _writable(text: str) -> str:
    if _UNWRITABLE.search(text):
        raise PhoneAlarmMalformedError(f"{text[:40]!r} holds what XML has no characters for")
    return text
