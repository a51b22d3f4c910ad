"""Accepts phones for TVS and the registrar, so that no peer can hold up another.

Every connection has its own deadline for the TLS handshake and takes one of a bounded number of places from the
moment it is accepted. When all places are taken, new phones wait in the kernel's queue: a deadline frees a place
soon, and a phone that waits a second is better off than one turned away (a refused phone keeps its old lists).
"""

import asyncio
import contextlib
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from certferry.errors import MalformedError

BACKLOG = 2048
SHUTDOWN_TIMEOUT = 2.0
"""Seconds a peer has to answer the end of a TLS session."""
_OUT_OF_FILES_PAUSE = 0.05
_TURN = 16
"""Messages of one peer that are answered before all others have theirs: a peer may send thousands in one piece."""


@dataclass(slots=True)
class ConnectionCounters:
    """What became of connections: taken, open now, handshakes that failed or never came."""

    accepted: int = 0
    open: int = 0
    handshakes_failed: int = 0


class Conversation(asyncio.Protocol, ABC):
    """One peer's connection: messages cut from the stream one after the other, each under a deadline.

    A subclass answers in ``step``. A peer that does not read its answers is asked no further; one that is late or
    sends what is malformed is cut off, and nobody else notices.
    """

    def __init__(self, patience: float) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = bytearray()
        self._patience = patience
        self._deadline: asyncio.TimerHandle | None = None
        self._paused = False
        self._has_turn = False

    @abstractmethod
    def step(self) -> bool:
        """Take one whole message out of ``received`` and answer it; False when there is none.

        Raise ``MalformedError`` to end the connection.
        """

    @abstractmethod
    def malformed(self) -> None:
        """Count that the peer sent what is no message."""

    @abstractmethod
    def late(self) -> None:
        """Count that the peer let its deadline pass."""

    def wait(self, seconds: float) -> None:
        """Give the peer ``seconds`` from now, instead of what was left."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(seconds, self._give_up)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the first deadline."""
        # uvloop's transports do what asyncio.Transport does without being one, so this is said, not checked.
        self.transport = cast("asyncio.Transport", transport)
        self.wait(self._patience)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        del exc
        if self._deadline is not None:
            self._deadline.cancel()
        if not self.over.done():
            self.over.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Answer every message that is now whole."""
        self.received += data
        self._proceed()

    def pause_writing(self) -> None:
        """Take no more from a peer that does not read its answers."""
        self._paused = True
        self._bound_reading()

    def resume_writing(self) -> None:
        """Go on with a peer that has read its answers."""
        self._paused = False
        self._proceed()

    def _proceed(self) -> None:
        """Answer one turn of messages; what is left waits until every other peer has had its turn."""
        if self._has_turn:
            return
        try:
            self._has_turn = self._answer_a_turn()
        except MalformedError:
            self.malformed()
            self.transport.abort()
            return
        if self._has_turn:
            asyncio.get_running_loop().call_soon(self._take_turn)
        self._bound_reading()

    def _answer_a_turn(self) -> bool:
        """Answer what is whole and say whether there may be more."""
        return all(self._takes_answers() and self.step() for _ in range(_TURN))

    def _takes_answers(self) -> bool:
        return not (self._paused or self.transport.is_closing())

    def _take_turn(self) -> None:
        self._has_turn = False
        self._proceed()

    def _bound_reading(self) -> None:
        """Read on only when everything that came is answered, so that little is held for anybody."""
        if self.transport.is_closing():
            return
        if self._paused or self._has_turn:
            self.transport.pause_reading()
        elif not self.transport.is_reading():
            self.transport.resume_reading()

    def _give_up(self) -> None:
        self.late()
        self.transport.abort()


class Listener:
    """One listening TCP socket. ``context`` may be replaced at any time; later connections use the new one."""

    def __init__(
        self,
        address: tuple[str, int],
        conversation: Callable[[], Conversation],
        context: ssl.SSLContext | None,
        *,
        handshake_timeout: float,
        max_connections: int,
        reuse_port: bool = False,
    ) -> None:
        self.context = context
        self.counters = ConnectionCounters()
        self._wanted = address
        self._conversation = conversation
        self._handshake_timeout = handshake_timeout
        self._reuse_port = reuse_port
        self._places = asyncio.Semaphore(max_connections)
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; the real port when port 0 was asked for."""
        if self._socket is None:
            return self._wanted
        host, port = self._socket.getsockname()[:2]
        return host, port

    async def start(self) -> None:
        """Bind and begin to accept; raise ``OSError`` when the address cannot be had."""
        family = socket.AF_INET6 if ":" in self._wanted[0] else socket.AF_INET
        self._socket = socket.create_server(self._wanted, family=family, backlog=BACKLOG, reuse_port=self._reuse_port)
        self._socket.setblocking(False)  # noqa: FBT003 -- the call's own form
        self._accepting = asyncio.create_task(self._accept(self._socket))

    async def close(self) -> None:
        """Stop listening and end every connection."""
        tasks = [*self._connections, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._places.acquire()
            try:
                peer, _ = await loop.sock_accept(listening)
            except OSError:
                # Out of file descriptors, or a peer gone before it was accepted: neither ends the service.
                self._places.release()
                await asyncio.sleep(_OUT_OF_FILES_PAUSE)
                continue
            self._welcome(peer)
            await asyncio.sleep(0)  # a burst of connections must not starve those already here

    def _welcome(self, peer: socket.socket) -> None:
        self.counters.accepted += 1
        self.counters.open += 1
        task = asyncio.create_task(self._serve(peer))
        self._connections.add(task)
        task.add_done_callback(self._leave)

    def _leave(self, task: "asyncio.Task[None]") -> None:
        self._connections.discard(task)
        self.counters.open -= 1
        self._places.release()

    async def _serve(self, peer: socket.socket) -> None:
        conversation = self._conversation()
        try:
            transport = await self._connect(peer, conversation)
        except (TimeoutError, OSError):  # ssl.SSLError is an OSError
            self.counters.handshakes_failed += 1
            peer.close()
            return
        except BaseException:
            peer.close()
            raise
        try:
            await conversation.over
        finally:
            transport.abort()

    async def _connect(self, peer: socket.socket, conversation: Conversation) -> asyncio.Transport:
        peer.setblocking(False)  # noqa: FBT003 -- the call's own form
        with contextlib.suppress(OSError):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secured = self.context is not None
        # What uvloop gives back as the protocol is its own TLS layer, so ours is held on to here.
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: conversation,
            peer,
            ssl=self.context,
            ssl_handshake_timeout=self._handshake_timeout if secured else None,
            ssl_shutdown_timeout=SHUTDOWN_TIMEOUT if secured else None,
        )
        return transport
        return transport


class ListeningServer:
    """What TVS and the registrar have in common: they are one listener each, and outlive changes of its context."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; the real port when port 0 was asked for."""
        return self._listener.address

    @property
    def connections(self) -> ConnectionCounters:
        """What became of connections."""
        return self._listener.counters

    def replace_context(self, context: ssl.SSLContext | None) -> None:
        """Use ``context`` for connections from now on, as after a certificate or a trust store changed."""
        self._listener.context = context

    async def start(self) -> None:
        """Begin to serve; raise ``OSError`` when the address cannot be had."""
        await self._listener.start()

    async def close(self) -> None:
        """Stop, and end every connection."""
        await self._listener.close()
