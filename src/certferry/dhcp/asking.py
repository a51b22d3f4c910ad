"""Ask a network's DHCP servers as a phone does, and collect what each one offers. No offer is taken.

A packet socket is used: it needs no address on the interface, and disturbs no DHCP client that runs there.
"""

import ctypes
import fcntl
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from struct import Struct

from certferry.errors import MalformedError, Refusal, UsageError
from certferry.wire.dhcp import CLIENT_PORT, NOWHERE, SERVER_PORT, DhcpMessage, MessageType, Op
from certferry.wire.phone_dhcp import DEFAULT_MODEL, phone_discover
from certferry.wire.udp_datagram import UdpDatagram

EVERYBODY = IPv4Address("255.255.255.255")
RETRY_AFTER = 2.0
"""Seconds until the question is put again: servers ping an address before they offer it, and datagrams get lost."""
MOST_OFFERS = 64
_ETH_P_IP = 0x0800
_LONGEST_NAME = 15
_GET_ADDRESS, _GET_NETMASK, _GET_HARDWARE = 0x8915, 0x891B, 0x8927
_ETHERNET = 1
_ATTACH_FILTER = 26
_INSTRUCTION = Struct("=HBBI")
_FILTER = (
    (0x30, 0, 0, 9),  # the protocol
    (0x15, 0, 6, 17),  # is UDP,
    (0x28, 0, 0, 6),  # the fragment offset
    (0x45, 4, 0, 0x1FFF),  # is 0,
    (0xB1, 0, 0, 0),  # behind the header
    (0x48, 0, 0, 2),  # the destination port
    (0x15, 0, 1, CLIENT_PORT),  # is a DHCP client's:
    (0x06, 0, 0, 0xFFFF),  # take it
    (0x06, 0, 0, 0),
)


class AskingNotPermittedError(Refusal):
    """The operating system does not let this user send and receive packets."""

    code = "dhcp.not-permitted"
    remedy = "Run it as root, or with the capability CAP_NET_RAW."


class InterfaceError(UsageError):
    """The interface named is not there, is down, or is no Ethernet."""

    code = "dhcp.interface"
    remedy = "See the interfaces with: ip -brief link; name one that is up and in the phones' network."


@dataclass(frozen=True, slots=True)
class Offered:
    """One server's offer. ``sender`` is who sent the packet: the server, or a relay."""

    sender: IPv4Address
    message: DhcpMessage

    @property
    def server(self) -> IPv4Address:
        """The server by its option 54; by its address where that is missing or wrong."""
        try:
            return self.message.server or self.sender
        except MalformedError:
            return self.sender


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back within the time. ``interface_address`` is the asking interface's own, if it has one."""

    hardware: bytes
    interface_address: IPv4Interface | None
    offers: tuple[Offered, ...]


def ask(interface: str, seconds: float, *, hardware: bytes | None = None, model: str = DEFAULT_MODEL) -> Heard:
    """Ask on ``interface`` and listen for ``seconds``, to the end: the slowest server counts, too.

    ``hardware`` asks in the name of another phone. Raises ``AskingNotPermittedError`` and ``InterfaceError``.
    """
    with _packet_socket(interface) as packets:
        asker = hardware or _own_hardware(packets, interface)
        own = _own_address(packets, interface)
        question = phone_discover(secrets.randbits(32), asker, model=model)
        return Heard(asker, own, tuple(_offers(packets, interface, question, seconds)))


def _offers(packets: socket.socket, interface: str, question: DhcpMessage, seconds: float) -> list[Offered]:
    """Send the question, again after a while, and keep the first offer of each server."""
    packet = UdpDatagram(NOWHERE, CLIENT_PORT, EVERYBODY, SERVER_PORT, question.encode()).encode()
    offers: dict[IPv4Address, Offered] = {}
    begun = time.monotonic()
    sent = 0
    while (elapsed := time.monotonic() - begun) < seconds:
        if sent <= elapsed / RETRY_AFTER:
            packets.sendto(packet, (interface, _ETH_P_IP, 0, 0, b"\xff" * 6))
            sent += 1
        packets.settimeout(max(min(sent * RETRY_AFTER, seconds) - elapsed, 0.001))
        offer = _received(packets, question)
        if offer and len(offers) < MOST_OFFERS:
            offers.setdefault(offer.server, offer)
    return list(offers.values())


def _received(packets: socket.socket, question: DhcpMessage) -> Offered | None:
    """Wait for one packet; None where it is no offer to this question."""
    try:
        datagram = UdpDatagram.parse(packets.recv(0xFFFF))
        message = DhcpMessage.parse(datagram.payload)
        is_offer = message.op is Op.REPLY and message.message_type is MessageType.OFFER
    except (TimeoutError, MalformedError):
        return None
    if not is_offer or (message.transaction, message.hardware) != (question.transaction, question.hardware):
        return None
    return Offered(datagram.source, message)


@contextmanager
def _packet_socket(interface: str) -> Iterator[socket.socket]:
    if not interface or len(interface.encode()) > _LONGEST_NAME or "\0" in interface:
        raise InterfaceError(f"{interface!r} is no name of an interface")
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as packets:  # type: ignore[attr-defined,unused-ignore]
            _attach_filter(packets)
            packets.bind((interface, _ETH_P_IP))
            yield packets
    except PermissionError as error:
        raise AskingNotPermittedError(f"packets cannot be sent on {interface}: {error.strerror}") from error
    except OSError as error:
        raise InterfaceError(f"interface {interface}: {error.strerror}") from error


def _attach_filter(packets: socket.socket) -> None:
    """Let the kernel drop what is not for a DHCP client: a busy interface must not push offers out of the queue."""
    program = b"".join(_INSTRUCTION.pack(*step) for step in _FILTER)
    buffer = ctypes.create_string_buffer(program, len(program))
    packets.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, Struct("@HP").pack(len(_FILTER), ctypes.addressof(buffer)))


def _own_hardware(packets: socket.socket, interface: str) -> bytes:
    answer = _interface_request(packets, _GET_HARDWARE, interface)
    if int.from_bytes(answer[16:18], sys.byteorder) != _ETHERNET:
        raise InterfaceError(f"interface {interface} is no Ethernet")
    return answer[18:24]


def _own_address(packets: socket.socket, interface: str) -> IPv4Interface | None:
    try:
        address, mask = (_interface_request(packets, code, interface)[20:24] for code in (_GET_ADDRESS, _GET_NETMASK))
    except OSError:
        return None  # no address: nothing to compare with
    return IPv4Interface(f"{IPv4Address(address)}/{IPv4Address(mask)}")


def _interface_request(packets: socket.socket, code: int, interface: str) -> bytes:
    return fcntl.ioctl(packets, code, interface.encode().ljust(40, b"\0"))
