"""The exchange directory as it was at one moment: every file's bytes, and what the manifests say about them.

A snapshot is what listing, consolidation and import judge by, so that they judge the same bytes they use.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from certferry.bulk.exchange import READ_LIMIT, Entry, Exchange, Progress, silent
from certferry.bulk.files import (
    BundleName,
    cluster_of_manifest,
    consolidated_manifest_name,
    final_name,
    manifest_name,
)
from certferry.bulk.manifest import FileRecord, ManifestMalformedError, SignedManifest, digest
from certferry.bulk.refusals import DirectoryTooLargeError, ExchangeError
from certferry.errors import Refusal
from certferry.trust.purpose import BulkType

_FOREIGN_ENDINGS = (".p12", ".pfx")
MOST_FILES = 10_000
"""Twenty clusters of 21 nodes export 2,500 files."""
MOST_BYTES = 256 * 1024 * 1024
"""Of all files together; those of twenty clusters have 20 MB."""


class FileChangedError(Refusal):
    """A file is not what its cluster exported."""

    code = "bulk.file-changed"
    remedy = "Export again on the file's cluster; if nobody touched the file, that export was interrupted."


class UnsignedFileError(Refusal):
    """A file that no manifest vouches for."""

    code = "bulk.unsigned"
    remedy = "If you know where the file comes from, repeat with --accept-unsigned; else export again with certferry."


class UnlistedFileError(Refusal):
    """A file or certificate in the name of a cluster whose signed manifest does not know it."""

    code = "bulk.unlisted"
    remedy = "Export again on that cluster, which removes what is not its own. If it comes back, somebody forges it."


class IncompleteExportError(Refusal):
    """A manifest names a file that is not there."""

    code = "bulk.export-incomplete"
    remedy = "Export again on the manifest's cluster, or take that cluster out of the directory."


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file as it was read: ``data`` None when it could not be, with the reason in ``problem``."""

    entry: Entry
    data: bytes | None = field(repr=False)
    sha256: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All files by name, temporaries left out.

    ``manifests`` has the exports' manifests by cluster, ``consolidations`` those of the consolidated files;
    ``broken`` says by file name why a manifest cannot be used.
    """

    files: Mapping[str, StoredFile]
    manifests: Mapping[str, SignedManifest]
    consolidations: Mapping[BulkType, SignedManifest]
    broken: Mapping[str, Refusal]

    def bundles(self, bulk_type: BulkType | None = None) -> dict[str, BundleName]:
        """Return the exported (not the consolidated) files, of one type or all, by file name."""
        named = {name: BundleName.parse(name) for name in self.files}
        return {
            name: bundle
            for name, bundle in named.items()
            if bundle and not bundle.is_consolidated and bulk_type in (None, bundle.bulk_type)
        }

    def clusters(self) -> tuple[str, ...]:
        """Return the clusters that exported anything, sorted."""
        return tuple(sorted({bundle.cluster for bundle in self.bundles().values() if bundle.cluster is not None}))

    def record(self, name: str) -> FileRecord | None:
        """Return what a manifest says about a file; None when none names it."""
        bundle = BundleName.parse(name)
        if bundle is None:
            return None
        signed = self._manifest_of(bundle)
        return signed.manifest.files.get(name) if signed else None

    def problem(self, name: str) -> Refusal | None:
        """Say why a file cannot be trusted as it is; None when its manifest vouches for it."""
        file, bundle, record = self.files[name], BundleName.parse(name), self.record(name)
        if file.data is None:
            return ExchangeError(f"{name}: {file.problem}")
        if bundle and (broken := self.broken.get(_manifest_name(bundle))):
            return broken
        if record is None and bundle and bundle.cluster in self.manifests:
            return UnlistedFileError(f"the manifest of {bundle.cluster} does not know {name}")
        if record is None:
            return UnsignedFileError(f"no manifest vouches for {name}")
        if record.sha256 != file.sha256:
            return FileChangedError(f"{name} is not the file that its manifest describes")
        return None

    def missing(self) -> dict[str, str]:
        """Return the files that a manifest names but that are gone, each with its cluster."""
        return {
            name: cluster
            for cluster, signed in self.manifests.items()
            for name in signed.manifest.files
            if name not in self.files
        }

    def fingerprint(self, bulk_type: BulkType) -> dict[str, str]:
        """Return the exported files of a type with their hashes: what a consolidated file is made from."""
        return {name: self.files[name].sha256 for name in self.bundles(bulk_type)}

    def _manifest_of(self, bundle: BundleName) -> SignedManifest | None:
        if bundle.cluster is None:
            return self.consolidations.get(bundle.bulk_type)
        return self.manifests.get(bundle.cluster)


async def take_snapshot(exchange: Exchange, progress: Progress = silent) -> Snapshot:
    """Read the directory: all exchange files and every other PKCS#12 file; the rest is listed only."""
    entries = {entry.name: entry for entry in await exchange.entries() if final_name(entry.name) is None}
    ours = [entry for name, entry in entries.items() if BundleName.parse(name) or _is_manifest(name)]
    left = MOST_BYTES - _amount(ours)
    contents = await exchange.read_many([entry.name for entry in ours if entry.size <= READ_LIMIT], progress)
    files = {entry.name: _stored(entry, contents.get(entry.name)) for entry in ours if _is_there(entry, contents)}
    for name in sorted(entries.keys() - {entry.name for entry in ours}):
        files[name] = await _foreign(exchange, entries[name], left)
        left -= len(files[name].data or b"")
    return _judged(files)


def _amount(entries: Sequence[Entry]) -> int:
    """Add up what is to be read; refuse what nobody exports: whoever writes there could fill our memory otherwise."""
    size = sum(entry.size for entry in entries if entry.size <= READ_LIMIT)
    if len(entries) > MOST_FILES or size > MOST_BYTES:
        raise DirectoryTooLargeError(f"{len(entries)} files of clusters with {size} bytes in all")
    return size


def _is_there(entry: Entry, contents: Mapping[str, bytes]) -> bool:
    return entry.name in contents or entry.size > READ_LIMIT


def _judged(files: Mapping[str, StoredFile]) -> Snapshot:
    manifests: dict[str, SignedManifest] = {}
    consolidations: dict[BulkType, SignedManifest] = {}
    broken: dict[str, Refusal] = {}
    for name, file in files.items():
        try:
            if cluster := cluster_of_manifest(name):
                manifests[cluster] = _signed_manifest(file, cluster)
            elif (bulk_type := _consolidated_type(name)) and file.data is not None:
                consolidations[bulk_type] = SignedManifest.parse(file.data)
        except ManifestMalformedError as error:
            broken[name] = type(error)(f"{name}: {error}")
    frozen = MappingProxyType(dict(sorted(files.items())))
    return Snapshot(frozen, manifests, consolidations, broken)


def _signed_manifest(file: StoredFile, cluster: str) -> SignedManifest:
    signed = SignedManifest.parse(file.data or b"")
    if signed.manifest.cluster != cluster:
        raise ManifestMalformedError(f"it speaks for {signed.manifest.cluster}, not for {cluster}")
    return signed


async def _foreign(exchange: Exchange, entry: Entry, room: int) -> StoredFile:
    """Read a file that certferry did not name if it may hold certificates; whatever happens, leave it alone."""
    if not entry.name.casefold().endswith(_FOREIGN_ENDINGS):
        return StoredFile(entry, None, "", "not a PKCS#12 file")
    if entry.size > min(READ_LIMIT, room):
        return _stored(entry, None)
    try:
        return _stored(entry, await exchange.read(entry.name))
    except ExchangeError as error:
        return StoredFile(entry, None, "", str(error))


def _stored(entry: Entry, data: bytes | None) -> StoredFile:
    if data is None:
        told = f"larger than {READ_LIMIT} bytes" if entry.size > READ_LIMIT else "too many files: this one was not read"
        return StoredFile(entry, None, "", told)
    return StoredFile(entry, data, digest(data))


def _is_manifest(name: str) -> bool:
    return cluster_of_manifest(name) is not None or _consolidated_type(name) is not None


def _consolidated_type(name: str) -> BulkType | None:
    return _CONSOLIDATED_MANIFESTS.get(name)


_CONSOLIDATED_MANIFESTS = {consolidated_manifest_name(bulk_type): bulk_type for bulk_type in BulkType}


def _manifest_name(bundle: BundleName) -> str:
    return consolidated_manifest_name(bundle.bulk_type) if bundle.cluster is None else manifest_name(bundle.cluster)


def every_type(types: Iterable[BulkType] | None) -> tuple[BulkType, ...]:
    """Read ``None`` as *All*, the way the Certificate Type drop-down means it."""
    return tuple(BulkType) if types is None else tuple(dict.fromkeys(types))
