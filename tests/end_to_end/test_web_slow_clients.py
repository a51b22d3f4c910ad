"""Clients that dawdle on a real socket: their connections end, and nobody else notices them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from certferry.web.patience import PatientProtocol
from certferry.web.server import WebServer, listen
from conftest import MakeCluster
from web_site import Site

SHORT, LONG = 0.2, 60.0
BEGUN = b"GET /livez HTTP/1.1\r\nHost: pub\r\n"
WHOLE = BEGUN + b"\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
POST = b"POST /login HTTP/1.1\r\nHost: pub\r\nContent-Length: 99\r\n" + FORM + b"\r\n"


@pytest.fixture
async def port(make_cluster: MakeCluster) -> AsyncIterator[int]:
    server = WebServer(Site(make_cluster(nodes=1)).app, listen("127.0.0.1", 0), None)
    running = asyncio.create_task(server.run_until_stopped())
    await server.ready.wait()
    try:
        yield server.port
    finally:
        server.stop()
        await running


def patient(monkeypatch: pytest.MonkeyPatch, *, head: float = LONG, body: float = LONG, take: float = LONG) -> None:
    for name, seconds in (("head", head), ("body", body), ("take", take)):
        monkeypatch.setattr(PatientProtocol, f"{name}_seconds", seconds)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def is_ended(reader: asyncio.StreamReader) -> bytes:
    """Wait for the server to end the connection; return what it said before."""
    said = b""
    async with asyncio.timeout(60):
        try:
            while got := await reader.read(65536):
                said += got
        except ConnectionResetError:
            pass
    return said


async def drip(writer: asyncio.StreamWriter, header: bytes) -> None:
    """Send a header now and then, for ever."""
    try:
        while True:
            writer.write(header)
            await writer.drain()
            await asyncio.sleep(SHORT / 10)
    except OSError:
        pass


@pytest.mark.parametrize("begun", [b"", b"G", BEGUN, WHOLE.replace(b"\r\n\r\n", b"\r\n")])
async def test_a_head_that_does_not_come_is_not_waited_for(
    port: int, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    patient(monkeypatch, head=SHORT)
    async with connected(port) as (reader, writer):
        writer.write(begun)
        assert await is_ended(reader) == b""


async def test_a_header_now_and_then_gains_no_time(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    patient(monkeypatch, head=SHORT)
    async with connected(port) as (reader, writer):
        writer.write(BEGUN)
        dripping = asyncio.create_task(drip(writer, b"X-A: b\r\n"))
        assert await is_ended(reader) == b""
        dripping.cancel()


async def test_a_body_that_does_not_come_is_not_waited_for(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    patient(monkeypatch, body=SHORT)
    async with connected(port) as (reader, writer):
        writer.write(POST)
        dripping = asyncio.create_task(drip(writer, b"a"))
        await is_ended(reader)
        dripping.cancel()


async def test_a_second_request_is_not_waited_for_longer_than_the_first(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(port) as (reader, writer):
        for seconds in (LONG, SHORT):  # for the request after the next: the next one comes in time on any machine
            patient(monkeypatch, head=seconds)
            writer.write(WHOLE)
            assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
        writer.write(BEGUN)
        assert await is_ended(reader) == b""


async def test_half_a_body_sent_along_with_a_whole_request_is_not_waited_for(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient(monkeypatch, body=SHORT)
    async with connected(port) as (reader, writer):
        writer.write(WHOLE + POST)
        assert b"ok\n" in await is_ended(reader)


async def test_who_takes_no_answer_is_let_go(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    patient(monkeypatch, take=SHORT)
    async with connected(port) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /static/certferry.css HTTP/1.1\r\nHost: pub\r\n\r\n" * 2000)  # more than buffers hold
        async with asyncio.timeout(60):
            await drip(writer, b"G")  # until the connection is gone


async def test_who_is_in_time_is_served_while_others_dawdle(port: int) -> None:
    async with connected(port) as (_, slow), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        slow.write(BEGUN)
        for _ in range(3):
            assert (await client.get("/livez")).text == "ok\n"
