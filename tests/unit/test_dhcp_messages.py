"""DHCP messages byte for byte: the header, options split and overloaded, and every refusal with its offset."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from certferry.wire.dhcp import (
    COOKIE,
    DhcpMalformedError,
    DhcpMessage,
    DhcpOptionError,
    MessageType,
    Op,
    Option,
    addresses_option,
)

MAC = bytes.fromhex("001b54000001")
A, B = IPv4Address("192.0.2.11"), IPv4Address("192.0.2.12")
OFFER = DhcpMessage(
    Op.REPLY,
    0x12345678,
    MAC,
    (
        (Option.MESSAGE_TYPE, b"\2"),
        (Option.SERVER, A.packed),
        (Option.LEASE_TIME, b"\0\0\x0e\x10"),
        addresses_option(Option.TFTP_ADDRESSES, [A, B]),
    ),
    your_address=IPv4Address("198.51.100.20"),
    siaddr=B,
    sname="boot",
    file="image",
)


def message_of(options: bytes, sname: bytes = b"", file: bytes = b"") -> bytes:
    """A reply with these raw fields."""
    head = bytes([2, 1, 6]) + bytes(25) + MAC.ljust(16, b"\0")
    return head + sname.ljust(64, b"\0") + file.ljust(128, b"\0") + COOKIE + options


def test_a_message_is_its_bytes() -> None:
    data = OFFER.encode()
    assert data[:12] == bytes.fromhex("02010600 12345678 0000 0000")
    assert data[12:28] == bytes(4) + bytes([198, 51, 100, 20, 192, 0, 2, 12]) + bytes(4)
    assert data[28:44] == MAC + bytes(10)
    assert data[44:108] == b"boot".ljust(64, b"\0")
    assert data[108:236] == b"image".ljust(128, b"\0")
    assert data[236:240] == COOKIE
    assert data[240:].startswith(
        bytes.fromhex("350102 3604c000020b 330400000e10 9608c000020bc000020c ff"),
    )


def test_the_bytes_are_the_message() -> None:
    assert DhcpMessage.parse(OFFER.encode()) == OFFER


def test_a_short_message_is_padded_to_the_size_of_bootp() -> None:
    assert len(DhcpMessage(Op.REQUEST, 1, MAC).encode()) == 300


def test_the_broadcast_flag_is_the_highest_bit() -> None:
    data = DhcpMessage(Op.REQUEST, 1, MAC, broadcast=True).encode()
    assert data[10:12] == b"\x80\0"
    assert DhcpMessage.parse(data).broadcast


def test_options_have_their_types() -> None:
    assert OFFER.message_type is MessageType.OFFER
    assert OFFER.server == A
    assert OFFER.lease_seconds == 3600
    assert OFFER.tftp_addresses == (A, B)


def test_a_phones_request_tells_who_it_is_and_what_it_wants() -> None:
    asked = DhcpMessage(
        Op.REQUEST,
        7,
        MAC,
        (
            (Option.MESSAGE_TYPE, b"\1"),
            (Option.REQUESTED_ADDRESS, B.packed),
            (Option.PARAMETER_LIST, bytes([1, 66, 6, 3, 15, 150, 35])),
            (Option.CLASS, b"Cisco Systems, Inc. IP Phone CP-7962G\0"),
            (Option.CLIENT, b"\1" + MAC),
        ),
    )
    read = DhcpMessage.parse(asked.encode())
    assert read.message_type is MessageType.DISCOVER
    assert read.requested_address == B
    assert read.parameter_list == (1, 66, 6, 3, 15, 150, 35)
    assert read.class_identifier == "Cisco Systems, Inc. IP Phone CP-7962G"
    assert read.client_identifier == b"\1" + MAC


def test_what_is_missing_is_none_or_empty() -> None:
    message = DhcpMessage(Op.REPLY, 1, MAC)
    assert message.message_type is None
    assert message.server is None
    assert message.lease_seconds is None
    assert message.tftp_addresses == ()
    assert message.routers == ()
    assert message.parameter_list == ()
    assert message.tftp_name is None
    assert message.class_identifier is None


@pytest.mark.parametrize(("value", "name"), [(b"tftp.example", "tftp.example"), (b"192.0.2.11\0", "192.0.2.11")])
def test_option_66_is_a_text_with_or_without_its_nul(value: bytes, name: str) -> None:
    assert DhcpMessage(Op.REPLY, 1, MAC, ((Option.TFTP_NAME, value),)).tftp_name == name


def test_an_empty_option_66_names_nothing() -> None:
    assert DhcpMessage(Op.REPLY, 1, MAC, ((Option.TFTP_NAME, b"\0"),)).tftp_name is None


@pytest.mark.parametrize("length", [0, 3, 5, 6, 7])
def test_option_150_of_a_wrong_length_is_told(length: int) -> None:
    message = DhcpMessage(Op.REPLY, 1, MAC, ((150, bytes(length)),))
    with pytest.raises(DhcpOptionError, match=f"option 150 has {length} bytes, not four for each address"):
        _ = message.tftp_addresses


@pytest.mark.parametrize(
    ("code", "value", "accessor", "sentence"),
    [
        (53, b"", "message_type", "option 53 has 0 bytes, not 1"),
        (53, b"\x63", "message_type", "option 53 is 99"),
        (54, b"abc", "server", "option 54 has 3 bytes, not 4"),
        (50, b"abcde", "requested_address", "option 50 has 5 bytes"),
        (51, b"ab", "lease_seconds", "option 51 has 2 bytes"),
        (1, b"", "subnet_mask", "option 1 has 0 bytes"),
        (3, b"abcde", "routers", "option 3 has 5 bytes"),
    ],
)
def test_a_wrong_option_spoils_only_itself(code: int, value: bytes, accessor: str, sentence: str) -> None:
    message = DhcpMessage.parse(message_of(bytes([code, len(value)]) + value + b"\xff"))
    with pytest.raises(DhcpOptionError, match=sentence):
        getattr(message, accessor)
    assert message.tftp_name is None


def test_an_option_longer_than_255_bytes_goes_in_pieces_and_comes_back_whole() -> None:
    long = bytes(range(256)) * 2
    message = DhcpMessage(Op.REPLY, 1, MAC, ((150, long),))
    data = message.encode()
    assert data[240:242] == bytes([150, 255])
    assert data[497:499] == bytes([150, 255])
    assert DhcpMessage.parse(data) == message


def test_pieces_need_not_stand_together() -> None:
    data = message_of(bytes([150, 4]) + A.packed + b"\0\0" + bytes([53, 1, 2]) + bytes([150, 4]) + B.packed + b"\xff")
    read = DhcpMessage.parse(data)
    assert read.tftp_addresses == (A, B)
    assert read.options == ((150, A.packed + B.packed), (53, b"\2"))


def test_overloaded_fields_carry_options_file_before_sname() -> None:
    file = bytes([150, 4]) + A.packed + b"\xffrest"
    sname = bytes([150, 4]) + B.packed + b"\xff"
    read = DhcpMessage.parse(message_of(bytes([52, 1, 3, 255]), sname, file))
    assert read.tftp_addresses == (A, B)
    assert (read.sname, read.file) == ("", "")


@pytest.mark.parametrize(("overload", "sname", "file"), [(1, "host", ""), (2, "", "image")])
def test_a_field_that_is_not_overloaded_stays_a_text(overload: int, sname: str, file: str) -> None:
    read = DhcpMessage.parse(message_of(bytes([52, 1, overload, 255]), sname.encode(), file.encode()))
    assert (read.sname, read.file) == (sname, file)


def test_what_follows_the_end_is_nothing() -> None:
    assert DhcpMessage.parse(message_of(b"\xff\x35\x01\x02")).options == ()


def test_a_message_without_the_end_mark_is_read_to_its_end() -> None:
    assert DhcpMessage.parse(message_of(b"\x35\x01\x05")).message_type is MessageType.ACK


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "0 bytes ends inside the header of 240"),
        (bytes(239), "239 bytes ends inside the header"),
        (bytes(240), "op 0 at offset 0"),
        (b"\1\1\x11" + bytes(237), "17 bytes at offset 2"),
        (b"\1\1\6" + bytes(237), "00 00 00 00 at offset 236"),
        (message_of(b"\x96"), "option 150 at offset 240 has no length"),
        (message_of(b"\0\x96\4abc"), "option 150 at offset 241 runs past offset 246"),
        (message_of(b"\x34\1\1\xff", file=b"\0" * 126 + b"\x96\4"), "option 150 at offset 234 runs past offset 236"),
        (message_of(b"\x34\1\4\xff"), "option 52 is not one byte of 1, 2 or 3"),
        (message_of(b"\x34\0\xff"), "option 52 is not one byte"),
        (message_of(b"\x34\1\1\x34\1\1\xff"), "option 52 is not one byte"),
    ],
)
def test_what_is_no_message_is_refused_at_its_offset(data: bytes, sentence: str) -> None:
    with pytest.raises(DhcpMalformedError, match=sentence):
        DhcpMessage.parse(data)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"transaction": -1}, "-1 does not fit the field at offset 4"),
        ({"seconds": 65536}, "offset 8"),
        ({"hops": 256}, "offset 3"),
        ({"hardware": bytes(17)}, "17 bytes for the field at offset 28"),
        ({"sname": "s" * 65}, "65 bytes for the field at offset 44"),
        ({"file": "f" * 129}, "129 bytes for the field at offset 108"),
        ({"file": "\u96fb"}, "not Latin-1"),
        ({"options": ((0, b""),)}, "option 0 at place 0"),
        ({"options": ((255, b""),)}, "option 255"),
        ({"options": ((52, b"\1"),)}, "option 52"),
        ({"options": ((53, b"\1"), (53, b"\2"))}, "option 53 stands twice, again at place 1"),
    ],
)
def test_a_message_that_cannot_be_said_is_not_written(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(DhcpMalformedError, match=sentence):
        replace(OFFER, **change).encode()  # type: ignore[arg-type]
