"""The SIP registrar of a node: where phones say that they are there, over TCP or mutual TLS.

Phones register, send the alarm that says which trust lists they hold, and are told to reset over the connection
they registered over. A phone whose profile is secure registers over TLS with its LSC or not at all: its
certificate must lead to a CAPF certificate in CallManager-trust, and its common name must end in the device name
(phone-trust 4.3: the LSC of another cluster's CAPF fails just here).
"""

import asyncio
import ssl
from collections.abc import Callable, KeysView
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from uuid import uuid4

from certferry.cluster.values import Phone
from certferry.serve.listener import Conversation, Listener, ListeningServer
from certferry.wire.phone_alarm import TRUST_LISTS, DeviceTLInfo, PhoneAlarm, PhoneAlarmMalformedError
from certferry.wire.sip import MAX_HEADERS, Register, Response, SipMalformedError, SipMessage, frame_length
from certferry.wire.sip_requests import ALARM_METHOD, Notify, Refer

MAX_EXPIRES = 3600
"""Longest registration granted, in seconds."""
_GRACE = 30.0
"""Seconds a connection may stay beyond the registration it carried."""
RESET_SECONDS = 5.0
"""How long a phone has to answer that it resets."""
_OK, _ACCEPTED, _BAD_REQUEST, _FORBIDDEN, _NOT_FOUND, _METHOD_NOT_ALLOWED = 200, 202, 400, 403, 404, 405

Known = Callable[[str], Phone | None]
"""Tells what the cluster knows of a device name; called for every REGISTER, so it must not wait."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A phone that is there: the address it came from, over TLS or not, for how many seconds it registered."""

    device: str
    address: str
    secure: bool
    expires: int


class Leaving(StrEnum):
    """Why a registration ended."""

    ASKED = "asked"
    RAN_OUT = "ran out"
    REMOVED = "removed from the cluster"
    STOPPED = "the service stopped"


@dataclass(slots=True)
class RegistrarCounters:
    """What became of requests since the registrar was made."""

    registered: int = 0
    unregistered: int = 0
    refused: int = 0
    malformed: int = 0
    timed_out: int = 0
    alarms: int = 0
    resets: int = 0
    resets_answered: int = 0


class Registrar(ListeningServer):
    """One registrar; plain TCP when ``context`` is None, else TLS.

    The context comes from ``server_context`` with ``client_ca`` and ``require_client``. ``registrations`` holds those
    that have not run out, by device name. ``on_register`` is told of every registration and renewal,
    ``on_unregister`` of each that ended and why, ``on_refused`` of a device, its address and the status it was
    answered, ``on_alarm`` of the lists that a phone says it holds, and its address. None of them may wait.

    Of ``max_connections`` one address may hold ``max_from_one_address`` (three quarters) over which no phone is
    registered, so that no single machine can keep all phones out. Registered ones are as many as the cluster has
    phones: a whole site may be behind one address.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        known: Known,
        context: ssl.SSLContext | None = None,
        on_register: Callable[[Registration], None] | None = None,
        on_unregister: Callable[[Registration, Leaving], None] | None = None,
        on_refused: Callable[[str, str, int], None] | None = None,
        on_alarm: Callable[[DeviceTLInfo, str], None] | None = None,
        handshake_timeout: float = 10,
        request_timeout: float = 10,
        max_connections: int = 10_000,
        max_from_one_address: int | None = None,
        reuse_port: bool = False,
    ) -> None:
        self.registrations: dict[str, Registration] = {}
        self.counters = RegistrarCounters()
        self.request_timeout = request_timeout
        self._known = known
        self._on_register = on_register
        self._on_unregister = on_unregister
        self._on_refused = on_refused
        self._on_alarm = on_alarm
        self._ends: dict[str, asyncio.TimerHandle] = {}
        self._over: dict[str, _SipConversation] = {}
        listener = Listener(
            address,
            lambda: _SipConversation(self),
            context,
            handshake_timeout=handshake_timeout,
            max_connections=max_connections,
            max_from_one_address=max_from_one_address or max(max_connections * 3 // 4, 1),
            reuse_port=reuse_port,
        )
        super().__init__(listener)

    @property
    def connected(self) -> KeysView[str]:
        """The registered devices whose connection is open, so that they can be told to reset."""
        return self._over.keys()

    def replace_known(self, known: Known) -> None:
        """Take over changed phones: those no longer known are unregistered, all others stay."""
        self._known = known
        for device in [device for device in self.registrations if known(device) is None]:
            self._forget(device, Leaving.REMOVED)

    async def close(self) -> None:
        """Stop, end every connection and forget every registration."""
        await super().close()
        for device in list(self.registrations):
            self._forget(device, Leaving.STOPPED)

    async def reset(self, device: str, request_id: str, seconds: float = RESET_SECONDS) -> bool:
        """Tell a phone to reset, over the connection it registered over; whether it answered that it will.

        False at once when there is no such connection, else after ``seconds`` at the latest.
        """
        conversation = self._over.get(device)
        if conversation is None:
            return False
        self.counters.resets += 1
        answered = await conversation.reset(device, request_id, seconds) == _OK
        self.counters.resets_answered += answered
        return answered

    def register(self, request: Register, conversation: "_SipConversation") -> tuple[int, int]:
        """Decide on a REGISTER and keep it: the status to answer, and the seconds granted."""
        device, address, certified = request.device, conversation.peer, conversation.certified
        status = self._status(device, certified)
        expires = min(request.expires, MAX_EXPIRES)
        if status != _OK:
            self.counters.refused += 1
            if self._on_refused is not None:
                self._on_refused(device, address, status)
        elif expires == 0:
            self.counters.unregistered += 1
            self._forget(device, Leaving.ASKED)
        else:
            self.counters.registered += 1
            self._keep(Registration(device, address, certified is not None, expires), conversation)
        return status, expires

    def take_alarm(self, alarm: PhoneAlarm, conversation: "_SipConversation") -> int:
        """Take an alarm over the connection of the phone that it speaks of: the status to answer."""
        if alarm.name != TRUST_LISTS:
            return _ACCEPTED
        info = DeviceTLInfo.of_alarm(alarm)
        if self._over.get(info.device) is not conversation:
            return _FORBIDDEN
        self.counters.alarms += 1
        if self._on_alarm is not None:
            self._on_alarm(info, conversation.peer)
        return _ACCEPTED

    def lost(self, conversation: "_SipConversation") -> None:
        """Forget a connection that ended. Whoever registered over it stays registered: it may come back."""
        for device in conversation.devices:
            del self._over[device]
        conversation.devices.clear()

    def _status(self, device: str, certified: str | None) -> int:
        phone = self._known(device)
        if phone is None:
            return _NOT_FOUND
        if certified is None:
            return _FORBIDDEN if phone.secure else _OK
        return _OK if is_name_of(device, certified) else _FORBIDDEN

    def _keep(self, registration: Registration, conversation: "_SipConversation") -> None:
        device = registration.device
        self._drop(device, stays_on=conversation)
        self.registrations[device] = registration
        run_out = asyncio.get_running_loop().call_later
        self._ends[device] = run_out(registration.expires, self._forget, device, Leaving.RAN_OUT)
        self._over[device] = conversation
        conversation.hold(device)
        if self._on_register is not None:
            self._on_register(registration)

    def _forget(self, device: str, why: Leaving) -> None:
        registration = self._drop(device)
        if registration is not None and self._on_unregister is not None:
            self._on_unregister(registration, why)

    def _drop(self, device: str, stays_on: "_SipConversation | None" = None) -> Registration | None:
        if end := self._ends.pop(device, None):
            end.cancel()
        conversation = self._over.pop(device, None)
        if conversation is not None and conversation is not stays_on:
            conversation.let_go(device)
        return self.registrations.pop(device, None)


def is_name_of(device: str, common_name: str) -> bool:
    """Whether a certificate's common name, ``SEP<MAC>`` or ``CP-8861-SEP<MAC>``, is that of ``device``."""
    return common_name.upper().rpartition("-")[2] == device.upper()


class _SipConversation(Conversation):
    """One phone's connection, which it keeps for as long as it is registered; ``devices`` registered over it."""

    def __init__(self, registrar: Registrar) -> None:
        super().__init__(registrar.request_timeout)
        self.devices: set[str] = set()
        self._registrar = registrar
        self._tag = uuid4().hex[:12]
        self._begun = True
        self._length: int | None = None
        self._lasts_until = 0.0
        self._asked: dict[str, asyncio.Future[int]] = {}

    @property
    def peer(self) -> str:
        """The address at the other end."""
        return str(self.transport.get_extra_info("peername")[0])

    @property
    def certified(self) -> str | None:
        """The common name of the client certificate; None without TLS."""
        if self.transport.get_extra_info("ssl_object") is None:
            return None
        subject = (self.transport.get_extra_info("peercert") or {}).get("subject", ())
        return next((value for parts in subject for label, value in parts if label == "commonName"), "")

    def hold(self, device: str) -> None:
        """Be the connection of a phone, which is a place that it may have for as long as it is registered."""
        self.devices.add(device)
        self.transport.settle()

    def let_go(self, device: str) -> None:
        """Be no longer the connection of a phone: without any it soon ends, or at once if its address has too many."""
        self.devices.discard(device)
        if not self.devices:
            self._lasts_until = 0.0
            self.transport.deadline = min(self.transport.deadline, monotonic() + _GRACE)
            self.transport.unsettle()

    async def reset(self, device: str, request_id: str, seconds: float) -> int | None:
        """Tell the phone to reset; the status it answers, None when it does not within ``seconds``."""
        here, there = (self.transport.get_extra_info(end) for end in ("sockname", "peername"))
        transport = "TCP" if self.certified is None else "TLS"
        notify = Notify.reset(
            device, request_id=request_id, host=_text_of(here), peer=_text_of(there), transport=transport
        )
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._asked[notify.call_id] = answer
        self.transport.write(notify.encode())
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            return None
        finally:
            self._asked.pop(notify.call_id, None)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._registrar.lost(self)
        for answer in self._asked.values():
            if not answer.done():
                answer.set_result(0)

    def step(self) -> bool:
        message = self._next_message()
        if message is not None:
            self._begun = False
            answer = self._answer(message)
            if answer is not None:
                self.transport.write(answer.encode())
            self.wait(max(self._registrar.request_timeout, self._lasts_until - asyncio.get_running_loop().time()))
            return True
        if self.received and not self._begun:
            # A message has begun: from here on its end is awaited, not the end of the registration.
            self._begun = True
            self.wait(self._registrar.request_timeout)
        return False

    def malformed(self) -> None:
        self._registrar.counters.malformed += 1

    def late(self) -> None:
        self._registrar.counters.timed_out += 1

    def _next_message(self) -> SipMessage | None:
        length = self._message_length()
        if length is None or len(self.received) < length:
            return None
        message, self._length = SipMessage.parse(bytes(self.received[:length])), None
        del self.received[:length]
        return message

    def _message_length(self) -> int | None:
        """Tell the length of the next message, worked out once: its body may come in thousands of pieces."""
        if self._length is None:
            keep_alives = len(self.received) - len(self.received.lstrip(b"\r\n"))
            del self.received[:keep_alives]
            self._length = frame_length(bytes(self.received[:MAX_HEADERS]))
        return self._length

    def _answer(self, message: SipMessage) -> Response | None:
        """Answer a request; to an answer there is none."""
        method = message.start.partition(" ")[0]
        try:
            if method == "SIP/2.0":
                self._take_answer(Response.of_message(message))
                return None
            if method == "REGISTER":
                return self._answer_register(message)
            if method == ALARM_METHOD:
                alarm = PhoneAlarm.parse(Refer.of_message(message).alarm)
                return self._reply(message, self._registrar.take_alarm(alarm, self))
        except (SipMalformedError, PhoneAlarmMalformedError):
            self.malformed()
            return None if method == "SIP/2.0" else self._reply(message, _BAD_REQUEST)
        return self._reply(message, _METHOD_NOT_ALLOWED)

    def _answer_register(self, message: SipMessage) -> Response:
        status, expires = self._registrar.register(Register.of_message(message), self)
        if status != _OK:
            return self._reply(message, status)
        self._lasts_until = asyncio.get_running_loop().time() + expires + _GRACE
        return Response.to(message, status, tag=self._tag, expires=expires)

    def _reply(self, message: SipMessage, status: int) -> Response:
        return Response.to(message, status, tag=self._tag)

    def _take_answer(self, response: Response) -> None:
        """Take the final answer to what we asked; any other is nobody's."""
        answer = self._asked.get(response.first("Call-ID") or "")
        if answer is not None and not answer.done() and response.status >= _OK:
            answer.set_result(response.status)


def _text_of(end: tuple[str, int]) -> str:
    return f"{end[0]}:{end[1]}"
