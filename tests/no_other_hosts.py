"""Keeps tests at home: a socket that would reach another machine is refused before anything is sent.

In a network namespace that a test made for itself everything is allowed: nothing leads out of it.
"""

import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

_NAMESPACE = Path("/proc/thread-self/ns/net")
DIALING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})


class OtherHostError(Exception):
    """A test asked for an address that is no loopback address."""


def stay_at_home() -> None:
    """Watch this process from now on; it cannot be taken back."""
    home = _NAMESPACE.stat().st_ino

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if event in DIALING and _NAMESPACE.stat().st_ino == home:
            _judge(event, arguments[1])

    sys.addaudithook(look)


def _judge(event: str, address: object) -> None:
    if isinstance(address, tuple) and not _is_here(str(address[0])):
        raise OtherHostError(f"{event} to {address}: tests reach loopback addresses only")


def _is_here(host: str) -> bool:
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host in ("", "localhost")
