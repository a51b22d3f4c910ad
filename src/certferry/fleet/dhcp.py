"""How resident phones take their TFTP servers from DHCP: each asks under its own MAC address, all over one socket.

::

    phone                                server
    DISCOVER (option 60, 55) ────────►          to 255.255.255.255, answers by broadcast
             ◄──────────────────────── OFFER    the first one is taken
    REQUEST  ────────────────────────►
             ◄──────────────────────── ACK      150, 66 or siaddr name the TFTP servers; NAK: from the beginning

A lease is taken for what it says about TFTP servers. The address in it is not put on the interface: phones of one
host speak from the host's own.
"""

import asyncio
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import random
from typing import Self, cast

from certferry.errors import MalformedError, Refusal
from certferry.fleet.option150 import MOST_SERVERS
from certferry.phone.events import Address
from certferry.wire.dhcp import CLIENT_PORT, SERVER_PORT, DhcpMessage, MessageType, Op
from certferry.wire.phone_dhcp import DEFAULT_ORDER, TftpSource, phone_discover, phone_request, tftp_servers

TFTP_PORT = 69
WAITS = (4.0, 8.0, 16.0)
"""Seconds to wait for an answer, try by try, each up to a quarter more or less (after RFC 2131, 4.1)."""
_EVERYBODY = ("255.255.255.255", SERVER_PORT)
_BUFFER = 1 << 22
"""Bytes that may wait unread: a reset of thousands is answered within a second."""


class DhcpSocketError(Refusal):
    """The interface cannot be used to ask DHCP."""

    code = "fleet.dhcp-socket"
    remedy = "Name an interface that is up (ip -brief link); run as root, or with CAP_NET_BIND_SERVICE and CAP_NET_RAW."


class DhcpSilentError(Refusal):
    """No DHCP server gave the phone a lease."""

    code = "fleet.dhcp-silent"
    remedy = "See what phones are offered with: certferry dhcp check --interface INTERFACE"


class DhcpTftpMissingError(Refusal):
    """A lease names no TFTP server."""

    code = "fleet.dhcp-tftp-missing"
    remedy = "Set option 150 in the phones' scope; certferry dhcp snippet writes it for your server."


@dataclass(frozen=True, slots=True)
class _Asked:
    hardware: bytes
    wanted: frozenset[MessageType]
    answer: "asyncio.Future[DhcpMessage]"


class DhcpClient(asyncio.DatagramProtocol):
    """Asks DHCP for many phones. ``server`` is where questions go, ``waits`` how long each try lasts."""

    def __init__(self, server: Address = _EVERYBODY, waits: Sequence[float] = WAITS) -> None:
        self._server = server
        self._waits = tuple(waits)
        self._asked: dict[int, _Asked] = {}
        self._transport: asyncio.DatagramTransport | None = None

    @classmethod
    async def on_interface(cls, interface: str) -> Self:
        """Ask by broadcast on ``interface``; raises ``DhcpSocketError``."""
        try:
            bound = _bound(interface)
        except OSError as error:
            raise DhcpSocketError(f"DHCP cannot be asked on {interface}: {error.strerror or error}") from error
        client = cls()
        await client.use(bound)
        return client

    async def use(self, bound: socket.socket) -> None:
        """Speak over a socket, which is closed with the client."""
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=bound)

    async def lease(self, hardware: bytes, model: str) -> DhcpMessage:
        """Get the phone with this MAC address a lease; raises ``DhcpSilentError``."""
        for wait in self._waits:
            discover = phone_discover(secrets.randbits(32), hardware, model=model)
            offer = await self._answer(discover, wait, MessageType.OFFER)
            with suppress(MalformedError):  # an offer that cannot be taken is none
                answer = offer and await self._answer(
                    phone_request(offer, model=model), wait, MessageType.ACK, MessageType.NAK
                )
                if answer and answer.message_type is MessageType.ACK:
                    return answer
        raise DhcpSilentError(f"no DHCP server gave SEP{hardware.hex().upper()} a lease in {len(self._waits)} tries")

    def close(self) -> None:
        """Stop."""
        if self._transport is not None:
            self._transport.close()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, _address: object) -> None:
        """Take an answer; what answers nobody here, or cannot be read, is dropped."""
        try:
            message = DhcpMessage.parse(data)
            kind = message.message_type
        except MalformedError:
            return
        asked = self._asked.get(message.transaction)
        if asked is None or message.op is not Op.REPLY or message.hardware != asked.hardware:
            return
        if kind in asked.wanted and not asked.answer.done():
            asked.answer.set_result(message)

    async def _answer(self, question: DhcpMessage, seconds: float, *wanted: MessageType) -> DhcpMessage | None:
        if self._transport is None:
            return None
        answer: asyncio.Future[DhcpMessage] = asyncio.get_running_loop().create_future()
        self._asked[question.transaction] = _Asked(question.hardware, frozenset(wanted), answer)
        self._transport.sendto(question.encode(), self._server)
        try:
            async with asyncio.timeout(_spread(seconds)):
                return await answer
        except TimeoutError:
            return None
        finally:
            del self._asked[question.transaction]


def by_dhcp(
    client: DhcpClient, device: str, model: str, order: Sequence[TftpSource] = DEFAULT_ORDER
) -> Callable[[], Awaitable[Sequence[Address]]]:
    """Return what asks for the TFTP servers of ``device`` (``SEP<MAC>``) at each boot.

    It raises ``DhcpSilentError``, ``DhcpTftpMissingError``.
    """

    async def ask() -> Sequence[Address]:
        lease = await client.lease(bytes.fromhex(device.removeprefix("SEP")), f"CP-{model}")
        named = tftp_servers(lease, order)
        if named is None:
            raise DhcpTftpMissingError(f"the lease of {device} names no TFTP server")
        return [(host, TFTP_PORT) for host in named.servers[:MOST_SERVERS]]

    return ask


def _bound(interface: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        made.bind(("", CLIENT_PORT))
    except OSError:
        made.close()
        raise
    return made


def _spread(seconds: float) -> float:
    """Put a wait off by up to a quarter, up or down, so that phones do not ask in step."""
    return seconds * (0.75 + random() / 2)  # noqa: S311 -- no secret
