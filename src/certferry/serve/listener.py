"""Accepts phones for TVS and the registrar, so that no peer can hold up another.

Every connection has its own deadline for the TLS handshake and takes one of a bounded number of places from the
moment it is accepted. When all places are taken, new phones wait in the kernel's queue: a deadline frees a place
soon, and a phone that waits a second is better off than one turned away (a refused phone keeps its old lists).

All connections of a listener share one epoll, which the event loop, asyncio's or uvloop's, watches as if it were a
socket. A wake-up serves a few of those that are ready and returns to the loop, so that the other services of the
process have their turn in the middle of a storm; the kernel hands out who is ready in turns, too.
"""

import asyncio
import contextlib
import resource
import select
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from certferry.serve.conversation import Conversation
from certferry.serve.inherited import listen_tcp
from certferry.serve.peer import Peer, TlsPeer

__all__ = ["ConnectionCounters", "Conversation", "Listener", "ListeningServer"]

BACKLOG = 4096
SWEEP_SECONDS = 0.2
"""How late a deadline may be noticed."""
_READY = 16
"""Connections served in one wake-up: 5 ms at most, when each makes an RSA signature."""
_ACCEPTS = 8
"""Connections accepted in one wake-up. Few, so that in a storm those begun are served before more are begun: half of
the phones wait half as long, and the kernel's queue takes less memory for the others than a handshake does."""
_OUT_OF_FILES_PAUSE = 0.05
_OTHER_FILES = 512
"""Descriptors left for everything that is not a connection."""


@dataclass(slots=True)
class ConnectionCounters:
    """What became of connections: taken, open now, handshakes that failed or never came, turned away."""

    accepted: int = 0
    open: int = 0
    handshakes_failed: int = 0
    refused: int = 0

    def __str__(self) -> str:
        failed = f"{self.handshakes_failed} handshakes failed, {self.refused} refused"
        return f"{self.accepted} connections, {self.open} open, {failed}"


class Listener:
    """One listening TCP socket. ``context`` may be replaced at any time; later connections use the new one.

    ``max_from_one_address`` bounds how many of the places one address may hold, None not at all: what it opens
    beyond that is closed at once. Phones behind a proxy or a NAT share an address. A place that ``settle`` was called
    for does not count.
    """

    def __init__(
        self,
        address: tuple[str, int],
        conversation: Callable[[], Conversation],
        context: ssl.SSLContext | None,
        *,
        handshake_timeout: float,
        max_connections: int,
        max_from_one_address: int | None = None,
        reuse_port: bool = False,
    ) -> None:
        self.context = context
        self.counters = ConnectionCounters()
        self._wanted = address
        self._conversation = conversation
        self._handshake_timeout = handshake_timeout
        self._max_connections = max_connections
        self._max_from_one_address = max_from_one_address or max_connections
        self._reuse_port = reuse_port
        self._socket: socket.socket | None = None
        self._epoll: select.epoll
        self._accepting = False
        self._sweeping: asyncio.TimerHandle | None = None
        self._peers: dict[int, Peer] = {}
        self._from_address: Counter[str] = Counter()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; the real port when port 0 was asked for."""
        if self._socket is None:
            return self._wanted
        host, port = self._socket.getsockname()[:2]
        return host, port

    async def start(self) -> None:
        """Bind and begin to accept; raise ``OSError`` when the address cannot be had."""
        allow_files(self._max_connections)
        listening = listen_tcp(self._wanted, backlog=BACKLOG, reuse_port=self._reuse_port)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
        self._socket = listening
        self._epoll = select.epoll()
        self._epoll.register(listening, 0)
        self._accept_on()
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._serve_some)

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        self._accepting = True  # nothing is to begin it again
        for peer in list(self._peers.values()):
            peer.abort()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        self._socket.close()
        self._epoll.close()
        self._socket = None

    # What a peer asks of its home

    def watch(self, peer: Peer, events: int) -> None:
        """Call the peer's ``ready`` when its socket is ready for one of ``events``."""
        self._epoll.modify(peer.number, events)

    def converse(self, peer: Peer) -> Conversation:
        """Begin the conversation, once the peer may speak."""
        conversation = self._conversation()
        conversation.connection_made(peer)
        return conversation

    def leave(self, peer: Peer, *, greeted: bool) -> None:
        """Give the peer's place back; ``greeted`` is whether it ever spoke."""
        del self._peers[peer.number]
        if peer.is_counted:
            self.discount(peer)
        self.counters.open -= 1
        self.counters.handshakes_failed += not greeted
        if not self._accepting:
            self._accept_on()

    def count(self, peer: Peer) -> None:
        """Count the peer's place as one that its address holds, as at first; end it if those are too many."""
        peer.is_counted = True
        self._from_address[peer.host] += 1
        if self._from_address[peer.host] > self._max_from_one_address:
            self.counters.refused += 1
            peer.abort()

    def discount(self, peer: Peer) -> None:
        """Count the peer's place no more as one that its address holds."""
        peer.is_counted = False
        self._from_address[peer.host] -= 1
        if not self._from_address[peer.host]:
            del self._from_address[peer.host]

    # The loop's wake-ups

    def _serve_some(self) -> None:
        for number, events in self._epoll.poll(0, _READY):
            peer = self._peers.get(number)
            if peer is not None:
                peer.ready(events)
            elif self._socket is not None and number == self._socket.fileno():
                self._accept(self._socket)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTS):
            if len(self._peers) >= self._max_connections:
                self._accept_no_more()
                return
            try:
                connection, address = listening.accept()
            except (BlockingIOError, ConnectionError):  # none waits, or one that is gone already
                return
            except OSError:  # out of file descriptors: that passes, and does not end the service
                self._accept_no_more()
                asyncio.get_running_loop().call_later(_OUT_OF_FILES_PAUSE, self._accept_on)
                return
            self._welcome(connection, address)

    def _accept_on(self) -> None:
        if self._socket is not None:
            self._accepting = True
            self._epoll.modify(self._socket, select.EPOLLIN)

    def _accept_no_more(self) -> None:
        if self._socket is not None:
            self._accepting = False
            self._epoll.modify(self._socket, 0)

    def _welcome(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        host = address[0]
        if self._from_address[host] >= self._max_from_one_address:
            self.counters.refused += 1
            connection.close()
            return
        connection.setblocking(False)  # noqa: FBT003 -- the call's own form
        peer = self._peer(connection, address)
        self._peers[peer.number] = peer
        self._from_address[host] += 1
        self.counters.accepted += 1
        self.counters.open += 1
        self._epoll.register(peer.number, select.EPOLLIN)
        peer.begin()
        if self._sweeping is None:
            self._sweep()

    def _peer(self, connection: socket.socket, address: tuple[Any, ...]) -> Peer:
        deadline = monotonic() + self._handshake_timeout
        if self.context is None:
            return Peer(connection, address, deadline, self)
        return TlsPeer(connection, address, deadline, self, self.context)

    def _sweep(self) -> None:
        """End those whose deadline has passed: one look at all now and then costs less than a timer for each."""
        now = monotonic()
        for peer in [peer for peer in self._peers.values() if peer.deadline < now]:
            peer.expire()
        again = asyncio.get_running_loop().call_later
        self._sweeping = again(SWEEP_SECONDS, self._sweep) if self._peers else None


def allow_files(connections: int) -> None:
    """Let this process have a file descriptor for each of ``connections`` as far as it may: many shells say 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES if hard == resource.RLIM_INFINITY else min(connections + _OTHER_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


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
