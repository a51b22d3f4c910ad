"""One reading of a cluster's database: everything its nodes' services answer from, until the next change."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import rsa

from certferry.cluster.cluster import Cluster
from certferry.cluster.identities import IdentityUnknownError, find_identity
from certferry.cluster.issuing import PrivateKey
from certferry.cluster.parameters import ROLLBACK, SECURITY_MODE, SIGNATURE_ALGORITHM, TVS_CACHE
from certferry.cluster.phone_configs import phone_configs
from certferry.cluster.trust_lists import DIGESTS, SignerKeyError
from certferry.cluster.values import Identity, Node, NodeRole, Phone, SecurityMode, TrustEntry
from certferry.trust.purpose import Purpose, Store
from certferry.trust.roles import ROLES_OF_PURPOSE, ROLES_OF_STORE
from certferry.wire.certificate import Certificate
from certferry.wire.phone_config import PhoneConfig
from certferry.wire.roles import Role
from certferry.wire.signed_header import Digest

_TRIES = 5
"""Readings begun again because a change came in between; then one that may be mixed, and is read anew next time."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate with its private key, as a TLS server or a signer needs them."""

    certificate: Certificate
    key: PrivateKey

    @property
    def rsa_key(self) -> rsa.RSAPrivateKey:
        """The private key of a signer of trust lists; raises ``SignerKeyError`` for another kind."""
        if not isinstance(self.key, rsa.RSAPrivateKey):
            raise SignerKeyError(f"{self.certificate.subject} has no RSA key")
        return self.key


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the services of a cluster's nodes answer from, all of one change version."""

    version: int
    nodes: tuple[Node, ...]
    mode: SecurityMode
    rollback: bool
    digest: Digest
    tvs_ttl: int
    trusted: Mapping[Certificate, frozenset[Role]]
    callmanager_trust: tuple[Certificate, ...]
    credentials: Mapping[tuple[str, Purpose], Credentials]
    phones: Mapping[str, Phone]
    configs: tuple[PhoneConfig, ...]
    ctl: bytes | None
    itl: Mapping[str, bytes]

    @classmethod
    def load(cls, cluster: Cluster, names: Iterable[str]) -> "Snapshot":
        """Read what the nodes called ``names`` need; takes milliseconds and the database, so not in an event loop."""
        wanted = frozenset(names)
        for _ in range(_TRIES):
            version = cluster.version()
            with suppress(IdentityUnknownError):  # a certificate was replaced while its key was looked for
                snapshot = cls._read(cluster, version, wanted)
                if cluster.version() == version:
                    return snapshot
        return cls._read(cluster, cluster.version(), wanted)

    @classmethod
    def _read(cls, cluster: Cluster, version: int, wanted: frozenset[str]) -> "Snapshot":
        parameters, nodes = cluster.parameters(), cluster.nodes()
        identities, entries = cluster.identities(), cluster.trust_entries()
        phones, mode = cluster.phones(), SecurityMode(parameters[SECURITY_MODE])
        return cls(
            version=version,
            nodes=nodes,
            mode=mode,
            rollback=parameters[ROLLBACK] == "true",
            digest=DIGESTS[parameters[SIGNATURE_ALGORITHM]],
            tvs_ttl=int(parameters[TVS_CACHE]),
            trusted=trusted_certificates(identities, entries),
            callmanager_trust=tuple(e.certificate for e in entries if e.store is Store.CALLMANAGER_TRUST),
            credentials=_credentials(cluster, identities, [node for node in nodes if node.name in wanted]),
            phones={phone.device: phone for phone in phones},
            configs=tuple(phone_configs(phones, cluster.groups(), nodes, mode)),
            ctl=cluster.trust_list("CTL"),
            itl=_itls(cluster, [node for node in nodes if node.name in wanted]),
        )


def trusted_certificates(
    identities: Iterable[Identity], entries: Iterable[TrustEntry]
) -> dict[Certificate, frozenset[Role]]:
    """Unite the roles of every certificate TVS knows: the cluster's own and those in its trust stores."""
    roles: dict[Certificate, frozenset[Role]] = {}
    for identity in identities:
        known = roles.get(identity.certificate, frozenset())
        roles[identity.certificate] = known | ROLES_OF_PURPOSE[identity.purpose]
    for entry in entries:
        roles[entry.certificate] = roles.get(entry.certificate, frozenset()) | ROLES_OF_STORE[entry.store]
    return roles


def _credentials(
    cluster: Cluster, identities: tuple[Identity, ...], nodes: Iterable[Node]
) -> dict[tuple[str, Purpose], Credentials]:
    return {
        (node.name, purpose): Credentials(identity.certificate, cluster.private_key(identity))
        for node in nodes
        for purpose in (Purpose.CALLMANAGER, Purpose.TVS)
        for identity in [find_identity(identities, purpose, node.name)]
    }


def _itls(cluster: Cluster, nodes: Iterable[Node]) -> dict[str, bytes]:
    lists = {node.name: cluster.trust_list("ITL", node.name) for node in nodes if NodeRole.TFTP in node.roles}
    return {name: data for name, data in lists.items() if data is not None}
