"""Fetch a file over HTTP as a phone does: a new connection for each file, its exact request (phone-trust 5.3)."""

import asyncio
from typing import cast

from certferry.errors import Refusal
from certferry.wire.http_request import LARGEST_HEAD, HttpMalformedError, ReplyHead, Request

LARGEST_FILE = 256 * 1024 * 1024
_END = b"\r\n\r\n"


class HttpFileNotFoundError(Refusal):
    """The file service has no file of that name (404)."""

    code = "fleet.http-not-found"
    remedy = "Check the device name at the cluster; a CTL is missing by right unless the cluster is in mixed mode."


class HttpBusyError(Refusal):
    """The file service has more requests than it takes at once (503)."""

    code = "fleet.http-busy"
    remedy = "Try again later or over TFTP, as phones do; raise the limit if it stays so."


class HttpRefusedError(Refusal):
    """The file service answered with something other than the file, 404 or 503."""

    code = "fleet.http-refused"
    remedy = "Check that the port is the file service's (6970) and read its log for this file."


class HttpNoAnswerError(Refusal):
    """No whole answer came from the file service in time."""

    code = "fleet.http-no-answer"
    remedy = "Check the address, that the service runs, and that TCP 6970 passes the firewall."


async def fetch(address: tuple[str, int], name: str, *, timeout: float = 5.0) -> bytes:  # noqa: ASYNC109 -- the deadline belongs to the fetch and has its own refusal
    """Return the file ``name``, asked for over a connection of its own; all of it has ``timeout`` seconds.

    Raises ``HttpFileNotFoundError``, ``HttpBusyError``, ``HttpNoAnswerError`` or ``HttpRefusedError``.
    """
    what = f"{name} from {address[0]} port {address[1]}"
    head, body = await _reply(address, _request(address, name), what, timeout)
    match head.status:
        case 200:
            return body
        case 404:
            raise HttpFileNotFoundError(f"there is no {what}")
        case 503:
            raise HttpBusyError(f"busy: {what}")
        case status:
            raise HttpRefusedError(f"refused {what}: status {status}")


def _request(address: tuple[str, int], name: str) -> bytes:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return Request("GET", f"/{name.lstrip('/')}", f"{host}:{address[1]}").encode()


async def _reply(address: tuple[str, int], request: bytes, what: str, seconds: float) -> tuple[ReplyHead, bytes]:
    loop = asyncio.get_running_loop()
    exchange = _Exchange(request, loop.create_future())
    try:
        async with asyncio.timeout(seconds):
            await loop.create_connection(lambda: exchange, *address)
            return await exchange.reply
    except TimeoutError as error:
        raise HttpNoAnswerError(f"no answer within {seconds:g} s for {what}") from error
    except OSError as error:
        raise HttpNoAnswerError(f"no answer for {what}: {error.strerror or error}") from error
    except HttpMalformedError as error:
        raise HttpRefusedError(f"no HTTP reply for {what}: {error}") from error
    finally:
        exchange.hang_up()


class _Exchange(asyncio.Protocol):
    """One request, one reply; ``reply`` holds its head and body, or why there is none."""

    __slots__ = ("_body_at", "_buffer", "_head", "_request", "_transport", "reply")

    def __init__(self, request: bytes, reply: "asyncio.Future[tuple[ReplyHead, bytes]]") -> None:
        self.reply = reply
        self._request = request
        self._buffer = bytearray()
        self._head: ReplyHead | None = None
        self._body_at = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self.reply.done():
            return
        try:
            self._read()
        except HttpMalformedError as error:
            self.reply.set_exception(error)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio calls it so
        if self.reply.done():
            return
        if self._head is not None and self._head.length is None:
            self.reply.set_result((self._head, bytes(self._buffer[self._body_at :])))
        else:
            self.reply.set_exception(ConnectionResetError("the connection ended within the reply"))

    def hang_up(self) -> None:
        """Close the connection, if there is one, and forget the reply, if nobody took it."""
        self.reply.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _read(self) -> None:
        if self._head is None:
            self._read_head()
        if self._head is None:
            return
        held = len(self._buffer) - self._body_at
        if held > LARGEST_FILE or (self._head.length or 0) > LARGEST_FILE:
            raise HttpMalformedError(f"a body of more than {LARGEST_FILE} bytes at offset {self._body_at}")
        if self._head.length is not None and held >= self._head.length:
            self.reply.set_result((self._head, bytes(self._buffer[self._body_at : self._body_at + self._head.length])))

    def _read_head(self) -> None:
        end = self._buffer.find(_END, 0, LARGEST_HEAD)
        if end >= 0:
            self._body_at = end + len(_END)
            self._head = ReplyHead.parse(bytes(self._buffer[: self._body_at]))
        elif len(self._buffer) >= LARGEST_HEAD:
            raise HttpMalformedError(f"the reply head has no end at offset {LARGEST_HEAD}")
