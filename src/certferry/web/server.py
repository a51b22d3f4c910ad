"""The web server: uvicorn on a socket opened beforehand, HTTPS with the publisher's tomcat certificate.

The certificate is read when the server starts; one that is regenerated meanwhile is taken at the next start. Asked
to stop, the server takes no more requests, lets the running jobs end, and is gone.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import uvicorn
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from starlette.types import ASGIApp

from certferry.cluster.cluster import Cluster
from certferry.errors import Refusal, UsageError
from certferry.serve.inherited import inherited_sockets
from certferry.serve.listener import allow_files
from certferry.serve.tls import server_context
from certferry.trust.purpose import Purpose
from certferry.web.door import MOST_CONNECTIONS, Door
from certferry.web.patience import PatientProtocol

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Browsers need nothing older; TVS and the phones' file service have a list of their own."""
GOODBYE_SECONDS = 5


class WebListenError(Refusal):
    """The port of the pages cannot be opened."""

    code = "web.listen"
    remedy = "Give another --port or --host, or stop what listens there."


class PlainHttpError(UsageError):
    """Pages without TLS were asked for on an address that others reach."""

    code = "web.plain-http"
    remedy = "Leave --insecure-http out, or give --host 127.0.0.1."


def listen(host: str, port: int, *, only_loopback: bool = False) -> socket.socket:
    """Give the socket that a service manager opened for this port, else open one; raises ``WebListenError``.

    With ``only_loopback``, one that others reach is not taken: raises ``PlainHttpError``.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = inherited_sockets().take(kind, (str(address[0]), port))
    except OSError as error:
        raise WebListenError(f"{host}: {error.strerror or error}") from error
    if opened is None:
        return _open(socket.socket(family, kind, protocol), address)
    if only_loopback:
        check_loopback(opened.getsockname()[0])
    return opened


def _open(opened: socket.socket, address: tuple[Any, ...]) -> socket.socket:
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen()
    except OSError as error:
        opened.close()
        raise WebListenError(f"{address[0]} port {address[1]}: {error.strerror or error}") from error
    return opened


def check_loopback(host: str) -> None:
    """Raise ``PlainHttpError`` unless only this machine reaches ``host``."""
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        raise PlainHttpError(f"{host} is not a loopback address")


def tls_context(cluster: Cluster) -> ssl.SSLContext:
    """Make the TLS side from the publisher's tomcat certificate and key."""
    identity = cluster.identity(Purpose.TOMCAT)
    key = cluster.private_key(identity).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    context = server_context(identity.certificate.pem, key)
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    return context


class WebServer(uvicorn.Server):
    """Serves ``app`` on ``opened`` until ``stop``; ``ready`` is set once it answers."""

    def __init__(self, app: ASGIApp, opened: socket.socket, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=PatientProtocol,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="on",
                timeout_graceful_shutdown=GOODBYE_SECONDS,
                ssl_context_factory=(lambda _config, _default: tls) if tls else None,
            )
        )
        self.opened = opened
        self.ready = asyncio.Event()

    @property
    def port(self) -> int:
        """The port it listens on."""
        number: int = self.opened.getsockname()[1]
        return number

    @property
    def address(self) -> str:
        """The address it listens on, which may stand for all of the machine's."""
        return str(self.opened.getsockname()[0])

    async def run_until_stopped(self) -> None:
        """Serve until ``stop``."""
        await self.serve([self.opened])

    def stop(self) -> None:
        """Take no more requests, finish what runs, and end."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve behind a door of our own, and tell it."""
        del sockets  # there is one, and it is behind the door
        await super().startup([])
        if self.should_exit:
            return
        allow_files(MOST_CONNECTIONS)
        door = Door(self.opened, self._protocol, self.config.ssl)
        door.open()
        self.servers.append(door)  # type: ignore[arg-type]  # uvicorn closes it, and waits for it, as it does asyncio's
        self.ready.set()

    def _protocol(self) -> PatientProtocol:
        return PatientProtocol(self.config, self.server_state, self.lifespan.state)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the command that runs the server."""
        yield
