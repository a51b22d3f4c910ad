"""One peer's conversation: messages cut from its stream one after the other, in turns with those of all others."""

import asyncio
from abc import ABC, abstractmethod
from time import monotonic
from typing import Any, Protocol

from certferry.errors import MalformedError

TURN = 16
"""Messages of one peer that are answered before all others have theirs: a peer may send thousands in one piece."""


class Transport(Protocol):
    """What a conversation speaks through. ``deadline`` is when it ends, on the monotonic clock."""

    deadline: float

    @property
    def host(self) -> str:
        """The peer's address."""

    def write(self, data: bytes) -> None:
        """Send ``data``, in one piece if the peer takes it."""

    def abort(self) -> None:
        """End the connection now."""

    def settle(self) -> None:
        """Be no longer one of those that its address may hold so many of: it proved to be a phone's."""

    def unsettle(self) -> None:
        """Be one of them again, or end if there are too many."""

    def is_closing(self) -> bool:
        """Whether it has ended, or will when what is unsent is sent."""

    def is_reading(self) -> bool:
        """Whether what comes is read."""

    def pause_reading(self) -> None:
        """Leave what comes to the kernel."""

    def resume_reading(self) -> None:
        """Read again."""

    def get_extra_info(self, name: str) -> Any:
        """``peername`` and ``sockname``; ``ssl_object`` and ``peercert``, None without TLS."""


class Conversation(ABC):
    """One peer's connection: messages cut from the stream one after the other, each under a deadline.

    A subclass answers in ``step``. A peer that does not read its answers is asked no further; one that is late or
    sends what is malformed is cut off, and nobody else notices.
    """

    def __init__(self, patience: float) -> None:
        self.received = bytearray()
        self.transport: Transport
        self._patience = patience
        self._paused = False
        self._has_turn = False

    @abstractmethod
    def step(self) -> bool:
        """Take one whole message out of ``received`` and answer it; False when there is none.

        Raise ``MalformedError`` to end the connection.
        """

    @abstractmethod
    def malformed(self) -> None:
        """Count that the peer sent what is no message."""

    @abstractmethod
    def late(self) -> None:
        """Count that the peer let its deadline pass."""

    def wait(self, seconds: float) -> None:
        """Give the peer ``seconds`` from now, instead of what was left."""
        self.transport.deadline = monotonic() + seconds

    def connection_made(self, transport: Transport) -> None:
        """Begin the first deadline."""
        self.transport = transport
        self.wait(self._patience)

    def connection_lost(self, exc: Exception | None) -> None:
        """Learn that the connection has ended, however it did; there is nothing to give back."""
        del exc

    def data_received(self, data: bytes) -> None:
        """Answer every message that is now whole."""
        self.received += data
        self._proceed()

    def pause_writing(self) -> None:
        """Take no more from a peer that does not read its answers."""
        self._paused = True
        self._bound_reading()

    def resume_writing(self) -> None:
        """Go on with a peer that has read its answers."""
        self._paused = False
        self._proceed()

    def _proceed(self) -> None:
        """Answer one turn of messages; what is left waits until every other peer has had its turn."""
        if self._has_turn:
            return
        try:
            self._has_turn = self._answer_a_turn()
        except MalformedError:
            self.malformed()
            self.transport.abort()
            return
        if self._has_turn:
            asyncio.get_running_loop().call_soon(self._take_turn)
        self._bound_reading()

    def _answer_a_turn(self) -> bool:
        """Answer what is whole and say whether there may be more."""
        return all(self._takes_answers() and self.step() for _ in range(TURN))

    def _takes_answers(self) -> bool:
        return not (self._paused or self.transport.is_closing())

    def _take_turn(self) -> None:
        self._has_turn = False
        self._proceed()

    def _bound_reading(self) -> None:
        """Read on only when everything that came is answered, so that little is held for anybody."""
        if self.transport.is_closing():
            return
        if self._paused or self._has_turn:
            self.transport.pause_reading()
        elif not self.transport.is_reading():
            self.transport.resume_reading()
