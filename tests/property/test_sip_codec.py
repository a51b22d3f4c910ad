"""The SIP codec holds for all values, for all bytes, and however a stream is cut."""

import contextlib
from string import ascii_uppercase, digits

from hypothesis import given
from hypothesis import strategies as st

from certferry.wire.sip import Register, Response, SipMalformedError, SipMessage, frame_length

devices = st.text(ascii_uppercase + digits, min_size=1, max_size=15).map("SEP{}".format)
tokens = st.text(ascii_uppercase + digits, min_size=1, max_size=12)
registers = st.builds(
    Register.of,
    devices,
    st.ip_addresses(v=4).map(str),
    local=st.ip_addresses(v=4).map("{}:50000".format),
    call_id=tokens,
    tag=tokens,
    cseq=st.integers(0, 2**31),
    transport=st.sampled_from(["TCP", "TLS"]),
    expires=st.integers(0, 2**32 - 1),
)


@given(registers)
def test_every_register_survives_the_wire(register: Register) -> None:
    assert Register.parse(register.encode()) == register


@given(registers, st.sampled_from([200, 400, 403, 404]), tokens, st.integers(0, 86400) | st.none())
def test_every_answer_survives_the_wire(register: Register, status: int, tag: str, expires: int | None) -> None:
    answer = Response.to(SipMessage.parse(register.encode()), status, tag=tag, expires=expires)
    assert Response.parse(answer.encode()) == answer


@given(registers, registers, st.integers(0, 900))
def test_two_messages_in_a_stream_come_apart_wherever_it_was_cut(first: Register, second: Register, cut: int) -> None:
    stream = first.encode() + second.encode()
    length = frame_length(stream[:cut])
    assert length in {None, len(first.encode())}
    assert Register.parse(stream[frame_length(stream) :]) == second


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    for parse in (Register.parse, Response.parse, SipMessage.parse):
        with contextlib.suppress(SipMalformedError):
            parse(data)


@given(registers, st.data())
def test_a_damaged_message_is_read_or_refused_and_its_answer_can_be_written(
    register: Register, data: st.DataObject
) -> None:
    damaged = bytearray(register.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(SipMalformedError):
        message = SipMessage.parse(bytes(damaged))
        Response.parse(Response.to(message, 400, tag="x").encode())
        Register.of_message(message).encode()
