"""Keeps tests at home: a socket that would reach another machine is refused before anything is sent."""

import sys
from ipaddress import ip_address
from typing import Any

DIALING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})


class OtherHostError(Exception):
    """A test asked for an address that is no loopback address."""


def stay_at_home() -> None:
    """Watch this process from now on; it cannot be taken back."""
    sys.addaudithook(_look)


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in DIALING:
        return
    address = arguments[1]
    if isinstance(address, tuple) and not _is_here(str(address[0])):
        raise OtherHostError(f"{event} to {address}: tests reach loopback addresses only")


def _is_here(host: str) -> bool:
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host in ("", "localhost")
