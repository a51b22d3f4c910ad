"""A scope as administrators name it: its subnet, its range, and the one or two TFTP servers of its phones."""

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from certferry.errors import UsageError

MOST_SERVERS = 2
"""Phones know TFTP server 1 and TFTP server 2."""


class TftpServersInvalidError(UsageError):
    """Not one or two addresses a phone could fetch files from."""

    code = "dhcp.tftp-servers"
    remedy = "Write one or two IPv4 addresses of TFTP nodes, such as 192.0.2.11,192.0.2.12: option 150 knows no names."


class ScopeInvalidError(UsageError):
    """Subnet, range and router do not fit together."""

    code = "dhcp.scope"
    remedy = "Write the subnet as 198.51.100.0/24, the range as FIRST-LAST inside it, the router as an address of it."


@dataclass(frozen=True, slots=True)
class Scope:
    """Where phones are. ``pool`` and ``router`` are only needed to write a scope that is not there yet."""

    subnet: IPv4Network | None = None
    pool: tuple[IPv4Address, IPv4Address] | None = None
    router: IPv4Address | None = None
    name: str = "VOICE"

    def __post_init__(self) -> None:
        if self.subnet is None and (self.pool or self.router):
            raise ScopeInvalidError("a range or a router needs its subnet")
        for address in (*(self.pool or ()), *([self.router] if self.router else [])):
            if self.subnet is not None and address not in self.subnet:
                raise ScopeInvalidError(f"{address} is outside of {self.subnet}")
        if self.pool and self.pool[0] > self.pool[1]:
            raise ScopeInvalidError(f"the range {self.pool[0]}-{self.pool[1]} runs backwards")
        if not (self.name.isascii() and self.name.replace("-", "").replace("_", "").isalnum()):
            raise ScopeInvalidError(f"{self.name!r} is no name for a pool", remedy="Use letters, digits, - and _.")


def tftp_addresses(text: str) -> tuple[IPv4Address, ...]:
    """Read ``IP`` or ``IP,IP``, the preferred first; raises ``TftpServersInvalidError``."""
    addresses = tuple(_server(word.strip()) for word in text.split(","))
    if len(addresses) > MOST_SERVERS:
        raise TftpServersInvalidError(f"{len(addresses)} addresses: phones use {MOST_SERVERS}")
    if len(set(addresses)) != len(addresses):
        raise TftpServersInvalidError(f"{addresses[0]} stands twice")
    return addresses


def subnet_of(text: str) -> IPv4Network:
    """Read a subnet in CIDR form; raises ``ScopeInvalidError``."""
    try:
        subnet = IPv4Network(text.strip())
    except ValueError as error:
        raise ScopeInvalidError(f"{text!r} is not an IPv4 subnet: {error}") from error
    if "/" not in text:
        raise ScopeInvalidError(f"{text!r} is an address, not a subnet")
    return subnet


def pool_of(text: str) -> tuple[IPv4Address, IPv4Address]:
    """Read ``FIRST-LAST``; raises ``ScopeInvalidError``."""
    first, _, last = text.partition("-")
    return address_of(first), address_of(last)


def address_of(text: str) -> IPv4Address:
    """Read one address; raises ``ScopeInvalidError``."""
    try:
        return IPv4Address(text.strip())
    except AddressValueError as error:
        raise ScopeInvalidError(f"{text!r} is not an IPv4 address") from error


def in_words(addresses: tuple[IPv4Address, ...]) -> str:
    """Write addresses as they are typed."""
    return ",".join(map(str, addresses))


def _server(text: str) -> IPv4Address:
    try:
        address = IPv4Address(text)
    except AddressValueError as error:
        raise TftpServersInvalidError(f"{text!r} is not an IPv4 address") from error
    if address.is_unspecified or address.is_multicast or address == IPv4Address("255.255.255.255"):
        raise TftpServersInvalidError(f"{address} is no address of a host")
    return address
