"""A phone's configuration, ``SEP<MAC>.cnf.xml``: where its call control is, and whom it asks about trust.

Only the parts that decide where a phone goes and whom it believes are held; everything else in the file is
skipped when read. The ``<TVS>`` block lists the servers a phone asks when it meets an unknown signer: one for
each member of its CallManager group, tried from the lowest priority number up (phone-trust 3.7).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Self
from xml.etree.ElementTree import Element, SubElement, TreeBuilder, indent, tostring
from xml.sax import SAXException
from xml.sax.handler import ContentHandler
from xml.sax.xmlreader import AttributesImpl

from defusedxml import DefusedXmlException
from defusedxml import sax as defused_sax

from certferry.errors import MalformedError

MAX_SIZE = 1 << 20
"""Largest file read, in bytes; real ones are 8 to 13 KB (phone-trust 5.4)."""
MAX_MEMBERS = 16
DEFAULT_ROOT = "Default"
"""The outermost element of ``XMLDefault.cnf.xml``, see ``default_config``."""
_LAST_PORT = 65535
_LAST_PRIORITY = 255
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


class PhoneConfigMalformedError(MalformedError):
    """A phone configuration that cannot be read, or a value that such a file cannot hold."""

    code = "wire.phone-config"
    remedy = "Fetch SEP<MAC>.cnf.xml again from the cluster's TFTP node; a signed file has its header stripped first."


class DeviceSecurityMode(IntEnum):
    """What ``deviceSecurityMode`` says of signalling."""

    NON_SECURE = 1
    AUTHENTICATED = 2
    ENCRYPTED = 3


class Transport(IntEnum):
    """What ``transportLayerProtocol`` says of SIP."""

    TCP = 1
    UDP = 2
    TLS = 3
    TCP_AND_UDP = 4


@dataclass(frozen=True, slots=True)
class CallManagerMember:
    """One call control server: its configured name, the name or address a phone connects to, and its ports."""

    name: str
    address: str
    sip_port: int = 5060
    sips_port: int = 5061


@dataclass(frozen=True, slots=True)
class TvsMember:
    """One Trust Verification Service; lower ``priority`` is asked first."""

    priority: int
    address: str
    port: int = 2445


@dataclass(frozen=True, slots=True)
class CapfMember:
    """One Certificate Authority Proxy Function that may issue the phone's LSC."""

    address: str
    port: int = 3804


@dataclass(frozen=True, slots=True)
class PhoneConfig:
    """What one phone is told.

    ``callmanagers`` and ``tvs`` stand in the order a phone tries them (``parse`` sorts both by priority).
    ``device`` and ``model`` are our own elements, which phones skip: Unified CM names the device only in the
    name of the file, so both are empty for a file it wrote. ``cert_hash`` is the MD5 of the phone certificate
    that an encrypted configuration is meant for, else empty (phone-trust 2.2). ``full`` is false in the short file
    that stands for an encrypted one.
    """

    device: str
    callmanagers: tuple[CallManagerMember, ...]
    tvs: tuple[TvsMember, ...] = ()
    security_mode: DeviceSecurityMode = DeviceSecurityMode.NON_SECURE
    transport: Transport = Transport.TCP
    load_information: str = ""
    encrypted: bool = False
    cert_hash: str = ""
    capf: tuple[CapfMember, ...] = ()
    model: str = ""
    full: bool = True

    @property
    def is_short(self) -> bool:
        """Whether it only says for whom the whole one is encrypted: ``.cnf.xml.sgn`` beside ``.cnf.xml.enc.sgn``."""
        return self.encrypted and not self.full

    @classmethod
    def parse(cls, data: bytes) -> Self:
        r"""Read a configuration; raise ``PhoneConfigMalformedError`` for what is none.

        ::

            <device>
             ├─ devicePool/callManagerGroup/members/member priority="0"
             │   └─ callManager: name, ports/sipPort, ports/securedSipPort, processNodeName
             ├─ TVS/members/member priority="0": port, address
             ├─ deviceSecurityMode, transportLayerProtocol, loadInformation, certHash, encrConfig, fullConfig
             └─ capfList/capf: phonePort, processNodeName

        Elements not named here are skipped, and every one of these may be missing. The outermost element may be
        that of ``XMLDefault.cnf.xml`` too.
        """
        root = _tree(data)
        if root.tag not in ("device", DEFAULT_ROOT):
            raise PhoneConfigMalformedError(f"the outermost element is <{root.tag[:40]}>, not <device>")
        return cls(
            device=_text(root, "deviceName"),
            callmanagers=tuple(_callmanagers(root)),
            tvs=tuple(_tvs_members(root)),
            security_mode=DeviceSecurityMode(_number(root, "deviceSecurityMode", 1, 1, 3)),
            transport=Transport(_number(root, "transportLayerProtocol", 1, 1, 4)),
            load_information=_text(root, "loadInformation"),
            encrypted=_text(root, "encrConfig").lower() == "true",
            cert_hash=_text(root, "certHash"),
            capf=tuple(_capf_members(root)),
            model=_text(root, "model"),
            full=_text(root, "fullConfig").lower() != "false",
        )

    def encode(self) -> bytes:
        """Write the configuration, UTF-8; raise ``PhoneConfigMalformedError`` for text that XML cannot hold."""
        root = Element("device")
        _add(root, "fullConfig", "true" if self.full else "false")
        _add(root, "deviceProtocol", "SIP")
        _add(root, "deviceName", self.device)
        _add(root, "model", self.model)
        write_callmanager_group(SubElement(root, "devicePool"), self.callmanagers)
        if self.tvs:
            _write_tvs(root, self.tvs)
        _add(root, "loadInformation", self.load_information)
        _add(root, "deviceSecurityMode", self.security_mode.value)
        _add(root, "transportLayerProtocol", self.transport.value)
        _add(root, "certHash", self.cert_hash)
        _add(root, "encrConfig", "true" if self.encrypted else "false")
        _write_capf(root, self.capf)
        return bytes_of(root)


# Reading


class _Builder(ContentHandler):
    """Builds a tree without regard to namespaces: real files use ``xsi:`` without declaring it."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = TreeBuilder()

    def startElement(self, name: str, attrs: AttributesImpl) -> None:  # noqa: N802 -- the interface's name
        self.tree.start(name, dict(attrs.items()))

    def endElement(self, name: str) -> None:  # noqa: N802 -- the interface's name
        self.tree.end(name)

    def characters(self, content: str) -> None:
        self.tree.data(content)


def _tree(data: bytes) -> Element:
    if len(data) > MAX_SIZE:
        raise PhoneConfigMalformedError(f"{len(data)} bytes are more than a phone configuration may have ({MAX_SIZE})")
    builder = _Builder()
    try:
        defused_sax.parseString(bytes(data), builder, forbid_dtd=True)
        return builder.tree.close()
    except DefusedXmlException as error:
        raise PhoneConfigMalformedError("a document type or entity stands in it, which no phone file has") from error
    except (SAXException, ValueError, LookupError) as error:
        raise PhoneConfigMalformedError(f"not well-formed XML: {error}") from error


def _callmanagers(root: Element) -> Iterator[CallManagerMember]:
    group = "callManagerGroup" if root.tag == DEFAULT_ROOT else "devicePool/callManagerGroup"
    for member in _by_priority(root.findall(f"{group}/members/member")):
        address = _text(member, "callManager/processNodeName") or _text(member, "callManager/name")
        if address:
            yield CallManagerMember(
                name=_text(member, "callManager/name"),
                address=address,
                sip_port=_port(member, "callManager/ports/sipPort", 5060),
                sips_port=_port(member, "callManager/ports/securedSipPort", 5061),
            )


def _tvs_members(root: Element) -> Iterator[TvsMember]:
    for member in _by_priority(root.findall("TVS/members/member")):
        if address := _text(member, "address"):
            yield TvsMember(_priority(member), address, _port(member, "port", 2445))


def _capf_members(root: Element) -> Iterator[CapfMember]:
    for member in _bounded(root.findall("capfList/capf")):
        if address := _text(member, "processNodeName"):
            yield CapfMember(address, _port(member, "phonePort", 3804))


def _by_priority(members: Iterable[Element]) -> list[Element]:
    return sorted(_bounded(list(members)), key=_priority)


def _bounded(members: list[Element]) -> list[Element]:
    if len(members) > MAX_MEMBERS:
        raise PhoneConfigMalformedError(f"{len(members)} members in one list; {MAX_MEMBERS} are the most read")
    return members


def _priority(member: Element) -> int:
    return _whole(member.get("priority", "0"), "a member's priority", 0, _LAST_PRIORITY)


def _text(parent: Element, path: str) -> str:
    return (parent.findtext(path) or "").strip()


def _port(parent: Element, path: str, default: int) -> int:
    return _number(parent, path, default, 1, _LAST_PORT)


def _number(parent: Element, path: str, default: int, low: int, high: int) -> int:
    text = _text(parent, path)
    return _whole(text, f"<{path}>", low, high) if text else default


def _whole(text: str, what: str, low: int, high: int) -> int:
    # Five digits at most: Python refuses to read endless ones, and no field has more.
    number = int(text) if re.fullmatch("[0-9]{1,5}", text.strip()) else -1
    if not low <= number <= high:
        raise PhoneConfigMalformedError(f"{what} is {text[:20]!r}, not a number from {low} to {high}")
    return number


# Writing


def bytes_of(root: Element) -> bytes:
    """Write a whole file, UTF-8, indented as people read it."""
    indent(root, " ")
    written: bytes = tostring(root, encoding="utf-8")
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + written + b"\n"


def _add(parent: Element, tag: str, text: str | int) -> None:
    value = str(text)
    if _UNWRITABLE.search(value):
        raise PhoneConfigMalformedError(f"{value[:40]!r} cannot stand in <{tag}>: XML has no such characters")
    SubElement(parent, tag).text = value


def write_callmanager_group(parent: Element, members: Iterable[CallManagerMember]) -> None:
    """Write the call control servers under ``parent``, in the order in which a phone tries them."""
    listed = SubElement(SubElement(parent, "callManagerGroup"), "members")
    for priority, member in enumerate(members):
        callmanager = SubElement(SubElement(listed, "member", priority=str(priority)), "callManager")
        _add(callmanager, "name", member.name)
        ports = SubElement(callmanager, "ports")
        _add(ports, "ethernetPhonePort", 2000)
        _add(ports, "sipPort", member.sip_port)
        _add(ports, "securedSipPort", member.sips_port)
        _add(callmanager, "processNodeName", member.address)


def _write_tvs(root: Element, members: tuple[TvsMember, ...]) -> None:
    listed = SubElement(SubElement(root, "TVS"), "members")
    for member in members:
        element = SubElement(listed, "member", priority=str(member.priority))
        _add(element, "port", member.port)
        _add(element, "address", member.address)


def _write_capf(root: Element, members: tuple[CapfMember, ...]) -> None:
    listed = SubElement(root, "capfList")
    for member in members:
        capf = SubElement(listed, "capf")
        _add(capf, "phonePort", member.port)
        _add(capf, "processNodeName", member.address)
