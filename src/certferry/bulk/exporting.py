"""*Export*: every node's certificates of the chosen types into the exchange directory, one file for each node and type.

Order makes it safe to be killed at any step: all files are uploaded under temporary names, then renamed, then the
signed manifest is put, then what earlier exports left over is removed. Until the manifest is there, readers see
that files and manifest differ and refuse them; running the export again mends everything.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from certferry.bulk.exchange import Entry, Exchange, Progress, silent
from certferry.bulk.files import BundleName, cluster_of_manifest, is_bundle_of, manifest_name
from certferry.bulk.labels import Label
from certferry.bulk.lock import WAIT_SECONDS, locked
from certferry.bulk.manifest import (
    CertificateRecord,
    FileRecord,
    Manifest,
    ManifestMalformedError,
    SignedManifest,
    digest,
)
from certferry.bulk.participant import Participant
from certferry.bulk.snapshot import every_type
from certferry.bulk.sweeping import ASIDE, PARTS, sweep
from certferry.bulk.wrapping import Wrapping
from certferry.cluster.values import Identity
from certferry.errors import Refusal
from certferry.trust.purpose import PURPOSES_OF_TYPE, BulkType
from certferry.trust.release import Release
from certferry.wire.pkcs12 import BundledCertificate


class NothingToExportError(Refusal):
    """The cluster owns no certificate of the chosen type."""

    code = "bulk.nothing-to-export"
    remedy = "Choose another certificate type, or all."


class ClusterNotInDirectoryError(Refusal):
    """The cluster has nothing in the exchange directory."""

    code = "bulk.cluster-not-in-directory"
    remedy = "List the directory (certferry bulk list) and give one of the clusters named there."


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export put into the directory: file names with their certificates, and what it removed."""

    files: Mapping[str, tuple[BundledCertificate, ...]]
    removed: tuple[str, ...]
    fingerprint: str

    @property
    def certificates(self) -> int:
        """How many certificates were written in all."""
        return sum(map(len, self.files.values()))


async def export(
    participant: Participant,
    exchange: Exchange,
    types: Iterable[BulkType] | None = None,
    *,
    now: datetime,
    wrapping: Wrapping | None = None,
    progress: Progress = silent,
    wait: float = WAIT_SECONDS,
) -> Exported:
    """Export ``types`` (None: all) of every node, replacing what the cluster exported of them before."""
    chosen = every_type(types)
    bundles = _bundles(participant, chosen)
    async with locked(exchange, participant.name, participant.name, "export", wait=wait):
        entries = await exchange.entries()
        await sweep(exchange, entries, participant.name, PARTS)
        manifests = await _manifests(exchange, entries)
        files = _written(bundles, wrapping or Wrapping(), {participant.release, *_releases(manifests)})
        await exchange.write_many(files, progress)
        mine = manifests.get(participant.name)
        kept = _kept(mine, entries, chosen)
        manifest = _manifest(participant, now, bundles, files, kept)
        await exchange.write(manifest_name(participant.name), manifest.signed(participant))
        removed = _left_over(entries, participant.name, manifest)
        await exchange.remove_many(removed)
        await sweep(exchange, await exchange.entries(), participant.name, PARTS | ASIDE)
    _, certificate = participant.sign(b"")
    return Exported(bundles, removed, certificate.sha256)


async def remove_cluster(
    exchange: Exchange, cluster: str, *, operator: str, wait: float = WAIT_SECONDS
) -> tuple[str, ...]:
    """Take a cluster out of the directory again; return the names of the files removed.

    Its manifest goes last, so that an interrupted removal shows as an incomplete export. Consolidated files that
    hold its certificates are out of date from then on.
    """
    async with locked(exchange, cluster, operator, "removal", wait=wait):
        names = await exported_by(exchange, cluster)
        manifest = [name for name in names if name == manifest_name(cluster)]
        await exchange.remove_many([name for name in names if name not in manifest])
        await exchange.remove_many(manifest)
        await sweep(exchange, await exchange.entries(), cluster, PARTS | ASIDE)
    return names


async def exported_by(exchange: Exchange, cluster: str) -> tuple[str, ...]:
    """Name the files that ``cluster`` exported, its manifest last; raises ``ClusterNotInDirectoryError``."""
    entries = await exchange.entries()
    bundles = [entry.name for entry in entries if is_bundle_of(entry.name, cluster)]
    manifest = [entry.name for entry in entries if entry.name == manifest_name(cluster)]
    if not bundles and not manifest:
        raise ClusterNotInDirectoryError(f"cluster {cluster} has no file in the exchange directory")
    return (*bundles, *manifest)


def _bundles(participant: Participant, types: Iterable[BulkType]) -> dict[str, tuple[BundledCertificate, ...]]:
    """Sort the cluster's certificates into files; one that all nodes share goes with the publisher's."""
    publisher = next(node.name for node in participant.nodes() if node.is_publisher)
    sorted_out: dict[str, list[BundledCertificate]] = {}
    for bulk_type in types:
        for identity in participant.identities():
            if identity.purpose in PURPOSES_OF_TYPE[bulk_type]:
                node = identity.node or publisher
                name = BundleName(bulk_type, participant.name, node).text
                sorted_out.setdefault(name, []).append(_labelled(participant.name, node, identity))
    if not sorted_out:
        raise NothingToExportError(f"cluster {participant.name} owns no certificate of the chosen type")
    return {name: tuple(certificates) for name, certificates in sorted_out.items()}


def _labelled(cluster: str, node: str, identity: Identity) -> BundledCertificate:
    label = Label(cluster, node, str(identity.purpose), identity.certificate.common_name)
    return BundledCertificate(identity.certificate, label.text)


def _written(
    bundles: Mapping[str, tuple[BundledCertificate, ...]], wrapping: Wrapping, releases: Iterable[Release]
) -> dict[str, bytes]:
    taking_part = tuple(releases)
    return {name: wrapping.close(certificates, taking_part) for name, certificates in bundles.items()}


async def _manifests(exchange: Exchange, entries: Iterable[Entry]) -> dict[str, SignedManifest]:
    """Read every cluster's manifest; one that cannot be used tells nothing, and does not stop an export."""
    named = {entry.name: cluster for entry in entries if (cluster := cluster_of_manifest(entry.name)) is not None}
    found = {}
    for name, data in (await exchange.read_many(named)).items():
        with suppress(ManifestMalformedError):
            found[named[name]] = SignedManifest.parse(data)
    return found


def _releases(manifests: Mapping[str, SignedManifest]) -> set[Release]:
    return {signed.manifest.release for signed in manifests.values()}


def _kept(mine: SignedManifest | None, entries: Iterable[Entry], types: tuple[BulkType, ...]) -> dict[str, FileRecord]:
    """Return what the last manifest says about files of other types that are still there."""
    if mine is None:
        return {}
    there = {entry.name for entry in entries}
    return {
        name: record
        for name, record in mine.manifest.files.items()
        if name in there and (bundle := BundleName.parse(name)) and bundle.bulk_type not in types
    }


def _manifest(
    participant: Participant,
    now: datetime,
    bundles: Mapping[str, tuple[BundledCertificate, ...]],
    files: Mapping[str, bytes],
    kept: Mapping[str, FileRecord],
) -> Manifest:
    records = {name: record_of(data, bundles[name]) for name, data in files.items()}
    return Manifest(participant.name, participant.release, now, {**kept, **records})


def record_of(data: bytes, certificates: Iterable[BundledCertificate]) -> FileRecord:
    """Describe a file for a manifest."""
    entries = tuple(
        CertificateRecord(entry.friendly_name, entry.certificate.sha256, entry.certificate.subject)
        for entry in certificates
    )
    return FileRecord(digest(data), len(data), entries)


def _left_over(entries: Iterable[Entry], cluster: str, manifest: Manifest) -> tuple[str, ...]:
    """Return files of the cluster that its manifest does not name: nodes or certificates that are gone."""
    return tuple(
        entry.name for entry in entries if is_bundle_of(entry.name, cluster) and entry.name not in manifest.files
    )
