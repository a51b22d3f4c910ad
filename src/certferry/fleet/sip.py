"""How a simulated phone registers: SIP over TCP, or over mutual TLS with its LSC."""

import asyncio
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from certferry.errors import MalformedError, Refusal
from certferry.fleet import dial as dialling
from certferry.fleet.dial import HandshakeError, ServerUnknownError, TlsFacts, UnreachableError, dial
from certferry.wire.certificate import Certificate
from certferry.wire.sip import Register, Response, frame_length

_OK = 200


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


async def register(
    address: tuple[str, int],
    device: str,
    *,
    context: ssl.SSLContext | None,
    expires: int = 120,
    timeout: float = 10,  # noqa: ASYNC109 -- one budget over steps that fail under different names
) -> RegistrationReply:
    """Register ``device`` within ``timeout`` seconds, over TLS when there is a ``context``; 0 seconds unregisters.

    Raise ``RegistrarUnreachableError``, ``RegistrarHandshakeError``, ``RegistrarNoAnswerError``,
    ``RegistrationRefusedError``.
    """
    deadline = asyncio.get_running_loop().time() + timeout
    try:
        async with dial(address, context, deadline) as (reader, writer, tls):
            request = _request(address, device, writer, expires=expires, secure=tls is not None)
            writer.write(request.encode())
            response = await _response(_where(address), reader, deadline, secure=tls is not None)
    except UnreachableError as error:
        raise RegistrarUnreachableError(error.sentence) from error
    except (HandshakeError, ServerUnknownError) as error:
        raise RegistrarHandshakeError(error.sentence) from error
    return _registered(address, request, response, tls)


def _request(
    address: tuple[str, int], device: str, writer: asyncio.StreamWriter, *, expires: int, secure: bool
) -> Register:
    host, port = writer.get_extra_info("sockname")[:2]
    unique = uuid4().hex
    return Register.of(
        device,
        address[0],
        local=f"{host}:{port}",
        call_id=f"{unique[:16]}@{host}",
        tag=unique[16:],
        transport="TLS" if secure else "TCP",
        expires=expires,
    )


async def _response(where: str, reader: asyncio.StreamReader, deadline: float, *, secure: bool) -> Response:
    try:
        async with asyncio.timeout_at(deadline):
            return Response.parse(await _frame(reader))
    except TimeoutError as error:
        raise RegistrarNoAnswerError(f"{where} did not answer in time") from error
    except (OSError, EOFError) as error:
        if secure:
            # In TLS 1.3 a client learns only when it first reads that its certificate was not taken.
            raise RegistrarHandshakeError(f"{where} broke off after the handshake: {error}") from error
        raise RegistrarNoAnswerError(f"{where} hung up: {error}") from error
    except MalformedError as error:
        raise RegistrarNoAnswerError(f"{where} answered with no SIP message: {error.sentence}") from error


async def _frame(reader: asyncio.StreamReader) -> bytes:
    received = b""
    while (length := frame_length(received)) is None or len(received) < length:
        piece = await reader.read(4096)
        if not piece:
            raise EOFError("the connection ended before the answer")
        received += piece
    return received[:length]


def _registered(
    address: tuple[str, int], request: Register, response: Response, tls: TlsFacts | None
) -> RegistrationReply:
    if response.first("Call-ID") != request.call_id:
        raise RegistrarNoAnswerError(f"{_where(address)} answered another request than the one sent")
    if response.status != _OK:
        reason = f"{response.status} {response.reason}"
        raise RegistrationRefusedError(response.status, f"{_where(address)} refused {request.device}: {reason}")
    granted = re.fullmatch("[0-9]{1,9}", response.first("Expires") or "")
    return RegistrationReply(request.device, int(granted[0]) if granted else request.expires, tls)


def _where(address: tuple[str, int]) -> str:
    return f"registrar at {address[0]}:{address[1]}"
