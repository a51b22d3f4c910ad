"""Certificates signed by a CA: the CSR with its key kept until the answer comes, and the check of what comes.

As in OS Administration: *Generate CSR* makes a new key; *Upload* takes only a certificate for the latest CSR, and
only when the CA's certificates are in the trust store already (bulk 5.1). A multi-server certificate serves one
purpose on all nodes, with one key.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import Connection, delete, insert, select

from certferry.cluster import schema
from certferry.cluster.issuing import PrivateKey, key_bytes, key_of
from certferry.cluster.sealing import Seal
from certferry.errors import Refusal, UsageError
from certferry.trust.purpose import Purpose, Store
from certferry.wire.certificate import Certificate

TRUST_STORE_OF: dict[Purpose, Store] = {
    Purpose.CALLMANAGER: Store.CALLMANAGER_TRUST,
    Purpose.CALLMANAGER_ECDSA: Store.CALLMANAGER_TRUST,
    Purpose.TOMCAT: Store.TOMCAT_TRUST,
    Purpose.TOMCAT_ECDSA: Store.TOMCAT_TRUST,
    Purpose.CAPF: Store.CAPF_TRUST,
    Purpose.TVS: Store.TVS_TRUST,
    Purpose.IPSEC: Store.IPSEC_TRUST,
}
"""Where the CA of a purpose's certificate has to be. ITLRecovery is always self-signed."""

MULTI_SERVER = frozenset({Purpose.CALLMANAGER, Purpose.CALLMANAGER_ECDSA, Purpose.TOMCAT, Purpose.TOMCAT_ECDSA})
_LONGEST_CHAIN = 8


class RequestUnknownError(UsageError):
    """No CSR is waiting for that certificate."""

    code = "cert.request-unknown"
    remedy = "Make a CSR first: certferry cert csr PURPOSE --node NODE"


class RequestImpossibleError(UsageError):
    """No CSR can be made for that purpose."""

    code = "cert.request-impossible"
    remedy = "Ask for CallManager, tomcat, CAPF, TVS or ipsec; for several servers at once only CallManager or tomcat."


class CertificateForeignError(Refusal):
    """The certificate is not the answer to the latest CSR."""

    code = "cert.not-for-request"
    remedy = "Have the latest CSR signed (certferry cert csr makes it), or make a new one and have that signed."


class ChainIncompleteError(Refusal):
    """The CA that signed the certificate is not in the trust store."""

    code = "cert.chain-incomplete"
    remedy = "Upload the missing CA certificate first: certferry cert upload CA.pem --store STORE"


class CertificateOutOfDateError(Refusal):
    """The certificate is not valid now."""

    code = "cert.out-of-date"
    remedy = "Have the CSR signed again with a validity that begins now."


@dataclass(frozen=True, slots=True)
class WaitingRequest:
    """What of a CSR that waits may be shown: ``node`` None is a multi-server one."""

    purpose: Purpose
    node: str | None
    pem: str


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A CSR that waits for its certificate; ``node`` None is a multi-server one."""

    purpose: Purpose
    node: str | None
    pem: str
    key: PrivateKey


def put_request(connection: Connection, seal: Seal, request: PendingRequest) -> None:
    """Keep a CSR and its key, in place of an earlier one."""
    forget_request(connection, request.purpose, request.node)
    row = {
        "purpose": request.purpose.value,
        "node": request.node or "",
        "pem": request.pem,
        "sealed_key": seal.seal(key_bytes(request.key), _context(request.purpose, request.node)),
    }
    connection.execute(insert(schema.signing_request), row)


def read_request(connection: Connection, seal: Seal, purpose: Purpose, node: str | None) -> PendingRequest:
    """Read the CSR that waits; raises ``RequestUnknownError``."""
    table = schema.signing_request
    wanted = table.c.purpose == purpose.value, table.c.node == (node or "")
    row = connection.execute(select(table).where(*wanted)).first()
    if row is None:
        raise no_request(purpose, node)
    return PendingRequest(purpose, node, row.pem, key_of(seal.open(row.sealed_key, _context(purpose, node))))


def no_request(purpose: Purpose, node: str | None) -> RequestUnknownError:
    """Say that no CSR waits; ``node`` None is a multi-server one."""
    return RequestUnknownError(f"no CSR of {purpose} waits for " + (f"node {node}" if node else "all nodes"))


def read_waiting(connection: Connection) -> tuple[WaitingRequest, ...]:
    """Read all CSRs that wait, without their keys, in the order of their purposes and nodes."""
    table = schema.signing_request
    rows = connection.execute(
        select(table.c.purpose, table.c.node, table.c.pem).order_by(table.c.purpose, table.c.node)
    )
    return tuple(WaitingRequest(Purpose(row.purpose), row.node or None, row.pem) for row in rows)


def forget_request(connection: Connection, purpose: Purpose, node: str | None) -> None:
    """Remove a CSR, as when its certificate was installed."""
    table = schema.signing_request
    connection.execute(delete(table).where(table.c.purpose == purpose.value, table.c.node == (node or "")))


def is_answered_by(request: PendingRequest, answer: Certificate) -> bool:
    """Whether a certificate has the key that was made for the CSR."""
    held = answer.x509.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return held == _public(request.key)


def check_answer(
    request: PendingRequest,
    answer: Certificate,
    extra: Sequence[Certificate],
    store: Iterable[Certificate],
    now: datetime,
) -> tuple[Certificate, ...]:
    """Return the CA chain of ``answer``, up to a certificate in the trust store.

    Raises ``CertificateForeignError``, ``CertificateOutOfDateError`` and ``ChainIncompleteError``.
    """
    if not is_answered_by(request, answer):
        raise CertificateForeignError(f"{answer.subject} has another key than the latest CSR of {request.purpose}")
    if not answer.not_before <= now <= answer.not_after:
        raise CertificateOutOfDateError(
            f"{answer.subject} is valid from {answer.not_before:%Y-%m-%d} to {answer.not_after:%Y-%m-%d}"
        )
    return _chain(answer, extra, tuple(store), request.purpose)


def _chain(
    leaf: Certificate, extra: Sequence[Certificate], trusted: Sequence[Certificate], purpose: Purpose
) -> tuple[Certificate, ...]:
    chain: list[Certificate] = []
    last = leaf
    while last not in trusted:
        issuer = next((each for each in (*trusted, *extra) if each != last and _issued(last, each)), None)
        if issuer is None or len(chain) >= _LONGEST_CHAIN:
            store = TRUST_STORE_OF[purpose]
            remedy = f"Upload it first: certferry cert upload CA.pem --store {store}"
            raise ChainIncompleteError(
                f"{last.issuer}, which signed {last.subject}, is not in {store} as an authority", remedy=remedy
            )
        chain.append(issuer)
        last = issuer
    return tuple(chain)


def _issued(certificate: Certificate, issuer: Certificate) -> bool:
    try:
        certificate.x509.verify_directly_issued_by(issuer.x509)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return _is_authority(issuer)


def _is_authority(certificate: Certificate) -> bool:
    try:
        return certificate.x509.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _public(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _context(purpose: Purpose, node: str | None) -> str:
    return f"request {purpose} {node or ''}"
