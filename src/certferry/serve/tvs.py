"""The Trust Verification Service: TLS on port 2445, one question and one answer at a time (phone-trust 3).

Answers come ready from a ``TvsIndex``; this module only cuts messages out of the stream and bounds what a peer
may take: a deadline for the handshake and for each request, a size limit, a number of connections.
"""

import asyncio
import ssl
from dataclasses import dataclass

from certferry.serve.listener import ConnectionCounters, Conversation, Listener
from certferry.serve.tvs_index import TvsIndex
from certferry.wire.tvs import HEADER_SIZE, Status, TvsMalformedError, frame_length

_STATUS_AT = HEADER_SIZE + 3
"""Every reply begins with element 7, so its status stands here."""


@dataclass(slots=True)
class TvsCounters:
    """What was asked and answered since the server was made."""

    trusted: int = 0
    unknown: int = 0
    malformed: int = 0
    timed_out: int = 0


class TvsServer:
    """One TVS. ``max_connections`` counts from the accepted TCP connection on, handshakes included.

    A connection ends when the phone ends it, after ``request_timeout`` seconds without a whole request, or at the
    first bytes that are no request; no other connection notices.
    """

    def __init__(
        self,
        address: tuple[str, int],
        context: ssl.SSLContext,
        index: TvsIndex,
        *,
        handshake_timeout: float = 10,
        request_timeout: float = 10,
        max_connections: int = 2000,
    ) -> None:
        self.index = index
        self.request_timeout = request_timeout
        self.counters = TvsCounters()
        self._listener = Listener(
            address,
            lambda: _TvsConversation(self),
            context,
            handshake_timeout=handshake_timeout,
            max_connections=max_connections,
        )

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; the real port when port 0 was asked for."""
        return self._listener.address

    @property
    def connections(self) -> ConnectionCounters:
        """What became of connections."""
        return self._listener.counters

    def replace_index(self, index: TvsIndex) -> None:
        """Answer from ``index`` from the next request on, on every connection."""
        self.index = index

    def replace_context(self, context: ssl.SSLContext) -> None:
        """Use ``context`` for connections from now on, as after the TVS certificate was renewed."""
        self._listener.context = context

    async def start(self) -> None:
        """Begin to serve; raise ``OSError`` when the address cannot be had."""
        await self._listener.start()

    async def close(self) -> None:
        """Stop, and end every connection."""
        await self._listener.close()


class _TvsConversation(Conversation):
    """One phone's connection. Requests may follow each other, and may come in any pieces."""

    def __init__(self, server: TvsServer) -> None:
        super().__init__()
        self._server = server
        self._received = bytearray()
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 -- narrows the type
        self._transport = transport
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._answer_all()

    def pause_writing(self) -> None:
        """Take no more questions from a peer that does not read its answers."""
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        self._transport.resume_reading()
        self._answer_all()

    def _answer_all(self) -> None:
        try:
            while not self._paused and (message := self._next_message()):
                self._answer(message)
        except TvsMalformedError:
            self._server.counters.malformed += 1
            self._transport.abort()

    def _next_message(self) -> bytes | None:
        if len(self._received) < HEADER_SIZE:
            return None
        length = frame_length(bytes(self._received[:HEADER_SIZE]))
        if len(self._received) < length:
            return None
        message = bytes(self._received[:length])
        del self._received[:length]
        return message

    def _answer(self, message: bytes) -> None:
        reply = self._server.index.reply(message)
        if reply[_STATUS_AT] == Status.VALID:
            self._server.counters.trusted += 1
        else:
            self._server.counters.unknown += 1
        self._transport.write(reply)  # in one piece: phones stall on a split one
        self._deadline.cancel()
        self._set_deadline()

    def _set_deadline(self) -> None:
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self._server.request_timeout, self._give_up)

    def _give_up(self) -> None:
        self._server.counters.timed_out += 1
        self._transport.abort()
