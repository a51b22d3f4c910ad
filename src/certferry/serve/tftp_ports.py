"""The ports that TFTP transfers run on: one connected socket for each transfer, all watched by one epoll.

A transfer's socket is connected to its peer, so the kernel itself turns away packets of any other transfer identifier
and reports a peer that is gone (ICMP port unreachable). Two things make it cheap. All sockets are in an epoll of their
own, and only that one is registered in the event loop, which therefore wakes once for many packets. And a socket that
has done its work is connected to another peer later, which costs a fourth of opening, binding and closing one; the one
that rested longest is taken, after at least 64 others. Packets that came late meanwhile are read and dropped, the last
of them when it is connected already: the kernel takes no more from the peer before.
"""

import asyncio
import select
import socket
from collections import deque
from collections.abc import Callable

from certferry.wire.tftp_session import SendSession

Peer = tuple[str, int] | tuple[str, int, int, int]

_ANSWER = 64
"""Bytes read of a packet: an acknowledgment has four, and an error is known by its first two."""
_EVENTS_EACH_POLL = 128
_POLLS_EACH_WAKE = 4
_LEAST_RESTING = 64
_MOST_RESTING = 1024
_MOST_LATE = 1024
"""Packets dropped of a port that is taken again; the kernel keeps fewer."""
_MOST_CAUGHT_UP = 64
_SWEEP = 0.1
_WILDCARDS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 -- told apart, not bound


class TransferPort:
    """One port of ours; while ``session`` is set, it carries file ``name`` to ``peer``, asked for by ``request``."""

    __slots__ = ("name", "peer", "receive", "request", "send", "session", "socket")

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.receive = sock.recv
        self.send = sock.send
        self.session: SendSession | None = None
        self.name = ""
        self.request = b""
        self.peer: Peer = ("", 0)


class TransferPorts:
    """The transfers of one server that sends from ``host``. ``ended`` is told of each, whichever way it ended."""

    def __init__(
        self, host: str, family: socket.AddressFamily, ended: Callable[[TransferPort, SendSession], None]
    ) -> None:
        self.busy: dict[Peer, TransferPort] = {}
        self._host = host
        self._family = family
        self._ended = ended
        # A socket bound to no address keeps the one its first peer was reached from.
        self._is_reusing = host not in _WILDCARDS
        self._resting: deque[TransferPort] = deque()
        self._ports: dict[int, TransferPort] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    def start(self, listener: socket.socket, take_requests: Callable[[], None]) -> None:
        """Begin to listen for what peers answer, and for requests at ``listener``."""
        self._loop = asyncio.get_running_loop()
        self.now: Callable[[], float] = self._loop.time
        self._epoll = select.epoll()
        self._listener, self._take_requests = listener.fileno(), take_requests
        self._epoll.register(self._listener, select.EPOLLIN)
        self._loop.add_reader(self._epoll.fileno(), self._wake)

    def close(self) -> None:
        """Abort all transfers and close all sockets."""
        for port in list(self.busy.values()):
            self.end(port)
        for port in list(self._ports.values()):
            self._shut(port)
        self._resting.clear()
        if self._sweeping:
            self._sweeping.cancel()
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def begin(self, peer: Peer, name: str, request: bytes, session: SendSession) -> None:
        """Send a file to a peer that has none under way; raise ``OSError`` when there is no socket to be had."""
        port = self._take(peer)
        port.session, port.name, port.request, port.peer = session, name, request, peer
        self.busy[peer] = port
        [packet] = session.start(self.now())
        try:
            port.send(packet)
        except ConnectionRefusedError:
            self._send(port, [packet])  # what was refused was the last packet to the peer before
        except OSError:
            pass  # the deadline repeats it
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(_SWEEP, self._sweep)

    def end(self, port: TransferPort) -> None:
        """Let a port rest, whether its transfer is done or not."""
        session = port.session
        assert session is not None  # noqa: S101 -- only busy ports end
        port.session = None
        del self.busy[port.peer]
        if self._is_reusing:
            self._resting.append(port)
            if len(self._resting) > _MOST_RESTING:
                self._shut(self._resting.popleft())
        else:
            self._shut(port)
        self._ended(port, session)

    def _take(self, peer: Peer) -> TransferPort:
        if len(self._resting) <= _LEAST_RESTING:
            return self._open(peer)
        port = self._resting.popleft()
        try:
            port.socket.connect(peer)
        except OSError:
            self._shut(port)
            raise
        self._drop_late(port)
        return port

    def _drop_late(self, port: TransferPort) -> None:
        for _ in range(_MOST_LATE):
            try:
                port.receive(_ANSWER)
            except BlockingIOError:
                return
            except OSError:
                continue  # the last packet to the peer before was refused

    def _open(self, peer: Peer) -> TransferPort:
        sock = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        port = TransferPort(sock)
        try:
            sock.bind((self._host, 0))
            sock.connect(peer)
            self._epoll.register(sock.fileno(), select.EPOLLIN)
        except OSError:
            sock.close()
            raise
        self._ports[sock.fileno()] = port
        return port

    def _shut(self, port: TransferPort) -> None:
        del self._ports[port.socket.fileno()]
        port.socket.close()

    def catch_up(self, port: TransferPort) -> None:
        """Take what its peer has answered and was not read yet; of one that floods it, not all."""
        now = self.now()
        for _ in range(_MOST_CAUGHT_UP):
            if port.session is None or not self._take_packet(port, now):
                return

    def _wake(self) -> None:
        """Answer all that came, and what came meanwhile: cheaper than to wake for it; then let others have the loop."""
        ports, poll = self._ports, self._epoll.poll
        for _ in range(_POLLS_EACH_WAKE):
            events = poll(0, _EVENTS_EACH_POLL)
            if not events:
                return
            now = self.now()
            for descriptor, _ in events:
                port = ports.get(descriptor)
                if port is not None:
                    self._take_packet(port, now)
                elif descriptor == self._listener:
                    self._take_requests()

    def _take_packet(self, port: TransferPort, now: float) -> bool:
        """Read one packet and answer it; return whether there was one."""
        session = port.session
        try:
            packet = port.receive(_ANSWER)
            if session is None:
                return True  # a late packet of a transfer that is over
            for answer in session.receive(packet, now):
                port.send(answer)
        except ConnectionRefusedError:
            self._abort(port)
            return False
        except OSError:
            return False  # nothing to read, or no room to send: then the deadline repeats it
        if session.done or session.failed:
            self.end(port)
        return True

    def _send(self, port: TransferPort, packets: list[bytes]) -> None:
        try:
            for packet in packets:
                port.send(packet)
        except ConnectionRefusedError:
            self._abort(port)
        except OSError:
            return  # as above

    def _abort(self, port: TransferPort) -> None:
        if port.session is not None:
            self.end(port)

    def _sweep(self) -> None:
        """Repeat what was not answered in time, drop who never answers; runs only while there are transfers."""
        now = self.now()
        for port in list(self.busy.values()):
            session = port.session
            deadline = session.next_deadline() if session else None
            if session is None or deadline is None or deadline > now:
                continue
            self._send(port, session.expired(now))
            if session.failed and port.session is session:
                self.end(port)
        self._sweeping = self._loop.call_later(_SWEEP, self._sweep) if self.busy else None
