"""A connection that a phone keeps for hours: TCP, with TLS inside it, and next to no memory while nothing comes.

asyncio's own TLS holds a buffer of 256 KB for each connection, and a context of its own for each certificate costs
14 KB; ten thousand phones have neither. Here all phones that trust the same servers share one context, which lends
each connection, at its birth, the certificate of its phone (OpenSSL copies what the context holds at that moment).
"""

import asyncio
import ssl
from threading import Lock
from typing import Protocol, cast

from certferry.fleet.dial import (
    CertificatePaths,
    HandshakeError,
    ServerUnknownError,
    TlsFacts,
    UnreachableError,
    load_identity,
    tls_facts,
)

_PIECE = 16 * 1024
_lending = Lock()


class Receiver(Protocol):
    """Who is told what comes over a line."""

    def received(self, data: bytes) -> None:
        """Take what came."""
        ...

    def lost(self, reason: str) -> None:
        """Learn that the line is gone; called once, unless ``close`` was called before."""
        ...


class Line(asyncio.Protocol):
    """One connection; make it with ``open_line``. ``tls`` is None over plain TCP."""

    __slots__ = ("_incoming", "_outgoing", "_receiver", "_secured", "_session", "_transport", "_why", "tls")

    def __init__(self, receiver: Receiver) -> None:
        self._receiver: Receiver | None = receiver
        self._transport: asyncio.Transport | None = None
        self._session: ssl.SSLObject | None = None
        self._secured: asyncio.Future[None] | None = None
        self._why = "the connection ended"
        self.tls: TlsFacts | None = None

    @property
    def local(self) -> tuple[str, int]:
        """Address and port of this end."""
        name = self._transport.get_extra_info("sockname") if self._transport else None
        return (str(name[0]), int(name[1])) if name else ("0.0.0.0", 0)  # noqa: S104 -- text in a message, not bound

    def send(self, data: bytes) -> None:
        """Send ``data``; nothing happens when the line is gone, or about to be."""
        if self._session is None:
            self._write(data)
        elif self._transport is not None and not self._transport.is_closing():
            self._session.write(data)
            self._flush()

    def close(self) -> None:
        """End the line; the receiver is told nothing more."""
        self._receiver = None
        if self._transport is not None:
            self._transport.abort()

    async def secure(self, context: ssl.SSLContext, identity: CertificatePaths | None) -> None:
        """Shake hands; raise ``ssl.SSLError`` or ``OSError``, or ``IdentityUnusableError``."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        with _lending:
            if identity is not None:
                load_identity(context, identity)
            self._session = context.wrap_bio(self._incoming, self._outgoing)
        self._secured = asyncio.get_running_loop().create_future()
        try:
            self._advance()
            await self._secured
        finally:
            self._secured = None
        self.tls = tls_facts(self._session)

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the network."""
        if self._session is None:
            self._deliver(data)
        else:
            self._incoming.write(data)
            self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits that the connection is gone."""
        self._transport = None
        why = str(exc) if exc else self._why
        if self._secured is not None and not self._secured.done():
            self._secured.set_exception(ConnectionResetError(why))
        elif self._receiver is not None:
            receiver, self._receiver = self._receiver, None
            receiver.lost(why)

    # TLS

    def _advance(self) -> None:
        try:
            if self._secured is not None and not self._secured.done():
                self._shake_hands()
            self._read()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._break_off(error)
        self._flush()

    def _shake_hands(self) -> None:
        assert self._session is not None  # noqa: S101 -- secure made it
        assert self._secured is not None  # noqa: S101 -- the caller looked
        self._session.do_handshake()
        self._secured.set_result(None)

    def _read(self) -> None:
        """Deliver what came, until no whole record is left (``SSLWantReadError``) or the server has ended TLS."""
        while self._session is not None and (data := self._session.read(_PIECE)):
            self._deliver(data)
        if self._transport is not None:
            self._transport.close()

    def _break_off(self, error: ssl.SSLError) -> None:
        self._why = str(error)
        self._flush()
        if self._secured is not None and not self._secured.done():
            self._secured.set_exception(error)
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._write(self._outgoing.read())

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _deliver(self, data: bytes) -> None:
        if self._receiver is not None:
            self._receiver.received(data)


async def open_line(
    address: tuple[str, int],
    receiver: Receiver,
    *,
    context: ssl.SSLContext | None,
    identity: CertificatePaths | None = None,
    deadline: float,
) -> Line:
    """Connect, and shake hands unless ``context`` is None; ``deadline`` is in the loop's time.

    ``identity`` is what the phone presents; without it, whatever ``context`` has loaded. Raise ``UnreachableError``,
    ``HandshakeError``, ``ServerUnknownError``, ``IdentityUnusableError``.
    """
    where = f"{address[0]}:{address[1]}"
    line = Line(receiver)
    await _connect(line, address, where, deadline)
    if context is None:
        return line
    try:
        await _secure(line, where, context, identity, deadline)
    except BaseException:
        line.close()
        raise
    return line


async def _connect(line: Line, address: tuple[str, int], where: str, deadline: float) -> None:
    try:
        async with asyncio.timeout_at(deadline):
            await asyncio.get_running_loop().create_connection(lambda: line, *address)
    except OSError as error:  # TimeoutError is one
        raise UnreachableError(f"{where} cannot be reached: {str(error) or 'no answer in time'}") from error


async def _secure(
    line: Line, where: str, context: ssl.SSLContext, identity: CertificatePaths | None, deadline: float
) -> None:
    try:
        async with asyncio.timeout_at(deadline):
            await line.secure(context, identity)
    except ssl.SSLCertVerificationError as error:
        raise ServerUnknownError(f"the certificate of {where} is not trusted: {error.verify_message}") from error
    except OSError as error:  # ssl.SSLError, a reset, and TimeoutError are
        raise HandshakeError(f"no TLS with {where}: {str(error) or 'no answer in time'}") from error
    pins = getattr(context, "pins", None)
    if pins is not None and line.tls and line.tls.server_certificate not in pins:
        raise ServerUnknownError(f"{where} presents a certificate that was issued by a trusted one, but is none")
