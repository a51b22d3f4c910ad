"""TFTP transfers without sockets: lock-step, options, loss, duplication, reordering, wrap, all in simulated time."""

import random
import tracemalloc
from dataclasses import dataclass, field
from heapq import heappop, heappush

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certferry.wire.tftp import Ack, Data, ErrorCode, ErrorPacket, Mode, OptionAck, Options, ReadRequest, parse
from certferry.wire.tftp_session import ReceiveSession, SendSession, from_netascii, to_netascii

CONTENT = bytes(range(256)) * 5
"""1,280 bytes: two whole blocks of 512 and one of 256."""
LINE_ENDS = bytes(ord("\n" if byte % 3 == 0 else "\r") if byte % 5 < 2 else byte for byte in range(256))
"""Makes two bytes of five a line end."""


def sending(content: bytes = CONTENT, options: Options = Options(), mode: Mode = "octet") -> SendSession:  # noqa: B008 -- frozen
    return SendSession(ReadRequest("f", mode, options), content, 0.0, timeout=1.0, tries=3)


@dataclass
class LossyLink:
    """Two sessions over a link that loses, doubles and delays packets as ``chance`` says, in its own time."""

    chance: random.Random
    loss: float = 0.0
    doubling: float = 0.0
    longest_delay: float = 0.0
    now: float = 0.0
    sent: int = 0
    _in_flight: list[tuple[float, int, bool, bytes]] = field(default_factory=list)

    def carry(self, server: SendSession, client: ReceiveSession) -> None:
        """Run until both sessions are over."""
        client.start(self.now)
        self._put(to_client=True, packets=server.start(self.now))
        while True:
            due = [at for at in (server.next_deadline(), client.next_deadline()) if at is not None]
            arrival = self._in_flight[0][0] if self._in_flight else None
            if arrival is not None and arrival <= min(due, default=arrival):
                self._deliver(server, client)
            elif due:
                self.now = max(self.now, min(due))
                self._put(to_client=True, packets=server.expired(self.now))
                self._put(to_client=False, packets=client.expired(self.now))
            else:
                return

    def _deliver(self, server: SendSession, client: ReceiveSession) -> None:
        self.now, _, to_client, packet = heappop(self._in_flight)
        if to_client:
            self._put(to_client=False, packets=client.receive(packet, self.now))
        else:
            self._put(to_client=True, packets=server.receive(packet, self.now))

    def _put(self, *, to_client: bool, packets: list[bytes]) -> None:
        for packet in packets:
            copies = 0 if self.chance.random() < self.loss else 2 if self.chance.random() < self.doubling else 1
            for _ in range(copies):
                self.sent += 1
                arrival = self.now + 0.001 + self.chance.random() * self.longest_delay
                heappush(self._in_flight, (arrival, self.sent, to_client, packet))


# ---- the server's side


def test_a_file_is_sent_block_by_block_each_after_its_acknowledgment() -> None:
    session = sending()
    assert session.start(0.0) == [Data(1, CONTENT[:512]).encode()]
    assert session.receive(Ack(1).encode(), 0.1) == [Data(2, CONTENT[512:1024]).encode()]
    assert session.receive(Ack(2).encode(), 0.2) == [Data(3, CONTENT[1024:]).encode()]
    assert not session.done
    assert session.receive(Ack(3).encode(), 0.3) == []
    assert session.done
    assert session.next_deadline() is None


@pytest.mark.parametrize(("size", "blocks"), [(0, 1), (1, 1), (511, 1), (512, 2), (513, 2), (1024, 3)])
def test_the_last_block_is_short_even_if_empty(size: int, blocks: int) -> None:
    session = sending(bytes(size))
    [packet] = session.start(0.0)
    for block in range(1, blocks):
        [packet] = session.receive(Ack(block).encode(), 0.0)
    assert packet == Data(blocks, bytes(size % 512)).encode()
    session.receive(Ack(blocks).encode(), 0.0)
    assert session.done


def test_options_are_granted_before_the_first_block_and_tsize_is_answered() -> None:
    session = sending(options=Options(blksize=1024, tsize=0))
    assert session.start(0.0) == [OptionAck(Options(blksize=1024, tsize=1280)).encode()]
    assert session.receive(Ack(0).encode(), 0.0) == [Data(1, CONTENT[:1024]).encode()]


def test_netascii_is_converted_and_its_tsize_is_that_of_what_is_sent() -> None:
    session = sending(b"a\nb\r", Options(tsize=0), "netascii")
    assert session.start(0.0) == [OptionAck(Options(tsize=6)).encode()]
    assert session.receive(Ack(0).encode(), 0.0) == [Data(1, b"a\r\nb\r\0").encode()]


def test_a_repeated_acknowledgment_sends_nothing() -> None:
    session = sending()
    session.start(0.0)
    session.receive(Ack(1).encode(), 0.0)
    assert [session.receive(Ack(number).encode(), 0.1) for number in (1, 1, 0, 3)] == [[], [], [], []]
    assert session.receive(Ack(2).encode(), 0.2) == [Data(3, CONTENT[1024:]).encode()]


def test_a_block_is_repeated_when_its_acknowledgment_does_not_come_and_given_up_after_the_last_try() -> None:
    session = sending()
    [first] = session.start(0.0)
    assert session.expired(0.9) == []
    assert session.expired(1.0) == [first]
    assert session.next_deadline() == 2.0
    assert session.expired(2.0) == [first]
    assert session.expired(3.0) == []
    assert session.failed
    assert session.next_deadline() is None
    assert session.receive(Ack(1).encode(), 3.1) == []
    assert session.expired(9.0) == []


def test_the_peer_chooses_how_long_to_wait_before_a_repetition() -> None:
    session = sending(options=Options(timeout=7))
    session.start(0.0)
    session.receive(Ack(0).encode(), 0.5)
    assert session.next_deadline() == 7.5


def test_who_has_not_answered_once_has_chosen_nothing() -> None:
    session = sending(options=Options(timeout=255))
    session.start(0.0)
    assert [len(session.expired(at)) for at in (1.0, 2.0, 3.0)] == [1, 1, 0]
    assert session.failed


def test_progress_gives_every_try_back() -> None:
    session = sending()
    session.start(0.0)
    session.expired(1.0)
    session.expired(2.0)
    session.receive(Ack(1).encode(), 2.5)
    assert [len(session.expired(at)) for at in (3.5, 4.5)] == [1, 1]
    assert not session.failed


def test_a_peer_that_drips_acknowledgments_is_cut_at_last() -> None:
    session = SendSession(ReadRequest("f", options=Options(timeout=255)), bytes(512 * 200), 0.0)
    session.start(0.0)
    now, block = 0.0, 0
    while not session.failed:
        session.receive(Ack(block).encode(), now)
        block += 1
        now += 20
        session.expired(now)
    assert now <= 60 + 201 + 20


@pytest.mark.parametrize("code", [0, 5, 8])
def test_an_error_of_the_peer_ends_it(code: int) -> None:
    session = sending()
    session.start(0.0)
    assert session.receive(ErrorPacket(code, "no more").encode(), 0.1) == []
    assert session.failed


@pytest.mark.parametrize("packet", [b"", b"\0", b"\0\4", b"\0\4\0", b"\0\4\0\1x", Data(1, b"x").encode(), b"\xff" * 99])
def test_anything_else_changes_nothing(packet: bytes) -> None:
    session = sending()
    session.start(0.0)
    assert session.receive(packet, 0.5) == []
    assert session.next_deadline() == 1.0
    assert not session.failed


# ---- the client's side


def test_a_file_is_received_block_by_block_each_acknowledged() -> None:
    session = ReceiveSession("f")
    assert session.start(0.0) == [b"\0\1f\0octet\0"]
    assert session.receive(Data(1, b"a" * 512).encode(), 0.1) == [Ack(1).encode()]
    assert session.receive(Data(2, b"b").encode(), 0.2) == [Ack(2).encode()]
    assert session.done
    assert session.content == b"a" * 512 + b"b"
    assert session.next_deadline() is None


def test_a_repeated_block_is_acknowledged_again_and_kept_once_also_after_the_end() -> None:
    session = ReceiveSession("f")
    session.start(0.0)
    session.receive(Data(1, b"a" * 512).encode(), 0.1)
    assert session.receive(Data(1, b"a" * 512).encode(), 0.2) == [Ack(1).encode()]
    session.receive(Data(2, b"").encode(), 0.3)
    assert session.receive(Data(2, b"").encode(), 0.4) == [Ack(2).encode()]
    assert session.content == b"a" * 512


def test_a_block_out_of_order_is_passed_over() -> None:
    session = ReceiveSession("f")
    session.start(0.0)
    assert session.receive(Data(2, b"b").encode(), 0.1) == []
    assert session.receive(Data(0, b"b").encode(), 0.1) == []
    assert session.content == b""


def test_a_server_that_ignores_the_options_sends_blocks_of_512() -> None:
    session = ReceiveSession("f", options=Options(blksize=1428))
    session.start(0.0)
    assert session.receive(Data(1, b"a" * 512).encode(), 0.1) == [Ack(1).encode()]
    assert not session.done


def test_granted_options_are_accepted_with_acknowledgment_0_as_often_as_they_come() -> None:
    session = ReceiveSession("f", options=Options(blksize=1428))
    session.start(0.0)
    granted = OptionAck(Options(blksize=1024)).encode()
    assert session.receive(granted, 0.1) == [Ack(0).encode()]
    assert session.receive(granted, 0.2) == [Ack(0).encode()]
    session.receive(Data(1, b"a" * 1024).encode(), 0.3)
    assert session.receive(granted, 0.4) == []
    session.receive(Data(2, b"").encode(), 0.5)
    assert session.content == b"a" * 1024


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        (Options(), Options(blksize=512)),
        (Options(blksize=1024), Options(blksize=1025)),
        (Options(timeout=2), Options(timeout=3)),
        (Options(blksize=1024), Options(blksize=1024, tsize=9)),
    ],
)
def test_options_that_were_not_asked_for_are_refused_with_error_8(asked: Options, granted: Options) -> None:
    session = ReceiveSession("f", options=asked)
    session.start(0.0)
    [answer] = session.receive(OptionAck(granted).encode(), 0.1)
    assert session.failed
    assert session.error == parse(answer)
    assert session.error is not None
    assert session.error.code == ErrorCode.OPTION_REFUSED


def test_a_block_larger_than_agreed_is_refused() -> None:
    session = ReceiveSession("f")
    session.start(0.0)
    [answer] = session.receive(Data(1, b"a" * 513).encode(), 0.1)
    assert parse(answer) == ErrorPacket(ErrorCode.ILLEGAL_OPERATION, "a block of 513 bytes")


def test_a_file_above_the_limit_is_refused_when_announced_and_when_it_comes() -> None:
    announced = ReceiveSession("f", options=Options(tsize=0), limit=600)
    announced.start(0.0)
    announced.receive(OptionAck(Options(tsize=601)).encode(), 0.1)
    coming = ReceiveSession("f", limit=600)
    coming.start(0.0)
    coming.receive(Data(1, b"a" * 512).encode(), 0.1)
    coming.receive(Data(2, b"a" * 89).encode(), 0.2)
    for session in (announced, coming):
        assert session.failed
        assert session.error is not None
        assert session.error.code == ErrorCode.DISK_FULL


def test_the_servers_error_is_kept() -> None:
    session = ReceiveSession("f")
    session.start(0.0)
    session.receive(ErrorPacket(1, "File not found").encode(), 0.1)
    assert session.failed
    assert session.error == ErrorPacket(1, "File not found")


def test_silence_repeats_the_request_and_then_fails_without_an_error() -> None:
    session = ReceiveSession("f", timeout=0.5, tries=3)
    [request] = session.start(0.0)
    assert session.expired(0.4) == []
    assert [session.expired(at) for at in (0.5, 1.0, 1.5)] == [[request], [request], []]
    assert session.failed
    assert session.error is None
    assert session.receive(Data(1, b"late").encode(), 2.0) == []


@pytest.mark.parametrize("packet", [b"", b"\0\5\0", Ack(1).encode(), ReadRequest("f").encode(), b"\0\3\0"])
def test_what_a_server_never_sends_is_passed_over(packet: bytes) -> None:
    session = ReceiveSession("f")
    session.start(0.0)
    assert session.receive(packet, 0.1) == []
    assert not session.failed


# ---- both sides over a link


@pytest.mark.parametrize("options", [Options(), Options(blksize=8), Options(blksize=1428, tsize=0, timeout=2)])
@pytest.mark.parametrize("seed", range(10))
def test_a_file_survives_loss_duplication_and_reordering(options: Options, seed: int) -> None:
    content = random.Random(seed).randbytes(seed * 700)
    server = SendSession(ReadRequest("f", options=options), content, 0.0, tries=30)
    client = ReceiveSession("f", options=options, tries=30)
    LossyLink(random.Random(seed), loss=0.2, doubling=0.2, longest_delay=0.3).carry(server, client)
    assert client.done
    assert client.content == content


@settings(max_examples=60, deadline=None)
@given(
    content=st.binary(max_size=5000),
    options=st.builds(Options, blksize=st.none() | st.integers(8, 2000), tsize=st.none() | st.just(0)),
    mode=st.sampled_from(["octet", "netascii"]),
    chance=st.randoms(use_true_random=False),
    loss=st.floats(0, 0.3),
)
def test_any_file_survives_any_link(
    content: bytes, options: Options, mode: Mode, chance: random.Random, loss: float
) -> None:
    server = SendSession(ReadRequest("f", mode, options), content, 0.0, tries=10_000)
    client = ReceiveSession("f", mode=mode, options=options, tries=10_000)
    LossyLink(chance, loss=loss, doubling=0.3, longest_delay=0.8).carry(server, client)
    if client.done:
        assert client.content == content
    else:
        assert server.failed, "only the server's own end ends a transfer that a client keeps asking for"


def test_doubled_packets_do_not_double_the_transfer() -> None:
    content = bytes(512 * 100)
    server = SendSession(ReadRequest("f"), content, 0.0)
    client = ReceiveSession("f", timeout=5.0)
    link = LossyLink(random.Random(1), doubling=1.0)
    link.carry(server, client)
    assert client.content == content
    assert link.sent <= 101 * 6, "each block doubled, each copy acknowledged, each acknowledgment doubled"


def test_40_megabytes_in_blocks_of_512_wrap_the_block_number() -> None:
    content = random.Random(40).randbytes(40_000_000)
    server = SendSession(ReadRequest("firmware.sbn"), content, 0.0)
    client = ReceiveSession("firmware.sbn")
    client.start(0.0)
    packets, numbers = server.start(0.0), set()
    while packets:
        numbers.add(packets[0][2:4])
        packets = [packet for answer in client.receive(packets[0], 0.0) for packet in server.receive(answer, 0.0)]
    assert server.done
    assert client.done
    assert client.content == content
    assert b"\0\0" in numbers, "after 65,535 comes 0, not 1"


# ---- netascii


@given(st.binary())
def test_netascii_is_undone_exactly(text: bytes) -> None:
    assert from_netascii(to_netascii(text)) == text


@given(st.binary(max_size=3000).map(lambda text: text.translate(LINE_ENDS)), st.integers(8, 600), st.randoms())
def test_netascii_is_sent_as_if_the_file_had_been_converted_whole(
    text: bytes, blksize: int, chance: random.Random
) -> None:
    session = sending(text, Options(blksize=blksize, tsize=0), "netascii")
    (granted,) = session.start(0.0)
    assert parse(granted) == OptionAck(Options(blksize=blksize, tsize=len(to_netascii(text))))
    arrived, block = b"", 0
    while packets := session.receive(Ack(block & 0xFFFF).encode(), 0.0):
        if chance.random() < 0.3:
            assert session.expired(session.next_deadline() or 0.0) == packets, "what is repeated is the same"
        (block, arrived) = (block + 1, arrived + packets[0][4:])
    assert session.done
    assert arrived == to_netascii(text)


@pytest.mark.parametrize("text", [b"a line of a file\n" * 60_000, b"\r" * 1_000_000], ids=["lines", "returns"])
def test_a_burst_of_netascii_readers_costs_no_copy_of_the_file_each(text: bytes) -> None:
    tracemalloc.start()
    try:
        sessions = [sending(text, mode="netascii") for _ in range(100)]
        for session in sessions:
            session.start(0.0)
            session.receive(Ack(1).encode(), 0.0)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken < len(text), "a hundred readers take less than one copy"


def test_netascii_writes_line_ends_as_cr_lf_and_a_bare_cr_as_cr_nul() -> None:
    assert to_netascii(b"a\nb\rc\r\n") == b"a\r\nb\r\0c\r\0\r\n"
