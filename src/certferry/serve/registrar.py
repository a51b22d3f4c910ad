"""The SIP registrar of a node: where phones say that they are there, over TCP or mutual TLS.

Only registration is spoken. A phone whose profile is secure registers over TLS with its LSC or not at all: its
certificate must lead to a CAPF certificate in CallManager-trust, and its common name must end in the device name
(phone-trust 4.3: the LSC of another cluster's CAPF fails just here).
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from certferry.cluster.values import Phone
from certferry.serve.listener import Conversation, Listener, ListeningServer
from certferry.wire.sip import MAX_HEADERS, Register, Response, SipMalformedError, SipMessage, frame_length

MAX_EXPIRES = 3600
"""Longest registration granted, in seconds."""
_GRACE = 30.0
"""Seconds a connection may stay beyond the registration it carried."""
_OK, _BAD_REQUEST, _FORBIDDEN, _NOT_FOUND, _METHOD_NOT_ALLOWED = 200, 400, 403, 404, 405

Known = Callable[[str], Phone | None]
"""Tells what the cluster knows of a device name; called for every REGISTER, so it must not wait."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A phone that is there: the address it came from, over TLS or not, for how many seconds it registered."""

    device: str
    address: str
    secure: bool
    expires: int


@dataclass(slots=True)
class RegistrarCounters:
    """What became of requests since the registrar was made."""

    registered: int = 0
    unregistered: int = 0
    refused: int = 0
    malformed: int = 0
    timed_out: int = 0


class Registrar(ListeningServer):
    """One registrar; plain TCP when ``context`` is None, else TLS.

    The context comes from ``server_context`` with ``client_ca`` and ``require_client``. ``on_register`` is told of
    every registration and renewal. ``registrations`` holds those that have not run out, by device name.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        known: Known,
        context: ssl.SSLContext | None = None,
        on_register: Callable[[Registration], None] | None = None,
        handshake_timeout: float = 10,
        request_timeout: float = 10,
        max_connections: int = 10_000,
        reuse_port: bool = False,
    ) -> None:
        self.registrations: dict[str, Registration] = {}
        self.counters = RegistrarCounters()
        self.request_timeout = request_timeout
        self._known = known
        self._on_register = on_register
        self._ends: dict[str, asyncio.TimerHandle] = {}
        listener = Listener(
            address,
            lambda: _SipConversation(self),
            context,
            handshake_timeout=handshake_timeout,
            max_connections=max_connections,
            reuse_port=reuse_port,
        )
        super().__init__(listener)

    def replace_known(self, known: Known) -> None:
        """Take over changed phones: those no longer known are unregistered, all others stay."""
        self._known = known
        for device in [device for device in self.registrations if known(device) is None]:
            self._forget(device)

    async def close(self) -> None:
        """Stop, end every connection and forget every registration."""
        await super().close()
        for device in list(self.registrations):
            self._forget(device)

    def register(self, request: Register, address: str, certified: str | None) -> tuple[int, int]:
        """Decide on a REGISTER and keep it: the status to answer, and the seconds granted.

        ``certified`` is the common name of the client certificate, None without TLS.
        """
        status = self._status(request.device, certified)
        expires = min(request.expires, MAX_EXPIRES)
        if status != _OK:
            self.counters.refused += 1
        elif expires == 0:
            self.counters.unregistered += 1
            self._forget(request.device)
        else:
            self.counters.registered += 1
            self._keep(Registration(request.device, address, certified is not None, expires))
        return status, expires

    def _status(self, device: str, certified: str | None) -> int:
        phone = self._known(device)
        if phone is None:
            return _NOT_FOUND
        if certified is None:
            return _FORBIDDEN if phone.secure else _OK
        return _OK if is_name_of(device, certified) else _FORBIDDEN

    def _keep(self, registration: Registration) -> None:
        device = registration.device
        self._forget(device)
        self.registrations[device] = registration
        self._ends[device] = asyncio.get_running_loop().call_later(registration.expires, self._forget, device)
        if self._on_register is not None:
            self._on_register(registration)

    def _forget(self, device: str) -> None:
        self.registrations.pop(device, None)
        if end := self._ends.pop(device, None):
            end.cancel()


def is_name_of(device: str, common_name: str) -> bool:
    """Whether a certificate's common name, ``SEP<MAC>`` or ``CP-8861-SEP<MAC>``, is that of ``device``."""
    return common_name.upper().rpartition("-")[2] == device.upper()


class _SipConversation(Conversation):
    """One phone's connection, which it keeps for as long as it is registered."""

    def __init__(self, registrar: Registrar) -> None:
        super().__init__(registrar.request_timeout)
        self._registrar = registrar
        self._tag = uuid4().hex[:12]
        self._begun = True
        self._length: int | None = None

    def step(self) -> bool:
        message = self._next_message()
        if message is not None:
            self._begun = False
            self.transport.write(self._answer(message).encode())
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

    def _answer(self, message: SipMessage) -> Response:
        if not message.start.startswith("REGISTER "):
            self.wait(self._registrar.request_timeout)
            return Response.to(message, _METHOD_NOT_ALLOWED, tag=self._tag)
        try:
            request = Register.of_message(message)
        except SipMalformedError:
            self.malformed()
            return Response.to(message, _BAD_REQUEST, tag=self._tag)
        status, expires = self._registrar.register(request, self._peer(), self._certified())
        self.wait(expires + _GRACE if status == _OK else self._registrar.request_timeout)
        return Response.to(message, status, tag=self._tag, expires=expires if status == _OK else None)

    def _peer(self) -> str:
        return str(self.transport.get_extra_info("peername")[0])

    def _certified(self) -> str | None:
        if self.transport.get_extra_info("ssl_object") is None:
            return None
        subject = (self.transport.get_extra_info("peercert") or {}).get("subject", ())
        return next((value for parts in subject for label, value in parts if label == "commonName"), "")
