"""The TVS codec holds for all values and for all bytes."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from certferry.wire.tvs import (
    CertificateQueryReply,
    CertificateQueryRequest,
    CertificateVerificationReply,
    CertificateVerificationRequest,
    Message,
    Status,
    TvsMalformedError,
    frame_length,
    parse_message,
)

sessions = st.integers(0, 2**32 - 1)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
names = texts.map("CN={}".format)
roles = st.lists(st.integers(0, 255), max_size=6).map(tuple)
ttls = st.integers(0, 2**32 - 1)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(CertificateVerificationRequest, sessions, texts, st.binary(max_size=300)),
    st.builds(CertificateVerificationReply, sessions, st.just(Status.VALID), roles, ttls | st.none()),
    st.builds(CertificateVerificationReply, sessions, st.just(Status.INVALID)),
    st.builds(CertificateQueryRequest, sessions, texts, names, names, st.binary(max_size=20)),
    st.builds(CertificateQueryReply, sessions, st.just(Status.VALID), st.binary(max_size=300) | st.none(), roles, ttls),
    st.builds(CertificateQueryReply, sessions, st.just(Status.INVALID)),
)


@given(messages)
def test_every_message_survives_the_wire(message: Message) -> None:
    encoded = message.encode()
    assert parse_message(encoded) == message
    assert frame_length(encoded[:10]) == len(encoded)


@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(TvsMalformedError):
        parse_message(data)


@given(messages, st.data())
def test_a_damaged_message_is_read_or_refused_and_what_is_read_can_be_written(
    message: Message, data: st.DataObject
) -> None:
    damaged = bytearray(message.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(TvsMalformedError):
        parse_message(parse_message(bytes(damaged)).encode())


@given(messages, st.integers(1, 30))
def test_a_cut_message_is_refused(message: Message, cut: int) -> None:
    short = message.encode()[:-cut]
    refused = False
    try:
        parse_message(short)
    except TvsMalformedError:
        refused = True
    assert refused
