"""What hostile, slow, broken and numerous peers do to a listener: nothing, on asyncio and on uvloop."""

import asyncio
import errno
import resource
import select
import socket
import ssl
import struct
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from certferry.fleet.tvs import ask
from certferry.serve import listener as listening
from certferry.serve.listener import Listener, allow_files
from certferry.serve.tvs import TvsServer
from conftest import MakeCertificate
from tvs_peers import (
    LOCAL,
    PATIENCE,
    Echo,
    Paper,
    Run,
    connect,
    descriptors,
    echo,
    hello,
    is_cut_off,
    phone_context,
    receive,
    run_on,
    tvs,
)
from waiting import until


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return partial(run_on, request.param)


@pytest.fixture(scope="module")
def paper(make_certificate: MakeCertificate, rsa_key: RSAPrivateKey) -> Paper:
    return Paper.of(make_certificate("CN=src-pub;O=Example"), rsa_key)


# Bounds


def test_an_address_that_holds_all_its_places_is_turned_away_and_others_are_served(run: Run, paper: Paper) -> None:
    async def scenario() -> None:
        async with tvs(paper, max_connections=10, max_from_one_address=2) as server:
            with connect(server.address) as first, connect(server.address), connect(server.address) as third:
                assert await asyncio.to_thread(is_cut_off, third)
                with connect(server.address, "127.0.0.2") as other:
                    (await asyncio.to_thread(paper.ask_over, other)).close()
                first.close()
                await until(lambda: server.connections.open == 1)
                assert (await ask(server.address, paper.query, trusted=None)).reply.encode() == paper.found
            assert server.connections.refused == 1

    run(scenario)


def test_five_thousand_phones_may_come_from_one_address(paper: Paper) -> None:
    listener = TvsServer(LOCAL, paper.context, paper.index)._listener
    assert listener._max_from_one_address >= 5000
    assert listener._max_connections > listener._max_from_one_address, "one address must not have all places"


def test_a_process_may_have_as_many_files_as_connections_if_it_is_let(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(1024, 20_000), (1024, 4000), (1024, resource.RLIM_INFINITY), (9000, 9000)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[0])
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: asked.append(limit))
    while limits:
        allow_files(8000)
        limits.pop(0)
    assert asked == [(8512, 20_000), (4000, 4000), (8512, resource.RLIM_INFINITY)]


def test_running_out_of_descriptors_passes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    accept, failures = (
        socket.socket.accept,
        [OSError(errno.EMFILE, "full"), ConnectionAbortedError(), BlockingIOError()],
    )

    def failing(self: socket.socket) -> tuple[socket.socket, Any]:
        if failures:
            raise failures.pop(0)
        return accept(self)

    async def scenario() -> None:
        async with echo() as listener:
            monkeypatch.setattr(socket.socket, "accept", failing)
            with connect(listener.address) as peer:
                peer.sendall(b"!")
                assert await asyncio.to_thread(peer.recv, 1) == b"!"
            assert not failures

    run(scenario)


# Peers that end in every way


def closes(peer: socket.socket, _: Paper) -> None:
    peer.close()


def resets(peer: socket.socket, _: Paper) -> None:
    peer.sendall(hello()[:50])
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def leaves_in_the_handshake(peer: socket.socket, _: Paper) -> None:
    peer.sendall(hello())
    peer.recv(1)


def speaks_http(peer: socket.socket, _: Paper) -> None:
    peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
    while not is_cut_off(peer):
        pass


def waits(peer: socket.socket, _: Paper) -> None:
    assert is_cut_off(peer)


def asks(peer: socket.socket, paper: Paper) -> None:
    paper.ask_over(peer).close()


def says_goodbye(peer: socket.socket, paper: Paper) -> None:
    with paper.ask_over(peer) as phone:
        phone.unwrap().close()  # waits until the server says goodbye, too


def test_no_way_to_end_leaks_a_descriptor_or_a_place(run: Run, paper: Paper) -> None:
    greeted, others = (asks, says_goodbye), (closes, resets, leaves_in_the_handshake, speaks_http, waits)

    async def scenario() -> None:
        async with tvs(paper) as server:
            await asyncio.to_thread(list)  # a thread that stays
            before = descriptors()
            for way in (*greeted, *others) * 3:
                server._listener._handshake_timeout = 0.2 if way is waits else PATIENCE
                with connect(server.address) as peer:
                    await asyncio.to_thread(way, peer, paper)
            await until(lambda: server.connections.accepted == 3 * 7 and server.connections.open == 0)
            assert descriptors() == before
            assert (server.counters.trusted, server.connections.handshakes_failed) == (3 * 2, 3 * 5)
        assert not server._listener._peers
        assert not server._listener._from_address

    run(scenario)


def test_a_phone_that_has_closed_its_half_still_gets_its_answer(run: Run, paper: Paper) -> None:
    def asks_and_closes_its_half(address: tuple[str, int]) -> bytes:
        with connect(address) as peer, phone_context().wrap_socket(peer) as phone:
            phone.sendall(paper.query.encode())
            socket.socket.shutdown(phone, socket.SHUT_WR)  # under TLS, whose end is not said
            return receive(phone, len(paper.found))

    async def scenario() -> None:
        async with tvs(paper) as server:
            assert await asyncio.to_thread(asks_and_closes_its_half, server.address) == paper.found

    run(scenario)


def shake_hands(phone: ssl.SSLObject, peer: socket.socket, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
    """Take the phone's handshake to its end; what it says last is left in ``outgoing``."""
    while True:
        try:
            phone.do_handshake()
        except ssl.SSLWantReadError:
            peer.sendall(outgoing.read())
            incoming.write(peer.recv(16384))
        else:
            return


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_question_that_comes_with_the_end_of_the_handshake_is_answered(
    run: Run,
    paper: Paper,
    version: ssl.TLSVersion,
) -> None:
    """In TLS 1.3 the client is last to speak, so its question may stand in the same packet."""

    def asks_in_one_piece(address: tuple[str, int]) -> bytes:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        phone = phone_context(version).wrap_bio(incoming, outgoing)
        with connect(address) as peer:
            shake_hands(phone, peer, incoming, outgoing)
            phone.write(paper.query.encode())
            peer.sendall(outgoing.read())
            received = b""
            while len(received) < len(paper.found):
                incoming.write(peer.recv(16384))
                try:
                    received += phone.read(16384)
                except ssl.SSLWantReadError:
                    continue
            return received

    async def scenario() -> None:
        async with tvs(paper) as server:
            assert await asyncio.to_thread(asks_in_one_piece, server.address) == paper.found

    run(scenario)


def test_many_questions_in_one_record_are_all_answered_before_the_goodbye_behind_it(run: Run, paper: Paper) -> None:
    def asks_and_says_goodbye(address: tuple[str, int]) -> bytes:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        phone = phone_context().wrap_bio(incoming, outgoing)
        with connect(address) as peer:
            shake_hands(phone, peer, incoming, outgoing)
            phone.write(paper.query.encode() * 40)
            with pytest.raises(ssl.SSLWantReadError):
                phone.unwrap()
            peer.sendall(outgoing.read())
            while piece := peer.recv(16384):
                incoming.write(piece)
        received = b""
        with suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while piece := phone.read(16384):
                received += piece
        return received

    async def scenario() -> None:
        async with tvs(paper) as server:
            assert await asyncio.to_thread(asks_and_says_goodbye, server.address) == paper.found * 40

    run(scenario)


# Slow and greedy peers


def test_a_slow_reader_gets_every_answer_in_order_once_it_reads(run: Run) -> None:
    class Verbose(Echo):
        def step(self) -> bool:
            if not self.received:
                return False
            self.transport.write(bytes([self.received.pop(0)]) * 8000)
            return True

    said = bytes(range(256)) * 4

    async def scenario() -> None:
        async with echo() as listener:
            listener._conversation = lambda: Verbose(PATIENCE)
            with connect(listener.address) as peer:
                peer.sendall(said)
                await until(lambda: any(each._unsent for each in listener._peers.values()))
                answers = await asyncio.to_thread(receive, peer, len(said) * 8000)
        assert answers == b"".join(bytes([byte]) * 8000 for byte in said)

    run(scenario)


def test_a_turn_of_the_loop_serves_few_so_that_other_services_have_theirs(run: Run) -> None:
    async def scenario() -> None:
        async with echo() as listener, asyncio.timeout(PATIENCE):
            with ExitStack() as stack:
                peers = [stack.enter_context(connect(listener.address)) for _ in range(60)]
                await until(lambda: listener.counters.open == 60)
                for peer in peers:
                    peer.sendall(b"!")
                answered, most = set[socket.socket](), 0
                while len(answered) < len(peers):
                    await asyncio.sleep(0)
                    now = {peer for peer in peers if peer not in answered and has_answer(peer)}
                    most = max(most, len(now))
                    answered |= now
        assert most <= listening._READY

    run(scenario)


def has_answer(peer: socket.socket) -> bool:
    return bool(select.select([peer], [], [], 0)[0])


def test_a_conversation_that_breaks_costs_only_its_own_connection(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Echo):
        def step(self) -> bool:
            if self.received == b"?":
                raise KeyError(self.received)
            return super().step()

    async def scenario() -> None:
        async with echo() as listener:
            listener._conversation = lambda: Broken(PATIENCE)
            with connect(listener.address) as innocent, connect(listener.address) as peer:
                peer.sendall(b"?")
                assert await asyncio.to_thread(is_cut_off, peer)
                innocent.sendall(b"!")
                assert await asyncio.to_thread(innocent.recv, 1) == b"!"
        assert "127.0.0.1 is given up" in caplog.text

    run(scenario)


def test_a_conversation_learns_of_its_end_once_and_where_it_is(run: Run) -> None:
    ended: list[Any] = []

    class Remembering(Echo):
        def connection_lost(self, exc: Exception | None) -> None:
            ended.append((self.transport.host, exc, self.transport.is_closing()))

    async def scenario() -> None:
        async with echo() as listener:
            listener._conversation = lambda: Remembering(PATIENCE)
            with connect(listener.address) as peer:
                await until(lambda: listener.counters.open == 1)
                (transport,) = listener._peers.values()
                assert transport.get_extra_info("peername") == peer.getsockname()
                assert transport.get_extra_info("sockname") == listener.address
                assert transport.get_extra_info("peercert") is None
            await until(lambda: bool(ended))
            transport.abort()
            transport.write(b"nobody is there")
            transport.resume_reading()
            assert transport.get_extra_info("sockname") is None
        assert ended == [("127.0.0.1", None, True)]

    ended.clear()
    run(scenario)


def test_a_listener_may_be_closed_twice_and_never_started() -> None:
    async def scenario() -> None:
        listener = Listener(LOCAL, lambda: Echo(1), None, handshake_timeout=1, max_connections=1)
        await listener.close()
        await listener.start()
        assert listener.address[1]
        await listener.close()
        await listener.close()
        assert listener.address == LOCAL

    asyncio.run(scenario())
