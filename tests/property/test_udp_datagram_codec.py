"""UDP in IPv4: what is written is read back, with right checksums; anything else is refused by its own error."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certferry.wire.udp_datagram import UdpDatagram, UdpMalformedError

addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
ports = st.integers(0, 65535)
datagrams = st.builds(UdpDatagram, addresses, ports, addresses, ports, st.binary(max_size=1500))
ONE = UdpDatagram(IPv4Address("0.0.0.0"), 68, IPv4Address("255.255.255.255"), 67, b"hello")


def ones_sum(data: bytes) -> int:
    total = sum(int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big") for at in range(0, len(data), 2))
    return (total - 1) % 0xFFFF + 1


@given(datagrams)
def test_a_datagram_survives_the_wire(datagram: UdpDatagram) -> None:
    assert UdpDatagram.parse(datagram.encode()) == datagram


@given(datagrams)
def test_both_checksums_are_right(datagram: UdpDatagram) -> None:
    packet = datagram.encode()
    size = len(packet) - 20
    assert ones_sum(packet[:20]) == 0xFFFF
    assert ones_sum(packet[12:20] + bytes([0, 17]) + size.to_bytes(2, "big") + packet[20:]) == 0xFFFF


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_a_datagram_or_refused(data: bytes) -> None:
    parse_or_refuse(data)


@given(datagrams, st.data())
def test_a_damaged_packet_is_a_datagram_or_refused(datagram: UdpDatagram, data: st.DataObject) -> None:
    packet = bytearray(datagram.encode())
    at = data.draw(st.integers(0, len(packet) - 1))
    packet[at] = data.draw(st.integers(0, 255))
    parse_or_refuse(bytes(packet))
    parse_or_refuse(bytes(packet[:at]))


def test_what_stands_after_the_packet_is_no_part_of_it() -> None:
    assert UdpDatagram.parse(ONE.encode() + bytes(18)) == ONE


def test_options_of_the_header_are_passed_over() -> None:
    packet = ONE.encode()
    longer = b"\x46\0" + (len(packet) + 4).to_bytes(2, "big") + packet[4:20] + bytes(4) + packet[20:]
    assert UdpDatagram.parse(longer) == ONE


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ((0, b"\x65"), "65 at offset 0 is not IPv4"),
        ((0, b"\x44"), "44 at offset 0 is not IPv4"),
        ((9, b"\x06"), "not UDP"),
        ((6, b"\x20\x00"), "in fragments"),
        ((2, b"\xff\xff"), "length 65535 at offset 2"),
        ((24, b"\x00\x07"), "length 7 at offset 24"),
        ((24, b"\x00\xff"), "length 255 at offset 24"),
    ],
)
def test_what_is_no_datagram_is_refused_at_its_offset(damage: tuple[int, bytes], sentence: str) -> None:
    at, wrong = damage
    packet = ONE.encode()
    with pytest.raises(UdpMalformedError, match=sentence):
        UdpDatagram.parse(packet[:at] + wrong + packet[at + len(wrong) :])


def test_what_does_not_fit_a_packet_is_not_written() -> None:
    with pytest.raises(UdpMalformedError, match="65600 bytes do not fit"):
        UdpDatagram(ONE.source, 68, ONE.destination, 67, bytes(65600)).encode()


def parse_or_refuse(data: bytes) -> UdpDatagram | None:
    try:
        return UdpDatagram.parse(data)
    except UdpMalformedError:
        return None
