"""The HTTP file service over real sockets: our own client, curl, crowds, peers that dawdle, garbage."""

import asyncio
import random
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from certferry.fleet.http import HttpBusyError, HttpFileNotFoundError, HttpNoAnswerError, HttpRefusedError, fetch
from certferry.lab.loopback import free_network
from certferry.serve.http import HttpFileServer
from served_files import ServedFiles
from waiting import PATIENCE, until

FILES = {
    "sep0000000000aa.cnf.xml.sgn": bytes(range(256)) * 50,
    "itlfile.tlv": b"I" * 6144,
    "empty.txt": b"",
    "firmware.sbn": random.Random(6970).randbytes(20_000_000),
}
ServerMaker = Callable[..., Awaitable[HttpFileServer]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[HttpFileServer], Awaitable[Streams]]


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[ServerMaker]:
    running: list[HttpFileServer] = []

    async def start(**limits: Any) -> HttpFileServer:
        place = (limits.pop("host", "127.0.0.1"), 0)
        server = HttpFileServer(place, limits.pop("files", ServedFiles(FILES)), **limits)
        await server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        await server.close()


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Connect]:
    writers: list[asyncio.StreamWriter] = []

    async def open_one(server: HttpFileServer) -> Streams:
        reader, writer = await asyncio.open_connection(*server.address)
        writers.append(writer)
        return reader, writer

    yield open_one
    for writer in writers:
        writer.transport.abort()


async def reply_to(streams: Streams, request: bytes) -> bytes:
    """Send ``request`` and read to the end of the connection."""
    reader, writer = streams
    writer.write(request)
    return await asyncio.wait_for(reader.read(), PATIENCE)


async def curl(*arguments: str | Path) -> tuple[int, bytes]:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--noproxy", "*", *map(str, arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    return process.returncode or 0, output


# ---- one phone


@pytest.mark.parametrize("name", sorted(FILES))
async def test_a_file_arrives_whole(serve: ServerMaker, name: str) -> None:
    server = await serve()
    assert await fetch(server.address, name, timeout=PATIENCE) == FILES[name]
    assert (server.counters.processed, server.counters.in_progress) == (1, 0)


async def test_a_phones_request_is_answered_byte_for_byte_as_the_cluster_does(
    serve: ServerMaker, connect: Connect
) -> None:
    server = await serve()
    reader, writer = await connect(server)
    writer.write(b"GET /ITLFile.tlv HTTP/1.1\r\nHost:127.0.0.1:6970\r\n\r\n")
    head = b"HTTP/1.1 200 OK\r\nContent-length: 6144\r\nCache-Control: no-store\r\nContent-type: */*\r\n\r\n"
    expected = head + FILES["itlfile.tlv"]
    assert await asyncio.wait_for(reader.readexactly(len(expected)), PATIENCE) == expected


async def test_a_missing_file_is_404_and_named(serve: ServerMaker) -> None:
    server = await serve()
    with pytest.raises(HttpFileNotFoundError, match=r"CTLSEP0000000000AA\.tlv"):
        await fetch(server.address, "CTLSEP0000000000AA.tlv")
    assert (server.counters.not_found, server.counters.requests) == (1, 1)


async def test_our_client_writes_exactly_the_phones_request() -> None:
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    async def record(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.put_nowait(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
        writer.close()

    async with await asyncio.start_server(record, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        assert await fetch((host, port), "/CTLFile.tlv") == b"until the end"
    assert seen.get_nowait() == f"GET /CTLFile.tlv HTTP/1.1\r\nHost:127.0.0.1:{port}\r\n\r\n".encode()


@pytest.mark.parametrize("target", ["/" + "a" * 256, "/%00", "/%C3%A9", "/%E9", "/%0a", "/", "//"])
async def test_a_name_no_file_can_have_is_404_without_a_look_up(
    serve: ServerMaker, connect: Connect, target: str
) -> None:
    files = ServedFiles(FILES)
    server = await serve(files=files)
    reply = await reply_to(await connect(server), f"GET {target} HTTP/1.0\r\n\r\n".encode())
    assert reply.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert files.asked == []


async def test_a_connection_stays_open_for_the_next_file_and_pipelined_requests_are_answered_in_order(
    serve: ServerMaker, connect: Connect
) -> None:
    server = await serve()
    requests = b"GET /empty.txt HTTP/1.1\r\n\r\nHEAD /ITLFile.tlv HTTP/1.1\r\n\r\nGET /none HTTP/1.1\r\n\r\n"
    reply = await reply_to(await connect(server), requests + b"GET /itlfile.tlv HTTP/1.0\r\n\r\n")
    lengths = [line for line in reply.split(b"\r\n") if line.startswith(b"Content-length")]
    assert lengths == [b"Content-length: %d" % size for size in (0, 6144, 0, 6144)]
    assert reply.endswith(b"\r\n\r\n" + FILES["itlfile.tlv"])
    assert (server.counters.processed, server.counters.not_found) == (3, 1)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"POST /f HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"GET /" + b"a" * 9000, 414),
        (b"GET /f HTTP/1.1\r\n" + b"A: b\r\n" * 1500, 431),
    ],
)
async def test_what_is_no_request_gets_its_status_and_the_connection_ends(
    serve: ServerMaker, connect: Connect, request_bytes: bytes, status: int
) -> None:
    server = await serve()
    reply = await reply_to(await connect(server), request_bytes)
    assert reply.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in reply
    assert (server.counters.malformed, server.counters.requests) == (1, 0)


# ---- limits


async def test_a_connection_left_open_is_closed_by_the_read_timer(serve: ServerMaker, connect: Connect) -> None:
    server = await serve(read_timeout=0.1)
    assert await reply_to(await connect(server), b"") == b""


async def test_a_peer_that_drips_its_request_is_cut(serve: ServerMaker, connect: Connect) -> None:
    server = await serve(read_timeout=0.1)
    reader, writer = await connect(server)
    async with asyncio.timeout(PATIENCE):
        while not (reader.at_eof() or reader.exception()):
            writer.write(b"G")
            await asyncio.sleep(0.01)
    assert (server.counters.requests, server.connections) == (0, set())


async def test_a_peer_that_never_takes_its_reply_is_cut_and_counted_as_aborted(
    serve: ServerMaker,
) -> None:
    server = await serve(read_timeout=0.5)
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect(server.address)
        lazy.sendall(b"GET /firmware.sbn HTTP/1.1\r\n\r\n" * 100)
        await until(lambda: server.counters.aborted == 1)
    assert server.connections == set()
    assert (server.counters.requests, server.counters.in_progress) == (1, 0)


@pytest.mark.slow
async def test_a_peer_that_takes_a_large_file_slowly_gets_all_of_it(serve: ServerMaker, connect: Connect) -> None:
    server = await serve(read_timeout=2)
    reader, writer = await connect(server)
    writer.write(b"GET /firmware.sbn HTTP/1.0\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"Content-length: 20000000\r\n" in head
    body = bytearray()
    while piece := await reader.read(300_000):
        body += piece
        await asyncio.sleep(0.04)  # in all more than the read timeout
    assert bytes(body) == FILES["firmware.sbn"]


async def test_a_peer_that_takes_its_reply_in_a_trickle_is_cut_when_it_has_had_time_enough(
    serve: ServerMaker, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certferry.serve.http_connection._GRACE", 0.5)
    monkeypatch.setattr("certferry.serve.http_connection._SLOWEST", 20_000_000_000)
    server = await serve(read_timeout=30)
    reader, writer = await connect(server)
    writer.write(b"GET /firmware.sbn HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        while server.connections:
            await reader.read(65536)
            await asyncio.sleep(0.01)
    assert (server.counters.aborted, server.counters.in_progress) == (1, 0)


async def test_one_address_has_so_many_connections_and_no_more(serve: ServerMaker, connect: Connect) -> None:
    server = await serve(limit_from_one_address=2)
    idle = [await connect(server) for _ in range(2)]
    await until(lambda: len(server.connections) == 2)
    with pytest.raises(HttpNoAnswerError):
        await fetch(server.address, "ITLFile.tlv")
    assert (server.counters.overflow, len(server.connections)) == (1, 2)
    idle[0][1].close()
    await until(lambda: len(server.connections) == 1)
    assert await fetch(server.address, "ITLFile.tlv") == FILES["itlfile.tlv"]


async def test_a_peer_that_says_no_more_still_gets_its_reply(serve: ServerMaker, connect: Connect) -> None:
    server = await serve()
    for name in ("itlfile.tlv", "firmware.sbn"):
        reader, writer = await connect(server)
        writer.write(f"GET /{name} HTTP/1.1\r\n\r\n".encode())
        writer.write_eof()
        reply = await asyncio.wait_for(reader.read(-1), PATIENCE)
        assert reply.endswith(b"\r\n\r\n" + FILES[name])
    await until(lambda: not server.connections)


async def test_a_peer_gone_in_the_middle_of_its_reply_is_counted_as_aborted(
    serve: ServerMaker, connect: Connect
) -> None:
    server = await serve()
    reader, writer = await connect(server)
    writer.write(b"GET /firmware.sbn HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()
    await until(lambda: server.counters.aborted == 1)
    assert (server.connections, server.counters.in_progress) == (set(), 0)


async def test_who_was_served_what_is_told(serve: ServerMaker, connect: Connect) -> None:
    told: list[tuple[str, str]] = []
    server = await serve(on_served=lambda name, host: told.append((name, host)))
    requests = b"GET /ITLFile.tlv HTTP/1.1\r\n\r\nGET /none HTTP/1.1\r\n\r\nHEAD /ITLFile.tlv HTTP/1.1\r\n\r\n"
    await reply_to(await connect(server), requests + b"GET /empty.txt HTTP/1.0\r\n\r\n")
    assert told == [("/ITLFile.tlv", "127.0.0.1"), ("/empty.txt", "127.0.0.1")]


async def test_above_the_connection_limit_a_request_is_answered_503(serve: ServerMaker, connect: Connect) -> None:
    server = await serve(connection_limit=2, limit_from_one_address=10)
    idle = [await connect(server) for _ in range(2)]
    await until(lambda: len(server.connections) == 2)
    with pytest.raises(HttpBusyError, match="ITLFile"):
        await fetch(server.address, "ITLFile.tlv")
    assert (server.counters.overflow, server.counters.requests) == (1, 1)
    idle[0][1].close()
    await until(lambda: len(server.connections) == 1)
    assert await fetch(server.address, "ITLFile.tlv") == FILES["itlfile.tlv"]


async def test_above_twice_the_limit_a_connection_is_dropped_unread(serve: ServerMaker, connect: Connect) -> None:
    server = await serve(connection_limit=1, limit_from_one_address=10)
    for _ in range(2):
        await connect(server)
    await until(lambda: len(server.connections) == 2)
    with pytest.raises(HttpNoAnswerError):
        await fetch(server.address, "ITLFile.tlv")
    assert server.counters.overflow == 1


async def test_closing_cuts_every_connection_and_frees_the_port(serve: ServerMaker, connect: Connect) -> None:
    server = await serve(host=str(free_network()[1]))  # where nobody else is given the port meanwhile
    reader, _ = await connect(server)
    await until(lambda: len(server.connections) == 1)
    await server.close()
    assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
    again = HttpFileServer(server.address, ServedFiles(FILES))
    await again.close()
    await again.start()
    await again.close()


# ---- many at once, and among enemies


async def test_hundreds_of_phones_are_served_at_once(serve: ServerMaker) -> None:
    server = await serve()
    names = ["SEP0000000000AA.cnf.xml.sgn", "ITLFile.tlv"] * 200
    files = await asyncio.gather(*(fetch(server.address, name, timeout=PATIENCE) for name in names))
    assert all(content == FILES[name.lower()] for name, content in zip(names, files, strict=True))
    assert server.counters.processed == server.counters.requests == 400


async def test_idle_peers_and_garbage_do_not_delay_a_phone(serve: ServerMaker, connect: Connect) -> None:
    server = await serve()
    chance = random.Random(80)
    for _ in range(50):
        await connect(server)
    for _ in range(50):
        _, writer = await connect(server)
        writer.write(chance.choice([b"GET ", b"", b"\r\n\r\n", b"HEAD / HTTP/1.1\r\n"]) + chance.randbytes(500))
    assert await fetch(server.address, "ITLFile.tlv") == FILES["itlfile.tlv"]
    for _ in range(50):
        _, writer = await connect(server)
        writer.write(chance.randbytes(20_000) + b"\r\n\r\n")
    await until(lambda: server.counters.malformed >= 50)
    assert await fetch(server.address, "ITLFile.tlv") == FILES["itlfile.tlv"]


async def test_a_flood_of_pipelined_requests_delays_nobody_else(serve: ServerMaker) -> None:
    server = await serve(read_timeout=0.5)
    loop, asked = asyncio.get_running_loop(), b"GET /itlfile.tlv HTTP/1.1\r\n\r\n"
    with socket.create_connection(server.address) as greedy:
        greedy.sendall(asked)
        greedy.settimeout(0)
        flood = asyncio.create_task(loop.sock_sendall(greedy, asked * 100_000))
        await until(lambda: server.counters.processed > 0)
        assert await fetch(server.address, "ITLFile.tlv") == FILES["itlfile.tlv"]
        await until(lambda: server.connections == set())
        flood.cancel()
        await asyncio.wait({flood})
    assert server.counters.processed < 5000, "what the peer did not take was not prepared"


def test_files_misses_and_slow_peers_are_the_same_on_uvloop() -> None:
    async def scene() -> None:
        server = HttpFileServer(("127.0.0.1", 0), ServedFiles(FILES))
        await server.start()
        files = await asyncio.gather(*(fetch(server.address, "ITLFile.tlv", timeout=PATIENCE) for _ in range(100)))
        large = await fetch(server.address, "firmware.sbn", timeout=PATIENCE)
        with pytest.raises(HttpFileNotFoundError):
            await fetch(server.address, "CTLFile.tlv")
        server.read_timeout = 0.5
        with socket.create_connection(server.address) as lazy:
            lazy.sendall(b"GET /firmware.sbn HTTP/1.1\r\n\r\n")
            await until(lambda: server.counters.aborted == 1)
        await server.close()
        assert files == [FILES["itlfile.tlv"]] * 100
        assert large == FILES["firmware.sbn"]
        assert (server.counters.processed, server.counters.not_found) == (101, 1)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene())


# ---- the client against servers that misbehave


async def answering(reply: bytes) -> asyncio.Server:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("reply", "refusal"),
    [
        (b"", HttpNoAnswerError),
        (b"HTTP/1.1 200 OK\r\nContent-length: 9\r\n\r\nshort", HttpNoAnswerError),
        (b"HTTP/1.1 200 OK\r\n", HttpNoAnswerError),
        (b"SSH-2.0-x\r\n\r\n", HttpRefusedError),
        (b"x" * 9000, HttpRefusedError),
        (b"HTTP/1.1 200 OK\r\nContent-length: 999999999999\r\n\r\n", HttpRefusedError),
        (b"HTTP/1.1 500 Oops\r\nContent-length: 0\r\n\r\n", HttpRefusedError),
    ],
)
async def test_a_reply_that_is_no_file_is_a_refusal(reply: bytes, refusal: type[Exception]) -> None:
    async with await answering(reply) as server:
        with pytest.raises(refusal, match=r"ITLFile\.tlv from 127\.0\.0\.1"):
            await fetch(server.sockets[0].getsockname(), "ITLFile.tlv")


async def test_a_closed_port_is_no_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(HttpNoAnswerError):
            await fetch(unused.getsockname(), "ITLFile.tlv")


async def test_a_silent_server_is_no_answer_when_the_time_is_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(HttpNoAnswerError, match=r"within 0\.05 s"):
            await fetch(silent.getsockname(), "ITLFile.tlv", timeout=0.05)


# ---- curl


async def test_curl_fetches_several_files_over_one_connection(serve: ServerMaker, tmp_path: Path) -> None:
    server = await serve()
    base = f"http://127.0.0.1:{server.address[1]}"
    first, second = tmp_path / "first", tmp_path / "second"
    code, output = await curl("-v", f"{base}/ITLFile.tlv", "-o", first, f"{base}/firmware.sbn", "-o", second)
    assert code == 0, output
    assert b"Re-using existing connection" in output
    assert first.read_bytes() == FILES["itlfile.tlv"]
    assert second.read_bytes() == FILES["firmware.sbn"]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["/ITLFile.tlv", "-I"], 200), (["/missing"], 404), (["/x", "-d", "body"], 405), (["/" + "a" * 9000], 414)],
)
async def test_curl_sees_the_status(serve: ServerMaker, arguments: list[str], status: int) -> None:
    server = await serve()
    path, *options = arguments
    url = f"http://127.0.0.1:{server.address[1]}{path}"
    code, output = await curl(*options, "-o", "/dev/null", "-w", "%{http_code}", url)
    assert (code, output) == (0, str(status).encode())
