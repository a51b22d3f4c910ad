"""The connection a phone keeps: TLS inside it by hand, one context shared by phones that each have an LSC."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certferry.cluster.issuing import Request, locally_significant, self_signed
from certferry.fleet.dial import (
    HandshakeError,
    IdentityUnusableError,
    ServerUnknownError,
    UnreachableError,
    lending_context,
)
from certferry.fleet.line import Line, open_line
from certferry.serve.tls import server_context
from certferry.trust.purpose import Purpose
from certferry.wire.certificate import Certificate
from conftest import MakeCertificate

LOCAL = ("127.0.0.1", 0)
BORN = datetime(2026, 6, 1, tzinfo=UTC)
Lsc = Callable[[str], tuple[Path, Path]]


class Heard:
    """What came over a line."""

    def __init__(self) -> None:
        self.data = b""
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._news = asyncio.Event()

    def received(self, data: bytes) -> None:
        self.data += data
        self._news.set()

    def lost(self, reason: str) -> None:
        self.ended.set_result(reason)

    async def until(self, length: int) -> bytes:
        async with asyncio.timeout(30):
            while len(self.data) < length:
                await self._news.wait()
                self._news.clear()
        return self.data


def pem_of(key: RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(scope="module")
def server_certificate(make_certificate: MakeCertificate) -> Certificate:
    return make_certificate("CN=pub")


@pytest.fixture(scope="module")
def capf(other_rsa_key: RSAPrivateKey) -> Certificate:
    return self_signed(Request(Purpose.CAPF, "pub"), other_rsa_key, BORN)


@pytest.fixture
def lsc(capf: Certificate, rsa_key: RSAPrivateKey, other_rsa_key: RSAPrivateKey, tmp_path: Path) -> Lsc:
    def issue(name: str) -> tuple[Path, Path]:
        certificate = locally_significant(name, rsa_key.public_key(), capf, other_rsa_key, BORN)
        paths = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        paths[0].write_text(certificate.pem)
        paths[1].write_bytes(pem_of(rsa_key))
        return paths

    return issue


async def say_who(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back a client's common name and then whatever it sends; ``bye`` ends."""
    subject = (writer.get_extra_info("peercert") or {}).get("subject", ((("commonName", "nobody"),),))
    writer.write(dict(part[0] for part in subject)["commonName"].encode())
    while (data := await reader.read(65536)) and data != b"bye":
        writer.write(data)
    writer.close()


@asynccontextmanager
async def serving(context: ssl.SSLContext | None, answer: Any = say_who) -> AsyncIterator[tuple[str, int]]:
    server = await asyncio.start_server(answer, *LOCAL, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()


@pytest.fixture
async def secure(
    server_certificate: Certificate, rsa_key: RSAPrivateKey, capf: Certificate
) -> AsyncIterator[tuple[str, int]]:
    context = server_context(server_certificate.pem, pem_of(rsa_key), client_ca=[capf], require_client=True)
    async with serving(context) as address:
        yield address


def soon(seconds: float = 60) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_over_plain_tcp_bytes_go_both_ways_and_the_end_is_told() -> None:
    async with serving(None) as address:
        heard = Heard()
        line = await open_line(address, heard, context=None, deadline=soon())
        assert line.tls is None
        assert line.local[0] == "127.0.0.1"
        line.send(b" hello")
        assert await heard.until(12) == b"nobody hello"
        line.send(b"bye")
        assert await asyncio.wait_for(heard.ended, 30) == "the connection ended"
        line.send(b"to nobody")
        assert line.local == ("0.0.0.0", 0)


async def test_phones_that_share_a_context_present_each_its_own_lsc(
    secure: tuple[str, int], server_certificate: Certificate, lsc: Lsc
) -> None:
    names = [f"SEP{number:012X}" for number in range(20)]
    context = lending_context([server_certificate])
    assert context is lending_context([server_certificate])
    heard = [Heard() for _ in names]
    paths = [lsc(name) for name in names]

    async def connect(number: int) -> Line:
        return await open_line(secure, heard[number], context=context, identity=paths[number], deadline=soon())

    lines = await asyncio.gather(*map(connect, range(len(names))))
    assert [await each.until(15) for each in heard] == [name.encode() for name in names]
    for line in lines:
        line.close()


async def test_much_data_comes_whole(secure: tuple[str, int], server_certificate: Certificate, lsc: Lsc) -> None:
    heard = Heard()
    line = await open_line(
        secure, heard, context=lending_context([server_certificate]), identity=lsc("SEP1"), deadline=soon()
    )
    await heard.until(4)
    line.send(b"x" * 300_000)
    assert len(await heard.until(300_004)) == 300_004
    line.close()


async def test_an_lsc_that_cannot_be_loaded_spoils_nobody_elses(
    secure: tuple[str, int], server_certificate: Certificate, lsc: Lsc, other_rsa_key: RSAPrivateKey
) -> None:
    context, good, bad = lending_context([server_certificate]), lsc("SEPGOOD"), lsc("SEPBAD")
    bad[1].write_bytes(pem_of(other_rsa_key))
    for paths in (bad, (bad[0], bad[0].with_name("missing"))):
        with pytest.raises(IdentityUnusableError):
            await open_line(secure, Heard(), context=context, identity=paths, deadline=soon())
    heard = Heard()
    line = await open_line(secure, heard, context=context, identity=good, deadline=soon())
    assert await heard.until(7) == b"SEPGOOD"
    line.close()


async def test_a_server_that_was_issued_by_a_trusted_one_is_not_itself_trusted(
    make_certificate: MakeCertificate, rsa_key: RSAPrivateKey, other_rsa_key: RSAPrivateKey
) -> None:
    issuer = make_certificate("CN=root", key=other_rsa_key)
    issued = make_certificate("CN=pub", key=rsa_key, issuer="CN=root", issuer_key=other_rsa_key)
    async with serving(server_context(issued.pem, pem_of(rsa_key))) as address:
        with pytest.raises(ServerUnknownError):
            await open_line(address, Heard(), context=lending_context([issuer]), deadline=soon())


async def test_a_stranger_is_not_trusted(secure: tuple[str, int], capf: Certificate) -> None:
    with pytest.raises(ServerUnknownError, match="not trusted"):
        await open_line(secure, Heard(), context=lending_context([capf]), deadline=soon())


async def test_nobody_there_is_unreachable(unused_tcp_port_of_loopback: int) -> None:
    with pytest.raises(UnreachableError):
        await open_line(("127.0.0.1", unused_tcp_port_of_loopback), Heard(), context=None, deadline=soon())


@pytest.fixture
def unused_tcp_port_of_loopback() -> Iterator[int]:
    """A port that nobody listens at, and that nobody else gets."""
    with socket.socket() as held:
        held.bind(LOCAL)
        yield held.getsockname()[1]


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 no\r\n\r\n", b"\x16\x03\x03\x00\x02\x02"])
async def test_a_server_that_speaks_no_tls_breaks_the_handshake(said: bytes, server_certificate: Certificate) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(said)
        writer.close()

    async with serving(None, answer) as address:
        with pytest.raises(HandshakeError):
            await open_line(address, Heard(), context=lending_context([server_certificate]), deadline=soon())


async def test_a_server_that_says_nothing_is_left_at_the_deadline(
    server_certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    clock = loop.time
    gone: asyncio.Future[bytes] = loop.create_future()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)  # the greeting
        monkeypatch.setattr(loop, "time", lambda: clock() + 60)  # now the time passes
        try:
            gone.set_result(await reader.read())
        except ConnectionError:
            gone.set_result(b"")
        writer.close()

    async with serving(None, silent) as address:
        with pytest.raises(HandshakeError, match="in time"):
            await open_line(address, Heard(), context=lending_context([server_certificate]), deadline=soon())
        assert await asyncio.wait_for(gone, 30) == b""


async def test_a_certificate_the_server_refuses_is_told_as_the_end_of_the_line(
    server_certificate: Certificate, rsa_key: RSAPrivateKey, make_certificate: MakeCertificate, lsc: Lsc
) -> None:
    context = server_context(
        server_certificate.pem, pem_of(rsa_key), client_ca=[make_certificate("CN=other")], require_client=True
    )
    async with serving(context) as address:
        heard = Heard()
        line = await open_line(
            address, heard, context=lending_context([server_certificate]), identity=lsc("SEP1"), deadline=soon()
        )
        await asyncio.wait_for(heard.ended, 30)
        assert heard.data == b""
        line.close()


async def test_sending_after_bytes_that_are_no_tls_fails_nobody_and_the_end_is_told(
    secure: tuple[str, int], server_certificate: Certificate, lsc: Lsc
) -> None:
    heard = Heard()
    context = lending_context([server_certificate])
    line = await open_line(secure, heard, context=context, identity=lsc("SEP001122334455"), deadline=soon())
    line.data_received(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    line.send(b"a renewal that is due just now")
    assert "SSL" in await asyncio.wait_for(heard.ended, 30)


async def test_a_server_that_ends_tls_and_leaves_tcp_open_is_gone(
    server_certificate: Certificate, rsa_key: RSAPrivateKey
) -> None:
    def ends_tls(listening: socket.socket) -> None:
        peer = listening.accept()[0]
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = server_context(server_certificate.pem, pem_of(rsa_key))
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                peer.sendall(outgoing.read())
                incoming.write(peer.recv(16384))
        with suppress(ssl.SSLWantReadError):
            tls.unwrap()
        peer.sendall(outgoing.read())
        while peer.recv(16384):
            pass
        peer.close()

    with socket.create_server(LOCAL) as listening:
        serving = asyncio.create_task(asyncio.to_thread(ends_tls, listening))
        heard = Heard()
        context = lending_context([server_certificate])
        line = await open_line(listening.getsockname(), heard, context=context, deadline=soon())
        try:
            assert "ended" in await asyncio.wait_for(heard.ended, 30)
        finally:
            line.close()
            await serving


async def test_after_closing_nothing_more_is_told() -> None:
    async with serving(None) as address:
        heard = Heard()
        line = await open_line(address, heard, context=None, deadline=soon())
        line.close()
        line.close()
        await asyncio.sleep(0.05)
        assert not heard.ended.done()
