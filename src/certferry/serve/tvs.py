"""The Trust Verification Service: TLS on port 2445, one question and one answer at a time (phone-trust 3).

Answers come ready from a ``TvsIndex``; this module only cuts messages out of the stream and bounds what a peer
may take: a deadline for the handshake and for each request, a size limit, a number of connections. What happened is
logged once in a while in one line, never for each phone: in a boot storm that costs as much as the answer.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from certferry.serve.listener import Conversation, Listener, ListeningServer
from certferry.serve.tvs_index import TvsIndex
from certferry.wire.tvs import HEADER_SIZE, Status, frame_length

_STATUS_AT = HEADER_SIZE + 3
"""Every reply begins with element 7, so its status stands here."""
_VALID = int(Status.VALID)
MOST_CONNECTIONS, MOST_FROM_ONE_ADDRESS = 8000, 6000
LOG_SECONDS = 5.0
"""How long what happened is gathered for one line of the log."""

OnAnswered = Callable[[bytes, bytes, str], None]
"""Told of a request, the reply sent to it, and the peer's address; called for each, so it must not wait."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class TvsCounters:
    """What was asked and answered since the server was made."""

    trusted: int = 0
    unknown: int = 0
    malformed: int = 0
    timed_out: int = 0

    def __str__(self) -> str:
        return f"{self.trusted} trusted, {self.unknown} unknown, {self.malformed} malformed, {self.timed_out} timed out"


class TvsServer(ListeningServer):
    """One TVS. ``max_connections`` counts from the accepted TCP connection on, handshakes included.

    One address may hold ``max_from_one_address`` of them, so that no single machine can keep all phones out; the
    default has room for a site of thousands of phones behind one address.

    A connection ends when the phone ends it, after ``request_timeout`` seconds without a whole request, or at the
    first bytes that are no request; no other connection notices. ``on_answered`` is told of request, reply and the
    peer's address after each answer; it must not wait.
    """

    def __init__(
        self,
        address: tuple[str, int],
        context: ssl.SSLContext,
        index: TvsIndex,
        *,
        handshake_timeout: float = 10,
        request_timeout: float = 10,
        max_connections: int = MOST_CONNECTIONS,
        max_from_one_address: int = MOST_FROM_ONE_ADDRESS,
        reuse_port: bool = False,
        on_answered: OnAnswered | None = None,
    ) -> None:
        self.index = index
        self.on_answered = on_answered
        self.request_timeout = request_timeout
        self.counters = TvsCounters()
        self._logged = ""
        self._logging: asyncio.TimerHandle | None = None
        listener = Listener(
            address,
            lambda: _TvsConversation(self),
            context,
            handshake_timeout=handshake_timeout,
            max_connections=max_connections,
            max_from_one_address=max_from_one_address,
            reuse_port=reuse_port,
        )
        super().__init__(listener)

    async def start(self) -> None:
        """Begin to serve; raise ``OSError`` when the address cannot be had."""
        await super().start()
        self._logged = self._so_far()
        self._log()

    async def close(self) -> None:
        """Stop, and end every connection."""
        await super().close()
        if self._logging is not None:
            self._logging.cancel()

    def replace_index(self, index: TvsIndex) -> None:
        """Answer from ``index`` from the next request on, on every connection."""
        self.index = index

    def _so_far(self) -> str:
        return f"{self.counters}; {self.connections}"

    def _log(self) -> None:
        """Write a line when anything has happened since the last one, and look again later."""
        so_far = self._so_far()
        if so_far != self._logged:
            logger.info("TVS %s:%d so far: %s", *self.address, so_far)
        self._logged = so_far
        self._logging = asyncio.get_running_loop().call_later(LOG_SECONDS, self._log)


class _TvsConversation(Conversation):
    """One phone's connection. Requests may follow each other, and may come in any pieces."""

    def __init__(self, server: TvsServer) -> None:
        super().__init__(server.request_timeout)
        self._server = server

    def step(self) -> bool:
        message = self._next_message()
        if message is None:
            return False
        reply = self._server.index.reply(message)
        self._count(reply)
        self.transport.write(reply)  # in one piece: phones stall on a split one
        if self._server.on_answered is not None:
            self._server.on_answered(message, reply, self.transport.host)
        self.wait(self._server.request_timeout)
        return True

    def malformed(self) -> None:
        self._server.counters.malformed += 1

    def late(self) -> None:
        self._server.counters.timed_out += 1

    def _next_message(self) -> bytes | None:
        if len(self.received) < HEADER_SIZE:
            return None
        length = frame_length(bytes(self.received[:HEADER_SIZE]))
        if len(self.received) < length:
            return None
        message = bytes(self.received[:length])
        del self.received[:length]
        return message

    def _count(self, reply: bytes) -> None:
        if reply[_STATUS_AT] == _VALID:
            self._server.counters.trusted += 1
        else:
            self._server.counters.unknown += 1
