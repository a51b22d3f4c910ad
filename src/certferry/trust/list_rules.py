"""Which records an ITL and a CTL are made of, in which order, and whose key signs them (phone-trust 1.10).

There is one ITL for each TFTP node and, once it was in mixed mode, one CTL for the cluster:

=====================  ==============================================  ===========================================
record                 ITL of one TFTP node                            CTL
=====================  ==============================================  ===========================================
SAST                   ITLRecovery, this node's CallManager            publisher's CallManager, from 10.5(2) with
                                                                       ITLRecovery
TFTP or CCM+TFTP       this node's CallManager; CCM+TFTP in mixed mode CCM+TFTP for every node with TFTP or calls
TVS                    every node                                      none
CAPF                   where CAPF runs                                 where CAPF runs, after that node's CCM+TFTP
signer                 from 12.0 ITLRecovery, before this node's       from 12.0 ITLRecovery, before the
                       CallManager                                     publisher's CallManager
=====================  ==============================================  ===========================================

The signer's SAST record stands first. *Prepare Cluster for Rollback to Pre 8.0* empties what a phone would check
servers and files with; SAST and CAPF stay, so that the list itself still verifies. A cluster that left mixed mode
does the same to its CTL and goes on serving it, so that phones that hold one let go of it (1.7 sample D, 1.10).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from certferry.errors import Refusal
from certferry.trust.purpose import Purpose
from certferry.trust.release import Release
from certferry.wire.certificate import Certificate
from certferry.wire.roles import Role

MAXIMUM_CERTIFICATES = 39
"""More than these make a list too large for phones (phone-trust 1.10: documented)."""

PUBLISHER, TFTP, TVS, CAPF, CALLMANAGER = "publisher", "tftp", "tvs", "capf", "callmanager"


class ListIncompleteError(Refusal):
    """A trust list needs a certificate, or a node, that the cluster does not have."""

    code = "trust.list-incomplete"
    remedy = "Regenerate the certificate that is named, or take the role away from the node."


@dataclass(frozen=True, slots=True)
class NodeCertificates:
    """A node as trust lists see it.

    ``name`` is the node's name as configured, ``address`` its IPv4 address, ``roles`` any of ``publisher``,
    ``tftp``, ``tvs``, ``capf``, ``callmanager``. ``certificates`` are its own and those that the whole cluster
    shares; from 12.5 there is one ITLRecovery, made by the publisher, before each node had its own.
    """

    name: str
    address: str
    roles: frozenset[str]
    certificates: Mapping[Purpose, Certificate]


@dataclass(frozen=True, slots=True)
class RecordSpec:
    """One record to be written; ``certificate`` None is an emptied record (phone-trust 1.7)."""

    role: Role
    certificate: Certificate | None
    dns_name: str
    ip_address: str


@dataclass(frozen=True, slots=True)
class SignerSpec:
    """Whose key signs: the one of ``purpose`` that ``node`` uses, its own or the one that the cluster shares."""

    purpose: Purpose
    node: str


def itl_records(
    release: Release,
    secure: bool,  # noqa: FBT001 -- the order of the arguments is that of the question
    rollback: bool,  # noqa: FBT001 -- same
    tftp_node: str,
    nodes: Sequence[NodeCertificates],
) -> tuple[RecordSpec, ...]:
    """List the records of the ITL that the node named ``tftp_node`` serves; ``secure`` is mixed mode.

    Raise ``ListIncompleteError`` when a node or a certificate that it must name is missing.
    """
    server, publisher = _named(tftp_node, nodes), _publisher(nodes)
    files = _record(Role.CALLMANAGER_TFTP if secure else Role.TFTP, server, Purpose.CALLMANAGER)
    checked = [files, *(_record(Role.TVS, node, Purpose.TVS) for node in _with_role(nodes, TVS))]
    return (
        *_sast_records(release, server, publisher, with_recovery=True),
        *(_emptied(checked) if rollback else checked),
        *_capf_records(nodes),
    )


def ctl_records(
    release: Release, nodes: Sequence[NodeCertificates], *, left_mixed_mode: bool = False
) -> tuple[RecordSpec, ...]:
    """List the records of the cluster's CTL, node by node as published ones have them (1.7, samples A and D).

    A cluster that left mixed mode has its servers emptied in it; SAST and CAPF stay.
    """
    publisher = _publisher(nodes)
    records = [record for node in _with_role(nodes, TFTP, CALLMANAGER, CAPF) for record in _of_server(node)]
    return (
        *_sast_records(release, publisher, publisher, with_recovery=release.ctl_names_itl_recovery),
        *(_without_servers(records) if left_mixed_mode else records),
    )


def itl_signer(release: Release, tftp_node: str) -> SignerSpec:
    """Say whose key signs the ITL that ``tftp_node`` serves; its certificate is that of the first record."""
    return SignerSpec(Purpose.ITL_RECOVERY if release.itl_recovery_signs else Purpose.CALLMANAGER, tftp_node)


def ctl_signer(release: Release, publisher: str) -> SignerSpec:
    """Say whose key signs the CTL, where ``publisher`` is the publisher; its certificate is the first record's."""
    return SignerSpec(Purpose.ITL_RECOVERY if release.itl_recovery_signs else Purpose.CALLMANAGER, publisher)


def _record(role: Role, node: NodeCertificates, purpose: Purpose) -> RecordSpec:
    certificate = node.certificates.get(purpose)
    if certificate is None:
        raise ListIncompleteError(f"node {node.name} has no {purpose} certificate for the {role.name} record")
    return RecordSpec(role, certificate, node.name, node.address)


def _sast_records(
    release: Release, node: NodeCertificates, publisher: NodeCertificates, *, with_recovery: bool
) -> list[RecordSpec]:
    """The certificates that may sign the list, the one that does first."""
    sasts = [_record(Role.SAST, node, Purpose.CALLMANAGER)]
    if with_recovery and (release.itl_recovery_signs or Purpose.ITL_RECOVERY in node.certificates):
        shared = node.certificates.get(Purpose.ITL_RECOVERY) == publisher.certificates.get(Purpose.ITL_RECOVERY)
        sasts.append(_record(Role.SAST, publisher if shared else node, Purpose.ITL_RECOVERY))
    return sasts[::-1] if release.itl_recovery_signs else sasts


def _of_server(node: NodeCertificates) -> list[RecordSpec]:
    """What a CTL says of one node."""
    serves = not node.roles.isdisjoint((TFTP, CALLMANAGER))
    files = [_record(Role.CALLMANAGER_TFTP, node, Purpose.CALLMANAGER)] if serves else []
    return [*files, *_capf_records([node])]


def _without_servers(records: Iterable[RecordSpec]) -> list[RecordSpec]:
    return [each for record in records for each in ([record] if record.role is Role.CAPF else _emptied([record]))]


def _capf_records(nodes: Sequence[NodeCertificates]) -> list[RecordSpec]:
    return [_record(Role.CAPF, node, Purpose.CAPF) for node in _with_role(nodes, CAPF)]


def _emptied(records: Iterable[RecordSpec]) -> list[RecordSpec]:
    return [RecordSpec(record.role, None, record.dns_name, record.ip_address) for record in records]


def _with_role(nodes: Sequence[NodeCertificates], *roles: str) -> list[NodeCertificates]:
    """Nodes with any of the roles: the publisher first, the others in the order given."""
    chosen = [node for node in nodes if not node.roles.isdisjoint(roles)]
    return sorted(chosen, key=lambda node: PUBLISHER not in node.roles)


def _named(name: str, nodes: Sequence[NodeCertificates]) -> NodeCertificates:
    for node in nodes:
        if node.name == name:
            return node
    raise ListIncompleteError(f"the cluster has no node called {name}")


def _publisher(nodes: Sequence[NodeCertificates]) -> NodeCertificates:
    for node in nodes:
        if PUBLISHER in node.roles:
            return node
    raise ListIncompleteError("no node of the cluster is its publisher")
