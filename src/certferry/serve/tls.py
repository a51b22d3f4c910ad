"""TLS settings of the services that phones connect to.

Phones are older than today's defaults: they need static RSA key exchange in TLS 1.2, and the 7900 series knows
nothing above TLS 1.0 (phone-trust 3.7). The first is always offered, the second only where it is switched on.
"""

import os
import ssl
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from certferry.errors import Refusal
from certferry.wire.certificate import Certificate

CIPHERS = (
    "ECDHE+AESGCM+AES128:ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:"
    "AES256-GCM-SHA384:AES256-SHA256:AES256-SHA:AES128-GCM-SHA256:AES128-SHA256:AES128-SHA:@SECLEVEL=1"
)
"""Forward secrecy first, then the static RSA ones that phones of firmware 10.3 settle on. Level 1: RSA-1024.

AES-128 stands first for its SHA-256: a handshake with SHA-384 costs 4 % more CPU, and a storm is all handshakes.
"""
LEGACY_CIPHERS = "DEFAULT:@SECLEVEL=0"
NO_CHECK_TIME = ssl.VerifyFlags(0x200000)
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python's ssl does not name."""


class TlsIdentityError(Refusal):
    """A certificate and key that TLS cannot be served with."""

    code = "serve.tls-identity"
    remedy = "Check that key and certificate belong together, are PEM, and that the key has no passphrase."


def server_context(
    certificate_pem: str | bytes,
    key_pem: str | bytes,
    *,
    allow_tls10: bool = False,
    client_ca: Iterable[Certificate | bytes] | Path | None = None,
    require_client: bool = False,
    check_time: bool = False,
) -> ssl.SSLContext:
    """Make the TLS side of a service; raise ``TlsIdentityError`` when certificate and key do not serve.

    ``certificate_pem`` may be followed by its chain; ``key_pem`` has no passphrase. Without ``client_ca`` a
    client's certificate is not asked for (TVS: a phone that shows an LSC of an unknown CAPF must still get its
    answer). With it, one that does not lead to any of these, self-signed or not, breaks the handshake, and
    ``require_client`` breaks it for having none. Many are kept in a folder (``Authorities``). Validity periods count
    only with ``check_time``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _set_floor(context, allow_tls10=allow_tls10)
    # A phone opens a connection for one question and saves no session: tickets would only cost.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    _load_identity(context, _as_bytes(certificate_pem), _as_bytes(key_pem))
    if client_ca is not None or require_client:
        _trust_clients(context, client_ca or (), require=require_client, check_time=check_time)
    return context


def allow_tls10_and_level_0(context: ssl.SSLContext) -> None:
    """Let a context speak TLS 1.0 and take any key and hash, for 7900 phones; both settings are needed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is deprecated is why it is off by default
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers(LEGACY_CIPHERS)


def _set_floor(context: ssl.SSLContext, *, allow_tls10: bool) -> None:
    if allow_tls10:
        allow_tls10_and_level_0(context)
        return
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)


def _trust_clients(
    context: ssl.SSLContext, authorities: Iterable[Certificate | bytes] | Path, *, require: bool, check_time: bool
) -> None:
    context.verify_mode = ssl.CERT_REQUIRED if require else ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not check_time:
        context.verify_flags |= NO_CHECK_TIME
    if isinstance(authorities, Path):
        context.load_verify_locations(capath=authorities)
    elif anchors := b"".join(each if isinstance(each, bytes) else each.der for each in authorities):
        context.load_verify_locations(cadata=anchors)


def _load_identity(context: ssl.SSLContext, certificate_pem: bytes, key_pem: bytes) -> None:
    with _private_file(key_pem + b"\n" + certificate_pem) as path:
        try:
            # An empty passphrase, so that OpenSSL never asks for one on the terminal.
            context.load_cert_chain(path, password=b"")
        except (ssl.SSLError, ValueError) as error:
            raise TlsIdentityError(f"certificate and key do not serve: {error}") from error


@contextmanager
def _private_file(data: bytes) -> Iterator[str]:
    """Lend ``data`` a path, since Python's ssl loads keys from files only; in memory wherever that can be."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").exists():
        with os.fdopen(os.memfd_create("tls"), "wb") as file:
            file.write(data)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with TemporaryDirectory(prefix="certferry-") as private:  # mode 0700
        path = Path(private, "identity.pem")
        path.touch(mode=0o600)
        path.write_bytes(data)
        yield str(path)


def _as_bytes(pem: str | bytes) -> bytes:
    return pem.encode() if isinstance(pem, str) else pem
