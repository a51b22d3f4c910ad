"""A phone that stays: it boots, registers, keeps the connection, and boots again when the CallManager tells it to.

::

         ┌──────────── reset (NOTIFY), option 150 asked for anew ────────────┐
         ▼                                                                   │
       boot ──registered──► stays: renews before the registration runs out ──┤
         │                        ▲          │ connection lost               │
         │ lists or configuration │          ▼                               │
         │ refused          registered     pause, then the CallManagers      │
         ▼                        │        of the configuration it holds ────┘ none takes it: boot
       the CallManagers of the configuration it holds ── none takes it: pause, boot

Its flash is that of ``Device``: what was refused leaves it as it was, so the phone is back where it came from, and
says so by alarm (phone-trust 4.2, 4.6). That it goes back by itself is our deduction from what it keeps.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha1
from inspect import isawaitable
from random import random

from certferry.errors import Refusal
from certferry.fleet.device import Device, Standing
from certferry.fleet.sip import SipConnection
from certferry.phone.events import Address, address_text
from certferry.phone.outcome import Outcome, Step
from certferry.phone.status import Status
from certferry.wire.phone_alarm import DeviceTLInfo
from certferry.wire.sip import SipMalformedError, SipMessage
from certferry.wire.sip_requests import Notify

Option150 = Callable[[], Sequence[Address] | Awaitable[Sequence[Address]]]
"""Tells the TFTP servers at the moment of a boot; one that has to ask DHCP first returns an awaitable."""
LIST_FAILURE = 3
"""The StatusCode of DeviceTLInfo after a trust list failure (phone-trust 4.6)."""

_OK, _BAD_REQUEST, _METHOD_NOT_ALLOWED = 200, 400, 405
_OBEYED = 4
"""How many Call-IDs of resets are remembered, to know a retransmission."""
_LEAD = 5.0
"""A registration is renewed so many seconds before it runs out, or at half its time if that is later."""
_SOONEST = 0.5
"""So many seconds are left between renewals at least, whatever a CallManager grants."""


class Happening(StrEnum):
    """What became of a phone."""

    BOOTED = "booted"
    REGISTERED = "registered"
    RESET = "reset"
    LOST = "lost"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PhoneEvent:
    """One thing that happened to ``device``, in one sentence; ``outcome`` is there after a boot, well or ill ended.

    A boot that succeeds is told as ``booted``, then ``registered``; one that fails as ``failed``, followed by
    ``registered`` if the phone is taken back where it was. ``server`` is the CallManager it is registered with.
    """

    device: str
    happening: Happening
    text: str
    outcome: Outcome | None = None
    server: Address | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a phone waits, in seconds: before it tries again (doubled each time up to ``longest``), and for a BYE.

    ``chance`` gives numbers from 0 to 1: pauses are spread over their upper half, or all phones of a node that
    restarts would come at once.
    """

    first: float = 1.0
    longest: float = 60.0
    goodbye: float = 2.0
    chance: Callable[[], float] = random

    def pause(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row."""
        return min(self.longest, self.first * 2.0 ** min(failures, 20)) * (0.5 + self.chance() / 2)


DEFAULT_PATIENCE = Patience()


class ResidentPhone:
    """One phone that lives as long as ``run`` does. ``tell`` is called with each ``PhoneEvent``; it must not wait.

    ``turns`` is held while it boots or registers anew: a semaphore that phones share keeps thousands from doing so
    at the same time.
    """

    __slots__ = (
        "_lists_from",
        "_obeyed",
        "_option150",
        "_patience",
        "_reset",
        "_rung",
        "_stir",
        "_tell",
        "_turns",
        "device",
    )

    def __init__(
        self,
        device: Device,
        option150: Option150,
        *,
        tell: Callable[[PhoneEvent], None] | None = None,
        patience: Patience = DEFAULT_PATIENCE,
        turns: AbstractAsyncContextManager[object] | None = None,
    ) -> None:
        self.device = device
        self._option150 = option150
        self._tell = tell
        self._patience = patience
        self._turns = turns or nullcontext()
        self._stir = asyncio.Event()
        self._rung = False
        self._reset = False
        self._obeyed: tuple[str, ...] = ()
        self._lists_from = ""
        device.stays = True
        device.on_request = self._asked

    @property
    def connection(self) -> SipConnection | None:
        """The connection over which it is registered now, or None."""
        return self.device.standing.connection if self.device.standing else None

    def reset(self) -> None:
        """Boot again, as after the CallManager's NOTIFY or a power cycle."""
        self._reset = True
        self._stir.set()

    async def run(self) -> None:
        """Live until cancelled; then the connection is dropped, as when the power fails."""
        failures = 0
        try:
            while True:
                if await self._boot():
                    failures = 0
                    await self._stay()
                else:
                    await self._pause(failures)
                    failures += 1
        finally:
            self._hang_up()

    # Boot

    async def _boot(self) -> bool:
        """Boot, and when that fails go back; return whether the phone is registered, here or there."""
        self._reset = False
        held = self.device.flash
        async with self._turns:
            outcome = await self.device.boot(await self._servers())
        if (held.ctl, held.itl) != (self.device.flash.ctl, self.device.flash.itl) and self.device.file_server:
            self._lists_from = self.device.file_server[0]
        self._say(Happening.BOOTED if outcome.ok else Happening.FAILED, outcome.reason, outcome)
        if outcome.ok:
            await self._announce(None)
            return True
        if outcome.step is Step.REGISTRATION:
            return False
        return await self._go_back(LIST_FAILURE if Status.TRUST_LIST_UPDATE_FAILED in self.device.statuses else None)

    async def _servers(self) -> Sequence[Address] | None:
        """Ask for option 150; without an answer the phone goes on with what it knew."""
        try:
            named = self._option150()
            return await named if isawaitable(named) else named
        except Refusal as error:
            self._say(Happening.FAILED, error.sentence)
            return None

    async def _go_back(self, status_code: int | None) -> bool:
        async with self._turns:
            why_not = await self.device.register_as_before()
        if why_not is not None:
            self._say(Happening.FAILED, why_not)
            return False
        await self._announce(status_code)
        return True

    async def _announce(self, status_code: int | None) -> None:
        """Say that the phone is registered, and let the CallManager know its trust lists."""
        connection = self._standing.connection
        self._say(Happening.REGISTERED, f"registered with {address_text(connection.address)}")
        with suppress(Refusal):  # a connection that is lost meanwhile is found lost in the next step
            await connection.send_alarm(self._alarm(connection, status_code))

    def _alarm(self, connection: SipConnection, status_code: int | None) -> bytes:
        flash = self.device.flash
        return DeviceTLInfo(
            self.device.name,
            connection.local[0],
            ctl=_sha1(flash.ctl),
            itl=_sha1(flash.itl),
            itl_server=self._lists_from,
            status_code=status_code,
        ).encode()

    # Registered

    async def _stay(self) -> None:
        """Stay registered; return when the phone is to boot again."""
        while not await self._stay_connected():
            self._hang_up()
            await self._pause(0)
            if self._reset or not await self._go_back(None):
                return
        self._say(Happening.RESET, "told to reset")
        with suppress(Refusal):
            await self._standing.connection.register(expires=0, timeout=self._patience.goodbye)
        self._hang_up()

    async def _stay_connected(self) -> bool:
        """Keep one connection; return True when told to reset, False when it is lost."""
        connection, expires = self._standing.connection, self._standing.reply.expires
        connection.ended.add_done_callback(lambda _: self._stir.set())
        while True:
            renewal_due = await self._sleep(renewal_after(expires))
            if self._reset:
                return True
            if connection.ended.done():
                self._say(Happening.LOST, connection.ended.result())
                return False
            if renewal_due:
                try:
                    expires = (await connection.register(expires=self.device.expires)).expires
                except Refusal as error:
                    self._say(Happening.LOST, error.sentence)
                    return False

    def _asked(self, message: SipMessage) -> int:
        """Answer what the CallManager asks; the same reset told again is answered and not obeyed twice."""
        if not message.start.startswith("NOTIFY "):
            return _METHOD_NOT_ALLOWED
        try:
            notify = Notify.of_message(message)
        except SipMalformedError:
            return _BAD_REQUEST
        if notify.action != "reset":
            return _BAD_REQUEST
        if notify.call_id not in self._obeyed:
            self._obeyed = (*self._obeyed, notify.call_id)[-_OBEYED:]
            self.reset()
        return _OK

    # Waiting and telling

    @property
    def _standing(self) -> Standing:
        assert self.device.standing is not None  # noqa: S101 -- only asked while registered
        return self.device.standing

    async def _pause(self, failures: int) -> None:
        await self._sleep(self._patience.pause(failures))

    async def _sleep(self, seconds: float) -> bool:
        """Wait until something stirs; return whether nothing did for ``seconds``."""
        timer = asyncio.get_running_loop().call_later(seconds, self._ring)
        self._rung = False
        try:
            await self._stir.wait()
        finally:
            timer.cancel()
            self._stir.clear()
        return self._rung

    def _ring(self) -> None:
        self._rung = True
        self._stir.set()

    def _hang_up(self) -> None:
        if self.device.standing is not None:
            self.device.standing.connection.close()
            self.device.standing = None

    def _say(self, happening: Happening, text: str, outcome: Outcome | None = None) -> None:
        if self._tell is not None:
            server = self.connection.address if self.connection else None
            self._tell(PhoneEvent(self.device.name, happening, text, outcome, server))


def renewal_after(expires: int) -> float:
    """Tell after how many seconds a registration that was granted for ``expires`` seconds is renewed."""
    return max(expires - _LEAD, expires / 2, _SOONEST)


def _sha1(data: bytes | None) -> str:
    return sha1(data, usedforsecurity=False).hexdigest().upper() if data else ""
