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
        self._loop = asyncio.get_running_loop()
        self._answered = self._loop.time()
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def sftp(self) -> asyncssh.SFTPClient:
        """The session to ask."""
        return self._login.sftp

    def pulse(self) -> None:
        """Note an answer: the time allowed begins anew. Cheap, for it is called for each of a thousand names."""
        self._answered = self._loop.time()
        if self._alarm is None:
            self._alarm = self._loop.call_at(self._answered + self._seconds, self._look)

    def end(self) -> None:
        """Stop watching."""
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None

    def _look(self) -> None:
        """Cut the connection off, unless there was an answer since the alarm was set."""
        due = self._answered + self._seconds
        if due <= self._loop.time():
            self._login.abort()
        else:
            self._alarm = self._loop.call_at(due, self._look)


async def read_whole(file: Any, name: str, limit: int, turn: Turn) -> bytes:
    """Read an open file to its end; raise ``FileTooLargeError`` above ``limit`` bytes."""
    data = bytearray()
    while block := await file.read(BLOCK, len(data)):
        turn.pulse()
        data += block
        if len(data) > limit:
            raise FileTooLargeError(f"{name} is larger than {limit} bytes")
    return bytes(data)
