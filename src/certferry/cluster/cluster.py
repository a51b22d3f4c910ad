"""One cluster: what an administrator of a publisher can see and do, without any network.

Every change is one transaction: what was asked, the trust lists that follow from it, the audit line and the change
version that tells running nodes to load anew.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Connection

from certferry.cluster import (
    audit,
    database,
    identities,
    nodes,
    parameters,
    phones,
    schema,
    signing_requests,
    trust_lists,
    trust_stores,
)
from certferry.cluster.acting import actor
from certferry.cluster.database import Database
from certferry.cluster.feed import Feed, feed_of
from certferry.cluster.founding import ClusterSpec, found
from certferry.cluster.identities import OwnCertificate
from certferry.cluster.issuing import (
    FreshKeys,
    KeySource,
    Organisation,
    PrivateKey,
    Request,
    locally_significant,
    signing_request,
)
from certferry.cluster.ledgers import Ledgers
from certferry.cluster.location import ClusterLocation
from certferry.cluster.reading import Readings
from certferry.cluster.sealing import Seal
from certferry.cluster.searching import Searches
from certferry.cluster.upserting import upsert
from certferry.cluster.values import (
    CallManagerGroup,
    HistoryEntry,
    Identity,
    Node,
    NodeRole,
    Phone,
    SecurityMode,
    Service,
    TrustChange,
    TrustEntry,
)
from certferry.trust.consequences import Consequences, consequences
from certferry.trust.purpose import Purpose, Store
from certferry.trust.release import Release
from certferry.wire.certificate import Certificate

__all__ = ["Cluster", "ClusterSpec"]


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


class Cluster(Searches, Readings, Ledgers):
    """A cluster, opened. Safe to use from several threads and processes; each call is its own transaction."""

    def __init__(
        self, location: ClusterLocation, *, keys: KeySource | None = None, clock: Callable[[], datetime] = _now
    ) -> None:
        self.location = location
        self._keys: KeySource = keys or FreshKeys()
        self._clock = clock
        self._database = Database(location)
        try:
            self._look()
        except BaseException:
            self._database.close()
            raise

    def _look(self) -> None:
        self._database.check()
        self._seal = Seal.load(self.location.key_file)
        with self._database.read() as connection:
            self.name = database.fact(connection, "name") or ""
            self.release = Release.parse(database.fact(connection, "release") or "")
            identities.check_seal(connection, self._seal)

    @classmethod
    def create(
        cls,
        place: str | Path,
        spec: ClusterSpec,
        *,
        keys: KeySource | None = None,
        clock: Callable[[], datetime] = _now,
    ) -> Self:
        """Make a cluster in a folder or PostgreSQL database: key file, certificates, stores, trust lists.

        Raises ``ClusterExistsError``, ``NodeInvalidError``. Nothing is left behind when it fails.
        """
        nodes.check_nodes(spec.nodes)
        location = ClusterLocation.parse(place)
        found(location, spec, keys or FreshKeys(), clock())
        return cls(location, keys=keys, clock=clock)

    @classmethod
    def open(cls, location: str | Path) -> Self:
        """Open the cluster at a place; raises ``ClusterMissingError``, ``DatabaseForeignError``, ``SealError``."""
        return cls(ClusterLocation.parse(location))

    def close(self) -> None:
        """Give back what the database holds open."""
        self._database.close()

    # --- what the cluster is

    def nodes(self) -> tuple[Node, ...]:
        """All nodes, the publisher first."""
        with self._database.read() as connection:
            return nodes.read_nodes(connection)

    def node(self, name: str) -> Node:
        """The node called ``name``; raises ``NodeUnknownError``."""
        return nodes.find_node(self.nodes(), name)

    @property
    def publisher(self) -> Node:
        """The publisher."""
        return self.nodes()[0]

    def tftp_nodes(self) -> tuple[Node, ...]:
        """The nodes that run TFTP, in cluster order."""
        return tuple(node for node in self.nodes() if NodeRole.TFTP in node.roles)

    def parameters(self) -> dict[str, str]:
        """All enterprise parameters with their values."""
        with self._database.read() as connection:
            return parameters.read_parameters(connection)

    @property
    def security_mode(self) -> SecurityMode:
        """Whether the cluster is in mixed mode."""
        return SecurityMode(self.parameters()[parameters.SECURITY_MODE])

    def set_parameter(self, key: str, value: str) -> tuple[str, ...]:
        """Set an enterprise parameter; return the trust lists that were rebuilt for it."""
        with self._change("set-parameter", {"key": key, "value": value}) as connection:
            parameters.set_parameter(connection, key, value)
            return self._rebuild(connection)

    def set_port(self, node: str, service: Service, port: int) -> None:
        """Let a service of one node listen on another port than the standard one."""
        with self._change("set-port", {"node": node, "service": service.value, "port": port}) as connection:
            nodes.set_port(connection, node, service, port)

    # --- certificates

    def identities(self) -> tuple[Identity, ...]:
        """The certificates the cluster owns."""
        with self._database.read() as connection:
            return identities.read_identities(connection)

    def identity(self, purpose: Purpose, node: str | None = None) -> Identity:
        """The certificate that ``node`` (the publisher by default) uses for ``purpose``."""
        user = self.node(node) if node else self.publisher
        return identities.find_identity(self.identities(), purpose, user.name)

    def private_key(self, identity: Identity) -> PrivateKey:
        """The private key of ``identity``, opened."""
        with self._database.read() as connection:
            return identities.read_key(connection, self._seal, identity)

    def regenerate(
        self, purpose: Purpose, node: str | None = None, *, replaces: Certificate | None = None
    ) -> tuple[Identity, tuple[str, ...]]:
        """Make a new key and self-signed certificate; return it and the trust lists that were rebuilt.

        With ``replaces``, only if that is the present one; raises ``CertificateReplacedError``.
        """
        old = self.identity(purpose, node)
        maker = self.node(old.node) if old.node else self.publisher
        with self._database.read() as connection:
            organisation = _organisation(connection)
        due = [(purpose, maker, old.node is None)]
        (new,) = identities.generate(due, organisation, self._keys, self._clock())
        details = {"purpose": purpose.value, "node": maker.name, "before": old.certificate.sha256}
        details["after"] = new.identity.certificate.sha256
        with self._change("regenerate", details) as connection:
            identities.check_present(connection, purpose, old.node, replaces)
            return new.identity, self._replace_identity(connection, new)

    def _replace_identity(self, connection: Connection, own: OwnCertificate) -> tuple[str, ...]:
        identities.put_identities(connection, self._seal, [own])
        trust_stores.refresh_own_copies(connection, identities.read_identities(connection), self._clock())
        return self._rebuild(connection)

    def consequences(self, purpose: Purpose, node: str | None = None) -> Consequences:
        """Say what replacing a certificate brings about, before it is done."""
        identity = self.identity(purpose, node)
        with self._database.read() as connection:
            naming, signed = trust_lists.lists_of(connection, self.release, identity.certificate)
        holders = [each for each in self.nodes() if identity.node in (each.name, None)]
        names = {each.name for each in holders}
        return consequences(
            purpose,
            tftp_on_node=any(NodeRole.TFTP in each.roles for each in holders),
            secure=self.security_mode is SecurityMode.MIXED,
            signs_lists=bool(signed),
            lists=naming,
            groups=tuple(group.name for group in self.groups() if names & set(group.members)),
        )

    def request_certificate(
        self, purpose: Purpose, node: str | None = None, *, multi_server: bool = False, names: Sequence[str] = ()
    ) -> str:
        """Make a new key and a CSR for ``node``, or for all nodes at once; return the CSR as PEM.

        The present certificate stays in use until ``install_certificate``. Raises ``RequestImpossibleError``.
        """
        if purpose not in signing_requests.TRUST_STORE_OF:
            raise signing_requests.RequestImpossibleError(f"{purpose} is always self-signed")
        if multi_server and purpose not in signing_requests.MULTI_SERVER:
            raise signing_requests.RequestImpossibleError(f"{purpose} is of one server only")
        maker = self.node(node) if node else self.publisher
        host = _multi_server_name(maker.name) if multi_server else maker.name
        others = [each.name for each in self.nodes()] if multi_server else []
        with self._database.read() as connection:
            request = Request(purpose, host, _organisation(connection), (*others, *names))
        key: PrivateKey = self._keys.ec() if purpose.is_ec else self._keys.rsa(identities.RSA_BITS)
        pem = signing_request(request, key).public_bytes(Encoding.PEM).decode()
        pending = signing_requests.PendingRequest(purpose, None if multi_server else maker.name, pem, key)
        with self._change("request-certificate", {"purpose": purpose.value, "node": pending.node}) as connection:
            signing_requests.put_request(connection, self._seal, pending)
        return pem

    def install_certificate(
        self, purpose: Purpose, answer: Certificate, chain: Sequence[Certificate] = (), node: str | None = None
    ) -> tuple[Identity, tuple[str, ...]]:
        """Put a CA-signed certificate in place of the present one; return it and the lists rebuilt for it.

        It has to answer the latest CSR of ``node`` (or the multi-server one), and its CA has to be in the trust
        store. Raises ``RequestUnknownError``, ``CertificateForeignError``, ``ChainIncompleteError``.
        """
        maker = self.node(node).name if node else self.publisher.name
        details = {"purpose": purpose.value, "node": maker, "after": answer.sha256}
        with self._change("install-certificate", details) as connection:
            pending = self._pending(connection, purpose, maker)
            store = signing_requests.TRUST_STORE_OF[purpose]
            trusted = [entry.certificate for entry in trust_stores.read_entries(connection, store) if not entry.is_own]
            signing_requests.check_answer(pending, answer, chain, trusted, self._clock())
            new = OwnCertificate(Identity(purpose, pending.node, answer), pending.key)
            if pending.node is None:
                identities.remove_identities(connection, purpose)
            signing_requests.forget_request(connection, purpose, pending.node)
            return new.identity, self._replace_identity(connection, new)

    def _pending(self, connection: Connection, purpose: Purpose, node: str) -> signing_requests.PendingRequest:
        try:
            return signing_requests.read_request(connection, self._seal, purpose, node)
        except signing_requests.RequestUnknownError:
            if purpose not in signing_requests.MULTI_SERVER:
                raise
            return signing_requests.read_request(connection, self._seal, purpose, None)

    def issue_lsc(self, device: str, phone_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> Certificate:
        """Let the cluster's CAPF issue a phone its LSC; raises ``IdentityUnknownError`` where no CAPF runs."""
        owned = self.identities()
        node = next((each.node for each in owned if each.purpose is Purpose.CAPF), None)
        capf = identities.find_identity(owned, Purpose.CAPF, node)
        return locally_significant(device, phone_key, capf.certificate, self.private_key(capf), self._clock())

    def sign(self, data: bytes) -> tuple[bytes, Certificate]:
        """Sign with the publisher's tomcat key (RSA PKCS#1 v1.5, SHA-256); return signature and certificate."""
        identity = self.identity(Purpose.TOMCAT)
        key = self.private_key(identity)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise trust_lists.SignerKeyError("the publisher's tomcat certificate has no RSA key")
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256()), identity.certificate

    # --- trust stores

    def trust_entries(self, store: Store | None = None) -> tuple[TrustEntry, ...]:
        """What the trust stores hold."""
        with self._database.read() as connection:
            return trust_stores.read_entries(connection, store)

    def change_trust(
        self, changes: Sequence[TrustChange], *, action: str, details: Mapping[str, object] | None = None
    ) -> str:
        """Carry out ``changes`` in one transaction; return the id by which they can be undone.

        Raises ``TrustEntryOwnError`` for the removal of a copy of one of the cluster's own certificates.
        """
        with self._change(action, {"changes": len(changes), **(details or {})}) as connection:
            trust_stores.spare_own(connection, changes)
            done = trust_stores.apply_changes(connection, changes, self._clock())
            return trust_stores.record(
                connection, actor=actor(), action=action, changes=done, details=details or {}, now=self._clock()
            )

    def undo(self, identifier: str) -> tuple[TrustChange, ...]:
        """Take a change back; return what that changed. Raises ``UndoImpossibleError``."""
        with self._change("undo", {"undone": identifier}) as connection:
            return trust_stores.take_back(connection, identifier, self._clock())

    def history(self) -> tuple[HistoryEntry, ...]:
        """The changes to the trust stores, oldest first."""
        with self._database.read() as connection:
            return trust_stores.read_history(connection)

    # --- trust lists and phones

    def trust_list(self, kind: trust_lists.Kind, node: str | None = None) -> bytes | None:
        """The CTL, or the ITL of a TFTP node; None where the cluster has none."""
        with self._database.read() as connection:
            return trust_lists.read_list(connection, kind, node)

    def delete_ctl(self) -> None:
        """Serve no CTL any more once mixed mode was left; raises ``CtlNeededError``, ``CtlMissingError``."""
        with self._change("delete-ctl", {}) as connection:
            trust_lists.delete_ctl(connection)

    def phones(self) -> tuple[Phone, ...]:
        """The phones the cluster knows."""
        with self._database.read() as connection:
            return phones.read_phones(connection)

    def add_phones(self, new: Sequence[Phone]) -> None:
        """Add phones, or change known ones."""
        with self._change("add-phones", {"phones": len(new)}) as connection:
            phones.put_phones(connection, new)

    def remove_phones(self, devices: Sequence[str]) -> None:
        """Forget phones; raises ``PhoneUnknownError`` and then forgets none."""
        with self._change("remove-phones", {"devices": list(devices)}) as connection:
            phones.remove_phones(connection, devices)

    def groups(self) -> tuple[CallManagerGroup, ...]:
        """The CallManager groups."""
        with self._database.read() as connection:
            return phones.read_groups(connection)

    def put_group(self, group: CallManagerGroup) -> None:
        """Add or change a CallManager group; raises ``GroupInvalidError``."""
        with self._change("put-group", {"group": group.name, "members": list(group.members)}) as connection:
            phones.put_group(connection, group, [node.name for node in nodes.read_nodes(connection)])

    # --- settings, audit, change feed

    def setting(self, key: str) -> str | None:
        """One of certferry's own settings, opened when it is a secret."""
        with self._database.read() as connection:
            return parameters.read_settings(connection, self._seal, [key]).get(key)

    def settings(self, keys: Sequence[str]) -> dict[str, str]:
        """Those of ``keys`` that are set, read at one moment; secrets are opened."""
        with self._database.read() as connection:
            return parameters.read_settings(connection, self._seal, keys)

    def set_setting(self, key: str, value: str | None, *, secret: bool = False) -> None:
        """Keep a setting; a secret is sealed. None takes it away."""
        with self._database.write() as connection:
            parameters.set_setting(connection, self._seal, key, value, secret=secret)

    def put_settings(self, plain: Mapping[str, str], secrets: Mapping[str, str]) -> None:
        """Keep settings that belong together, all or none; ``secrets`` are sealed."""
        with self._database.write() as connection:
            for values, secret in ((plain, False), (secrets, True)):
                for key, value in values.items():
                    parameters.set_setting(connection, self._seal, key, value, secret=secret)

    def audit_lines(self) -> tuple[str, ...]:
        """The audit log, oldest line first."""
        with self._database.read() as connection:
            return audit.read_lines(connection)

    def verify_audit(self) -> int:
        """Return how many lines the audit log has; raises ``AuditBrokenError``."""
        with self._database.read() as connection:
            return audit.check(connection)

    def version(self) -> int:
        """The change version: it grows with every change that nodes have to learn of."""
        with self._database.read() as connection:
            return database.version(connection)

    def feed(self) -> Feed:
        """Make a feed that says when the change version may have moved."""
        return feed_of(self.location)

    def report_served(self, served: Mapping[str, int]) -> None:
        """Note which change version each node's services now answer from."""
        with self._database.write() as connection:
            rows = [{"node": node, "version": version} for node, version in served.items()]
            upsert(connection, schema.served, rows, keys=["node"], update=["version"])

    def served(self) -> dict[str, int]:
        """Which change version each node's services answered from when they last said so."""
        with self._database.read() as connection:
            return {row.node: row.version for row in connection.execute(schema.served.select())}

    def _rebuild(self, connection: Connection) -> tuple[str, ...]:
        return trust_lists.rebuild(connection, self._seal, self.release, self._clock())

    @contextmanager
    def _change(self, action: str, details: Mapping[str, object]) -> Iterator[Connection]:
        with self._database.write() as connection:
            yield connection
            audit.append(connection, actor=actor(), action=action, details=details, now=self._clock())
            database.advance_version(connection)


def _multi_server_name(host: str) -> str:
    """Name a certificate for several servers as Unified CM does: ``<host>-ms.<domain>`` (bulk 3.5)."""
    short, dot, domain = host.partition(".")
    return f"{short}-ms{dot}{domain}"


def _organisation(connection: Connection) -> Organisation:
    return Organisation(**json.loads(database.fact(connection, "organisation") or "{}"))
