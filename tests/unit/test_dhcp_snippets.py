"""Option 150 in the words of each DHCP server; whether real servers understand them is told end to end."""

import json
from ipaddress import IPv4Address, IPv4Network

import pytest

from certferry.dhcp.scope import (
    Scope,
    ScopeInvalidError,
    TftpServersInvalidError,
    address_of,
    in_words,
    pool_of,
    subnet_of,
    tftp_addresses,
)
from certferry.dhcp.snippets import Server, snippet
from command_line import certferry

ONE, TWO, OLD = (IPv4Address(f"192.0.2.{number}") for number in (11, 12, 99))
VOICE = Scope(IPv4Network("198.51.100.0/24"))
NEW_SCOPE = Scope(
    VOICE.subnet, (IPv4Address("198.51.100.10"), IPv4Address("198.51.100.99")), address_of("198.51.100.1")
)
every_server = pytest.mark.parametrize("server", list(Server))


# --- what is given


@pytest.mark.parametrize(("text", "addresses"), [("192.0.2.11", (ONE,)), (" 192.0.2.11 , 192.0.2.12", (ONE, TWO))])
def test_one_or_two_addresses_are_read_in_their_order(text: str, addresses: tuple[IPv4Address, ...]) -> None:
    assert tftp_addresses(text) == addresses


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "'' is not an IPv4 address"),
        ("tftp.example.com", "'tftp.example.com' is not an IPv4 address"),
        ("192.0.2.11,", "'' is not"),
        ("192.0.2.11,192.0.2.11", "192.0.2.11 stands twice"),
        ("192.0.2.11,192.0.2.12,192.0.2.13", "3 addresses: phones use 2"),
        ("0.0.0.0", "0.0.0.0 is no address of a host"),
        ("224.0.0.1", "224.0.0.1 is no address of a host"),
        ("255.255.255.255", "255.255.255.255 is no"),
        ("2001:db8::1", "is not an IPv4 address"),
    ],
)
def test_what_no_phone_could_use_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(TftpServersInvalidError, match=sentence):
        tftp_addresses(text)


def test_addresses_are_written_as_they_are_typed() -> None:
    assert in_words((ONE, TWO)) == "192.0.2.11,192.0.2.12"


@pytest.mark.parametrize("text", ["198.51.100.1/24", "198.51.100.0", "voice", "198.51.100.0/33"])
def test_a_subnet_is_written_as_its_network_and_prefix(text: str) -> None:
    with pytest.raises(ScopeInvalidError):
        subnet_of(text)


def test_a_range_is_two_addresses() -> None:
    assert pool_of("198.51.100.10-198.51.100.99") == NEW_SCOPE.pool
    with pytest.raises(ScopeInvalidError, match="'' is not"):
        pool_of("198.51.100.10")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"router": ONE}, "needs its subnet"),
        ({"subnet": VOICE.subnet, "router": ONE}, "192.0.2.11 is outside of 198.51.100.0/24"),
        ({"subnet": VOICE.subnet, "pool": (IPv4Address("198.51.100.9"), IPv4Address("198.51.100.8"))}, "backwards"),
        ({"name": 'VOICE"; rm'}, "is no name"),
        ({"name": ""}, "is no name"),
    ],
)
def test_a_scope_that_does_not_fit_together_is_refused(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(ScopeInvalidError, match=sentence):
        Scope(**arguments)  # type: ignore[arg-type]


# --- what is written


@every_server
def test_the_preferred_server_stands_first(server: Server) -> None:
    change = snippet(server, VOICE, (TWO, ONE)).change
    assert change.index(str(TWO)) < change.index(str(ONE))


@every_server
def test_one_address_is_enough(server: Server) -> None:
    written = snippet(server, VOICE, (ONE,))
    assert str(ONE) in written.change
    assert str(TWO) not in written.change


@every_server
def test_the_way_back_names_what_stood_there(server: Server) -> None:
    written = snippet(server, VOICE, (ONE, TWO), (OLD,))
    assert str(OLD) in written.back
    assert str(ONE) not in written.back
    assert str(OLD) not in written.change


@every_server
def test_without_what_stood_there_the_way_back_leaves_the_option_out(server: Server) -> None:
    back = snippet(server, VOICE, (ONE,)).back
    assert "192.0.2." not in back


@every_server
def test_a_scope_that_is_not_there_yet_is_written_whole(server: Server) -> None:
    change = snippet(server, NEW_SCOPE, (ONE,)).change
    assert "198.51.100.1" in change
    if server is Server.IOS:
        assert "network 198.51.100.0 255.255.255.0" in change
    else:
        assert "198.51.100.10" in change
        assert "198.51.100.99" in change


@every_server
def test_each_snippet_tells_how_to_look_and_how_to_check(server: Server) -> None:
    written = snippet(server, VOICE, (ONE,))
    assert written.show
    assert written.check


@pytest.mark.parametrize("server", [Server.KEA, Server.ISC, Server.WINDOWS])
def test_a_server_that_keeps_options_in_subnets_needs_one(server: Server) -> None:
    with pytest.raises(ScopeInvalidError, match=f"{server} keeps option 150 in a subnet"):
        snippet(server, Scope(), (ONE,))


def test_ios_takes_addresses_in_the_pool() -> None:
    written = snippet(Server.IOS, Scope(name="PHONES"), (ONE, TWO), (OLD,))
    assert written.change.splitlines()[1:3] == ["ip dhcp pool PHONES", " option 150 ip 192.0.2.11 192.0.2.12"]
    assert " option 150 ip 192.0.2.99" in written.back.splitlines()
    assert " no option 150" in snippet(Server.IOS, Scope(), (ONE,)).back.splitlines()


def test_windows_defines_the_option_once_and_as_a_list() -> None:
    change = snippet(Server.WINDOWS, VOICE, (ONE, TWO)).change
    assert "Add-DhcpServerv4OptionDefinition -OptionId 150" in change
    assert "-Type IPv4Address -MultiValued" in change
    assert "Set-DhcpServerv4OptionValue -ScopeId 198.51.100.0 -OptionId 150 -Value 192.0.2.11,192.0.2.12" in change


def test_dnsmasq_without_a_subnet_tells_every_phone() -> None:
    assert snippet(Server.DNSMASQ, Scope(), (ONE, TWO)).change == "dhcp-option=150,192.0.2.11,192.0.2.12"


# --- the command


def test_the_command_prints_change_check_and_way_back() -> None:
    done = certferry(
        "dhcp", "snippet", "--for", "isc", "--subnet", "198.51.100.0/24", "--tftp", "192.0.2.11,192.0.2.12",
        "--before", "192.0.2.99",
    )  # fmt: skip
    assert done.code == 0
    assert "option option-150 192.0.2.11, 192.0.2.12;" in done.stdout
    assert "option option-150 192.0.2.99;" in done.stdout
    assert "dhcpd -t -cf /etc/dhcp/dhcpd.conf" in done.stdout
    assert done.stderr == ""


def test_the_command_s_json_has_the_parts_by_name() -> None:
    done = certferry("dhcp", "snippet", "--for", "kea", "--subnet", "198.51.100.0/24", "--tftp", "192.0.2.11", "--json")
    assert {"ok", "server", "file", "show", "change", "check", "activate", "back"} == set(done.json)
    change = "\n".join(line for line in done.json["change"].splitlines() if not line.startswith("//"))
    read = json.loads(f"{{ {change} }}")
    assert read["subnet4"][0]["option-data"] == [{"name": "option-150", "data": "192.0.2.11"}]


def test_without_what_stands_there_the_command_asks_to_keep_it() -> None:
    done = certferry("dhcp", "snippet", "--for", "dnsmasq", "--tftp", "192.0.2.11")
    assert done.code == 0
    assert "without --before" in done.stderr


def test_what_cannot_be_meant_is_wrong_usage() -> None:
    done = certferry("dhcp", "snippet", "--for", "kea", "--tftp", "192.0.2.11", "--json")
    assert (done.code, done.error["code"]) == (2, "dhcp.scope")
