"""A DHCP server that offers what it is told, right or wrong. Its argument is JSON:

``{"address", "server", "siaddr": addresses, "options": {"150": hex, ...}}``; it prints ``ready`` when it listens.
"""

import json
import socket
import sys
from ipaddress import IPv4Address

from certferry.wire.dhcp import DhcpMessage, MessageType, Op, Option


def offer(asked: DhcpMessage, told: dict[str, str]) -> DhcpMessage:
    options: tuple[tuple[int, bytes], ...] = (
        (Option.MESSAGE_TYPE, bytes([MessageType.OFFER])),
        (Option.SERVER, IPv4Address(told["server"]).packed),
        *((int(name), bytes.fromhex(value)) for name, value in told.items() if name.isdigit()),
    )
    return DhcpMessage(
        Op.REPLY,
        asked.transaction,
        asked.hardware,
        options,
        broadcast=True,
        your_address=IPv4Address(told.get("address", "198.51.100.77")),
        siaddr=IPv4Address(told.get("siaddr", "0.0.0.0")),
    )


def main() -> None:
    told = json.loads(sys.argv[1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        server.bind(("", 67))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            asked = DhcpMessage.parse(server.recv(2000))
            if "noise" in told:
                server.sendto(bytes.fromhex(told["noise"]), ("255.255.255.255", 68))
            server.sendto(offer(asked, told).encode(), ("255.255.255.255", 68))


if __name__ == "__main__":
    main()
