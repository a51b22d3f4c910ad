"""The snippets are understood by Kea, ISC dhcpd and dnsmasq: their own configuration checks say so."""

import json
import shlex
import subprocess
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from certferry.dhcp.scope import Scope
from certferry.dhcp.snippets import Server, Snippet, snippet
from dhcp_programs import program

PACKAGES = {Server.KEA: "kea-dhcp4-server", Server.ISC: "isc-dhcp-server", Server.DNSMASQ: "dnsmasq-base"}
ONE, TWO, OLD = (IPv4Address(f"192.0.2.{number}") for number in (11, 12, 99))
SUBNET = IPv4Network("198.51.100.0/24")
THERE = Scope(SUBNET)
NEW = Scope(SUBNET, (IPv4Address("198.51.100.10"), IPv4Address("198.51.100.99")), IPv4Address("198.51.100.1"))
each_server = pytest.mark.parametrize("server", list(PACKAGES))


def understood(snippet: Snippet, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Put the text where the server reads it, and let the snippet's own check command judge."""
    file = folder / "server.conf"
    file.write_text(surrounded(snippet.server, text), encoding="utf-8")
    name, *words = shlex.split(snippet.check)
    command = [program(name, PACKAGES[snippet.server]), *(word.replace(snippet.file, str(file)) for word in words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def surrounded(server: Server, text: str) -> str:
    if server is not Server.KEA:
        return text
    usual = {"interfaces-config": {"interfaces": []}, "lease-database": {"type": "memfile", "persist": False}}
    return f'{{ "Dhcp4": {{ {json.dumps(usual)[1:-1]},\n{text}\n}} }}'


@each_server
@pytest.mark.parametrize("scope", [THERE, NEW], ids=["a scope that is there", "a new scope"])
@pytest.mark.parametrize("after", [(ONE,), (ONE, TWO)], ids=["one address", "two addresses"])
def test_the_change_is_understood(server: Server, scope: Scope, after: tuple[IPv4Address, ...], tmp_path: Path) -> None:
    written = snippet(server, scope, after, (OLD,))
    checked = understood(written, written.change, tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@each_server
@pytest.mark.parametrize("before", [(), (OLD,), (OLD, TWO)], ids=["nothing", "one address", "two addresses"])
def test_the_way_back_is_understood(server: Server, before: tuple[IPv4Address, ...], tmp_path: Path) -> None:
    written = snippet(server, THERE, (ONE,), before)
    checked = understood(written, written.back, tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@each_server
def test_the_check_would_find_a_mistake(server: Server, tmp_path: Path) -> None:
    written = snippet(server, THERE, (ONE, TWO))
    checked = understood(written, written.change.replace("192.0.2.11,", "192.0.2.eleven,"), tmp_path)
    assert checked.returncode != 0
