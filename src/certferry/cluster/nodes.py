"""The nodes of a cluster in its database, and how ``--node NAME=ADDRESS:ROLES`` is read."""

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, insert, select, update

from certferry.cluster import schema
from certferry.cluster.values import STANDARD_PORTS, Node, NodeRole, Service
from certferry.errors import UsageError

MAXIMUM_NODES = 21
"""A publisher and twenty subscribers (phone-trust 8)."""

_LAST_PORT = 65535
_PORT_REMEDY = f"Give a port from 1 to {_LAST_PORT}."
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")


class NodeInvalidError(UsageError):
    """A node is described in a way that cannot be."""

    code = "cluster.node-invalid"
    remedy = "Write --node NAME=ADDRESS:ROLE,ROLE with roles publisher, tftp, tvs, capf, callmanager; one publisher."


class NodeUnknownError(UsageError):
    """The cluster has no node of that name."""

    code = "cluster.node-unknown"
    remedy = "See the node names with 'certferry cluster show'."


def parse_node(text: str) -> Node:
    """Read ``NAME=ADDRESS:ROLES``; roles are parted by commas. Raise ``NodeInvalidError``."""
    name, equals, rest = text.partition("=")
    address, colon, roles = rest.partition(":")
    if not (equals and colon):
        raise NodeInvalidError(f"{text!r} is not of the form NAME=ADDRESS:ROLES")
    try:
        return Node(name, address, frozenset(NodeRole(role.strip()) for role in roles.split(",")))
    except ValueError as error:
        raise NodeInvalidError(f"node {name}: {error}") from error


def check_nodes(nodes: Sequence[Node]) -> None:
    """Raise ``NodeInvalidError`` unless these nodes can form a cluster."""
    if [node.is_publisher for node in nodes].count(True) != 1:
        raise NodeInvalidError("a cluster has exactly one publisher")
    if len(nodes) > MAXIMUM_NODES:
        raise NodeInvalidError(f"{len(nodes)} nodes are more than the {MAXIMUM_NODES} a cluster can have")
    if len({node.name.casefold() for node in nodes}) < len(nodes):
        raise NodeInvalidError("two nodes have the same name")
    for node in nodes:
        _check_node(node)


def _check_node(node: Node) -> None:
    if not _NAME.fullmatch(node.name):
        raise NodeInvalidError(f"{node.name!r} is not a host name")
    try:
        ipaddress.IPv4Address(node.address)
    except ValueError as error:
        raise NodeInvalidError(f"node {node.name}: {node.address!r} is not an IPv4 address") from error
    for service, port in node.ports.items():
        if not 1 <= port <= _LAST_PORT:
            raise NodeInvalidError(f"node {node.name}: {port} is no port for {service}", remedy=_PORT_REMEDY)


def publisher_first(nodes: Iterable[Node]) -> list[Node]:
    """Order nodes as a cluster lists them: the publisher, then the subscribers as given."""
    return sorted(nodes, key=lambda node: not node.is_publisher)


def add_nodes(connection: Connection, nodes: Sequence[Node]) -> None:
    """Write the nodes of a new cluster."""
    rows = [
        {
            "position": position,
            "name": node.name,
            "address": node.address,
            "roles": ",".join(sorted(node.roles)),
            "ports": _ports_text(node.ports),
        }
        for position, node in enumerate(publisher_first(nodes))
    ]
    connection.execute(insert(schema.node), rows)


def read_nodes(connection: Connection) -> tuple[Node, ...]:
    """Read all nodes, the publisher first."""
    rows = connection.execute(select(schema.node).order_by(schema.node.c.position))
    return tuple(
        Node(row.name, row.address, frozenset(NodeRole(role) for role in row.roles.split(",")), _ports(row.ports))
        for row in rows
    )


def set_port(connection: Connection, name: str, service: Service, port: int) -> None:
    """Let a service of one node listen on another port; raises ``NodeUnknownError`` and ``NodeInvalidError``."""
    node = find_node(read_nodes(connection), name)
    changed = replace(node, ports={**node.ports, service: port})
    _check_node(changed)
    table = schema.node
    connection.execute(update(table).where(table.c.name == node.name).values(ports=_ports_text(changed.ports)))


def find_node(nodes: Iterable[Node], name: str) -> Node:
    """Return the node called ``name`` in any letter case; raise ``NodeUnknownError``."""
    for node in nodes:
        if node.name.casefold() == name.casefold():
            return node
    raise NodeUnknownError(f"there is no node {name!r}")


def _ports_text(ports: Mapping[Service, int]) -> str:
    return json.dumps({service.value: port for service, port in ports.items()}, sort_keys=True)


def _ports(text: str) -> dict[Service, int]:
    return {**STANDARD_PORTS, **{Service(name): port for name, port in json.loads(text).items()}}
