"""Which ports a node's services listen on, and whether they can be had."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from certferry.cluster.values import Node, NodeRole, SecurityMode, Service
from certferry.serve.inherited import family_of, inherited_sockets
from certferry.serve.node import ListenError


@dataclass(frozen=True, slots=True)
class Port:
    """Where one service of a node listens."""

    node: str
    service: Service
    address: tuple[str, int]

    @property
    def kind(self) -> socket.SocketKind:
        """UDP for TFTP, else TCP."""
        return socket.SOCK_DGRAM if self.service is Service.TFTP else socket.SOCK_STREAM

    @property
    def text(self) -> str:
        """The port as people write it: ``TCP 192.0.2.1:2445``."""
        host, port = self.address
        shown = f"[{host}]" if ":" in host else host
        return f"{'UDP' if self.kind is socket.SOCK_DGRAM else 'TCP'} {shown}:{port}"

    def open(self) -> socket.socket:
        """Open the port so that nobody else has it; raises ``OSError``."""
        opened = socket.socket(family_of(self.address[0]), self.kind)
        try:
            if self.kind is socket.SOCK_STREAM:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what phones left in TIME_WAIT
            opened.bind(self.address)
            if self.kind is socket.SOCK_STREAM:
                opened.listen()
        except OSError:
            opened.close()
            raise
        return opened


def ports_of(node: Node, mode: SecurityMode) -> Iterator[Port]:
    """List the ports of the services that the node's roles say."""
    services: list[Service] = []
    if NodeRole.TVS in node.roles:
        services.append(Service.TVS)
    if NodeRole.TFTP in node.roles:
        services += [Service.TFTP, Service.HTTP]
    if NodeRole.CALLMANAGER in node.roles:
        services += [Service.SIP, *([Service.SIPS] if mode is SecurityMode.MIXED else [])]
    for service in services:
        yield Port(node.name, service, (node.address, node.ports[service]))


def claim(nodes: Iterable[Node], mode: SecurityMode) -> None:
    """Make sure that nobody else listens where these nodes will: shared ports would open beside those of others.

    Raises ``ListenError``. Ports that a service manager opened for us are ours, and a phone may wait there already.
    """
    with ExitStack() as held:
        for port in (port for node in nodes for port in ports_of(node, mode)):
            if inherited := inherited_sockets().take(port.kind, port.address):
                inherited.close()
                continue
            try:
                held.enter_context(port.open())
            except OSError as error:
                host, number = port.address
                sentence = f"{port.node}: {port.service} cannot listen on {host}:{number}: {error}"
                raise ListenError(sentence) from error
