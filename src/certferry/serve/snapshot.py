"""One reading of a cluster's database: everything its nodes' services answer from, until the next change."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import rsa

from certferry.cluster.cluster import Cluster
from certferry.cluster.issuing import PrivateKey
from certferry.cluster.parameters import ROLLBACK, SECURITY_MODE, SIGNATURE_ALGORITHM, TVS_CACHE
from certferry.cluster.phone_configs import default_phone_config, phone_configs
from certferry.cluster.reading import Reading
from certferry.cluster.trust_lists import DIGESTS, SignerKeyError
from certferry.cluster.values import Identity, Node, NodeRole, Phone, SecurityMode
from certferry.serve.tvs_index import TvsIndex
from certferry.trust.purpose import Purpose, Store
from certferry.trust.roles import ROLES_OF_PURPOSE, roles_of
from certferry.wire.certificate import Certificate
from certferry.wire.phone_config import PhoneConfig
from certferry.wire.roles import Role
from certferry.wire.signed_header import Digest


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
    """What the services of a cluster's nodes answer from, all of one moment.

    ``callmanager_trust`` is in DER, None where no secure phone registers with these nodes. ``configs`` are by device in
    lower case, and empty for nodes without TFTP; ``default_config`` is for phones that the cluster does not know. What
    did not change since the snapshot before is the same object.
    """

    reading: Reading
    mode: SecurityMode
    rollback: bool
    digest: Digest
    tvs_index: TvsIndex
    callmanager_trust: frozenset[bytes] | None
    credentials: Mapping[tuple[str, Purpose], Credentials]
    configs: Mapping[str, PhoneConfig]
    default_config: bytes

    @property
    def version(self) -> int:
        """The change version it is of."""
        return self.reading.version

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes of the cluster."""
        return self.reading.nodes

    @property
    def phones(self) -> Mapping[str, Phone]:
        """The phones that the cluster knows, by device."""
        return self.reading.phones

    def phone(self, device: str) -> Phone | None:
        """Return the phone as call control takes it: a secure profile counts in mixed mode only, as in its file."""
        phone = self.phones.get(device)
        if phone is None or not phone.secure or self.mode is SecurityMode.MIXED:
            return phone
        return replace(phone, secure=False)

    @property
    def ctl(self) -> bytes | None:
        """The CTL, where there is one; that of a cluster that left mixed mode is emptied."""
        return self.reading.ctl

    @property
    def itl(self) -> Mapping[str, bytes]:
        """The ITL of each of the nodes it is for."""
        return self.reading.itl

    @classmethod
    def load(cls, cluster: Cluster, names: Iterable[str], before: "Snapshot | None" = None) -> "Snapshot":
        """Read what the nodes called ``names`` need, only what is new when there was a snapshot ``before``.

        It takes milliseconds to seconds and the database, so not in an event loop.
        """
        reading = cluster.reading(names, before.reading if before else None)
        parameters = reading.parameters
        mode = SecurityMode(parameters[SECURITY_MODE])
        return cls(
            reading=reading,
            mode=mode,
            rollback=parameters[ROLLBACK] == "true",
            digest=DIGESTS[parameters[SIGNATURE_ALGORITHM]],
            tvs_index=_tvs_index(reading, before),
            callmanager_trust=_callmanager_trust(reading, before, mode),
            credentials={of: Credentials(identity.certificate, key) for of, (identity, key) in reading.keys.items()},
            configs=_configs(reading, before, mode),
            default_config=default_phone_config(reading.groups, reading.nodes),
        )


def trusted_certificates(
    identities: Iterable[Identity], trust: Mapping[bytes, frozenset[Store]]
) -> dict[bytes, frozenset[Role]]:
    """Unite the roles of every certificate TVS knows: the cluster's own and those in its trust stores."""
    roles = {der: _roles_of_stores(stores) for der, stores in trust.items()}
    for identity in identities:
        der = identity.certificate.der
        roles[der] = roles.get(der, frozenset()) | ROLES_OF_PURPOSE[identity.purpose]
    return roles


@lru_cache(maxsize=1024)
def _roles_of_stores(stores: frozenset[Store]) -> frozenset[Role]:
    return roles_of(stores)


def _tvs_index(reading: Reading, before: Snapshot | None) -> TvsIndex:
    ttl = int(reading.parameters[TVS_CACHE])
    if before is None or reading.touched_trust is None or before.tvs_index.ttl != ttl:
        return TvsIndex.of(trusted_certificates(reading.identities, reading.trust), ttl, reading.version)
    owned = {identity.certificate.der for identity in (*before.reading.identities, *reading.identities)}
    touched = reading.touched_trust | owned
    roles = trusted_certificates(
        reading.identities, {der: reading.trust[der] for der in touched if der in reading.trust}
    )
    return before.tvs_index.changed({der: roles.get(der) for der in touched}, reading.version)


def _callmanager_trust(reading: Reading, before: Snapshot | None, mode: SecurityMode) -> frozenset[bytes] | None:
    if mode is not SecurityMode.MIXED or not _has(reading, NodeRole.CALLMANAGER):
        return None
    if before is None or before.callmanager_trust is None or reading.touched_trust is None:
        return frozenset(der for der, stores in reading.trust.items() if Store.CALLMANAGER_TRUST in stores)
    held = {der for der in reading.touched_trust if Store.CALLMANAGER_TRUST in reading.trust.get(der, ())}
    changed = held ^ (before.callmanager_trust & reading.touched_trust)
    return before.callmanager_trust ^ changed if changed else before.callmanager_trust


def _has(reading: Reading, role: NodeRole) -> bool:
    """Whether any of the nodes it is for has a role."""
    return any(role in node.roles for node in reading.nodes if node.name in reading.names)


def _configs(reading: Reading, before: Snapshot | None, mode: SecurityMode) -> Mapping[str, PhoneConfig]:
    if not _has(reading, NodeRole.TFTP):
        return {}
    if before is None or reading.touched_phones is None or not _is_alike(reading, before, mode):
        return _configs_of(reading, reading.phones.values(), mode)
    if not reading.touched_phones:
        return before.configs
    kept = {device: config for device, config in before.configs.items() if config.device not in reading.touched_phones}
    touched = [reading.phones[device] for device in reading.touched_phones if device in reading.phones]
    return kept | _configs_of(reading, touched, mode)


def _is_alike(reading: Reading, before: Snapshot, mode: SecurityMode) -> bool:
    """Whether a phone that was not touched has the configuration it had."""
    return (reading.groups, reading.nodes, mode) == (before.reading.groups, before.reading.nodes, before.mode)


def _configs_of(reading: Reading, phones: Iterable[Phone], mode: SecurityMode) -> dict[str, PhoneConfig]:
    made = phone_configs(phones, reading.groups, reading.nodes, mode)
    return {config.device.lower(): config for config in made}
