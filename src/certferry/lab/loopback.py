"""Addresses of a lab: each node its own address in 127.0.0.0/8, so that standard-looking ports never collide."""

import ipaddress
import random
import socket

from certferry.cluster.values import Service
from certferry.errors import Refusal

LAB_PORTS: dict[Service, int] = {
    Service.TFTP: 6969,  # 69 needs root; everything else is the standard port
    Service.TVS: 2445,
    Service.HTTP: 6970,
    Service.SIP: 5060,
    Service.SIPS: 5061,
}
_TRIES = 64
_FIRST, _LAST = 16, 250
_given: set[ipaddress.IPv4Network] = set()


class LoopbackError(Refusal):
    """No part of the loopback network is free."""

    code = "lab.loopback"
    remedy = "See who listens on 127.0.0.0/8 or on all addresses: ss -lntu"


def free_network() -> ipaddress.IPv4Network:
    """Choose a /24 of the loopback network on which none of a lab's ports is taken; raises ``LoopbackError``.

    A process is never given one twice: what was given may be listened at later.
    """
    choose = random.SystemRandom()
    for _ in range(_TRIES):
        network = ipaddress.IPv4Network(f"127.{choose.randint(_FIRST, _LAST)}.{choose.randint(0, 255)}.0/24")
        if network not in _given and _is_free(str(network[1])):
            _given.add(network)
            return network
    raise LoopbackError(f"one of the ports {', '.join(map(str, LAB_PORTS.values()))} is taken on every address tried")


def _is_free(address: str) -> bool:
    kinds = {Service.TFTP: socket.SOCK_DGRAM}
    try:
        for service, port in LAB_PORTS.items():
            with socket.socket(socket.AF_INET, kinds.get(service, socket.SOCK_STREAM)) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
    except OSError:
        return False
    return True
