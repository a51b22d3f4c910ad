"""Which cluster each certificate of a consolidated or foreign file came from, and who vouches for that."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from certferry.bulk.files import BundleName
from certferry.bulk.labels import Label
from certferry.bulk.refusals import FileMissingError
from certferry.bulk.snapshot import Snapshot, UnlistedFileError, UnsignedFileError
from certferry.bulk.wrapping import Wrapping
from certferry.errors import Refusal
from certferry.trust.import_rules import Incoming
from certferry.trust.purpose import BulkType
from certferry.wire.pkcs12 import Bundle, BundledCertificate


class OriginUnknownError(Refusal):
    """A consolidated file of another product does not say where its certificates came from."""

    code = "bulk.origin-unknown"
    remedy = "Import it as a foreign file, saying its certificate type and the cluster it came from."


@dataclass(frozen=True, slots=True)
class ForeignFile:
    """A PKCS#12 file in the directory that another product wrote, with what the operator knows about it."""

    name: str
    bulk_type: BulkType
    cluster: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """The certificates of an import, the signer of each cluster's manifest (None: unsigned), and warnings."""

    incoming: tuple[Incoming, ...]
    signers: Mapping[str, str | None]
    warnings: tuple[str, ...]


def gather(
    snapshot: Snapshot,
    types: Iterable[BulkType],
    foreign: Sequence[ForeignFile],
    wrapping: Wrapping,
    *,
    accept_unsigned: bool,
) -> Gathered:
    """Open the consolidated files of ``types`` and the ``foreign`` ones.

    Raise ``UnsignedFileError`` for a foreign file, and for a certificate of a cluster without manifest, unless
    ``accept_unsigned``; ``UnlistedFileError`` for one that its cluster's manifest does not know, in any case;
    ``OriginUnknownError`` where the cluster cannot be told at all.
    """
    gathering = _Gathering(snapshot, wrapping, accept_unsigned=accept_unsigned)
    for bulk_type in types:
        gathering.add_consolidated(bulk_type)
    for file in foreign:
        gathering.add_foreign(file)
    return Gathered(tuple(gathering.incoming), gathering.signers, tuple(gathering.warnings))


class _Gathering:
    def __init__(self, snapshot: Snapshot, wrapping: Wrapping, *, accept_unsigned: bool) -> None:
        self._snapshot = snapshot
        self._wrapping = wrapping
        self._accept_unsigned = accept_unsigned
        self._vouched = _vouched(snapshot)
        self.incoming: list[Incoming] = []
        self.signers: dict[str, str | None] = {}
        self.warnings: list[str] = []

    def add_consolidated(self, bulk_type: BulkType) -> None:
        name = BundleName(bulk_type).text
        for entry in self._open(name).certificates:
            label = Label.parse(entry.friendly_name)
            if label is None:
                raise OriginUnknownError(f"{name}: {entry.friendly_name!r} does not say which cluster it is from")
            self._check(name, bulk_type, label, entry)
            self.incoming.append(Incoming(entry.certificate, bulk_type, label.cluster))

    def add_foreign(self, file: ForeignFile) -> None:
        if file.name not in self._snapshot.files:
            raise FileMissingError(f"{file.name} is not in the exchange directory")
        if not self._accept_unsigned:
            raise UnsignedFileError(f"no manifest vouches for {file.name}")
        self.signers.setdefault(file.cluster, None)
        for entry in self._open(file.name).certificates:
            self.incoming.append(Incoming(entry.certificate, file.bulk_type, file.cluster))

    def _check(self, name: str, bulk_type: BulkType, label: Label, entry: BundledCertificate) -> None:
        signed = self._snapshot.manifests.get(label.cluster)
        vouched = (label.cluster, bulk_type, entry.certificate.sha256) in self._vouched
        who = f"{entry.certificate.subject} ({entry.certificate.sha256})"
        if signed and not vouched:
            raise UnlistedFileError(f"{name}: {label.cluster} does not vouch for {who}")
        if not vouched and not self._accept_unsigned:
            raise UnsignedFileError(f"{name}: no manifest of {label.cluster} vouches for {who}")
        self.signers[label.cluster] = signed.fingerprint if signed else None

    def _open(self, name: str) -> Bundle:
        bundle = self._wrapping.open(name, self._snapshot.files[name].data or b"")
        if bundle.keys_ignored:
            self.warnings.append(f"{name} holds {bundle.keys_ignored} private keys; they were not read")
        if not bundle.mac:
            self.warnings.append(f"{name} is not protected against changes (no MAC): any password opens it")
        return bundle


def _vouched(snapshot: Snapshot) -> frozenset[tuple[str, BulkType, str]]:
    """Collect what the clusters' manifests name: cluster, type, SHA-256 of the certificate."""
    return frozenset(
        (cluster, bundle.bulk_type, certificate.sha256)
        for cluster, signed in snapshot.manifests.items()
        for name, record in signed.manifest.files.items()
        if (bundle := BundleName.parse(name)) and bundle.cluster == cluster
        for certificate in record.certificates
    )
