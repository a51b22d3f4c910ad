"""The certificates a cluster owns, with their private keys: made, read, replaced."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from os import cpu_count

from sqlalchemy import Connection, delete, select

from certferry.cluster import schema
from certferry.cluster.certificate_text import put_texts
from certferry.cluster.issuing import KeySource, Organisation, PrivateKey, Request, key_bytes, key_of, self_signed
from certferry.cluster.sealing import Seal
from certferry.cluster.upserting import upsert
from certferry.cluster.values import Identity, Node, NodeRole
from certferry.errors import Refusal, UsageError
from certferry.trust.purpose import Purpose
from certferry.trust.release import Release
from certferry.wire.certificate import Certificate

RSA_BITS = 2048


class IdentityUnknownError(UsageError):
    """The cluster owns no such certificate."""

    code = "cluster.identity-unknown"
    remedy = "See what there is with 'certferry cert list'."


class CertificateReplacedError(Refusal):
    """The certificate that was to be replaced is not in use any more: somebody was faster."""

    code = "cluster.certificate-replaced"
    remedy = "Look at the present certificate, and decide again."


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """An identity with its private key, as it is between making and sealing."""

    identity: Identity
    key: PrivateKey


def due_identities(
    release: Release, nodes: Sequence[Node], *, itl_recovery_per_node: bool
) -> list[tuple[Purpose, Node, bool]]:
    """List what a new cluster generates: purpose, the node that makes it, whether the whole cluster shares it.

    ITLRecovery is one for the cluster, made on the publisher (documented from 12.5); one for each node where a
    cluster before that is configured so.
    """
    due: list[tuple[Purpose, Node, bool]] = []
    for node in nodes:
        due += [(purpose, node, False) for purpose in _of_node(release, node)]
        if itl_recovery_per_node:
            due.append((Purpose.ITL_RECOVERY, node, False))
        elif node.is_publisher:
            due.append((Purpose.ITL_RECOVERY, node, True))
    return due


def _of_node(release: Release, node: Node) -> list[Purpose]:
    purposes = [Purpose.CALLMANAGER, Purpose.TOMCAT, Purpose.TVS, Purpose.IPSEC]
    if release.has_ec_twins:
        purposes += [Purpose.CALLMANAGER_ECDSA, Purpose.TOMCAT_ECDSA]
    if NodeRole.CAPF in node.roles:
        purposes.append(Purpose.CAPF)
    return purposes


def generate(
    due: Iterable[tuple[Purpose, Node, bool]], organisation: Organisation, keys: KeySource, now: datetime
) -> list[OwnCertificate]:
    """Generate keys and self-signed certificates, on all cores."""

    def make(wanted: tuple[Purpose, Node, bool]) -> OwnCertificate:
        purpose, node, shared = wanted
        key: PrivateKey = keys.ec() if purpose.is_ec else keys.rsa(RSA_BITS)
        made = self_signed(Request(purpose, node.name, organisation), key, now)
        return OwnCertificate(Identity(purpose, None if shared else node.name, made), key)

    with ThreadPoolExecutor(cpu_count()) as pool:
        return list(pool.map(make, due))


def store_certificates(connection: Connection, certificates: Iterable[Certificate]) -> None:
    """Write certificates that trust entries and identities will refer to; known ones stay."""
    stored = {each.sha256: each for each in certificates}.values()
    rows = [{"sha256": each.sha256, "der": each.der} for each in stored]
    upsert(connection, schema.certificate, rows, keys=["sha256"])
    put_texts(connection, stored)


def put_identities(connection: Connection, seal: Seal, owned: Sequence[OwnCertificate]) -> None:
    """Write identities with their sealed keys, in place of earlier ones of the same purpose and node."""
    store_certificates(connection, (own.identity.certificate for own in owned))
    for own in owned:
        purpose, node = own.identity.purpose, own.identity.node or ""
        table = schema.identity
        connection.execute(delete(table).where(table.c.purpose == purpose, table.c.node == node))
        row = {
            "purpose": purpose.value,
            "node": node,
            "sha256": own.identity.certificate.sha256,
            "sealed_key": seal.seal(key_bytes(own.key), _context(own.identity)),
        }
        connection.execute(table.insert(), row)


def remove_identities(connection: Connection, purpose: Purpose) -> None:
    """Forget all certificates of ``purpose`` with their keys, as when one multi-server certificate takes over."""
    connection.execute(delete(schema.identity).where(schema.identity.c.purpose == purpose.value))


def read_identities(connection: Connection) -> tuple[Identity, ...]:
    """Read all certificates the cluster owns, by node in cluster order, cluster-wide ones last."""
    table = schema.identity.join(schema.certificate).outerjoin(
        schema.node, schema.node.c.name == schema.identity.c.node
    )
    rows = connection.execute(
        select(schema.identity.c.purpose, schema.identity.c.node, schema.certificate.c.der, schema.node.c.position)
        .select_from(table)
        .order_by(schema.node.c.position.is_(None), schema.node.c.position, schema.identity.c.purpose)
    )
    return tuple(Identity(Purpose(row.purpose), row.node or None, Certificate.parse(row.der)) for row in rows)


def find_identity(identities: Iterable[Identity], purpose: Purpose, node: str | None) -> Identity:
    """Return the certificate of ``purpose`` that ``node`` uses: its own, or the one the cluster shares."""
    shared = None
    for identity in identities:
        if identity.purpose is purpose and identity.node == node:
            return identity
        if identity.purpose is purpose and identity.node is None:
            shared = identity
    if shared is None:
        raise IdentityUnknownError(f"there is no {purpose} certificate" + (f" of node {node}" if node else ""))
    return shared


def check_present(connection: Connection, purpose: Purpose, node: str | None, expected: Certificate | None) -> None:
    """Raise ``CertificateReplacedError`` unless ``expected`` (None: whichever) is what is in use."""
    present = find_identity(read_identities(connection), purpose, node).certificate
    if expected not in (None, present):
        raise CertificateReplacedError(f"{purpose} has another certificate by now, serial {present.serial_hex}")


def read_key(connection: Connection, seal: Seal, identity: Identity) -> PrivateKey:
    """Open the private key of ``identity``."""
    return key_of(seal.open(_sealed_key(connection, identity), _context(identity)))


def _sealed_key(connection: Connection, identity: Identity) -> bytes:
    table = schema.identity
    sealed: bytes | None = connection.scalar(
        select(table.c.sealed_key).where(
            table.c.purpose == identity.purpose.value,
            table.c.node == (identity.node or ""),
            table.c.sha256 == identity.certificate.sha256,
        )
    )
    if sealed is None:
        raise IdentityUnknownError(f"the {identity.purpose} certificate {identity.certificate.serial_hex} was replaced")
    return sealed


def check_seal(connection: Connection, seal: Seal) -> None:
    """Raise ``SealError`` when ``seal`` is not the one that keys were sealed with, before a new one is sealed so."""
    for identity in read_identities(connection)[:1]:
        seal.open(_sealed_key(connection, identity), _context(identity))


def by_node(identities: Iterable[Identity], nodes: Iterable[Node]) -> dict[str, Mapping[Purpose, Certificate]]:
    """Arrange certificates by node; each node also has the ones the whole cluster shares."""
    own = tuple(identities)
    shared = {each.purpose: each.certificate for each in own if each.node is None}
    return {
        node.name: shared | {each.purpose: each.certificate for each in own if each.node == node.name} for node in nodes
    }


def _context(identity: Identity) -> str:
    return f"key {identity.purpose} {identity.node or ''} {identity.certificate.sha256}"
