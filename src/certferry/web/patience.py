"""How long the server waits for a client: a connection that dawdles goes, so that a thousand of them hold up nobody.

uvicorn ends what is silent *between* requests. What it waits for without end is bounded here: the first request, the
rest of one that began (its head, its body), and a client that takes no more of an answer.
"""

import asyncio
from collections.abc import Callable

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""For everything up to the empty line, from the connection's start or the first byte of a later request."""
BODY_SECONDS = 60.0
"""For the body, which is small here: forms, certificates, a list of phones."""
TAKE_SECONDS = 60.0
"""For a client to go on taking an answer."""


class PatientProtocol(H11Protocol):
    """HTTP/1.1 by uvicorn and h11, with an end to waiting. Whoever sends a byte now and then gains no time by it."""

    head_seconds = HEAD_SECONDS
    body_seconds = BODY_SECONDS
    take_seconds = TAKE_SECONDS
    gone: Callable[[], None] | None = None
    """Told when the connection has ended."""
    _awaited: object = None
    _due: asyncio.TimerHandle | None = None
    _taken: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request's head."""
        super().connection_made(transport)
        self._await(h11.IDLE)

    def data_received(self, data: bytes) -> None:
        """Pass it on, then see what is still to come."""
        super().data_received(data)
        self._await(self.conn.their_state)

    def on_response_complete(self) -> None:
        """See what is still to come of a request that was sent along with the one answered."""
        super().on_response_complete()
        self._await(self.conn.their_state)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._await(None)
        self._cancel_taking()
        super().connection_lost(exc)
        if self.gone is not None:
            self.gone()

    def pause_writing(self) -> None:
        """Wait for the client to take what was sent."""
        super().pause_writing()
        self._taken = self.loop.call_later(self.take_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client takes it."""
        self._cancel_taking()
        super().resume_writing()

    def _await(self, state: object) -> None:
        """Begin a deadline when another part of a request is awaited; the same part keeps the one it has."""
        if state is self._awaited:
            return
        self._awaited = state
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if state in (h11.IDLE, h11.SEND_BODY):
            seconds = self.head_seconds if state is h11.IDLE else self.body_seconds
            # Not close(): that would wait for a farewell from whoever dawdles.
            self._due = self.loop.call_later(seconds, self.transport.abort)

    def _cancel_taking(self) -> None:
        if self._taken is not None:
            self._taken.cancel()
            self._taken = None
