"""How a simulated phone connects: TCP, then TLS with a server that must be one of a few known ones.

A phone has no root store and looks at no host name and no date: the server's certificate stands in its trust list,
or the handshake breaks off (phone-trust 3.7, 4.1).
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from certferry.errors import Refusal
from certferry.serve.tls import LEGACY_CIPHERS, NO_CHECK_TIME, allow_tls10_and_level_0
from certferry.wire.certificate import Certificate

CertificatePaths = tuple[Path, Path]
"""A phone's own certificate and its key, each a PEM file."""


class UnreachableError(Refusal):
    """Nothing answers at the address."""

    code = "fleet.unreachable"
    remedy = "Check address, port, firewall, and that the service runs."


class HandshakeError(Refusal):
    """TCP connects, TLS does not come about."""

    code = "fleet.handshake"
    remedy = "Compare TLS versions and ciphers of both sides, and whether the server takes this client certificate."


class ServerUnknownError(Refusal):
    """The server presents a certificate that is not one of those trusted."""

    code = "fleet.server-unknown"
    remedy = "Compare the certificate the server presents with the phone's trust list."


class IdentityUnusableError(Refusal):
    """The phone's own certificate or key cannot be loaded."""

    code = "fleet.identity-unusable"
    remedy = "Check that both are PEM files that belong together, the key without a passphrase."


class PinnedContext(ssl.SSLContext):
    """A client's TLS settings that also know which certificates, byte for byte, the server may present."""

    pins: frozenset[bytes] | None = None


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What a handshake came to; ``server_certificate`` is DER."""

    server_certificate: bytes
    version: str
    cipher: str


def client_context(
    trusted: Iterable[Certificate] | None,
    identity: CertificatePaths | None = None,
    *,
    allow_tls10: bool = False,
) -> PinnedContext:
    """Make (or take again) the settings for servers that present one of ``trusted``; None trusts every server.

    Raise ``IdentityUnusableError`` when the phone's own certificate cannot be loaded. Contexts without an
    identity are shared: hundreds of phones hold the same trust list.
    """
    pins = None if trusted is None else frozenset(certificate.der for certificate in trusted)
    if identity is None:
        return _shared_context(pins, allow_tls10)
    context = _context(pins, allow_tls10=allow_tls10)
    load_identity(context, identity)
    return context


def lending_context(trusted: Iterable[Certificate], *, allow_tls10: bool = False) -> PinnedContext:
    """Make (or take again) settings that all phones share which trust the same servers and have an LSC each.

    For ``line.open_line``, which loads the phone's own certificate into them at the moment it connects.
    """
    return _lending_context(frozenset(certificate.der for certificate in trusted), allow_tls10)


def load_identity(context: ssl.SSLContext, identity: CertificatePaths) -> None:
    """Let ``context`` present this certificate from now on; raise ``IdentityUnusableError``."""
    try:
        context.load_cert_chain(*identity, password=b"")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise IdentityUnusableError(f"{identity[0]} and its key cannot be used: {error}") from error


def tls_facts(session: ssl.SSLObject) -> TlsFacts:
    """Tell what the handshake of ``session`` came to."""
    cipher = session.cipher()
    return TlsFacts(session.getpeercert(binary_form=True) or b"", session.version() or "", cipher[0] if cipher else "")


@asynccontextmanager
async def dial(
    address: tuple[str, int], context: ssl.SSLContext | None, deadline: float
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, TlsFacts | None]]:
    """Connect, secure the connection unless ``context`` is None, and lend it; ``deadline`` is in the loop's time.

    Raise ``UnreachableError``, ``HandshakeError`` or ``ServerUnknownError``. Not a byte has been sent but those of
    the handshake when the last is raised.
    """
    reader, writer = await _connect(address, deadline)
    try:
        facts = None if context is None else await _secure(address, writer, context, deadline)
        yield reader, writer, facts
    finally:
        await _hang_up(writer)


async def _connect(address: tuple[str, int], deadline: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        async with asyncio.timeout_at(deadline):
            return await asyncio.open_connection(*address)
    except OSError as error:  # TimeoutError is one
        raise UnreachableError(f"{_at(address)} cannot be reached: {str(error) or 'no answer in time'}") from error


async def _secure(
    address: tuple[str, int], writer: asyncio.StreamWriter, context: ssl.SSLContext, deadline: float
) -> TlsFacts:
    try:
        async with asyncio.timeout_at(deadline):
            await writer.start_tls(context, server_hostname="")
    except ssl.SSLCertVerificationError as error:
        raise ServerUnknownError(f"the certificate of {_at(address)} is not trusted: {error.verify_message}") from error
    except OSError as error:  # ssl.SSLError, a reset, and TimeoutError are
        raise HandshakeError(f"no TLS with {_at(address)}: {str(error) or 'no answer in time'}") from error
    facts = tls_facts(writer.get_extra_info("ssl_object"))
    pins = getattr(context, "pins", None)
    if pins is not None and facts.server_certificate not in pins:
        raise ServerUnknownError(f"{_at(address)} presents a certificate that was issued by a trusted one, but is none")
    return facts


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    """End without waiting for the peer: a phone closes and goes on."""
    writer.transport.abort()
    # Not wait_closed: after a handshake that came to nothing, asyncio never tells the stream that it is over.
    # One turn of the loop is what the transport needs to let go of its socket.
    await asyncio.sleep(0)


@lru_cache(maxsize=256)
def _shared_context(pins: frozenset[bytes] | None, allow_tls10: bool) -> PinnedContext:  # noqa: FBT001 -- a cache key
    return _context(pins, allow_tls10=allow_tls10)


@lru_cache(maxsize=64)
def _lending_context(pins: frozenset[bytes], allow_tls10: bool) -> PinnedContext:  # noqa: FBT001 -- a cache key
    return _context(pins, allow_tls10=allow_tls10)


def _context(pins: frozenset[bytes] | None, *, allow_tls10: bool) -> PinnedContext:
    context = PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.pins = pins
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(LEGACY_CIPHERS)
    if allow_tls10:
        allow_tls10_and_level_0(context)
    if pins is None:
        context.verify_mode = ssl.CERT_NONE
        return context
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    if pins:
        context.load_verify_locations(cadata=b"".join(sorted(pins)))
    return context


def _at(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"
