"""The HTTP file service of a node (port 6970): the files of TFTP, one write for each reply.

Each connection holds at most 8 KiB of a request and at most one block of its reply beyond what the peer has taken;
the file itself is shared by all. A connection that neither asks nor takes anything is cut by a deadline: the read
timer of 5 s that Unified CM has (phone-trust 5.3). One timer sweeps all deadlines.
"""

import asyncio
import logging
from typing import cast

from certferry.serve.file_source import FileCounters, FileSource, look_up
from certferry.wire.http_request import LARGEST_HEAD, HttpMalformedError, ReplyHead, Request, RequestParser, response

logger = logging.getLogger(__name__)

CONNECTION_LIMIT = 2500
"""The HTTP maximum seen in a trace of Unified CM (phone-trust 5.4)."""
READ_TIMEOUT = 5.0
_BACKLOG = 1024
_BLOCK = 64 * 1024
_LONGEST_SWEEP = 0.5
_FOUND = 200
_NOT_FOUND = 404
_BUSY = 503


class HttpFileServer:
    """Serve files over HTTP at ``address``; port 0 lets the kernel choose, ``address`` then tells which.

    Above ``connection_limit`` connections a request is answered with 503; above twice that a connection is dropped
    unread. ``read_timeout`` is the seconds a peer has for a whole request, and for taking any part of its reply.
    """

    def __init__(
        self,
        address: tuple[str, int],
        files: FileSource,
        *,
        connection_limit: int = CONNECTION_LIMIT,
        read_timeout: float = READ_TIMEOUT,
        reuse_port: bool = False,
    ) -> None:
        self.address = address
        self.counters = FileCounters()
        self.files = files
        self.connection_limit = connection_limit
        self.read_timeout = read_timeout
        self.connections: set[_Connection] = set()
        self._reuse_port = reuse_port
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Bind and serve; raise ``OSError`` when the address can't be had."""
        self._loop = asyncio.get_running_loop()
        host, port = self.address
        self._server = await self._loop.create_server(
            lambda: _Connection(self), host, port, backlog=_BACKLOG, reuse_port=self._reuse_port
        )
        self.address = self._server.sockets[0].getsockname()[:2]
        self._sweep()
        logger.info("HTTP at %s port %d", *self.address)

    async def close(self) -> None:
        """Stop serving; replies under way are aborted."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self.connections):
            connection.cut()
        if self._sweeping:
            self._sweeping.cancel()
        await self._server.wait_closed()

    def now(self) -> float:
        """The loop's clock."""
        return self._loop.time()

    def _sweep(self) -> None:
        now = self.now()
        for connection in list(self.connections):
            if connection.deadline <= now:
                connection.expire(now)
        self._sweeping = self._loop.call_later(min(_LONGEST_SWEEP, self.read_timeout / 2), self._sweep)


class _Connection(asyncio.Protocol):
    """One peer: requests in, replies out, in order."""

    __slots__ = ("_backlog", "_closing", "_parser", "_paused", "_pending", "_server", "_transport", "deadline")

    def __init__(self, server: HttpFileServer) -> None:
        self._server = server
        self._parser = RequestParser()
        self._pending = memoryview(b"")
        self._paused = False
        self._closing = False
        self._backlog = 0
        self.deadline = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)
        self._rearm()
        if len(self._server.connections) > 2 * self._server.connection_limit:
            self._server.counters.overflow += 1
            self.cut()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio calls it so
        self._server.connections.discard(self)
        if self._pending:
            self._finish(sent=False)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._parser.feed(data)
        self._answer_requests()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._rearm()
        self._write_pending()
        self._answer_requests()

    def cut(self) -> None:
        """Drop the connection, whatever is still to be sent."""
        self._closing = True
        self._transport.abort()

    def expire(self, now: float) -> None:
        """Drop the connection unless its peer is taking a reply, be it slowly."""
        backlog = len(self._pending) + self._transport.get_write_buffer_size()
        if backlog > 0 and (backlog < self._backlog or not self._backlog):
            self._backlog = backlog
            self.deadline = now + self._server.read_timeout
        else:
            self.cut()

    def _rearm(self) -> None:
        self._backlog = 0
        self.deadline = self._server.now() + self._server.read_timeout

    def _answer_requests(self) -> None:
        """Answer what is whole; requests behind an unfinished reply wait, and so does reading more of them."""
        while not (self._closing or self._pending or self._paused):
            try:
                request = self._parser.next_request()
            except HttpMalformedError as error:
                self._server.counters.malformed += 1
                self._write_last(error.status)
                return
            if request is None:
                break
            self._answer(request)
        self._bound_reading()

    def _answer(self, request: Request) -> None:
        counters = self._server.counters
        if len(self._server.connections) > self._server.connection_limit:
            counters.overflow += 1
            self._write_last(_BUSY)
            return
        content = look_up(self._server.files, request.path)
        self._closing = not request.keep_alive
        if content is None:
            counters.not_found += 1
            self._transport.write(response(_NOT_FOUND, close=self._closing))
        else:
            self._begin(content, with_body=request.method == "GET")
        self._rearm()
        self._close_when_sent()

    def _begin(self, content: bytes, *, with_body: bool) -> None:
        self._server.counters.in_progress += 1
        head = ReplyHead(_FOUND, len(content), close=self._closing).encode()
        body = memoryview(content) if with_body else memoryview(b"")
        self._transport.write(head + body[:_BLOCK])
        self._pending = body[_BLOCK:]
        if self._pending:
            self._write_pending()
        else:
            self._finish(sent=True)

    def _write_pending(self) -> None:
        """Hand over the rest of a large file as the peer takes it, so that a slow peer costs no copy of it."""
        if not self._pending:
            return
        while self._pending and not self._paused:
            block, self._pending = self._pending[:_BLOCK], self._pending[_BLOCK:]
            self._transport.write(block)
        if not self._pending:
            self._finish(sent=True)
            self._close_when_sent()

    def _finish(self, *, sent: bool) -> None:
        self._server.counters.in_progress -= 1
        if sent:
            self._server.counters.processed += 1
        else:
            self._server.counters.aborted += 1

    def _write_last(self, status: int) -> None:
        self._closing = True
        self._transport.write(response(status, close=True))
        self._close_when_sent()

    def _close_when_sent(self) -> None:
        if self._closing and not self._pending:
            self._transport.close()

    def _bound_reading(self) -> None:
        if self._transport.is_closing():
            return
        if self._parser.waiting > LARGEST_HEAD:
            self._transport.pause_reading()
        elif not self._transport.is_reading():
            self._transport.resume_reading()
