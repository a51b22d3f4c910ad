"""*Consolidate*: the files of all clusters become one file for each type; no trust store changes (bulk 1.5)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from certferry.bulk.directory import CLUSTERS_TO_CONSOLIDATE
from certferry.bulk.exchange import Exchange, Progress, silent
from certferry.bulk.exporting import record_of
from certferry.bulk.files import BundleName, consolidated_manifest_name
from certferry.bulk.labels import Label
from certferry.bulk.lock import WAIT_SECONDS, locked
from certferry.bulk.manifest import Manifest
from certferry.bulk.participant import Participant
from certferry.bulk.settling import Judge, Unfit, settled
from certferry.bulk.snapshot import IncompleteExportError, Snapshot, UnsignedFileError, every_type
from certferry.bulk.sweeping import ASIDE, PARTS, sweep
from certferry.bulk.wrapping import LAST_LEGACY, Patience, Wrapping
from certferry.errors import Refusal
from certferry.trust.purpose import PURPOSES_OF_TYPE, BulkType
from certferry.trust.release import Release
from certferry.wire.pkcs12 import BundledCertificate


class TooFewClustersError(Refusal):
    """Fewer than two clusters have exported."""

    code = "bulk.too-few-clusters"
    remedy = "Export on the other cluster first, with the same SFTP server and directory."


class NothingExportedError(Refusal):
    """No cluster exported a certificate of the chosen type."""

    code = "bulk.nothing-exported"
    remedy = "Export that certificate type on every cluster first, or choose another."


@dataclass(frozen=True, slots=True)
class Consolidated:
    """The consolidated files written, by type, with their certificates; and the clusters they cover.

    ``unsigned`` names source files that no manifest vouched for, ``keys_ignored`` those with private keys inside.
    """

    files: Mapping[BulkType, tuple[BundledCertificate, ...]]
    clusters: tuple[str, ...]
    unsigned: tuple[str, ...]
    keys_ignored: tuple[str, ...]


async def consolidate(
    participant: Participant,
    exchange: Exchange,
    types: Iterable[BulkType] | None = None,
    *,
    now: datetime,
    wrapping: Wrapping | None = None,
    accept_unsigned: bool = False,
    progress: Progress = silent,
    wait: float = WAIT_SECONDS,
) -> Consolidated:
    """Consolidate ``types`` (None: all that were exported). ``participant`` signs; any cluster may do it.

    A file is written, then its manifest. Killed in between, the two differ, import refuses, and consolidating
    again mends it.
    """
    wrapping = wrapping or Wrapping()
    async with locked(exchange, None, participant.name, "consolidation", wait=wait):
        await sweep(exchange, await exchange.entries(), None, PARTS)
        snapshot = await settled(exchange, _unfit(types, accept_unsigned=accept_unsigned), progress, wait)
        work = _Work(snapshot, wrapping, _types_to_do(snapshot, types))
        files = {BundleName(t).text: work.file(t) for t in work.bundles}
        await exchange.write_many(files, progress)
        manifests = {
            consolidated_manifest_name(t): work.manifest(t, participant, now, files[BundleName(t).text])
            for t in work.bundles
        }
        await exchange.write_many(manifests)
        await sweep(exchange, await exchange.entries(), None, PARTS | ASIDE)
    return Consolidated(work.bundles, snapshot.clusters(), tuple(work.unsigned), tuple(work.keys_ignored))


class _Work:
    """One consolidation, from the files of a snapshot to the bytes to write."""

    def __init__(self, snapshot: Snapshot, wrapping: Wrapping, types: Iterable[BulkType]) -> None:
        self._snapshot = snapshot
        self._wrapping = wrapping
        self._patience = Patience()
        self.unsigned: list[str] = []
        self.keys_ignored: list[str] = []
        self.bundles = {bulk_type: tuple(self._gathered(bulk_type)) for bulk_type in types}

    def file(self, bulk_type: BulkType) -> bytes:
        """Write the consolidated file, so that the oldest release that exported can read it."""
        return self._wrapping.close(self.bundles[bulk_type], self._releases())

    def manifest(self, bulk_type: BulkType, participant: Participant, now: datetime, data: bytes) -> bytes:
        """Write the manifest that tells what the file was made from."""
        record = record_of(data, self.bundles[bulk_type])
        sources = self._snapshot.fingerprint(bulk_type)
        files = {BundleName(bulk_type).text: record}
        return Manifest(participant.name, participant.release, now, files, sources).signed(participant)

    def _gathered(self, bulk_type: BulkType) -> list[BundledCertificate]:
        return [
            certificate
            for name, bundle in self._snapshot.bundles(bulk_type).items()
            for certificate in self._opened(name, bundle)
        ]

    def _opened(self, name: str, bundle: BundleName) -> list[BundledCertificate]:
        data = self._snapshot.files[name].data or b""
        self._patience.spend(name, data)
        opened = self._wrapping.open(name, data)
        if opened.keys_ignored:
            self.keys_ignored.append(name)
        if self._snapshot.record(name):
            return list(opened.certificates)
        self.unsigned.append(name)
        return [_relabelled(bundle, number, entry) for number, entry in enumerate(opened.certificates)]

    def _releases(self) -> list[Release]:
        return [signed.manifest.release for signed in self._snapshot.manifests.values()] or [LAST_LEGACY]


def _relabelled(bundle: BundleName, number: int, entry: BundledCertificate) -> BundledCertificate:
    """Name a certificate of a file without manifest after the file; its own name says nothing reliable."""
    purpose = str(PURPOSES_OF_TYPE[bundle.bulk_type][0])
    label = Label(bundle.cluster or "", bundle.node or "", purpose, f"{entry.certificate.common_name} #{number + 1}")
    return BundledCertificate(entry.certificate, label.text)


def _types_to_do(snapshot: Snapshot, types: Iterable[BulkType] | None) -> list[BulkType]:
    chosen = [t for t in every_type(types) if snapshot.bundles(t)]
    if not chosen:
        raise NothingExportedError("no cluster exported a certificate of the chosen type")
    return chosen


def _unfit(types: Iterable[BulkType] | None, *, accept_unsigned: bool) -> Judge:
    """Make the judge that says why a directory cannot be consolidated."""
    chosen = set(every_type(types))

    def judge(snapshot: Snapshot) -> Unfit | None:
        if len(snapshot.clusters()) < CLUSTERS_TO_CONSOLIDATE:
            some = ", ".join(snapshot.clusters()) or "none"
            return Unfit(TooFewClustersError(f"two clusters have to export first; so far: {some}"))
        for name, cluster in snapshot.missing().items():
            bundle = BundleName.parse(name)
            if bundle and bundle.bulk_type in chosen:
                return Unfit(IncompleteExportError(f"{name}, which {cluster} exported, is gone"), (cluster,))
        for name, bundle in snapshot.bundles().items():
            refusal = snapshot.problem(name) if bundle.bulk_type in chosen else None
            if refusal and not (accept_unsigned and isinstance(refusal, UnsignedFileError)):
                return Unfit(refusal, (bundle.cluster,))
        return None

    return judge
