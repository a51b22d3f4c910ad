"""A phone's DHCP: what it asks, and which of the answer's TFTP servers it takes."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from certferry.wire.dhcp import DhcpMessage, DhcpOptionError, MessageType, Op, Option
from certferry.wire.phone_dhcp import (
    DEFAULT_ORDER,
    TftpServers,
    TftpSource,
    phone_discover,
    phone_request,
    tftp_servers,
)

MAC = bytes.fromhex("001b54000001")
ONE, TWO = IPv4Address("192.0.2.11"), IPv4Address("192.0.2.12")


def offer(*options: tuple[int, bytes], siaddr: str = "0.0.0.0") -> DhcpMessage:
    return DhcpMessage(Op.REPLY, 7, MAC, options, your_address=TWO, siaddr=IPv4Address(siaddr))


def test_a_phone_says_what_it_is_and_asks_for_its_tftp_servers() -> None:
    asked = phone_discover(7, MAC, model="CP-8861")
    assert asked.message_type is MessageType.DISCOVER
    assert asked.class_identifier == "Cisco Systems, Inc. IP Phone CP-8861"
    assert asked.option(Option.HOST_NAME) == b"SEP001B54000001"
    assert asked.client_identifier == b"\1" + MAC
    assert {150, 66} <= set(asked.parameter_list)


def test_a_phone_takes_an_offer_by_naming_its_server_and_address() -> None:
    asked = phone_request(offer((Option.SERVER, ONE.packed)))
    assert (asked.message_type, asked.transaction) == (MessageType.REQUEST, 7)
    assert (asked.server, asked.requested_address) == (ONE, TWO)
    assert 150 in asked.parameter_list


def test_an_offer_without_its_server_cannot_be_taken() -> None:
    with pytest.raises(DhcpOptionError, match="option 54"):
        phone_request(offer())


FULL = offer((150, ONE.packed + TWO.packed), (66, b"tftp.example.com"), siaddr="192.0.2.13")


def test_150_comes_before_66_before_siaddr() -> None:
    without_150 = replace(FULL, options=FULL.options[1:])
    without_both = replace(FULL, options=())
    assert tftp_servers(FULL) == TftpServers(TftpSource.OPTION_150, ("192.0.2.11", "192.0.2.12"))
    assert tftp_servers(without_150) == TftpServers(TftpSource.OPTION_66, ("tftp.example.com",))
    assert tftp_servers(without_both) == TftpServers(TftpSource.SIADDR, ("192.0.2.13",))


def test_the_order_is_a_setting() -> None:
    taken = tftp_servers(FULL, tuple(reversed(DEFAULT_ORDER)))
    assert taken == TftpServers(TftpSource.SIADDR, ("192.0.2.13",))


def test_an_answer_that_names_no_server_gives_none() -> None:
    assert tftp_servers(offer()) is None
    assert tftp_servers(offer((150, bytes(4)))) is None


def test_a_malformed_option_150_counts_as_missing() -> None:
    assert tftp_servers(offer((150, b"abcde"), (66, b"host"))) == TftpServers(TftpSource.OPTION_66, ("host",))
