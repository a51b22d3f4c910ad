"""A TVS and an echo on real sockets, and the peers that tests send to them, well-behaved and other."""

import asyncio
import gc
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certferry.serve.conversation import Conversation
from certferry.serve.listener import Listener
from certferry.serve.tls import server_context
from certferry.serve.tvs import TvsServer
from certferry.serve.tvs_index import TvsIndex
from certferry.wire.certificate import Certificate
from certferry.wire.roles import Role
from certferry.wire.tvs import CertificateQueryReply, CertificateQueryRequest, Status

LOCAL = ("127.0.0.1", 0)
PATIENCE = 60
Run = Callable[[Callable[[], Awaitable[None]]], None]
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def run_on(loop: str, scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario on one of ``LOOPS``, within ten minutes: some are storms, and other tests run beside them."""

    async def bounded() -> None:
        async with asyncio.timeout(600):
            await scenario()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(bounded())


@dataclass(frozen=True)
class Paper:
    """What a TVS serves with, a question that it knows, and the answer."""

    context: ssl.SSLContext
    index: TvsIndex
    query: CertificateQueryRequest
    found: bytes

    @classmethod
    def of(cls, own: Certificate, key: RSAPrivateKey) -> Self:
        """A TVS that knows its own certificate."""
        return cls(
            server_context(own.pem, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())),
            TvsIndex.build([(own, frozenset({Role.SAST, Role.TFTP}))]),
            CertificateQueryRequest(1001, "SEP001122334455", own.subject, own.issuer, own.serial),
            CertificateQueryReply(1001, Status.VALID, own.der, (0, 3), 86400).encode(),
        )

    def ask_over(self, peer: socket.socket) -> ssl.SSLSocket:
        """Ask over a connection that is open and see that the answer is right."""
        phone = phone_context().wrap_socket(peer)
        phone.sendall(self.query.encode())
        assert receive(phone, len(self.found)) == self.found
        return phone


@asynccontextmanager
async def tvs(paper: Paper, **settings: Any) -> AsyncIterator[TvsServer]:
    patient = {"handshake_timeout": PATIENCE, "request_timeout": PATIENCE}
    server = TvsServer(LOCAL, paper.context, paper.index, **{**patient, **settings})
    await server.start()
    try:
        yield server
    finally:
        await server.close()


class Echo(Conversation):
    """Every byte is answered by itself."""

    def step(self) -> bool:
        if not self.received:
            return False
        self.transport.write(bytes(self.received[:1]))
        del self.received[:1]
        return True

    def malformed(self) -> None:
        raise AssertionError

    def late(self) -> None:
        pass


@asynccontextmanager
async def echo(**settings: Any) -> AsyncIterator[Listener]:
    chosen = {"handshake_timeout": PATIENCE, "max_connections": 100} | settings
    listener = Listener(LOCAL, lambda: Echo(PATIENCE), None, **chosen)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.close()


def phone_context(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    return context


def hello() -> bytes:
    """What a phone says first."""
    said = ssl.MemoryBIO()
    phone = phone_context().wrap_bio(ssl.MemoryBIO(), said)
    with pytest.raises(ssl.SSLWantReadError):
        phone.do_handshake()
    return said.read()


def connect(to: tuple[str, int], source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(to, timeout=PATIENCE, source_address=(source, 0))


def is_cut_off(peer: socket.socket) -> bool:
    try:
        return peer.recv(1) == b""
    except ConnectionError:
        return True


def receive(peer: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size and (piece := peer.recv(size - len(received))):
        received += piece
    return received


def descriptors() -> int:
    gc.collect()  # what earlier tests left is not closed between two counts
    return len(list(Path("/proc/self/fd").iterdir()))


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
