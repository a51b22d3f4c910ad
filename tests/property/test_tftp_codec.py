"""TFTP packets: what is written is read back, and arbitrary bytes raise nothing but the codec's own error."""

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from certferry.wire import tftp
from certferry.wire.tftp import (
    Ack,
    Data,
    ErrorPacket,
    Mode,
    OptionAck,
    Options,
    Packet,
    ReadRequest,
    TftpMalformedError,
    WriteRequest,
)

numbers = st.integers(0, 0xFFFF)
texts = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=100)
names = texts.filter(bool)
modes = st.sampled_from(get_args(Mode))
options = st.builds(
    Options,
    blksize=st.none() | st.integers(8, 65464),
    timeout=st.none() | st.integers(1, 255),
    tsize=st.none() | st.integers(0, 2**63 - 1),
)
packets: st.SearchStrategy[Packet] = st.one_of(
    st.builds(ReadRequest, names, modes, options),
    st.builds(WriteRequest, names, modes, options),
    st.builds(Data, numbers, st.binary(max_size=1500)),
    st.builds(Ack, numbers),
    st.builds(ErrorPacket, numbers, texts),
    st.builds(OptionAck, options),
)


@given(packets)
def test_a_packet_survives_the_wire(packet: Packet) -> None:
    assert tftp.parse(packet.encode()) == packet


@given(
    st.binary(max_size=600) | st.builds(lambda opcode, rest: bytes([0, opcode]) + rest, st.integers(0, 7), st.binary())
)
def test_arbitrary_bytes_are_a_packet_or_refused(data: bytes) -> None:
    parse_or_refuse(data)


@given(packets, st.data())
def test_a_damaged_packet_is_a_packet_or_refused(packet: Packet, data: st.DataObject) -> None:
    wire = bytearray(packet.encode())
    at = data.draw(st.integers(0, len(wire) - 1))
    wire[at] = data.draw(st.integers(0, 255))
    parse_or_refuse(bytes(wire))
    parse_or_refuse(bytes(wire[:at]))


@given(st.binary(max_size=100))
def test_what_is_read_can_be_written_and_read_again(data: bytes) -> None:
    packet = parse_or_refuse(data)
    if packet is not None:
        assert tftp.parse(packet.encode()) == packet


def parse_or_refuse(data: bytes) -> Packet | None:
    try:
        return tftp.parse(data)
    except TftpMalformedError:
        return None
