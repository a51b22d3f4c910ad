"""What an IP phone asks DHCP, and which TFTP servers it takes from the answer.

A phone names itself in option 60, asks for option 150 among others, and takes 150 before option 66 before siaddr.
Only the first two are documented for phones (phone-trust 5.5); old gateways are said to begin with siaddr: the order
is a parameter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address

from certferry.wire.dhcp import NOWHERE, DhcpMessage, DhcpOptionError, MessageType, Op, Option

DEFAULT_MODEL = "CP-7962G"
PARAMETERS = (
    Option.SUBNET_MASK,
    Option.TFTP_NAME,
    Option.DNS,
    Option.ROUTER,
    Option.DOMAIN,
    Option.TFTP_ADDRESSES,
    Option.ARP_TIMEOUT,
)
"""What phones of the 7900 series ask for, in their order."""


class TftpSource(StrEnum):
    """Where in a DHCP answer TFTP servers may stand."""

    OPTION_150 = "150"
    OPTION_66 = "66"
    SIADDR = "siaddr"


DEFAULT_ORDER = (TftpSource.OPTION_150, TftpSource.OPTION_66, TftpSource.SIADDR)


@dataclass(frozen=True, slots=True)
class TftpServers:
    """TFTP 1 and TFTP 2 and so on: addresses, or for option 66 the name as it stands there."""

    source: TftpSource
    servers: tuple[str, ...]


def phone_discover(transaction: int, hardware: bytes, *, model: str = DEFAULT_MODEL) -> DhcpMessage:
    """Make the message a phone looks for servers with; the answer may come by broadcast."""
    options = ((Option.MESSAGE_TYPE, bytes([MessageType.DISCOVER])), *_identity(hardware, model))
    return DhcpMessage(Op.REQUEST, transaction, hardware, options, broadcast=True)


def phone_request(offer: DhcpMessage, *, model: str = DEFAULT_MODEL) -> DhcpMessage:
    """Make the message a phone takes an offer with; raises ``DhcpOptionError`` when the offer names no server."""
    if offer.server is None:
        raise DhcpOptionError("the offer has no option 54, so it cannot be taken")
    options = (
        (Option.MESSAGE_TYPE, bytes([MessageType.REQUEST])),
        (Option.REQUESTED_ADDRESS, offer.your_address.packed),
        (Option.SERVER, offer.server.packed),
        *_identity(offer.hardware, model),
    )
    return DhcpMessage(Op.REQUEST, offer.transaction, offer.hardware, options, broadcast=True)


def tftp_servers(answer: DhcpMessage, order: Sequence[TftpSource] = DEFAULT_ORDER) -> TftpServers | None:
    """Tell which TFTP servers a phone takes from an answer; None when it names none.

    What has a wrong length counts as missing.
    """
    for source in order:
        if servers := _servers_in(answer, source):
            return TftpServers(source, servers)
    return None


def _identity(hardware: bytes, model: str) -> tuple[tuple[int, bytes], ...]:
    return (
        (Option.HOST_NAME, f"SEP{hardware.hex().upper()}".encode()),
        (Option.CLASS, f"Cisco Systems, Inc. IP Phone {model}".encode()),
        (Option.CLIENT, b"\1" + hardware),
        (Option.PARAMETER_LIST, bytes(PARAMETERS)),
    )


def _servers_in(answer: DhcpMessage, source: TftpSource) -> tuple[str, ...]:
    match source:
        case TftpSource.OPTION_150:
            return _texts(_addresses(answer))
        case TftpSource.OPTION_66:
            return (answer.tftp_name,) if answer.tftp_name else ()
        case TftpSource.SIADDR:
            return _texts([answer.siaddr])


def _addresses(answer: DhcpMessage) -> tuple[IPv4Address, ...]:
    try:
        return answer.tftp_addresses
    except DhcpOptionError:
        return ()


def _texts(addresses: Sequence[IPv4Address]) -> tuple[str, ...]:
    return tuple(str(address) for address in addresses if address != NOWHERE)
