"""``certferry dhcp check`` in a network of its own, against Kea, ISC dhcpd, dnsmasq, and a server that is wrong."""

from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from certferry.dhcp.scope import Scope, subnet_of
from certferry.dhcp.snippets import DEFINITION, Server, snippet
from command_line import COMMAND, Ended
from dhcp_network import SUBNET, Host, Network, dhcp_network
from dhcp_offers import PATIENCE, listening_until
from dhcp_programs import program

ONE, TWO = IPv4Address("192.0.2.11"), IPv4Address("192.0.2.12")
BOTH = ["192.0.2.11", "192.0.2.12"]
BOTH_HEX = (ONE.packed + TWO.packed).hex()
SERVER = "198.51.100.1"

pytestmark = pytest.mark.slow


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with dhcp_network(tmp_path) as made:
        yield made


@pytest.fixture
def server(network: Network) -> Host:
    return network.host(f"{SERVER}/24")


@pytest.fixture
def phone(network: Network) -> Host:
    """Where the question is asked; as a phone, it has no address yet."""
    return network.host()


def check(host: Host, *more: str, seconds: str = PATIENCE, servers: int = 1) -> Ended:
    with listening_until(servers):
        return host.certferry("dhcp", "check", "--interface", "eth0", "--seconds", seconds, "--json", *more)


def found(ended: Ended) -> dict[str, str]:
    return {finding["id"]: finding["verdict"] for finding in ended.json["findings"]}


# --- real servers, with what the snippets say


def test_what_dnsmasq_offers_after_its_snippet_is_what_was_expected(server: Host, phone: Host) -> None:
    server.dnsmasq(f"--{snippet(Server.DNSMASQ, Scope(), (ONE, TWO)).change}")
    done = check(phone, "--expect", "192.0.2.11,192.0.2.12")
    assert done.code == 0, done
    (offer,) = done.json["offers"]
    assert (offer["server"], offer["option_150"]) == (SERVER, BOTH)
    assert offer["phone_uses"] == {"source": "150", "servers": BOTH}
    assert found(done) == {"expected": "pass"}


def test_what_isc_dhcpd_offers_after_its_snippet_is_what_was_expected(server: Host, phone: Host) -> None:
    scope = Scope(subnet_of(SUBNET), (IPv4Address("198.51.100.30"), IPv4Address("198.51.100.39")))
    server.isc(snippet(Server.ISC, scope, (ONE, TWO)).change)
    done = check(phone, "--expect", "192.0.2.11,192.0.2.12")
    assert done.code == 0, done
    assert done.json["offers"][0]["option_150_bytes"] == BOTH_HEX


def test_what_kea_offers_after_its_snippet_is_what_was_expected(server: Host, phone: Host) -> None:
    options = [{"name": DEFINITION["name"], "data": "192.0.2.11, 192.0.2.12"}]
    server.kea({"option-data": options}, **{"option-def": [DEFINITION]})
    done = check(phone, "--expect", "192.0.2.11,192.0.2.12")
    assert done.code == 0, done
    assert done.json["offers"][0]["address"].startswith("198.51.100.4")


def test_no_lease_is_taken(server: Host, phone: Host) -> None:
    server.dnsmasq("--dhcp-option=150,192.0.2.11")
    assert check(phone).code == 0
    leases = server.folder / "dnsmasq.leases"
    assert not leases.exists() or leases.read_text() == ""


def test_another_phone_s_reservation_can_be_asked_for(server: Host, phone: Host) -> None:
    server.dnsmasq("--dhcp-host=00:1b:54:00:00:01,198.51.100.15,set:moved", "--dhcp-option=tag:moved,150,192.0.2.12")
    done = check(phone, "--mac", "SEP001B54000001")
    assert done.json["offers"][0]["address"] == "198.51.100.15"
    assert done.json["phone_uses"]["servers"] == ["192.0.2.12"]


def test_a_server_that_tells_only_phones_tells_us(server: Host, phone: Host) -> None:
    server.dnsmasq("--dhcp-vendorclass=set:phone,Cisco Systems", "--dhcp-option=tag:phone,150,192.0.2.11")
    assert check(phone).json["phone_uses"]["servers"] == ["192.0.2.11"]


# --- what is wrong is told


def test_nobody_answering_is_told(phone: Host) -> None:
    done = check(phone, "--expect", "192.0.2.11", seconds="0.3")
    assert done.code == 1
    assert found(done) == {"nobody-answers": "fail"}


def test_other_servers_than_expected_end_with_4(server: Host, phone: Host) -> None:
    server.dnsmasq("--dhcp-option=150,192.0.2.12,192.0.2.11")
    done = check(phone, "--expect", "192.0.2.11,192.0.2.12")
    assert done.code == 4
    assert "in another order" in done.json["findings"][0]["sentence"]


def test_two_servers_that_agree_are_both_named(network: Network, server: Host, phone: Host) -> None:
    server.dnsmasq("--dhcp-option=150,192.0.2.11")
    network.host("198.51.100.3/24").fake(server="198.51.100.3", **{"150": ONE.packed.hex()})
    done = check(phone, "--expect", "192.0.2.11", servers=2)
    assert done.code == 0
    assert {offer["server"] for offer in done.json["offers"]} == {SERVER, "198.51.100.3"}
    assert found(done) == {"several-servers": "warn", "expected": "pass"}


def test_two_real_servers_that_contradict_each_other_are_told(network: Network, server: Host, phone: Host) -> None:
    server.dnsmasq("--dhcp-option=150,192.0.2.11")
    options = [{"code": 150, "csv-format": False, "data": TWO.packed.hex()}]
    network.host("198.51.100.3/24").kea({"option-data": options})
    done = check(phone, "--expect", "192.0.2.11", servers=2)
    assert done.code == 4
    assert found(done) == {"contradiction": "fail", "expected": "fail"}
    assert done.json["phone_uses"] is None
    assert check(phone, servers=2).code == 1


def test_a_malformed_option_150_is_told_with_what_phones_do_then(server: Host, phone: Host) -> None:
    server.fake(server=SERVER, siaddr="192.0.2.13", **{"150": "c000020bc0", "66": b"192.0.2.12".hex()})
    done = check(phone)
    assert done.code == 1
    assert found(done) == {"option-150-length": "fail"}
    assert "option 150 has 5 bytes" in done.json["findings"][0]["sentence"]
    assert done.json["phone_uses"] == {"source": "66", "servers": ["192.0.2.12"]}
    assert done.json["offers"][0]["option_150_bytes"] == "c000020bc0"


def test_the_order_of_the_phones_is_a_setting(server: Host, phone: Host) -> None:
    server.fake(server=SERVER, siaddr="192.0.2.13", **{"150": BOTH_HEX})
    assert check(phone, "--order", "siaddr,150,66").json["phone_uses"]["servers"] == ["192.0.2.13"]


def test_an_address_of_another_subnet_is_told(network: Network, server: Host) -> None:
    asking = network.host("198.51.100.2/24")
    server.fake(server=SERVER, address="203.0.113.5", **{"150": BOTH_HEX})
    done = check(asking)
    assert done.code == 1
    assert found(done) == {"wrong-subnet": "fail"}


def test_hostile_answers_are_passed_over(server: Host, phone: Host) -> None:
    server.fake(server=SERVER, noise="02010600" + "ff" * 400, **{"150": BOTH_HEX})
    assert check(phone).json["phone_uses"]["servers"] == BOTH


def test_people_read_a_table_and_what_to_do(server: Host, phone: Host) -> None:
    server.fake(server=SERVER, siaddr="192.0.2.13")
    with listening_until(1):
        done = phone.certferry("dhcp", "check", "--interface", "eth0", "--seconds", PATIENCE)
    assert done.code == 0
    assert "192.0.2.13" in done.stdout
    assert "sends no option 150: phones fall back on 192.0.2.13 from siaddr" in done.stdout


def test_without_the_right_to_send_packets_it_is_refused(phone: Host) -> None:
    nobody = (program("setpriv", "util-linux"), "--bounding-set", "-net_raw", "--inh-caps", "-all")
    done = phone.run(*nobody, *COMMAND, "dhcp", "check", "--interface", "eth0", "--json")
    assert done.returncode == 1
    assert "dhcp.not-permitted" in done.stdout
