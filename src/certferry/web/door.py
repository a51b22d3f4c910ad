"""Who gets in: a place for each connection from the moment it is accepted, and so many for one address.

What else bounds a client begins behind TLS. A handshake that never comes would hold 300 KB for a minute, and three
thousand of them a computer's memory; so it has seconds, and there are no more of them than there are places. When all
are taken, new clients wait in the kernel's queue.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from certferry.web.patience import HEAD_SECONDS, PatientProtocol

MOST_CONNECTIONS = 1000
MOST_FROM_ONE_ADDRESS = 750
"""People behind one proxy share an address."""
_BACKLOG = 2048
_ACCEPTS = 16
_OUT_OF_FILES_PAUSE = 0.05


class Door:
    """Lets clients of the listening socket ``opened`` in. It is to uvicorn what asyncio's own server would be."""

    handshake_seconds = HEAD_SECONDS
    most = MOST_CONNECTIONS
    most_from_one_address = MOST_FROM_ONE_ADDRESS

    def __init__(
        self, opened: socket.socket, protocol: Callable[[], PatientProtocol], tls: ssl.SSLContext | None
    ) -> None:
        self._opened = opened
        self._protocol = protocol
        self._tls = tls
        self._from_address: Counter[str] = Counter()
        self._coming: set[asyncio.Task[None]] = set()
        self._number = -1

    def open(self) -> None:
        """Begin to let in."""
        self._opened.setblocking(False)  # noqa: FBT003 -- the call's own form
        self._opened.listen(_BACKLOG)
        self._number = self._opened.fileno()
        asyncio.get_running_loop().add_reader(self._number, self._accept)

    def close(self) -> None:
        """Let nobody in any more; who is in stays."""
        asyncio.get_running_loop().remove_reader(self._number)
        self._number = -1
        for task in self._coming:
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until nobody is on the threshold."""
        await asyncio.gather(*self._coming, return_exceptions=True)

    @property
    def inside(self) -> int:
        """How many places are taken."""
        return self._from_address.total()

    def _go_on(self) -> None:
        if self._number >= 0:
            asyncio.get_running_loop().add_reader(self._number, self._accept)

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_ACCEPTS):
            if self.inside >= self.most:
                loop.remove_reader(self._number)
                return
            try:
                connection, address = self._opened.accept()
            except (BlockingIOError, ConnectionError):  # none waits, or one that is gone already
                return
            except OSError:  # out of file descriptors: that passes, and does not end the service
                loop.remove_reader(self._number)
                loop.call_later(_OUT_OF_FILES_PAUSE, self._go_on)
                return
            self._welcome(connection, str(address[0]))

    def _welcome(self, connection: socket.socket, host: str) -> None:
        if self._from_address[host] >= self.most_from_one_address:
            connection.close()
            return
        self._from_address[host] += 1
        task = asyncio.create_task(self._let_in(connection, host))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    async def _let_in(self, connection: socket.socket, host: str) -> None:
        place = _Place(lambda: self._leave(host))
        protocol = self._protocol()
        protocol.gone = place.give_back
        connection.setblocking(False)  # noqa: FBT003 -- the call's own form
        patience = self.handshake_seconds if self._tls else None
        try:
            with suppress(OSError):  # TLS that is none, or comes too late, is nobody's concern
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: protocol, connection, ssl=self._tls, ssl_handshake_timeout=patience
                )
                return
        except BaseException:
            place.give_back()
            raise
        place.give_back()

    def _leave(self, host: str) -> None:
        self._from_address[host] -= 1
        if not self._from_address[host]:
            del self._from_address[host]
        self._go_on()


class _Place:
    """One connection's place, given back once, whoever notices first that it ended."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave: Callable[[], None] | None = leave

    def give_back(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()
