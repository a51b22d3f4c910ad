"""The TFTP service of a node: one listening socket, files from memory, transfers on ports of their own.

The protocol itself is ``wire.tftp_session``, sockets of transfers are in ``tftp_ports``; here is what becomes of each
request. Two things make it hold under a storm of phones: a receive buffer far above the kernel's default, and up to 64
requests taken each time the loop wakes. A stray packet at the service port is answered with error 5.
"""

import logging
import socket
import struct
from collections import Counter
from collections.abc import Callable

from certferry.serve.file_source import FileCounters, FileSource, look_up
from certferry.serve.inherited import inherited_sockets
from certferry.serve.listener import allow_files
from certferry.serve.tftp_ports import Peer, TransferPort, TransferPorts
from certferry.wire import tftp
from certferry.wire.tftp import ErrorCode, ErrorPacket, ReadRequest, WriteRequest
from certferry.wire.tftp_session import SendSession

logger = logging.getLogger(__name__)

SERVING_LIMIT = 8192
"""*Maximum Serving Count* is 500 by default in Unified CM (phone-trust 5.4); more at once cost this service little."""
RECEIVE_BUFFER = 4 * 1024 * 1024
_REQUESTS_EACH_WAKE = 64
_DATAGRAM = 1024
_SO_RCVBUFFORCE, _IP_PKTINFO = 33, 8


class TftpServer:
    """Serve files over TFTP at ``address``; port 0 lets the kernel choose, ``address`` then tells which.

    ``serving_limit`` transfers run at once, of which one address may have ``limit_from_one_address`` (by default
    three quarters: phones behind a NAT share an address); further requests are turned away. ``timeout`` and ``tries``
    are those of ``SendSession``. ``receive_buffer`` bytes are asked of the kernel, and become what it granted after
    ``start``. ``reuse_port`` lets several processes share the port. Give the node's own address: it is what phones are
    answered from, also where a service manager handed over a socket for every address of the host.
    """

    def __init__(
        self,
        address: tuple[str, int],
        files: FileSource,
        *,
        serving_limit: int = SERVING_LIMIT,
        limit_from_one_address: int | None = None,
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
        self._limit_from_one_address = limit_from_one_address or max(serving_limit * 3 // 4, 1)
        self._from_address: Counter[str] = Counter()
        self._timeout = timeout
        self._tries = tries
        self._reuse_port = reuse_port
        self._on_served = on_served
        self._family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._transfers = TransferPorts(address[0], self._family, self._ended)
        self._from_here: list[tuple[int, int, bytes]] = []
        self._serving = False

    async def start(self) -> None:
        """Bind and serve; raise ``OSError`` when the address can't be had."""
        allow_files(self._serving_limit)
        self._listener = self._listen()
        self.address = self._listener.getsockname()[:2]
        self.receive_buffer = self._listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._transfers.start(self._listener, self._take_requests)
        self._serving = True
        logger.info("TFTP at %s port %d, receive buffer %d bytes", *self.address, self.receive_buffer)

    async def close(self) -> None:
        """Stop serving; transfers under way are aborted."""
        if not self._serving:
            return
        self._serving = False
        self._transfers.close()
        self._listener.close()

    def _listen(self) -> socket.socket:
        if inherited := inherited_sockets().take(socket.SOCK_DGRAM, self.address):
            inherited.setblocking(False)  # noqa: FBT003 -- the call's own form
            if self._family == socket.AF_INET:
                self._from_here = [_sent_from(self.address[0])]
            widen_receive_buffer(inherited, self.receive_buffer)
            return inherited
        listener = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            if self._reuse_port:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            widen_receive_buffer(listener, self.receive_buffer)
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
        if peer in self._transfers.busy and not self._replaces(peer, data):
            return
        content = look_up(self._files, request.filename)
        if content is None:
            self.counters.not_found += 1
            self._refuse(peer, ErrorCode.FILE_NOT_FOUND, "File not found")
        elif not self._begin(request, data, content, peer):
            self.counters.overflow += 1
            self._refuse(peer, ErrorCode.NOT_DEFINED, "busy")

    def _replaces(self, peer: Peer, data: bytes) -> bool:
        """Whether a request begins a new transfer, from a port that has or had another."""
        running = self._transfers.busy[peer]
        self._transfers.catch_up(running)  # its last acknowledgment may have come before this request
        if running.session is None:
            return True
        if running.request == data:
            return False  # a repeated request: its transfer repeats by itself
        self._transfers.end(running)
        return True

    def _begin(self, request: ReadRequest, data: bytes, content: bytes, peer: Peer) -> bool:
        host = peer[0]
        if (
            len(self._transfers.busy) >= self._serving_limit
            or self._from_address.get(host, 0) >= self._limit_from_one_address
        ):
            return False
        now = self._transfers.now()
        session = SendSession(request, content, now, timeout=self._timeout, tries=self._tries)
        self.counters.in_progress += 1
        self._from_address[host] += 1
        try:
            self._transfers.begin(peer, request.filename, data, session)
        except OSError:
            self._leave(host)
            return False
        return True

    def _leave(self, host: str) -> None:
        """Give a transfer's place back."""
        self.counters.in_progress -= 1
        self._from_address[host] -= 1
        if not self._from_address[host]:
            del self._from_address[host]

    def _ended(self, port: TransferPort, session: SendSession) -> None:
        self._leave(port.peer[0])
        if not session.done:
            self.counters.aborted += 1
            return
        self.counters.processed += 1
        if self._on_served:
            self._on_served(port.name, port.peer[0])

    def _refuse(self, peer: Peer, code: ErrorCode, message: str) -> None:
        try:
            self._listener.sendmsg([ErrorPacket(code, message).encode()], self._from_here, 0, peer)
        except OSError:
            return  # a refusal that can't be sent is one datagram lost


def _sent_from(host: str) -> tuple[int, int, bytes]:
    """Name the address a packet is sent from, where its socket is for every address of the host: an in_pktinfo."""
    return socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=I4s4x", 0, socket.inet_aton(host))


def widen_receive_buffer(sock: socket.socket, size: int) -> None:
    """Ask for room for a burst; the privileged form passes the kernel's ceiling (net.core.rmem_max).

    The other form could also narrow a buffer that a service manager, which had the privilege, made wide.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except OSError:
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < granted_buffer(size):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def granted_buffer(size: int) -> int:
    """Tell what the kernel grants for a receive buffer of ``size`` without any privilege: twice as much, or less."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        return probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
