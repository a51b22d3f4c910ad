"""Fetch a file over TFTP as a phone does: a new source port for each file, no options unless asked for.

One socket and one reader of the running loop for each fetch, so hundreds of simulated phones fit one process.
"""

import asyncio
import socket
from contextlib import suppress

from certferry.errors import Refusal
from certferry.wire.tftp import NO_OPTIONS, ErrorCode, ErrorPacket, Opcode, Options
from certferry.wire.tftp_session import ReceiveSession

_DATAGRAM = 65536
_ERROR = Opcode.ERROR.to_bytes(2, "big")
_FOREIGN = ErrorPacket(ErrorCode.UNKNOWN_TRANSFER, "no transfer of yours is here").encode()


class TftpFileNotFoundError(Refusal):
    """The TFTP server has no file of that name (error code 1)."""

    code = "fleet.tftp-not-found"
    remedy = "Check the device name at the cluster; a CTL is missing by right unless the cluster is in mixed mode."


class TftpRefusedError(Refusal):
    """The TFTP server answered, but would not or could not send the file; ``number`` is its error code."""

    code = "fleet.tftp-refused"
    remedy = "If the server is busy try again later; else read the server's log for this file."
    number: int = ErrorCode.NOT_DEFINED


class TftpNoAnswerError(Refusal):
    """Nothing came from the TFTP server in time."""

    code = "fleet.tftp-no-answer"
    remedy = "Check the address, that the TFTP service runs, and that UDP 69 and the high ports pass the firewall."


async def fetch(
    address: tuple[str, int],
    name: str,
    *,
    timeout: float = 0.5,  # noqa: ASYNC109 -- the time of one packet, not of the call
    tries: int = 5,
    blksize: int | None = None,
) -> bytes:
    """Return the file ``name``; a packet is repeated after ``timeout`` seconds and sent ``tries`` times in all.

    Raises ``TftpFileNotFoundError``, ``TftpRefusedError`` or ``TftpNoAnswerError``, and ``TftpMalformedError`` for a
    name that can't be asked for.
    """
    options = NO_OPTIONS if blksize is None else Options(blksize=blksize)
    session = ReceiveSession(name, options=options, timeout=timeout, tries=tries)
    await _Fetch(session, *await _resolved(address)).run()
    if session.done:
        return session.content
    raise _refusal(session.error, f"{name} from {address[0]} port {address[1]}")


def _refusal(error: ErrorPacket | None, what: str) -> Refusal:
    if error is None:
        return TftpNoAnswerError(f"no answer for {what}")
    if error.code == ErrorCode.FILE_NOT_FOUND:
        return TftpFileNotFoundError(f"there is no {what}")
    refused = TftpRefusedError(f"refused {what}: error {error.code}, {error.message}")
    refused.number = error.code
    return refused


async def _resolved(address: tuple[str, int]) -> tuple[socket.AddressFamily, tuple[str, int]]:
    loop = asyncio.get_running_loop()
    try:
        [found, *_] = await loop.getaddrinfo(*address, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise TftpNoAnswerError(f"{address[0]} is no address: {error}") from error
    return found[0], (str(found[4][0]), int(found[4][1]))


class _Fetch:
    """One session over one socket; the server's transfer port is the one its first answer comes from."""

    __slots__ = ("_family", "_finished", "_loop", "_peer", "_server", "_session", "_socket", "_timer")

    def __init__(self, session: ReceiveSession, family: socket.AddressFamily, server: tuple[str, int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._session = session
        self._family = family
        self._server = server
        self._peer: tuple[str, int] | None = None
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Run the session until it is done or failed."""
        self._socket = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._loop.add_reader(self._socket, self._take_packet)
        try:
            self._send(self._session.start(self._loop.time()))
            self._wait_for_deadline()
            await self._finished
        finally:
            if self._timer:
                self._timer.cancel()
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _take_packet(self) -> None:
        try:
            packet, sender = self._socket.recvfrom(_DATAGRAM)
        except OSError:
            return
        peer = sender[:2]
        if peer[0] != self._server[0] or self._peer not in {None, peer}:
            self._turn_away(packet, peer)
            return
        self._peer = peer
        self._send(self._session.receive(packet, self._loop.time()))
        self._finish_if_over()

    def _turn_away(self, packet: bytes, stranger: tuple[str, int]) -> None:
        if not packet.startswith(_ERROR):
            with suppress(OSError):
                self._socket.sendto(_FOREIGN, stranger)

    def _wait_for_deadline(self) -> None:
        """Keep one timer; it looks at the session's deadline only when it fires, not at each packet."""
        deadline = self._session.next_deadline()
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._send(self._session.expired(self._loop.time()))
        self._finish_if_over()
        self._wait_for_deadline()

    def _send(self, packets: list[bytes]) -> None:
        for packet in packets:
            with suppress(OSError):  # what can't be sent now is repeated by the deadline
                self._socket.sendto(packet, self._peer or self._server)

    def _finish_if_over(self) -> None:
        if (self._session.done or self._session.failed) and not self._finished.done():
            self._finished.set_result(None)
