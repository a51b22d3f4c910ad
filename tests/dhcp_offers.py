"""``dhcp check`` listens for a while, for nobody knows how many servers there are; a test knows."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from socket import socket
from types import SimpleNamespace

import pytest

from certferry.dhcp import asking
from certferry.wire.dhcp import DhcpMessage

PATIENCE = "60"
"""Seconds that ``dhcp check`` is told to listen."""


@contextmanager
def listening_until(servers: int) -> Iterator[None]:
    """Let ``dhcp check`` in this process listen until so many servers have made their offers."""
    heard: set[IPv4Address] = set()
    received = asking._received

    def received_and_counted(packets: socket, question: DhcpMessage) -> asking.Offered | None:
        offer = received(packets, question)
        if offer:
            heard.add(offer.server)
        return offer

    def now() -> float:
        return math.inf if len(heard) == servers else time.monotonic()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asking, "_received", received_and_counted)
        patch.setattr(asking, "time", SimpleNamespace(monotonic=now))
        yield
