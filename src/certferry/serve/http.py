"""The HTTP file service of a node (port 6970): the files of TFTP, one write for each reply.

What one peer says and hears is in ``http_connection``; here is who gets a place. A connection that neither asks nor
takes anything is cut by a deadline: the read timer of 5 s that Unified CM has (phone-trust 5.3). All connections are
in an epoll of their own, and only that one is registered in the event loop, which so wakes once for many of them; a
request that came with its connection is answered before that is watched at all. One timer sweeps all deadlines.
"""

import asyncio
import logging
import select
import socket
from collections import Counter
from collections.abc import Callable

from certferry.serve.file_source import FileCounters, FileSource, look_up
from certferry.serve.http_connection import Connection
from certferry.serve.inherited import listen_tcp
from certferry.serve.listener import allow_files

logger = logging.getLogger(__name__)

CONNECTION_LIMIT = 8192
"""Unified CM has 2,500, seen in a trace (phone-trust 5.4); more at once cost this service little."""
READ_TIMEOUT = 5.0
_BACKLOG = 4096
_LONGEST_SWEEP = 0.5
_EVENTS_EACH_WAKE = 64
_ACCEPTS_EACH_WAKE = 64
_OUT_OF_FILES_PAUSE = 0.05


class HttpFileServer:
    """Serve files over HTTP at ``address``; port 0 lets the kernel choose, ``address`` then tells which.

    Above ``connection_limit`` connections a request is answered with 503; above twice that a connection is dropped
    unread, and so is what one address opens above ``limit_from_one_address`` (by default half of the limit: phones
    behind a NAT share an address). ``read_timeout`` is the seconds a peer has for a whole request, and for taking any
    part of its reply. ``on_served`` is told the name asked for and the peer's address when a file has been handed to
    the kernel whole; it must not wait.
    """

    def __init__(
        self,
        address: tuple[str, int],
        files: FileSource,
        *,
        connection_limit: int = CONNECTION_LIMIT,
        limit_from_one_address: int | None = None,
        read_timeout: float = READ_TIMEOUT,
        reuse_port: bool = False,
        on_served: Callable[[str, str], None] | None = None,
    ) -> None:
        self.address = address
        self.counters = FileCounters()
        self.read_timeout = read_timeout
        self.connections: set[Connection] = set()
        self._files = files
        self._connection_limit = connection_limit
        self._limit_from_one_address = limit_from_one_address or max(connection_limit // 2, 1)
        self._reuse_port = reuse_port
        self._on_served = on_served
        self._from_address: Counter[str] = Counter()
        self._watched: dict[int, Connection] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._is_serving = False

    async def start(self) -> None:
        """Bind and serve; raise ``OSError`` when the address can't be had."""
        allow_files(2 * self._connection_limit)
        self._loop = asyncio.get_running_loop()
        self._listener = listen_tcp(self.address, backlog=_BACKLOG, reuse_port=self._reuse_port)
        self._listener_family = int(self._listener.family)
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
        self.address = self._listener.getsockname()[:2]
        self._epoll = select.epoll()
        self._accept_on()
        self._loop.add_reader(self._epoll.fileno(), self._wake)
        self._is_serving = True
        self._sweep()
        logger.info("HTTP at %s port %d", *self.address)

    async def close(self) -> None:
        """Stop serving; replies under way are aborted."""
        if not self._is_serving:
            return
        self._is_serving = False
        self._loop.remove_reader(self._epoll.fileno())
        for connection in list(self.connections):
            connection.close()
        if self._sweeping:
            self._sweeping.cancel()
        self._listener.close()
        self._epoll.close()

    # What a connection asks of its home

    def find(self, path: str) -> bytes | None:
        """Return the file a peer asked for, or None."""
        return look_up(self._files, path)

    def served(self, path: str, host: str) -> None:
        """Count a reply that was sent whole; ``path`` is empty when only the head was asked for."""
        self.counters.processed += 1
        if path and self._on_served is not None:
            self._on_served(path, host)

    def is_full_for(self, connection: Connection) -> bool:
        """Whether there are as many connections as are served without this one."""
        return len(self.connections) + (connection not in self.connections) > self._connection_limit

    def watch(self, connection: Connection) -> None:
        """Call the connection's ``ready`` when its socket is ready for what it awaits."""
        if connection in self.connections:
            self._epoll.modify(connection.sock.fileno(), connection.awaited)

    def leave(self, connection: Connection) -> None:
        """Give its place back, if it had one; its socket, closed then, leaves the epoll by itself."""
        if connection not in self.connections:
            return
        del self._watched[connection.sock.fileno()]
        self.connections.remove(connection)
        self._from_address[connection.host] -= 1
        if not self._from_address[connection.host]:
            del self._from_address[connection.host]

    # The loop's wake-ups

    def _wake(self) -> None:
        now = self._loop.time()
        for number, events in self._epoll.poll(0, _EVENTS_EACH_WAKE):
            connection = self._watched.get(number)
            if connection is not None:
                connection.ready(events, now)
            elif number == self._listener.fileno():
                self._accept(now)

    def _accept(self, now: float) -> None:
        for _ in range(_ACCEPTS_EACH_WAKE):
            try:
                # accept() makes a larger object of it, which costs a tenth of a request more
                number, peer = self._listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001
            except (BlockingIOError, ConnectionError):  # none waits, or one that is gone already
                return
            except OSError:  # out of file descriptors: that passes, and does not end the service
                self._epoll.unregister(self._listener)
                self._loop.call_later(_OUT_OF_FILES_PAUSE, self._accept_on)
                return
            self._welcome(socket.SocketType(self._listener_family, socket.SOCK_STREAM, 0, number), peer[0], now)

    def _accept_on(self) -> None:
        if self._listener.fileno() >= 0:
            self._epoll.register(self._listener, select.EPOLLIN)

    def _welcome(self, sock: socket.SocketType, host: str, now: float) -> None:
        taken = self._from_address.get(host, 0)
        if taken >= self._limit_from_one_address or len(self.connections) >= 2 * self._connection_limit:
            self.counters.overflow += 1
            sock.close()
            return
        connection = Connection(sock, host, self, now)
        connection.receive(now)
        if connection.is_closed:
            return  # all is said already, as with most phones
        self._from_address[host] = taken + 1
        self.connections.add(connection)
        self._watched[sock.fileno()] = connection
        self._epoll.register(sock.fileno(), connection.awaited)

    def _sweep(self) -> None:
        now = self._loop.time()
        for connection in list(self.connections):
            if connection.deadline <= now:
                connection.close()
        self._sweeping = self._loop.call_later(min(_LONGEST_SWEEP, self.read_timeout / 2), self._sweep)
