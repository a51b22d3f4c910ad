"""How a simulated phone registers: SIP over TCP, or over mutual TLS with its LSC, on a connection that it may keep."""

import asyncio
import re
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypedDict
from uuid import uuid4

from certferry.errors import MalformedError, Refusal
from certferry.fleet import dial as dialling
from certferry.fleet.dial import CertificatePaths, HandshakeError, ServerUnknownError, TlsFacts, UnreachableError
from certferry.fleet.line import Line, open_line
from certferry.wire.certificate import Certificate
from certferry.wire.sip import Register, Response, SipMessage, frame_length
from certferry.wire.sip_requests import Refer

_OK, _METHOD_NOT_ALLOWED = 200, 405
_RESPONSE = b"SIP/2.0 "


class RegistrarUnreachableError(Refusal):
    """No registrar answers at the address."""

    code = "fleet.registrar-unreachable"
    remedy = "Check that CallManager runs on that node and that TCP 5060, for secure phones 5061, is open."


class RegistrarHandshakeError(Refusal):
    """TLS with the registrar does not come about: one side does not take the other's certificate."""

    code = "fleet.registrar-handshake"
    remedy = "Check that the CAPF certificate behind the phone's LSC is in CallManager-trust, and the phone's CTL."


class RegistrarNoAnswerError(Refusal):
    """The registrar took the request and gave no usable answer."""

    code = "fleet.registrar-no-answer"
    remedy = "Look into the CallManager log of that node."


class RegistrationRefusedError(Refusal):
    """The registrar answered with another status than 200, which ``status`` holds."""

    code = "fleet.registration-refused"
    remedy = "404: add the phone to the cluster. 403: compare its security profile and certificate with the transport."

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class RegistrationReply:
    """A registration that was taken: for how many seconds, and over which TLS (None over plain TCP)."""

    device: str
    expires: int
    tls: TlsFacts | None


def client_context(lsc: Path, key: Path, trusted: Iterable[Certificate]) -> ssl.SSLContext:
    """Make the TLS settings of a secure phone: its LSC, and the servers it believes.

    ``trusted`` are the certificates with role CCM or CCM+TFTP in its CTL: the registrar presents one of these, or
    the phone breaks off. Raise ``IdentityUnusableError`` when LSC and key do not belong together.
    """
    return dialling.client_context(trusted, (lsc, key))


class _Sender(TypedDict):
    """What every request of one phone says of its sender."""

    local: str
    call_id: str
    tag: str
    cseq: int
    transport: str


class SipConnection:
    """A phone's connection to one CallManager; make it with ``opened``.

    Requests of the phone go out one after the other: the caller waits for each answer before the next. Those of the
    CallManager are handed to ``on_request``, which returns the status to answer. ``ended`` is done, with the reason,
    when the connection is gone otherwise than by ``close``.
    """

    __slots__ = ("_awaited", "_buffer", "_call_id", "_cseq", "_line", "_registered", "_tag",
                 "address", "device", "ended", "on_request")  # fmt: skip

    def __init__(self, address: tuple[str, int], device: str, on_request: Callable[[SipMessage], int] | None) -> None:
        self.address = address
        self.device = device
        self.on_request = on_request
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        unique = uuid4().hex
        self._call_id, self._tag = unique[:16], unique[16:]
        self._cseq = 100
        self._registered = False
        self._buffer = b""
        self._line: Line | None = None
        self._awaited: asyncio.Future[Response] | None = None

    @classmethod
    async def opened(
        cls,
        address: tuple[str, int],
        device: str,
        *,
        context: ssl.SSLContext | None,
        identity: CertificatePaths | None = None,
        on_request: Callable[[SipMessage], int] | None = None,
        timeout: float = 10,  # noqa: ASYNC109 -- one budget over steps that fail under different names
    ) -> Self:
        """Connect, over TLS when there is a ``context``; raise ``RegistrarUnreachableError``, ``...HandshakeError``.

        ``identity`` is the LSC to present, lent to a context that phones share.
        """
        made = cls(address, device, on_request)
        deadline = asyncio.get_running_loop().time() + timeout
        try:
            made._line = await open_line(address, made, context=context, identity=identity, deadline=deadline)
        except UnreachableError as error:
            raise RegistrarUnreachableError(error.sentence) from error
        except (HandshakeError, ServerUnknownError) as error:
            raise RegistrarHandshakeError(error.sentence) from error
        return made

    @property
    def tls(self) -> TlsFacts | None:
        """What the handshake came to; None over plain TCP."""
        return self._line.tls if self._line else None

    @property
    def local(self) -> tuple[str, int]:
        """Address and port of the phone's end."""
        return self._line_kept().local

    async def register(self, *, expires: int = 120, timeout: float = 10) -> RegistrationReply:  # noqa: ASYNC109 -- one answer's time
        """Register or renew; 0 seconds unregisters.

        Raise ``RegistrarNoAnswerError``, ``RegistrationRefusedError``; over TLS ``RegistrarHandshakeError`` too,
        as in TLS 1.3 a client learns only when it first reads that its certificate was not taken.
        """
        request = Register.of(self.device, self.address[0], **self._sender(self._call_id), expires=expires)
        response = await self._exchange(request.encode(), request.call_id, timeout)
        if response.status != _OK:
            reason = f"{response.status} {response.reason}"
            raise RegistrationRefusedError(response.status, f"{self._where} refused {self.device}: {reason}")
        self._registered = True
        granted = re.fullmatch("[0-9]{1,9}", response.first("Expires") or "")
        return RegistrationReply(self.device, int(granted[0]) if granted else expires, self.tls)

    async def send_alarm(self, alarm: bytes, *, timeout: float = 10) -> int:  # noqa: ASYNC109 -- one answer's time
        """Send an alarm in a REFER; return the status it was answered with. Raise ``RegistrarNoAnswerError``."""
        request = Refer.of(self.device, self.address[0], **self._sender(uuid4().hex[:16]), alarm=alarm)
        return (await self._exchange(request.encode(), request.call_id, timeout)).status

    async def _exchange(self, request: bytes, call_id: str, timeout: float) -> Response:  # noqa: ASYNC109 -- one answer's time
        self._cseq += 1
        self._awaited = asyncio.get_running_loop().create_future()
        self._line_kept().send(request)
        try:
            async with asyncio.timeout(timeout):
                response = await self._awaited
        except TimeoutError as error:
            raise RegistrarNoAnswerError(f"{self._where} did not answer in time") from error
        except MalformedError as error:
            raise RegistrarNoAnswerError(f"{self._where} answered with no SIP message: {error.sentence}") from error
        except ConnectionError as error:
            raise self._hung_up(str(error)) from error
        finally:
            self._awaited = None
        if response.first("Call-ID") != call_id:
            raise RegistrarNoAnswerError(f"{self._where} answered another request than the one sent")
        return response

    def close(self) -> None:
        """Hang up."""
        if self._line is not None:
            self._line.close()

    # What the line calls

    def received(self, data: bytes) -> None:
        """Take what came: cut messages out of it."""
        self._buffer = (self._buffer + data).lstrip(b"\r\n")
        try:
            while (length := frame_length(self._buffer)) is not None and len(self._buffer) >= length:
                message, self._buffer = self._buffer[:length], self._buffer[length:].lstrip(b"\r\n")
                self._take(message)
        except MalformedError as error:
            self.close()
            self._end(error, error.sentence)

    def lost(self, reason: str) -> None:
        """Learn that the line is gone."""
        self._end(ConnectionResetError(reason), reason)

    def _take(self, data: bytes) -> None:
        if not data.startswith(_RESPONSE):
            self._answer(SipMessage.parse(data))
            return
        response = Response.parse(data)
        if self._awaited is not None and not self._awaited.done() and not self._is_late(response):
            self._awaited.set_result(response)

    def _is_late(self, response: Response) -> bool:
        """Whether it answers a request that was given up before; an answer without a number answers the last."""
        number = (response.first("CSeq") or "").partition(" ")[0]
        return number.isascii() and number.isdecimal() and int(number) < self._cseq

    def _answer(self, request: SipMessage) -> None:
        status = self.on_request(request) if self.on_request else _METHOD_NOT_ALLOWED
        if self._line is not None:
            self._line.send(Response.to(request, status, tag=self._tag[:12]).encode())

    def _end(self, error: Exception, reason: str) -> None:
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_exception(error)
        if not self.ended.done():
            self.ended.set_result(reason)

    # Words

    def _sender(self, call: str) -> "_Sender":
        line = self._line_kept()
        host, port = line.local
        return {
            "local": f"{host}:{port}",
            "call_id": f"{call}@{host}",
            "tag": self._tag,
            "cseq": self._cseq + 1,
            "transport": "TLS" if line.tls else "TCP",
        }

    def _line_kept(self) -> Line:
        if self._line is None or self.ended.done():
            raise self._hung_up(self.ended.result() if self.ended.done() else "never connected")
        return self._line

    def _hung_up(self, reason: str) -> Refusal:
        if self.tls is not None and not self._registered:
            return RegistrarHandshakeError(f"{self._where} broke off after the handshake: {reason}")
        return RegistrarNoAnswerError(f"{self._where} hung up: {reason}")

    @property
    def _where(self) -> str:
        return f"registrar at {self.address[0]}:{self.address[1]}"


async def register(
    address: tuple[str, int],
    device: str,
    *,
    context: ssl.SSLContext | None,
    identity: CertificatePaths | None = None,
    expires: int = 120,
    timeout: float = 10,  # noqa: ASYNC109 -- one budget over steps that fail under different names
) -> RegistrationReply:
    """Register ``device`` within ``timeout`` seconds, over TLS when there is a ``context``, and hang up.

    Raise ``RegistrarUnreachableError``, ``RegistrarHandshakeError``, ``RegistrarNoAnswerError``,
    ``RegistrationRefusedError``.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    connection = await SipConnection.opened(address, device, context=context, identity=identity, timeout=timeout)
    try:
        return await connection.register(expires=expires, timeout=deadline - loop.time())
    finally:
        connection.close()
        await asyncio.sleep(0)  # one turn of the loop is what the transport needs to let go of its socket
