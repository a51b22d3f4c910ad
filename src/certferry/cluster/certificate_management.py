"""What *Certificate Management* does with a cluster's own certificates: renew them, let a CA sign them, use them."""

import json
from collections.abc import Sequence
from contextlib import suppress

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Connection

from certferry.cluster import certificate_text, database, identities, signing_requests, trust_lists, trust_stores
from certferry.cluster.identities import OwnCertificate
from certferry.cluster.issuing import Organisation, PrivateKey, Request, locally_significant, signing_request
from certferry.cluster.opened import OpenedCluster
from certferry.cluster.values import Identity, NodeRole, SecurityMode
from certferry.trust.consequences import Consequences, consequences
from certferry.trust.purpose import Purpose
from certferry.wire.certificate import Certificate


class CertificateManagement(OpenedCluster):
    """A part of ``Cluster``: the certificates that the cluster owns, with their private keys."""

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

    def waiting_requests(self) -> tuple[signing_requests.WaitingRequest, ...]:
        """The CSRs that wait for their certificates."""
        with self._database.read() as connection:
            return signing_requests.read_waiting(connection)

    def waiting_request(self, purpose: Purpose, node: str | None) -> signing_requests.WaitingRequest:
        """The CSR of ``node`` (None: the multi-server one) that waits; raises ``RequestUnknownError``."""
        for request in self.waiting_requests():
            if (request.purpose, request.node) == (purpose, node):
                return request
        raise signing_requests.no_request(purpose, node)

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
            pending = self._pending(connection, purpose, maker, answer)
            store = signing_requests.TRUST_STORE_OF[purpose]
            certificate_text.put_missing_names(connection)
            names = {name for each in (answer, *chain) for name in (each.subject, each.issuer)}
            held = trust_stores.read_entries_named(connection, names)
            trusted = [entry.certificate for entry in held if entry.store is store and not entry.is_own]
            signing_requests.check_answer(pending, answer, chain, trusted, self._clock())
            new = OwnCertificate(Identity(purpose, pending.node, answer), pending.key)
            if pending.node is None:
                identities.remove_identities(connection, purpose)
            signing_requests.forget_request(connection, purpose, pending.node)
            return new.identity, self._replace_identity(connection, new)

    def _pending(
        self, connection: Connection, purpose: Purpose, node: str, answer: Certificate
    ) -> signing_requests.PendingRequest:
        """Choose the CSR that ``answer`` was made for: both the node's own and the multi-server one may wait."""
        waiting = []
        for place in (node, None) if purpose in signing_requests.MULTI_SERVER else (node,):
            with suppress(signing_requests.RequestUnknownError):
                waiting.append(signing_requests.read_request(connection, self._seal, purpose, place))
        if not waiting:
            raise signing_requests.no_request(purpose, node)
        return next((each for each in waiting if signing_requests.is_answered_by(each, answer)), waiting[0])

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


def _multi_server_name(host: str) -> str:
    """Name a certificate for several servers as Unified CM does: ``<host>-ms.<domain>`` (bulk 3.5)."""
    short, dot, domain = host.partition(".")
    return f"{short}-ms{dot}{domain}"


def _organisation(connection: Connection) -> Organisation:
    return Organisation(**json.loads(database.fact(connection, "organisation") or "{}"))
