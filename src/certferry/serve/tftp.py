"""The TFTP service of a node: one listening socket, one connected socket for each transfer, files from memory.

The protocol itself is ``wire.tftp_session``; here are only sockets and the clock. Three things make it hold under a
storm of phones: a receive buffer far above the kernel's default, up to 64 requests taken
each time the loop wakes, and one timer that sweeps all deadlines in place of a timer for each packet.

A transfer's socket is connected to its peer, so the kernel itself turns away packets of any other transfer identifier
and reports a peer that is gone (ICMP port unreachable). A stray packet at the service port is answered with error 5.
"""

import asyncio
import logging
import socket
from collections.abc import Callable

from certferry.serve.file_source import FileCounters, FileSource, look_up
from certferry.wire import tftp
from certferry.wire.tftp import ErrorCode, ErrorPacket, ReadRequest, WriteRequest
from certferry.wire.tftp_session import SendSession

logger = logging.getLogger(__name__)

SERVING_LIMIT = 500
"""*Maximum Serving Count*, the service parameter's default (phone-trust 5.4)."""
RECEIVE_BUFFER = 4 * 1024 * 1024
_REQUESTS_EACH_WAKE = 64
_DATAGRAM = 1024
_SWEEP = 0.1
_SO_RCVBUFFORCE = 33

Peer = tuple[str, int] | tuple[str, int, int, int]


class _Transfer:
    """One file on its way to one peer."""

    __slots__ = ("name", "peer", "request", "session", "socket")

    def __init__(self, peer: Peer, name: str, request: bytes, session: SendSession, sock: socket.socket) -> None:
        self.peer = peer
        self.name = name
        self.request = request
        self.session = session
        self.socket = sock

    def send(self, packets: list[bytes]) -> None:
        """Hand packets to the kernel; what it has no room for is repeated by the deadline."""
        for packet in packets:
            try:
                self.socket.send(packet)
            except ConnectionRefusedError:
                self.session.failed = True
            except OSError:
                return


class TftpServer:
    """Serve files over TFTP at ``address``; port 0 lets the kernel choose, ``address`` then tells which.

    ``serving_limit`` transfers run at once, further requests are turned away; ``timeout`` and ``tries`` are those of
    ``SendSession``. ``receive_buffer`` bytes are asked of the kernel, and become what it granted after ``start``.
    ``reuse_port`` lets several processes share the port. Give the node's own address: bound to 0.0.0.0 on a host with
    several, replies come from whichever the kernel prefers.
    """

    def __init__(
        self,
        address: tuple[str, int],
        files: FileSource,
        *,
        serving_limit: int = SERVING_LIMIT,
        timeout: float = 1.0,
        tries: int = 5,
        receive_buffer: int = RECEIVE_BUFFER,
        reuse_port: bool = False,
        on_served: Callable[[str, str], None] | None = None,
    ) -> None:
        self.address = address
        self.counters = FileCounters()
        self.receive_buffer = receive_buffer
        self._files = files
        self._serving_limit = serving_limit
        self._timeout = timeout
        self._tries = tries
        self._reuse_port = reuse_port
        self._on_served = on_served
        self._family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._transfers: dict[Peer, _Transfer] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._serving = False

    async def start(self) -> None:
        """Bind and serve; raise ``OSError`` when the address can't be had."""
        self._loop = asyncio.get_running_loop()
        self._now: Callable[[], float] = self._loop.time
        self._listener = self._listen()
        self.address = self._listener.getsockname()[:2]
        self.receive_buffer = self._listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._loop.add_reader(self._listener, self._take_requests)
        self._serving = True
        logger.info("TFTP at %s port %d, receive buffer %d bytes", *self.address, self.receive_buffer)

    async def close(self) -> None:
        """Stop serving; transfers under way are aborted."""
        if not self._serving:
            return
        self._serving = False
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for transfer in list(self._transfers.values()):
            self._end(transfer)
        if self._sweeping:
            self._sweeping.cancel()

    def _listen(self) -> socket.socket:
        listener = _new_socket(self._family)
        try:
            if self._reuse_port:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _widen_receive_buffer(listener, self.receive_buffer)
            listener.bind(self.address)
        except OSError:
            listener.close()
            raise
        return listener

    def _take_requests(self) -> None:
        for _ in range(_REQUESTS_EACH_WAKE):
            try:
                data, peer = self._listener.recvfrom(_DATAGRAM)
            except OSError:
                return
            self._take_request(data, peer)

    def _take_request(self, data: bytes, peer: Peer) -> None:
        try:
            packet = tftp.parse(data)
        except tftp.TftpMalformedError as error:
            self._refuse_malformed(data, error, peer)
            return
        if isinstance(packet, ReadRequest):
            self._read(packet, data, peer)
        elif isinstance(packet, WriteRequest):
            self.counters.malformed += 1
            self._refuse(peer, ErrorCode.ACCESS_VIOLATION, "files are only read here")
        elif not isinstance(packet, ErrorPacket):
            self.counters.malformed += 1
            self._refuse(peer, ErrorCode.UNKNOWN_TRANSFER, "no transfer of yours is here")

    def _refuse_malformed(self, data: bytes, error: tftp.TftpMalformedError, peer: Peer) -> None:
        self.counters.malformed += 1
        if data[:2] == b"\x00\x05":
            return  # an error is never answered, or two servers could answer each other for ever
        is_option = isinstance(error, tftp.TftpOptionError)
        code = ErrorCode.OPTION_REFUSED if is_option else ErrorCode.ILLEGAL_OPERATION
        self._refuse(peer, code, "an option can't be so" if is_option else "no TFTP request")

    def _read(self, request: ReadRequest, data: bytes, peer: Peer) -> None:
        running = self._transfers.get(peer)
        if running is not None:
            if running.request == data:
                return  # a repeated request: its transfer repeats by itself
            self._end(running)
        content = look_up(self._files, request.filename)
        if content is None:
            self.counters.not_found += 1
            self._refuse(peer, ErrorCode.FILE_NOT_FOUND, "File not found")
        elif not self._begin(request, data, content, peer):
            self.counters.overflow += 1
            self._refuse(peer, ErrorCode.NOT_DEFINED, "busy")

    def _begin(self, request: ReadRequest, data: bytes, content: bytes, peer: Peer) -> bool:
        if len(self._transfers) >= self._serving_limit:
            return False
        try:
            sock = self._connected(peer)
        except OSError:
            return False
        now = self._now()
        session = SendSession(request, content, now, timeout=self._timeout, tries=self._tries)
        transfer = self._transfers[peer] = _Transfer(peer, request.filename, data, session, sock)
        self.counters.in_progress += 1
        self._loop.add_reader(sock, self._take_packet, transfer)
        transfer.send(session.start(now))
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(_SWEEP, self._sweep)
        return True

    def _connected(self, peer: Peer) -> socket.socket:
        sock = _new_socket(self._family)
        try:
            sock.bind((self.address[0], 0))
            sock.connect(peer)
        except OSError:
            sock.close()
            raise
        return sock

    def _take_packet(self, transfer: _Transfer) -> None:
        session = transfer.session
        try:
            packet = transfer.socket.recv(_DATAGRAM)
        except BlockingIOError:
            return
        except OSError:
            session.failed = True
        else:
            transfer.send(session.receive(packet, self._now()))
        if session.done or session.failed:
            self._end(transfer)

    def _sweep(self) -> None:
        """Repeat what was not answered in time, drop who never answers; runs only while there are transfers."""
        now = self._now()
        for transfer in list(self._transfers.values()):
            deadline = transfer.session.next_deadline()
            if deadline is not None and deadline <= now:
                transfer.send(transfer.session.expired(now))
            if transfer.session.failed:
                self._end(transfer)
        self._sweeping = self._loop.call_later(_SWEEP, self._sweep) if self._transfers else None

    def _end(self, transfer: _Transfer) -> None:
        self._loop.remove_reader(transfer.socket)
        transfer.socket.close()
        del self._transfers[transfer.peer]
        self.counters.in_progress -= 1
        if transfer.session.done:
            self.counters.processed += 1
            if self._on_served:
                self._on_served(transfer.name, transfer.peer[0])
        else:
            self.counters.aborted += 1

    def _refuse(self, peer: Peer, code: ErrorCode, message: str) -> None:
        try:
            self._listener.sendto(ErrorPacket(code, message).encode(), peer)
        except OSError:
            return  # a refusal that can't be sent is one datagram lost


def _new_socket(family: socket.AddressFamily) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)  # noqa: FBT003 -- the standard library's own signature
    return sock


def _widen_receive_buffer(sock: socket.socket, size: int) -> None:
    """Ask for room for a burst; the privileged form passes the kernel's ceiling (net.core.rmem_max)."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
