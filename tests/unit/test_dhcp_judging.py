"""What offers mean for phones, judged without a network; real servers are asked end to end."""

from ipaddress import IPv4Address, IPv4Interface

import pytest

from certferry.dhcp.asking import Heard, Offered
from certferry.dhcp.judging import Judgement, Topic, Verdict, describe, judge
from certferry.wire.dhcp import DhcpMessage, MessageType, Op, Option
from certferry.wire.phone_dhcp import TftpSource
from command_line import certferry

MAC = bytes.fromhex("001b54000001")
ONE, TWO, THREE = (IPv4Address(f"192.0.2.{number}") for number in (11, 12, 13))
BOTH = ONE.packed + TWO.packed


def offer(
    *options: tuple[int, bytes], server: str = "198.51.100.1", address: str = "198.51.100.20", siaddr: str = "0.0.0.0"
) -> Offered:
    sender = IPv4Address(server)
    usual = ((Option.MESSAGE_TYPE, bytes([MessageType.OFFER])), (Option.SERVER, sender.packed))
    message = DhcpMessage(
        Op.REPLY, 7, MAC, (*usual, *options), your_address=IPv4Address(address), siaddr=IPv4Address(siaddr)
    )
    return Offered(sender, message)


def judged(*offers: Offered, expected: tuple[IPv4Address, ...] = (), own: str | None = None) -> Judgement:
    return judge(Heard(MAC, IPv4Interface(own) if own else None, offers), expected)


def found(judgement: Judgement) -> list[tuple[Topic, Verdict]]:
    return [(finding.topic, finding.verdict) for finding in judgement.findings]


def test_one_good_offer_leaves_nothing_to_say() -> None:
    judgement = judged(offer((150, BOTH)))
    assert (judgement.findings, judgement.fails, judgement.held) == ((), False, None)
    assert judgement.phone_uses is not None
    assert judgement.phone_uses.servers == ("192.0.2.11", "192.0.2.12")


def test_nobody_answering_fails_and_holds_nothing() -> None:
    judgement = judged(expected=(ONE,))
    assert found(judgement) == [(Topic.NOBODY_ANSWERS, Verdict.FAIL)]
    assert (judgement.held, judgement.phone_uses) == (None, None)


def test_what_is_expected_holds_in_its_order_only() -> None:
    assert judged(offer((150, BOTH)), expected=(ONE, TWO)).held is True
    turned = judged(offer((150, BOTH)), expected=(TWO, ONE))
    assert turned.held is False
    assert "the same in another order" in turned.findings[-1].sentence
    other = judged(offer((150, BOTH)), expected=(THREE,))
    assert other.findings[-1].sentence == (
        "expected 192.0.2.13, but 198.51.100.1 gives 192.0.2.11,192.0.2.12 from option 150"
    )


def test_every_server_has_to_give_what_is_expected() -> None:
    judgement = judged(offer((150, ONE.packed)), offer((150, TWO.packed), server="198.51.100.2"), expected=(ONE,))
    assert judgement.held is False
    assert (Topic.CONTRADICTION, Verdict.FAIL) in found(judgement)
    assert "198.51.100.2 gives 192.0.2.12" in judgement.findings[-1].sentence


def test_servers_contradict_each_other_when_one_names_none() -> None:
    judgement = judged(offer((150, ONE.packed)), offer(server="198.51.100.2"))
    assert (Topic.CONTRADICTION, Verdict.FAIL) in found(judgement)
    assert judgement.phone_uses is None


def test_the_same_servers_from_different_options_are_no_contradiction() -> None:
    judgement = judged(offer((150, ONE.packed)), offer((66, b"192.0.2.11"), server="198.51.100.2"))
    assert (Topic.SEVERAL_SERVERS, Verdict.WARN) in found(judgement)


@pytest.mark.parametrize(
    ("offered", "uses"),
    [
        (offer((66, b"tftp.example.com")), "tftp.example.com from option 66"),
        (offer(siaddr="192.0.2.13"), "192.0.2.13 from siaddr"),
    ],
)
def test_a_missing_option_150_is_a_warning_while_there_is_something_else(offered: Offered, uses: str) -> None:
    judgement = judged(offered)
    assert found(judgement) == [(Topic.OPTION_150_MISSING, Verdict.WARN)]
    assert judgement.findings[0].sentence.endswith(uses)


def test_without_anything_phones_have_no_server() -> None:
    assert found(judged(offer())) == [(Topic.NO_TFTP_SERVER, Verdict.FAIL)]


def test_a_wrong_length_is_told_once_and_by_its_own_name() -> None:
    judgement = judged(offer((150, b"12345"), siaddr="192.0.2.13"))
    assert found(judgement) == [(Topic.OPTION_150_LENGTH, Verdict.FAIL)]
    assert "198.51.100.1: option 150 has 5 bytes" in judgement.findings[0].sentence


def test_more_than_two_addresses_are_more_than_phones_use() -> None:
    assert found(judged(offer((150, BOTH + THREE.packed)))) == [(Topic.TOO_MANY_SERVERS, Verdict.WARN)]


def test_an_address_outside_the_network_asked_in_is_of_the_wrong_scope() -> None:
    assert judged(offer((150, BOTH)), own="198.51.100.2/24").findings == ()
    assert found(judged(offer((150, BOTH)), own="203.0.113.2/24")) == [(Topic.WRONG_SUBNET, Verdict.FAIL)]


@pytest.mark.parametrize(("router", "fits"), [("198.51.100.1", True), ("203.0.113.1", False)])
def test_a_router_in_another_subnet_is_told(router: str, *, fits: bool) -> None:
    mask = (Option.SUBNET_MASK, IPv4Address("255.255.255.0").packed)
    judgement = judged(offer((150, BOTH), mask, (Option.ROUTER, IPv4Address(router).packed)))
    assert judgement.fails is not fits


def test_nonsense_beside_option_150_spoils_nothing() -> None:
    assert not judged(offer((150, BOTH), (Option.SUBNET_MASK, b"\xff\0\xff\0"), (Option.ROUTER, b"\1\2\3\4"))).fails
    assert not judged(offer((150, BOTH), (Option.SUBNET_MASK, b"\xff"), (Option.ROUTER, b"\1"))).fails


def test_the_order_decides_what_counts_as_missing() -> None:
    heard = Heard(MAC, None, (offer(siaddr="192.0.2.13"),))
    assert judge(heard, (), (TftpSource.SIADDR, TftpSource.OPTION_150)).findings == ()


def test_an_offer_is_told_as_plain_values() -> None:
    (reading,) = judged(offer((150, b"12345"), (66, b"tftp"), siaddr="192.0.2.13")).readings
    assert describe(reading) == {
        "server": "198.51.100.1",
        "sender": "198.51.100.1",
        "relay": None,
        "address": "198.51.100.20",
        "option_150": None,
        "option_150_bytes": "3132333435",
        "option_66": "tftp",
        "siaddr": "192.0.2.13",
        "phone_uses": {"source": "66", "servers": ["tftp"]},
    }


# --- the command, before it asks anybody


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--order", "66,66"], "dhcp.order"),
        (["--order", "150,dns"], "dhcp.order"),
        (["--mac", "SEP00"], "dhcp.mac"),
        (["--mac", "zz:1b:54:00:00:01"], "dhcp.mac"),
        (["--expect", "tftp.example.com"], "dhcp.tftp-servers"),
        (["--seconds", "0"], "cli.usage"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(more: list[str], code: str) -> None:
    done = certferry("dhcp", "check", "--interface", "none", *more, "--json")
    assert (done.code, done.error["code"]) == (2, code)


@pytest.mark.parametrize("name", ["", "a-name-that-is-too-long", "no-such"])
def test_an_interface_that_is_not_there_is_told(name: str) -> None:
    done = certferry("dhcp", "check", "--interface", name, "--json")
    assert done.error["code"] in ("dhcp.interface", "dhcp.not-permitted")
