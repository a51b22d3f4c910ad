"""The Trust Verification Service: TLS on port 2445, one question and one answer at a time (phone-trust 3).

Answers come ready from a ``TvsIndex``; this module only cuts messages out of the stream and bounds what a peer
may take: a deadline for the handshake and for each request, a size limit, a number of connections.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass

from certferry.serve.listener import Conversation, Listener, ListeningServer
from certferry.serve.tvs_index import TvsIndex
from certferry.wire.tvs import HEADER_SIZE, Status, frame_length

_STATUS_AT = HEADER_SIZE + 3
"""Every reply begins with element 7, so its status stands here."""


@dataclass(slots=True)
class TvsCounters:
    """What was asked and answered since the server was made."""

    trusted: int = 0
    unknown: int = 0
    malformed: int = 0
    timed_out: int = 0


class TvsServer(ListeningServer):
    """One TVS. ``max_connections`` counts from the accepted TCP connection on, handshakes included.

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
        max_connections: int = 2000,
        reuse_port: bool = False,
        on_answered: Callable[[bytes, bytes, str], None] | None = None,
    ) -> None:
        self.index = index
        self.on_answered = on_answered
        self.request_timeout = request_timeout
        self.counters = TvsCounters()
        listener = Listener(
            address,
            lambda: _TvsConversation(self),
            context,
            handshake_timeout=handshake_timeout,
            max_connections=max_connections,
            reuse_port=reuse_port,
        )
        super().__init__(listener)

    def replace_index(self, index: TvsIndex) -> None:
        """Answer from ``index`` from the next request on, on every connection."""
        self.index = index


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
        if reply[_STATUS_AT] == Status.VALID:
            self._server.counters.trusted += 1
        else:
            self._server.counters.unknown += 1
