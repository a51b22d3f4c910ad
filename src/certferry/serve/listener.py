"""Accepts phones for TVS and the registrar, so that no peer can hold up another.

Every connection has its own deadline for the TLS handshake and takes one of a bounded number of places from the
moment it is accepted. When all places are taken, new phones wait in the kernel's queue: a deadline frees a place
soon, and a phone that waits a second is better off than one turned away (a refused phone keeps its old lists).
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

BACKLOG = 2048
SHUTDOWN_TIMEOUT = 2.0
"""Seconds a peer has to answer the end of a TLS session."""
_OUT_OF_FILES_PAUSE = 0.05


@dataclass(slots=True)
class ConnectionCounters:
    """What became of connections: taken, open now, handshakes that failed or never came."""

    accepted: int = 0
    open: int = 0
    handshakes_failed: int = 0


class Conversation(asyncio.Protocol):
    """A protocol that tells the listener when it is over; subclasses call ``super().connection_lost``."""

    def __init__(self) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        del exc
        if not self.over.done():
            self.over.set_result(None)


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
    ) -> None:
        self.context = context
        self.counters = ConnectionCounters()
        self._wanted = address
        self._conversation = conversation
        self._handshake_timeout = handshake_timeout
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
        self._socket = socket.create_server(self._wanted, family=family, backlog=BACKLOG)
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
        try:
            transport, conversation = await self._connect(peer)
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

    async def _connect(self, peer: socket.socket) -> tuple[asyncio.Transport, Conversation]:
        peer.setblocking(False)  # noqa: FBT003 -- the call's own form
        with contextlib.suppress(OSError):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secured = self.context is not None
        return await asyncio.get_running_loop().connect_accepted_socket(
            self._conversation,
            peer,
            ssl=self.context,
            ssl_handshake_timeout=self._handshake_timeout if secured else None,
            ssl_shutdown_timeout=SHUTDOWN_TIMEOUT if secured else None,
        )
