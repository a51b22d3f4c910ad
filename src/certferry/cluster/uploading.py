"""Uploading a certificate to a trust store by hand, by the same rules that imports obey."""

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from certferry.cluster.cluster import Cluster
from certferry.cluster.values import TrustChange
from certferry.errors import Refusal, UsageError
from certferry.trust.purpose import Store
from certferry.trust.store_rules import Decision, HeldCertificate, decide
from certferry.wire.certificate import Certificate, CertificateMalformedError

ORIGIN = "upload"


class UploadTargetError(UsageError):
    """An upload names no target, or two."""

    code = "cert.upload-target"
    remedy = "Give --store STORE for a trust certificate, or --purpose PURPOSE for the cluster's own."


class UploadRefusedError(Refusal):
    """The store's rules do not take the certificate."""

    code = "cert.upload-refused"
    remedy = "Give another certificate, or delete the one that stands against it first."


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What became of an upload; ``undo`` is None when the store held it already."""

    decision: Decision
    undo: str | None


def upload_trust(
    cluster: Cluster, certificate: Certificate, store: Store, *, file: str, description: str, now: datetime
) -> Uploaded:
    """Put a certificate into a trust store; raises ``UploadRefusedError``."""
    decision = decide_upload(cluster, certificate, store, now)
    if decision.action == "refuse":
        raise UploadRefusedError(f"{file} does not go into {store}: {decision.reason}")
    if decision.action == "skip":
        return Uploaded(decision, None)
    changes = [TrustChange("remove", store, displaced) for displaced in decision.displaced]
    changes.append(TrustChange("add", store, certificate, ORIGIN, description))
    details = {"file": file, "store": store.value}
    return Uploaded(decision, cluster.change_trust(changes, action="upload", details=details))


def decide_upload(cluster: Cluster, certificate: Certificate, store: Store, now: datetime) -> Decision:
    """Say what a store would do with a certificate."""
    about = cluster.trust_entries_about([certificate])
    held = [HeldCertificate(entry.certificate, entry.origin) for entry in about if entry.store is store]
    return decide(certificate, held, ORIGIN, now)


def read_certificates(data: bytes, file: str) -> list[Certificate]:
    """Read a certificate, DER or PEM, and what follows it in a PEM text: its chain."""
    try:
        if b"-----BEGIN" not in data:
            return [Certificate.parse(data)]
        return [Certificate.of(each) for each in x509.load_pem_x509_certificates(data)]
    except (ValueError, x509.InvalidVersion, CertificateMalformedError) as error:
        raise CertificateMalformedError(f"{file}: {error}") from error
