"""Clients that hammer at the pages' port: each has a place or none, and a handshake that never comes gives it back."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager

import pytest
import uvloop

from certferry.web.door import Door
from certferry.web.server import WebServer, listen, tls_context
from conftest import MakeCluster
from waiting import until
from web_site import Site

ASK = b"GET /livez HTTP/1.1\r\nHost: pub\r\nConnection: close\r\n\r\n"
HELLO = b"\x16\x03\x01\x02\x00\x01"
"""A handshake begins so, and here ends so."""


@pytest.fixture
async def server(make_cluster: MakeCluster) -> AsyncIterator[WebServer]:
    site = Site(make_cluster(nodes=1))
    server = WebServer(site.app, listen("127.0.0.1", 0), tls_context(site.cluster))
    running = asyncio.create_task(server.run_until_stopped())
    await server.ready.wait()
    try:
        yield server
    finally:
        server.stop()
        await running


def door_of(server: WebServer) -> Door:
    (door,) = server.servers
    assert isinstance(door, Door)
    return door


@contextmanager
def knocking(port: int, *, said: bytes = HELLO, host: str = "127.0.0.1") -> Iterator[socket.socket]:
    with closing(socket.socket()) as client:
        client.bind((host, 0))
        client.connect(("127.0.0.1", port))
        client.send(said)
        client.setblocking(False)  # noqa: FBT003 -- the call's own form
        yield client


async def said_to(client: socket.socket) -> bytes:
    """What the server said before it ended the connection."""
    said = b""
    async with asyncio.timeout(60):
        try:
            while got := await asyncio.get_running_loop().sock_recv(client, 1000):
                said += got
        except ConnectionResetError:
            pass
    return said


async def asked(port: int, host: str = "127.0.0.1") -> bytes:
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, local_addr=(host, 0))
        writer.write(ASK)
        answer = await reader.read()
        writer.close()
    return answer


async def test_a_handshake_that_never_comes_is_not_waited_for_and_gives_its_place_back(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Door, "handshake_seconds", 0.2)
    with knocking(server.port) as client:
        await said_to(client)
    await until(lambda: door_of(server).inside == 0)


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x02\xff\xff", b"\0" * 5000, b""])
async def test_what_is_no_tls_gives_its_place_back(server: WebServer, said: bytes) -> None:
    with knocking(server.port, said=said):
        pass
    await until(lambda: door_of(server).inside == 0)
    assert b"200 OK" in await asked(server.port)


async def test_who_asked_and_went_has_given_the_place_back(server: WebServer) -> None:
    assert b"200 OK" in await asked(server.port)
    await until(lambda: door_of(server).inside == 0)


async def test_one_address_has_so_many_places_and_keeps_no_other_out(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Door, "most_from_one_address", 2)
    monkeypatch.setattr(Door, "handshake_seconds", 60)
    with knocking(server.port), knocking(server.port), knocking(server.port) as third:
        assert await said_to(third) == b""
        assert b"200 OK" in await asked(server.port, host="127.0.0.2")
        assert door_of(server).inside >= 2


async def test_when_all_places_are_taken_the_next_waits_until_one_is_free(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Door, "most", 2)
    with knocking(server.port):
        with knocking(server.port):
            await until(lambda: door_of(server).inside == 2)
            waiting = asyncio.create_task(asked(server.port))
            await asyncio.sleep(0)
        assert b"200 OK" in await waiting


async def test_a_server_that_stops_waits_for_no_handshake(server: WebServer) -> None:
    with knocking(server.port) as client:
        await until(lambda: door_of(server).inside == 1)
        server.stop()
        await said_to(client)
        await until(lambda: door_of(server).inside == 0)


def test_it_is_the_same_on_uvloop(make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Door, "handshake_seconds", 0.2)
    monkeypatch.setattr(Door, "most_from_one_address", 2)
    site = Site(make_cluster(nodes=1))

    async def besieged() -> None:
        server = WebServer(site.app, listen("127.0.0.1", 0), tls_context(site.cluster))
        running = asyncio.create_task(server.run_until_stopped())
        await server.ready.wait()
        with knocking(server.port) as first, knocking(server.port), knocking(server.port) as third:
            await said_to(third)
            await said_to(first)
        await until(lambda: door_of(server).inside == 0)
        monkeypatch.setattr(Door, "handshake_seconds", 60)
        assert b"200 OK" in await asked(server.port)
        server.stop()
        await running

    uvloop.run(besieged())
