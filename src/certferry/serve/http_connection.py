"""One peer of the HTTP file service: requests in, replies out, in order.

A connection holds at most 8 KiB and one read of a request, and of its reply nothing but its place in the file, which
all share. While a reply waits for the peer to take it, nothing more is read. Two deadlines hold the peer to its pace:
every ``read_timeout`` seconds it has to say a whole request or to take something of its reply, and it has a minute
and a second for each 4 KiB to take all of it, so that not even a trickle holds a place for ever.
"""

import select
import socket
from functools import lru_cache
from typing import Protocol

from certferry.serve.file_source import FileCounters
from certferry.wire.http_request import HttpMalformedError, ReplyHead, RequestParser, plain_get

_READ = 4096
_BLOCK = 64 * 1024
_BLOCKS_EACH_TURN = 8
_GRACE = 60.0
_SLOWEST = 4096
_NOW = int(socket.MSG_DONTWAIT)
_OUT, _IN = select.EPOLLOUT, select.EPOLLIN
_NOTHING = memoryview(b"")
_FOUND, _NOT_FOUND, _BUSY = 200, 404, 503


@lru_cache(1024)
def _head(status: int, length: int, *, close: bool) -> bytes:
    return ReplyHead(status, length, close).encode()


class Home(Protocol):
    """What a connection's server does for it."""

    read_timeout: float
    counters: FileCounters

    def find(self, path: str) -> bytes | None:
        """Return the file a peer asked for, or None."""

    def served(self, path: str, host: str) -> None:
        """Count a file that was sent whole."""

    def is_full_for(self, connection: "Connection") -> bool:
        """Whether there are as many connections as are served without this one."""

    def watch(self, connection: "Connection") -> None:
        """Call the connection's ``ready`` when its socket is ready for what it awaits."""

    def leave(self, connection: "Connection") -> None:
        """Give its place back."""


_OPEN = 0
_CLOSING = 1  # once the reply is sent
_REFUSING = 2  # likewise, but what the peer still sends is read and dropped, or it might lose our last words
_DRAINING = 3  # all is said, now only that
_CLOSED = 4


class Connection:
    """One accepted connection; ``deadline`` is when the server is to ``close`` it."""

    __slots__ = (
        "_body",
        "_file",
        "_give_up_at",
        "_home",
        "_is_waiting",
        "_parser",
        "_state",
        "_unsent",
        "deadline",
        "host",
        "sock",
    )

    def __init__(self, sock: socket.SocketType, host: str, home: Home, now: float) -> None:
        self.sock = sock
        self.host = host
        self.deadline = now + home.read_timeout
        self._home = home
        self._state = _OPEN
        self._parser: RequestParser | None = None
        self._unsent: bytes | memoryview = b""
        self._body = _NOTHING
        self._file: str | None = None
        self._is_waiting = False
        self._give_up_at = 0.0

    @property
    def awaited(self) -> int:
        """What its socket is to be ready for."""
        return _OUT if self._is_waiting else _IN

    @property
    def is_closed(self) -> bool:
        """Whether it is over, and its socket closed."""
        return self._state == _CLOSED

    def ready(self, events: int, now: float) -> None:
        """Go on with what its socket is ready for."""
        if events & _OUT and self._is_waiting:
            self._push(now)
            if self._parser is not None:
                self._answer_requests(self._parser, now)
        elif self._state != _CLOSED:
            self.receive(now)

    def receive(self, now: float) -> None:
        """Read once, if there is something, and answer what is whole."""
        try:
            data = self.sock.recv(_READ, _NOW)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data or self._is_waiting:  # while a reply waits, nothing is read unless the peer is gone
            self.close()
        elif self._state == _OPEN:
            self._take(data, now)

    def close(self) -> None:
        """Close the socket now, whatever is still to be sent."""
        if self._state == _CLOSED:
            return
        self._state = _CLOSED
        if self._file is not None:
            self._home.counters.aborted += 1
            self._home.counters.in_progress -= self._is_waiting
        self._home.leave(self)
        self.sock.close()

    def _take(self, data: bytes, now: float) -> None:
        if self._parser is None:
            asked = plain_get(data)
            if asked is not None:
                self._answer(asked[0], now, with_body=True, close=asked[1])
                return
            self._parser = RequestParser()
        self._parser.feed(data)
        self._answer_requests(self._parser, now)

    def _answer_requests(self, parser: RequestParser, now: float) -> None:
        """Answer what is whole; requests behind an unfinished reply wait, and so does reading more of them."""
        while self._state == _OPEN and not self._is_waiting:
            try:
                request = parser.next_request()
            except HttpMalformedError as error:
                self._home.counters.malformed += 1
                self._refuse(error.status, now)
                return
            if request is None:
                self._parser = parser if parser.waiting else None
                return
            self._answer(request.path, now, with_body=request.method == "GET", close=not request.keep_alive)

    def _answer(self, path: str, now: float, *, with_body: bool, close: bool) -> None:
        home = self._home
        if home.is_full_for(self):
            home.counters.overflow += 1
            close, head, body = True, _head(_BUSY, 0, close=True), b""
        elif (content := home.find(path)) is None:
            home.counters.not_found += 1
            head, body = _head(_NOT_FOUND, 0, close=close), b""
        else:
            self._file = path if with_body else ""  # a head counts, and nobody was served the file
            head, body = _head(_FOUND, len(content), close=close), content if with_body else b""
        if close:
            self._state = _CLOSING
        self._begin(head, body, now)

    def _refuse(self, status: int, now: float) -> None:
        self._state = _REFUSING
        self._begin(_head(status, 0, close=True), b"", now)

    def _begin(self, head: bytes, body: bytes, now: float) -> None:
        if len(body) <= _BLOCK:
            self._unsent = head + body
        else:
            self._unsent, self._body = head, memoryview(body)
        self._give_up_at = now + _GRACE + len(body) / _SLOWEST
        self._push(now)

    def _push(self, now: float) -> None:
        """Send what the peer takes, block by block; the rest waits until it takes more."""
        send = self.sock.send
        try:
            for _ in range(_BLOCKS_EACH_TURN):
                sent = send(self._unsent, _NOW)
                self.deadline = min(now + self._home.read_timeout, self._give_up_at)
                if sent < len(self._unsent):
                    self._unsent = memoryview(self._unsent)[sent:]
                elif self._body:
                    self._unsent, self._body = self._body[:_BLOCK], self._body[_BLOCK:]
                else:
                    self._sent(now)
                    return
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._wait()

    def _wait(self) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            self._home.counters.in_progress += self._file is not None
            self._home.watch(self)

    def _sent(self, now: float) -> None:
        """The reply is with the kernel."""
        home, self._unsent = self._home, b""
        if self._is_waiting:
            self._is_waiting = False
            home.counters.in_progress -= self._file is not None
            home.watch(self)
        if self._file is not None:
            home.served(self._file, self.host)
            self._file = None
        if self._state == _CLOSING:
            self.close()
        elif self._state == _REFUSING:
            self._state = _DRAINING
            self.sock.shutdown(socket.SHUT_WR)
        else:
            self.deadline = now + home.read_timeout
