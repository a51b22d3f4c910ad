"""One request's turn on an SFTP connection, and reading a whole file in it."""

import asyncio
from typing import Any

import asyncssh

from certferry.bulk.connection import Login
from certferry.bulk.refusals import FileTooLargeError

BLOCK = 32 * 1024
"""Bytes; every SFTP server takes reads and writes of this size in one request."""


class Turn:
    """One request's turn on a connection. Without an answer for the time allowed, the connection is cut off.

    Cut off rather than cancelled: closing a remote file waits for an answer too, which a stalled server never gives.
    """

    def __init__(self, login: Login, seconds: float) -> None:
        self._login = login
        self._seconds = seconds
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def sftp(self) -> asyncssh.SFTPClient:
        """The session to ask."""
        return self._login.sftp

    def pulse(self) -> None:
        """Note an answer: the time allowed begins anew."""
        self.end()
        self._alarm = asyncio.get_running_loop().call_later(self._seconds, self._login.abort)

    def end(self) -> None:
        """Stop watching."""
        if self._alarm:
            self._alarm.cancel()


async def read_whole(file: Any, name: str, limit: int, turn: Turn) -> bytes:
    """Read an open file to its end; raise ``FileTooLargeError`` above ``limit`` bytes."""
    data = bytearray()
    while block := await file.read(BLOCK, len(data)):
        turn.pulse()
        data += block
        if len(data) > limit:
            raise FileTooLargeError(f"{name} is larger than {limit} bytes")
    return bytes(data)
