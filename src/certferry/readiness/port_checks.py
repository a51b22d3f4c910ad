"""The nodes' addresses and ports on this host."""

import errno
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from pwd import getpwuid

from certferry.cluster.values import Node, SecurityMode
from certferry.readiness.kernel import UNIT_FOLDERS, Holder, holder_of, is_here, unit_that_opens
from certferry.serve.inherited import InheritedSocketsError, inherited_sockets
from certferry.serve.ports import Port, ports_of
from certferry.trust.list_check import Check

_ID = "config.ports"
_SYSTEMD = "See 'Run as a service' for the units that open it, which need no root: deploy/systemd/certferry@.socket"


def nodes_here(
    nodes: Iterable[Node], *, are_named: bool, here: Callable[[str], bool] = is_here
) -> tuple[tuple[Node, ...], Check]:
    """Find the nodes whose addresses this host has; ``are_named`` when they are those that will be served."""
    all_nodes = tuple(nodes)
    found = tuple(node for node in all_nodes if here(node.address))
    away = [f"{node.name} ({node.address})" for node in all_nodes if node not in found]
    title = "The addresses of the nodes to be served are on this host"
    if not away:
        return found, Check("config.addresses", title, "pass", ", ".join(f"{n.name} ({n.address})" for n in found))
    evidence = f"not on this host: {', '.join(away)}"
    if are_named or not found:
        remedy = "Add the address to this host (ip address add), or serve the node on the host that has it."
        return found, Check("config.addresses", title, "fail", evidence, remedy)
    words = " ".join(f"--node {node.name}" for node in found)
    return found, Check(
        "config.addresses", title, "warn", evidence, f"Serve those that are here: certferry serve {words}"
    )


def port_checks(nodes: Iterable[Node], mode: SecurityMode, folders: Iterable[Path] = UNIT_FOLDERS) -> Iterator[Check]:
    """Look at each port of the nodes that are here: ours already, free, or why not."""
    units = tuple(folders)
    for node in nodes:
        for port in ports_of(node, mode):
            yield _port(port, units)


def _port(port: Port, units: Iterable[Path]) -> Check:
    title = f"{port.node}: {port.service} can have its port"
    try:
        inherited = inherited_sockets().take(port.kind, port.address)
    except InheritedSocketsError as refusal:
        return Check(_ID, title, "fail", refusal.sentence, refusal.remedy)
    if inherited is not None:
        inherited.close()
        return Check(_ID, title, "pass", f"{port.text} was handed over by the service manager")
    try:
        port.open().close()
    except OSError as error:
        return _refused(port, title, error, unit_that_opens(port.kind, port.address, units))
    return Check(_ID, title, "pass", f"{port.text} is free")


def _refused(port: Port, title: str, error: OSError, unit: str | None) -> Check:
    if error.errno == errno.EADDRINUSE:
        return _taken(port, title, holder_of(port.kind, port.address), unit)
    if error.errno not in (errno.EACCES, errno.EPERM):
        return Check(_ID, title, "fail", f"{port.text}: {error.strerror}", "See that the host has this address.")
    if unit:
        return Check(_ID, title, "pass", f"{port.text} needs a privilege, and {unit} opens it")
    return Check(_ID, title, "fail", f"{port.text} needs a privilege that this user has not", _SYSTEMD)


def _taken(port: Port, title: str, holder: Holder | None, unit: str | None) -> Check:
    if holder is None:
        remedy = "See who has it: ss -lntup"
        return Check(_ID, title, "fail", f"{port.text} is in use", remedy)
    if holder.pid == 1:
        return Check(_ID, title, "pass", f"{port.text} is held by systemd, {unit or 'for one of its units'}")
    if holder.pid and "certferry" in holder.command and " serve" in holder.command:
        remedy = "Nothing to do when that is the service meant; a second one would be refused."
        return Check(_ID, title, "warn", f"{port.text} is held by certferry serve, process {holder.pid}", remedy)
    if holder.pid:
        command = holder.command.partition(" ")[0] or "a program"
        remedy = f"Stop it, or choose another port: certferry cluster set port.{port.node}.{port.service} NUMBER"
        return Check(_ID, title, "fail", f"{port.text} is held by {command}, process {holder.pid}", remedy)
    evidence = f"{port.text} is held by a process of {_user(holder.uid)}, which only root can see"
    if holder.uid == 0 and unit:
        remedy = f"That is right when it is systemd: systemctl list-sockets 'certferry*' shows {unit} then."
        return Check(_ID, title, "unknown", evidence, remedy)
    return Check(_ID, title, "fail", evidence, "See who has it, as root: ss -lntup")


def _user(uid: int) -> str:
    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
