"""The trust lists a cluster serves: one ITL for each TFTP node, one CTL in mixed mode, rebuilt when a member changes.

A cluster that leaves mixed mode keeps its CTL, with its servers emptied (phone-trust 1.10), until it is deleted. Which
records a list has and who signs it is decided by ``trust.list_rules``; here they are built, signed and kept,
so that every node serves the same bytes.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Literal

from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import Connection, delete, insert, select

from certferry.cluster import schema
from certferry.cluster.identities import by_node, find_identity, read_identities, read_key
from certferry.cluster.nodes import read_nodes
from certferry.cluster.parameters import ROLLBACK, SECURITY_MODE, SIGNATURE_ALGORITHM, read_parameters
from certferry.cluster.sealing import Seal
from certferry.cluster.values import Identity, Node, NodeRole, SecurityMode
from certferry.errors import Refusal, UsageError
from certferry.trust.list_rules import (
    NodeCertificates,
    RecordSpec,
    SignerSpec,
    ctl_records,
    ctl_signer,
    itl_records,
    itl_signer,
)
from certferry.trust.release import Release
from certferry.wire.certificate import Certificate
from certferry.wire.signed_header import Digest
from certferry.wire.trust_list import TrustRecord, build_trust_list

Kind = Literal["CTL", "ITL"]
DIGESTS = {"sha-1": Digest.SHA1, "sha-512": Digest.SHA512}


class SignerKeyError(Refusal):
    """The certificate that has to sign has a key that cannot sign trust lists."""

    code = "cluster.signer-key"
    remedy = "Regenerate the certificate with an RSA key."


class CtlNeededError(UsageError):
    """A CTL cannot be deleted while the cluster is in mixed mode."""

    code = "cluster.ctl-needed"
    remedy = "Leave mixed mode first: certferry cluster set security-mode non-secure"


class CtlMissingError(UsageError):
    """There is no CTL to delete."""

    code = "cluster.ctl-missing"
    remedy = "Nothing has to be done: phones are told that there is none."


class CtlReplacedError(UsageError):
    """The CTL is not the one that was looked at: it was built anew since then."""

    code = "cluster.ctl-replaced"
    remedy = "Look at the CTL as it is now, and decide again."


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a list is to be: its members, who signs, with which digest. Equal plans need no rebuilding."""

    kind: Kind
    node: str
    records: tuple[RecordSpec, ...]
    signer: Identity
    digest: Digest

    @property
    def name(self) -> str:
        """What people call the list."""
        return f"{self.kind} of {self.node}" if self.node else self.kind

    def members(self) -> str:
        """Return a digest of everything the list is built from."""
        parts = [
            [spec.role, spec.dns_name, spec.ip_address, spec.certificate.sha256 if spec.certificate else None]
            for spec in self.records
        ]
        text = json.dumps([self.kind, parts, self.signer.certificate.sha256, self.digest])
        return sha256(text.encode()).hexdigest()


def rebuild(connection: Connection, seal: Seal, release: Release, now: datetime) -> tuple[str, ...]:
    """Build anew the lists whose members changed; drop those no longer due. Return the names of what changed."""
    table = schema.trust_list
    plans = {(plan.kind, plan.node): plan for plan in _plans(connection, release)}
    stored = {(row.kind, row.node): row.members for row in connection.execute(select(table))}
    stale = [key for key in stored if key not in plans or plans[key].members() != stored[key]]
    due = [key for key in plans if key not in stored or key in stale]
    for kind, node in stale:
        connection.execute(delete(table).where(table.c.kind == kind, table.c.node == node))
    for key in due:
        data = _build(connection, seal, plans[key], now)
        row = {"kind": key[0], "node": key[1], "members": plans[key].members(), "data": data}
        connection.execute(insert(table), row)
    return tuple(f"{kind} of {node}" if node else kind for kind, node in sorted({*stale, *due}))


def read_list(connection: Connection, kind: Kind, node: str | None) -> bytes | None:
    """Read a trust list: the CTL of the cluster, or the ITL of one TFTP node; None where there is none."""
    table = schema.trust_list
    wanted = table.c.kind == kind, table.c.node == (node or "" if kind == "ITL" else "")
    data: bytes | None = connection.scalar(select(table.c.data).where(*wanted))
    return data


def has_ctl(connection: Connection) -> bool:
    """Whether a CTL is kept: that of mixed mode, or the emptied one of a cluster that left it."""
    table = schema.trust_list
    return connection.scalar(select(table.c.kind).where(table.c.kind == "CTL")) is not None


def read_deletable_ctl(connection: Connection) -> bytes:
    """Read the emptied CTL of a cluster that left mixed mode; raise ``CtlNeededError`` or ``CtlMissingError``."""
    if read_parameters(connection)[SECURITY_MODE] == SecurityMode.MIXED:
        raise CtlNeededError("the cluster is in mixed mode, in which phones need its CTL")
    data = read_list(connection, "CTL", None)
    if data is None:
        raise CtlMissingError("the cluster has no CTL")
    return data


def delete_ctl(connection: Connection, seen: str | None) -> None:
    """Forget the emptied CTL of a cluster that left mixed mode; ``seen`` is the SHA-256 of the one that is meant.

    Raises ``CtlNeededError``, ``CtlMissingError``, ``CtlReplacedError``.
    """
    data = read_deletable_ctl(connection)
    if seen not in (None, sha256(data).hexdigest()):
        raise CtlReplacedError("the CTL was built anew since it was looked at")
    connection.execute(delete(schema.trust_list).where(schema.trust_list.c.kind == "CTL"))


def lists_of(
    connection: Connection, release: Release, certificate: Certificate
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the lists that have a record of ``certificate``, and of those that it signs."""
    plans = tuple(_plans(connection, release))
    naming = [plan for plan in plans if any(spec.certificate == certificate for spec in plan.records)]
    signed = [plan for plan in plans if plan.signer.certificate == certificate]
    return tuple(plan.name for plan in naming), tuple(plan.name for plan in signed)


def _plans(connection: Connection, release: Release) -> Iterable[_Plan]:
    parameters = read_parameters(connection)
    nodes, identities = read_nodes(connection), read_identities(connection)
    members = _members(nodes, identities)
    digest = DIGESTS[parameters[SIGNATURE_ALGORITHM]]
    secure = parameters[SECURITY_MODE] == SecurityMode.MIXED
    rollback = parameters[ROLLBACK] == "true"
    for node in nodes:
        if NodeRole.TFTP in node.roles:
            records = itl_records(release, secure, rollback, node.name, members)
            yield _Plan("ITL", node.name, records, _signer(identities, itl_signer(release, node.name)), digest)
    if secure or has_ctl(connection):
        publisher = next(node.name for node in nodes if node.is_publisher)
        records = ctl_records(release, members, left_mixed_mode=not secure)
        yield _Plan("CTL", "", records, _signer(identities, ctl_signer(release, publisher)), digest)


def _members(nodes: Sequence[Node], identities: Sequence[Identity]) -> tuple[NodeCertificates, ...]:
    certificates = by_node(identities, nodes)
    return tuple(
        NodeCertificates(node.name, node.address, frozenset(map(str, node.roles)), certificates[node.name])
        for node in nodes
    )


def _signer(identities: Sequence[Identity], spec: SignerSpec) -> Identity:
    return find_identity(identities, spec.purpose, spec.node)


def _build(connection: Connection, seal: Seal, plan: _Plan, now: datetime) -> bytes:
    key = read_key(connection, seal, plan.signer)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise SignerKeyError(f"{plan.signer.purpose} of {plan.signer.node or 'the cluster'} has no RSA key")
    records = [_record(spec) for spec in plan.records]
    signer = plan.signer.certificate
    return build_trust_list(plan.kind, records, signer, key, digest=plan.digest, timestamp=int(now.timestamp()))


def _record(spec: RecordSpec) -> TrustRecord:
    if spec.certificate is None:
        return TrustRecord.emptied(spec.dns_name, spec.role, spec.ip_address)
    return TrustRecord.of_certificate(spec.certificate, spec.role, spec.dns_name, spec.ip_address)
