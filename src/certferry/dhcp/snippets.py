"""Option 150 in the words of each DHCP server: what to change, how to check it, and the way back."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from certferry.dhcp.scope import Scope, ScopeInvalidError

CODE = 150
DEFINITION = {"name": "option-150", "code": CODE, "space": "dhcp4", "type": "ipv4-address", "array": True}
"""Kea knows no option 150 of its own."""

Addresses = tuple[IPv4Address, ...]


class Server(StrEnum):
    """DHCP servers whose words certferry knows."""

    KEA = "kea"
    DNSMASQ = "dnsmasq"
    ISC = "isc"
    IOS = "ios"
    WINDOWS = "windows"


@dataclass(frozen=True, slots=True)
class Snippet:
    """One change and its way back.

    ``show`` prints what stands there now, ``change`` is what is to stand there, ``check`` says whether the server
    understands it, ``activate`` brings it into force; ``back`` is what stands there after the way back, which is
    taken with ``check`` and ``activate`` again. ``file`` is where the text goes; empty where it is typed.
    """

    server: Server
    file: str
    show: str
    change: str
    check: str
    activate: str
    back: str


def snippet(server: Server, scope: Scope, after: Addresses, before: Addresses = ()) -> Snippet:
    """Write the change from ``before`` to ``after``; without ``before`` the way back leaves option 150 out.

    Raises ``ScopeInvalidError`` where a server needs the subnet and the scope has none.
    """
    return _WRITERS[server](scope, after, before)


def _kea(scope: Scope, after: Addresses, before: Addresses) -> Snippet:
    _needed(scope, Server.KEA)
    file = "/etc/kea/kea-dhcp4.conf"
    return Snippet(
        Server.KEA,
        file,
        f"grep -n -B3 -A3 150 {file}",
        _kea_text(scope, after),
        f"kea-dhcp4 -t {file}",
        "systemctl restart kea-dhcp4-server",
        _kea_text(scope, before),
    )


def _kea_text(scope: Scope, addresses: Addresses) -> str:
    subnet: dict[str, Any] = {"subnet": str(scope.subnet)}
    if scope.pool:
        subnet["pools"] = [{"pool": f"{scope.pool[0]} - {scope.pool[1]}"}]
    options = [{"name": "routers", "data": str(scope.router)}] if scope.router else []
    if addresses:
        options.append({"name": str(DEFINITION["name"]), "data": ", ".join(map(str, addresses))})
    subnet["option-data"] = options
    lines = [
        '// inside "Dhcp4": the definition once; in "subnet4" the option goes into the subnet that is there',
        f'"option-def": [ {json.dumps(DEFINITION)} ],',
        f'"subnet4": [ {json.dumps(subnet)} ]',
    ]
    return "\n".join(lines)


def _isc(scope: Scope, after: Addresses, before: Addresses) -> Snippet:
    _needed(scope, Server.ISC)
    file = "/etc/dhcp/dhcpd.conf"
    return Snippet(
        Server.ISC,
        file,
        f"grep -n 150 {file}",
        _isc_text(scope, after),
        f"dhcpd -t -cf {file}",
        "systemctl restart isc-dhcp-server",
        _isc_text(scope, before),
    )


def _isc_text(scope: Scope, addresses: Addresses) -> str:
    subnet = _needed(scope, Server.ISC)
    inside = [f"range {scope.pool[0]} {scope.pool[1]};"] if scope.pool else []
    inside += [f"option routers {scope.router};"] if scope.router else []
    inside += [f"option option-150 {', '.join(map(str, addresses))};"] if addresses else []
    lines = [
        "# the definition once, before its first use; the option goes into the subnet that is there",
        "option option-150 code 150 = array of ip-address;",
        f"subnet {subnet.network_address} netmask {subnet.netmask} {{",
        *(f"    {line}" for line in inside),
        "}",
    ]
    return "\n".join(lines)


def _dnsmasq(scope: Scope, after: Addresses, before: Addresses) -> Snippet:
    file = "/etc/dnsmasq.d/option-150.conf"
    return Snippet(
        Server.DNSMASQ,
        file,
        "grep -rn -e 150 -e tftp-server /etc/dnsmasq.conf /etc/dnsmasq.d",
        _dnsmasq_text(scope, after),
        f"dnsmasq --test -C {file}",
        "systemctl restart dnsmasq",
        _dnsmasq_text(scope, before),
    )


def _dnsmasq_text(scope: Scope, addresses: Addresses) -> str:
    lines, tag = [], ""
    if scope.subnet and scope.pool:
        lines.append(f"dhcp-range=set:{scope.name},{scope.pool[0]},{scope.pool[1]},{scope.subnet.netmask}")
        tag = f"tag:{scope.name},"
    elif scope.subnet:
        lines.append(f"# for {scope.subnet} alone: its dhcp-range begins with set:{scope.name}, and this names the tag")
        tag = f"tag:{scope.name},"
    if scope.router:
        lines.append(f"dhcp-option={tag}option:router,{scope.router}")
    if addresses:
        lines.append(f"dhcp-option={tag}{CODE},{','.join(map(str, addresses))}")
    return "\n".join(lines or ["# no option 150"])


def _ios(scope: Scope, after: Addresses, before: Addresses) -> Snippet:
    return Snippet(
        Server.IOS,
        "",
        f"show running-config | section ip dhcp pool {scope.name}",
        _ios_text(scope, after),
        f"show running-config | section ip dhcp pool {scope.name}",
        "write memory",
        _ios_text(scope, before),
    )


def _ios_text(scope: Scope, addresses: Addresses) -> str:
    lines = ["configure terminal", f"ip dhcp pool {scope.name}"]
    if scope.pool and scope.subnet:
        lines.append(f" network {scope.subnet.network_address} {scope.subnet.netmask}")
    lines += [f" default-router {scope.router}"] if scope.router else []
    lines.append(f" option 150 ip {' '.join(map(str, addresses))}" if addresses else " no option 150")
    return "\n".join([*lines, "end"])


def _windows(scope: Scope, after: Addresses, before: Addresses) -> Snippet:
    network = _needed(scope, Server.WINDOWS).network_address
    shown = f"Get-DhcpServerv4OptionValue -ScopeId {network} -OptionId {CODE}"
    definition = [
        f"if (-not (Get-DhcpServerv4OptionDefinition -OptionId {CODE} -ErrorAction SilentlyContinue)) {{",
        f'    Add-DhcpServerv4OptionDefinition -OptionId {CODE} -Name "TFTP servers" -Type IPv4Address -MultiValued',
        "}",
    ]
    change = [*_windows_scope(scope), *definition, _windows_value(network, after)]
    return Snippet(Server.WINDOWS, "", shown, "\n".join(change), shown, "", _windows_value(network, before))


def _windows_scope(scope: Scope) -> list[str]:
    subnet = _needed(scope, Server.WINDOWS)
    lines = []
    if scope.pool:
        ends = f"-StartRange {scope.pool[0]} -EndRange {scope.pool[1]} -SubnetMask {subnet.netmask}"
        lines.append(f'Add-DhcpServerv4Scope -Name "{scope.name}" {ends}')
    if scope.router:
        lines.append(f"Set-DhcpServerv4OptionValue -ScopeId {subnet.network_address} -Router {scope.router}")
    return lines


def _windows_value(network: IPv4Address, addresses: Addresses) -> str:
    if not addresses:
        return f"Remove-DhcpServerv4OptionValue -ScopeId {network} -OptionId {CODE}"
    values = ",".join(map(str, addresses))
    return f"Set-DhcpServerv4OptionValue -ScopeId {network} -OptionId {CODE} -Value {values}"


def _needed(scope: Scope, server: Server) -> IPv4Network:
    if scope.subnet is None:
        raise ScopeInvalidError(f"{server} keeps option 150 in a subnet", remedy="Add --subnet 198.51.100.0/24.")
    return scope.subnet


_WRITERS: dict[Server, Callable[[Scope, Addresses, Addresses], Snippet]] = {
    Server.KEA: _kea,
    Server.DNSMASQ: _dnsmasq,
    Server.ISC: _isc,
    Server.IOS: _ios,
    Server.WINDOWS: _windows,
}
