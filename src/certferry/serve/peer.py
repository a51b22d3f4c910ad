"""One accepted connection, plain or TLS, driven by readiness of its socket instead of a task of its own.

A boot storm is thousands of connections of four packets each, so what each costs beside its TLS handshake is what
the service costs. TLS runs in memory (``ssl.MemoryBIO``): one system call takes a whole flight of the handshake and
one sends the answer, and a connection at rest holds no buffers of its own.
"""

import logging
import select
import socket
import ssl
from typing import Any, Protocol

from certferry.serve.conversation import Conversation

PIECE = 16 * 1024
"""Most bytes taken from a peer at a time, and the most plain text one TLS record has."""
_GONE = select.EPOLLERR | select.EPOLLHUP

logger = logging.getLogger(__name__)


class Home(Protocol):
    """What a peer's listener does for it."""

    def watch(self, peer: "Peer", events: int) -> None:
        """Call the peer's ``ready`` when its socket is ready for one of ``events``."""

    def converse(self, peer: "Peer") -> Conversation:
        """Begin the conversation, once the peer may speak."""

    def leave(self, peer: "Peer", *, greeted: bool) -> None:
        """Give the peer's place back; ``greeted`` is whether it ever spoke."""

    def count(self, peer: "Peer") -> None:
        """Count the peer's place as one that its address holds, as at first; end it if those are too many."""

    def discount(self, peer: "Peer") -> None:
        """Count the peer's place no more as one that its address holds."""


class Peer:
    """A plain TCP connection. It is a ``conversation.Transport``; ``number`` is its file descriptor's."""

    __slots__ = (
        "_address",
        "_closing",
        "_conversation",
        "_home",
        "_reading",
        "_socket",
        "_unsent",
        "deadline",
        "host",
        "is_counted",
        "number",
    )

    def __init__(self, connection: socket.socket, address: tuple[Any, ...], deadline: float, home: Home) -> None:
        self.deadline = deadline
        self.host: str = address[0]
        self.is_counted = True
        self._address = address
        self.number = connection.fileno()
        self._socket = connection
        self._home = home
        self._conversation: Conversation | None = None
        self._unsent = b""
        self._reading = True
        self._closing = False

    def begin(self) -> None:
        """Let the peer speak: at once on plain TCP."""
        self._conversation = self._home.converse(self)

    def ready(self, events: int) -> None:
        """Take what came and send what waits. Nothing that a peer does gets out of here as an exception."""
        try:
            if events & _GONE:
                self.abort()
                return
            if events & select.EPOLLOUT:
                self._send_on()
            if events & select.EPOLLIN and not self._closing:
                self._receive()
        except Exception:
            logger.exception("a connection from %s is given up", self.host)
            self.abort()

    def expire(self) -> None:
        """End the connection because its deadline has passed."""
        if self._conversation is not None and not self._closing:
            self._conversation.late()
        self.abort()

    def write(self, data: bytes) -> None:
        """Send ``data``; what the kernel does not take waits, and the conversation with it."""
        if not self._closing:
            self._send(data)

    def abort(self) -> None:
        """End the connection now and give its place back; again has no effect."""
        if self._socket.fileno() < 0:
            return
        self._closing = True
        self._socket.close()  # which takes it out of the epoll, too
        conversation, self._conversation = self._conversation, None
        self._home.leave(self, greeted=conversation is not None)
        if conversation is not None:
            conversation.connection_lost(None)

    def settle(self) -> None:
        """Be no longer one of those that its address may hold so many of: it proved to be a phone's."""
        if self.is_counted:
            self._home.discount(self)

    def unsettle(self) -> None:
        """Be one of them again, or end if there are too many."""
        if not self.is_counted:
            self._home.count(self)

    def is_closing(self) -> bool:
        """Whether it has ended, or will when what is unsent is sent."""
        return self._closing

    def is_reading(self) -> bool:
        """Whether what comes is read."""
        return self._reading

    def pause_reading(self) -> None:
        """Leave what comes to the kernel, which soon lets the peer send no more."""
        if self._reading:
            self._reading = False
            self._watch()

    def resume_reading(self) -> None:
        """Read again."""
        if not self._reading and not self._closing:
            self._reading = True
            self._watch()

    def get_extra_info(self, name: str) -> Any:
        """``peername`` and ``sockname``, as asyncio's transports tell them; None for what plain TCP does not have."""
        if name == "sockname":
            return None if self._socket.fileno() < 0 else self._socket.getsockname()
        return self._address if name == "peername" else None

    def _watch(self) -> None:
        reading = select.EPOLLIN if self._reading else 0
        self._home.watch(self, reading | (select.EPOLLOUT if self._unsent else 0))

    def _receive(self) -> None:
        try:
            data = self._socket.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            self.abort()
            return
        if data:
            self._take(data)
        else:
            self._end()

    def _take(self, data: bytes) -> None:
        if self._conversation is not None:
            self._conversation.data_received(data)

    def _send(self, data: bytes) -> None:
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.abort()
            return
        if sent < len(data):
            self._unsent = data[sent:]
            self._watch()
            if self._conversation is not None:
                self._conversation.pause_writing()

    def _send_on(self) -> None:
        data, self._unsent = self._unsent, b""
        self._send(data)
        if self._unsent or self._socket.fileno() < 0:
            return
        if self._closing:
            self.abort()
            return
        self._watch()
        if self._conversation is not None:
            self._conversation.resume_writing()

    def _end(self) -> None:
        """The peer says no more: end when it has what was said to it. Its deadline still holds."""
        if not self._unsent:
            self.abort()
            return
        self._closing = True
        self._reading = False
        self._watch()


class TlsPeer(Peer):
    """A connection under TLS. It speaks once its handshake is done; until then it has no conversation."""

    __slots__ = ("_incoming", "_outgoing", "_tls")

    def __init__(
        self,
        connection: socket.socket,
        address: tuple[Any, ...],
        deadline: float,
        home: Home,
        context: ssl.SSLContext,
    ) -> None:
        super().__init__(connection, address, deadline, home)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def begin(self) -> None:
        """Wait for the handshake."""

    def write(self, data: bytes) -> None:
        """Send ``data`` as one record, up to 16 KB."""
        if not self._closing:
            self._tls.write(data)
            self._send(self._outgoing.read())

    def resume_reading(self) -> None:
        """Read again, first the records that came before reading was paused."""
        super().resume_reading()
        if self._incoming.pending and not self._closing:
            self._take(b"")

    def get_extra_info(self, name: str) -> Any:
        """``ssl_object`` and ``peercert`` besides, as asyncio's transports tell them."""
        if name == "ssl_object":
            return self._tls
        return self._tls.getpeercert() if name == "peercert" else super().get_extra_info(name)

    def _take(self, data: bytes) -> None:
        self._incoming.write(data)
        try:
            if self._conversation is None:
                self._shake_hands()
            if self._conversation is not None:
                self._read_records(self._conversation)
        except ssl.SSLWantReadError:
            self._send_outgoing()
        except ssl.SSLError:
            self._send_outgoing()  # the alert that says why
            self.abort()

    def _shake_hands(self) -> None:
        self._tls.do_handshake()
        self._send_outgoing()
        if not self._closing:
            self._conversation = self._home.converse(self)

    def _read_records(self, conversation: Conversation) -> None:
        while self._incoming.pending and self._reading and not self._closing:
            if plain := self._tls.read(PIECE):
                conversation.data_received(plain)
            else:
                self._say_goodbye()

    def _send_outgoing(self) -> None:
        if self._outgoing.pending:
            self._send(self._outgoing.read())

    def _say_goodbye(self) -> None:
        """Answer the end of TLS, unless the peer has gone already, as phones do: nobody would read it."""
        try:
            self._socket.recv(1)
        except BlockingIOError:
            self._tls.unwrap()
            self._send_outgoing()
        except OSError:
            self.abort()
            return
        self._end()
