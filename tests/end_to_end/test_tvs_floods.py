"""TVS in a storm: what thousands of phones cost in memory, and what is told of them."""

import asyncio
import socket
from contextlib import ExitStack
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from certferry.fleet.tvs import ask
from conftest import MakeCertificate
from tvs_peers import (
    Paper,
    Run,
    connect,
    hello,
    resident_mb,
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


# Floods


def test_a_peer_in_the_middle_of_its_handshake_costs_little_memory(run: Run, paper: Paper) -> None:
    """A TLS layer with buffers of its own for every connection took 256 KB each."""
    several, begun = 400, hello()[:100]

    async def scenario() -> None:
        async with tvs(paper) as server:
            before = resident_mb()
            with ExitStack() as stack:
                for _ in range(several):
                    stack.enter_context(connect(server.address)).sendall(begun)
                    await asyncio.sleep(0)
                await until(lambda: server.connections.open == several)
                assert (resident_mb() - before) * 1000 / several < 100

    run(scenario)


@pytest.mark.slow
@pytest.mark.parametrize("run", ["uvloop"], indirect=True)
def test_a_thousand_phones_that_come_at_once_are_all_answered_and_the_next_thousand_takes_no_more_memory(
    run: Run, paper: Paper
) -> None:
    async def scenario() -> None:
        async with tvs(paper, handshake_timeout=600) as server:
            memory = []
            for flood in range(1, 4):
                with ExitStack() as stack:
                    peers = [stack.enter_context(connect(server.address)) for _ in range(1000)]
                    await asyncio.to_thread(all_ask, peers, paper)
                await until(lambda: server.connections.open == 0)
                assert server.counters.trusted == 1000 * flood
                memory.append(resident_mb())
            assert memory[2] - memory[1] < 10

    run(scenario)


def all_ask(peers: list[socket.socket], paper: Paper) -> None:
    for peer in peers:
        paper.ask_over(peer).close()


# Telling others


def test_every_answer_is_told_with_its_question_and_who_asked(run: Run, paper: Paper) -> None:
    told: list[tuple[bytes, bytes, str]] = []

    async def scenario() -> None:
        async with tvs(paper, on_answered=lambda *what: told.append(what)) as server:
            await ask(server.address, paper.query, trusted=None)

    told.clear()
    run(scenario)
    assert told == [(paper.query.encode(), paper.found, "127.0.0.1")]


def test_what_happened_is_logged_in_one_line_for_all_and_silence_in_none(
    run: Run,
    paper: Paper,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with tvs(paper) as server:
            server._log()
            for _ in range(5):
                await ask(server.address, paper.query, trusted=None)
            await until(lambda: server.connections.open == 0)
            server._log()
            server._log()
            port = server.address[1]
        so_far = "5 trusted, 0 unknown, 0 malformed, 0 timed out; 5 connections, 0 open, 0 handshakes failed, 0 refused"
        assert caplog.messages == [f"TVS 127.0.0.1:{port} so far: {so_far}"]

    caplog.clear()
    with caplog.at_level("INFO", logger="certferry.serve.tvs"):
        run(scenario)
