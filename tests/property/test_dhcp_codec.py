"""DHCP messages: what is written is read back, and arbitrary bytes raise nothing but the codec's own error."""

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from certferry.wire.dhcp import COOKIE, DhcpMalformedError, DhcpMessage, Op, Option

addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
codes = st.integers(1, 254).filter(lambda code: code != Option.OVERLOAD)
options = st.lists(st.tuples(codes, st.binary(max_size=600)), max_size=8, unique_by=lambda option: option[0]).map(tuple)
latin = st.characters(min_codepoint=1, max_codepoint=255)
messages = st.builds(
    DhcpMessage,
    st.sampled_from(Op),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=16),
    options,
    st.booleans(),
    addresses,
    addresses,
    addresses,
    addresses,
    st.text(latin, max_size=64),
    st.text(latin, max_size=128),
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 65535),
)
ACCESSORS = (
    "message_type", "server", "requested_address", "subnet_mask", "routers", "lease_seconds", "parameter_list",
    "class_identifier", "client_identifier", "tftp_name", "tftp_addresses",
)  # fmt: skip


@given(messages)
def test_a_message_survives_the_wire(message: DhcpMessage) -> None:
    assert DhcpMessage.parse(message.encode()) == message


@given(
    st.binary(max_size=300) | st.binary(max_size=200).map(lambda rest: bytes([2, 1, 6]) + bytes(233) + COOKIE + rest)
)
def test_arbitrary_bytes_are_a_message_or_refused(data: bytes) -> None:
    parse_or_refuse(data)


@given(messages, st.data())
def test_a_damaged_message_is_a_message_or_refused(message: DhcpMessage, data: st.DataObject) -> None:
    wire = bytearray(message.encode())
    at = data.draw(st.integers(0, len(wire) - 1))
    wire[at] = data.draw(st.integers(0, 255))
    parse_or_refuse(bytes(wire))
    parse_or_refuse(bytes(wire[:at]))


@given(st.binary(max_size=64), st.binary(max_size=64), st.binary(max_size=128), st.integers(0, 4))
def test_overloaded_fields_of_any_content_are_read_or_refused(
    rest: bytes, sname: bytes, file: bytes, overload: int
) -> None:
    head = bytes([2, 1, 6]) + bytes(41) + sname.ljust(64, b"\0") + file.ljust(128, b"\0") + COOKIE
    message = parse_or_refuse(head + bytes([52, 1, overload]) + rest)
    if message is not None:
        assert DhcpMessage.parse(message.encode()) == message


def parse_or_refuse(data: bytes) -> DhcpMessage | None:
    try:
        message = DhcpMessage.parse(data)
    except DhcpMalformedError:
        return None
    for name in ACCESSORS:
        try:
            getattr(message, name)
        except DhcpMalformedError:
            continue
    return message
