"""How a simulated phone asks a Trust Verification Service (phone-trust 3.7)."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from certferry.errors import MalformedError, Refusal
from certferry.fleet.dial import (
    CertificatePaths,
    HandshakeError,
    ServerUnknownError,
    TlsFacts,
    UnreachableError,
    client_context,
    dial,
)
from certferry.wire.certificate import Certificate
from certferry.wire.tvs import HEADER_SIZE, Reply, Request, frame_length, parse_message


class TvsUnreachableError(Refusal):
    """No TVS answers at the address."""

    code = "fleet.tvs-unreachable"
    remedy = "Check that TVS runs on that node and that TCP 2445 is open from the phones' network."


class TvsCertificateUnknownError(Refusal):
    """TVS presents a certificate that is not in the phone's ITL with role TVS."""

    code = "fleet.tvs-certificate-unknown"
    remedy = "Restore the TVS certificate that the phones' ITL holds, or let them load the new ITL before they move."


class TvsHandshakeError(Refusal):
    """TVS answers on TCP, but TLS does not come about."""

    code = "fleet.tvs-handshake"
    remedy = "Compare TLS versions and ciphers; 7900 phones need TLS 1.0 allowed on the server."


class TvsNoAnswerError(Refusal):
    """TVS took the question and gave no usable answer."""

    code = "fleet.tvs-no-answer"
    remedy = "Look into the TVS log of that node; a service that answers only command 1 cannot support a migration."


@dataclass(frozen=True, slots=True)
class TvsAnswer:
    """What TVS said, and what it presented while saying it; ``server_certificate`` is DER."""

    reply: Reply
    server_certificate: bytes
    tls_version: str
    cipher: str


async def ask(
    address: tuple[str, int],
    request: Request,
    *,
    trusted: Iterable[Certificate] | None,
    client_certificate: CertificatePaths | None = None,
    timeout: float = 10,  # noqa: ASYNC109 -- one budget over steps that fail under different names
    allow_tls10: bool = False,
) -> TvsAnswer:
    """Ask one TVS one question within ``timeout`` seconds.

    ``trusted`` are the certificates that the phone's ITL gives role TVS: the handshake breaks off, before the
    question is sent, unless the server presents one of them. None takes any server, as a probe does.
    Raise ``TvsUnreachableError``, ``TvsCertificateUnknownError``, ``TvsHandshakeError``, ``TvsNoAnswerError``.
    """
    context = client_context(trusted, client_certificate, allow_tls10=allow_tls10)
    deadline = asyncio.get_running_loop().time() + timeout
    try:
        async with dial(address, context, deadline) as (reader, writer, facts):
            writer.write(request.encode())
            return _answer(await _reply(address, reader, request, deadline), facts)
    except UnreachableError as error:
        raise TvsUnreachableError(error.sentence) from error
    except ServerUnknownError as error:
        raise TvsCertificateUnknownError(error.sentence) from error
    except HandshakeError as error:
        raise TvsHandshakeError(error.sentence) from error


async def _reply(address: tuple[str, int], reader: asyncio.StreamReader, request: Request, deadline: float) -> Reply:
    where = f"TVS at {address[0]}:{address[1]}"
    try:
        async with asyncio.timeout_at(deadline):
            header = await reader.readexactly(HEADER_SIZE)
            body = await reader.readexactly(frame_length(header) - HEADER_SIZE)
        reply = parse_message(header + body)
    except (OSError, EOFError) as error:  # TimeoutError and ssl.SSLError are OSErrors
        raise TvsNoAnswerError(f"{where} did not answer: {str(error) or 'no answer in time'}") from error
    except MalformedError as error:
        raise TvsNoAnswerError(f"{where} answered with no TVS message: {error.sentence}") from error
    if isinstance(reply, Request) or reply.command != request.command + 1 or reply.session_id != request.session_id:
        raise TvsNoAnswerError(f"{where} answered another question than the one asked")
    return reply


def _answer(reply: Reply, facts: TlsFacts | None) -> TvsAnswer:
    assert facts is not None  # noqa: S101 -- a connection with a context has them
    return TvsAnswer(reply, facts.server_certificate, facts.version, facts.cipher)
