"""A peer's connection is answered in order, and in turns: who sends thousands of messages at once delays nobody."""

import asyncio
from typing import Any

import pytest

from certferry.errors import MalformedError
from certferry.serve.conversation import TURN, Conversation


class Transport:
    """Takes what is written, and says no more when told to."""

    def __init__(self) -> None:
        self.written = b""
        self.reading = True
        self.closing = False
        self.deadline = 0.0
        self.host = "192.0.2.1"

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def abort(self) -> None:
        self.closing = True


class Echo(Conversation):
    """Every byte is a message, answered by itself; ``!`` is malformed."""

    malformed_seen = 0

    def step(self) -> bool:
        if not self.received:
            return False
        message = bytes(self.received[:1])
        del self.received[:1]
        if message == b"!":
            raise MalformedError("!")
        self.transport.write(message)
        return True

    def malformed(self) -> None:
        self.malformed_seen += 1

    def late(self) -> None:
        raise AssertionError


@pytest.fixture
async def peer() -> Any:
    conversation = Echo(60)
    transport: Any = Transport()
    conversation.connection_made(transport)
    yield conversation
    conversation.connection_lost(None)


def transport_of(peer: Echo) -> Transport:
    transport: Any = peer.transport
    assert isinstance(transport, Transport)
    return transport


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_few_messages_are_answered_at_once(peer: Echo) -> None:
    peer.data_received(b"abc")
    assert transport_of(peer).written == b"abc"
    assert transport_of(peer).reading


async def test_many_messages_wait_for_their_turns_and_nothing_more_is_read_meanwhile(peer: Echo) -> None:
    many = bytes(range(0x30, 0x7F)) * 10
    peer.data_received(many)
    assert transport_of(peer).written == many[:TURN]
    assert not transport_of(peer).reading
    peer.data_received(b"xyz")  # what TLS had decrypted already
    assert transport_of(peer).written == many[:TURN]
    await turns(1)
    assert transport_of(peer).written == many[: 2 * TURN]
    await turns(len(many) // TURN)
    assert transport_of(peer).written == many + b"xyz"
    assert transport_of(peer).reading


async def test_another_peer_has_its_turn_between(peer: Echo) -> None:
    other = Echo(60)
    transport: Any = Transport()
    other.connection_made(transport)
    peer.data_received(b"a" * 100 * TURN)
    other.data_received(b"b")
    assert (transport.written, len(transport_of(peer).written)) == (b"b", TURN)
    other.connection_lost(None)


async def test_a_peer_that_does_not_read_is_answered_no_further_until_it_does(peer: Echo) -> None:
    peer.data_received(b"a" * 3 * TURN)
    peer.pause_writing()
    await turns(5)
    assert len(transport_of(peer).written) == TURN
    assert not transport_of(peer).reading
    peer.resume_writing()
    await turns(5)
    assert len(transport_of(peer).written) == 3 * TURN
    assert transport_of(peer).reading


async def test_what_is_malformed_in_a_later_turn_ends_the_connection_once(peer: Echo) -> None:
    peer.data_received(b"a" * TURN + b"!" + b"b" * TURN)
    await turns(3)
    assert (transport_of(peer).written, peer.malformed_seen) == (b"a" * TURN, 1)
    assert transport_of(peer).closing


async def test_a_connection_lost_between_turns_is_answered_no_further(peer: Echo) -> None:
    peer.data_received(b"a" * 2 * TURN)
    transport_of(peer).closing = True
    await turns(3)
    assert len(transport_of(peer).written) == TURN
