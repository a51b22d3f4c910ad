"""The list of files on the Bulk Certificate Management page, and which buttons it offers (bulk 1.2)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from certferry.bulk.exchange import Exchange, Progress, silent
from certferry.bulk.files import BundleName, cluster_of_manifest, is_consolidated, lock_name
from certferry.bulk.snapshot import Snapshot, UnsignedFileError, every_type, take_snapshot
from certferry.bulk.wrapping import Patience, Wrapping
from certferry.errors import Refusal
from certferry.trust.purpose import BulkType

CLUSTERS_TO_CONSOLIDATE = 2


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One line of the list.

    ``cluster``, ``node`` and ``bulk_type`` are None where the file does not tell, ``certificates`` where it cannot
    be opened. ``signed``: a manifest vouches for exactly these bytes. ``problem`` is a sentence, or empty.
    """

    name: str
    cluster: str | None
    node: str | None
    bulk_type: BulkType | None
    consolidated: bool
    certificates: int | None
    modified: datetime
    size: int
    signed: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class StaleSource:
    """Why a consolidated file is out of date: an export that changed, came or went since, and when."""

    name: str
    change: str
    modified: datetime | None

    def __str__(self) -> str:
        when = f" ({self.modified:%Y-%m-%d %H:%M:%S} UTC)" if self.modified else ""
        return f"{self.name} {self.change}{when}"


@dataclass(frozen=True, slots=True)
class Listing:
    """The directory's files, the clusters that exported, and the state of every consolidated file.

    ``stale`` has the types whose consolidated file exists but is out of date. ``missing`` names files that a
    manifest promises and that are gone.
    """

    files: tuple[ListedFile, ...]
    clusters: tuple[str, ...]
    exported: frozenset[BulkType]
    consolidated: frozenset[BulkType]
    stale: dict[BulkType, tuple[StaleSource, ...]]
    missing: dict[str, str]

    @property
    def consolidate_offered(self) -> bool:
        """Whether *Consolidate* is offered: two clusters have exported (DOC)."""
        return len(self.clusters) >= CLUSTERS_TO_CONSOLIDATE

    def import_offered(self, types: Iterable[BulkType] | None = None) -> bool:
        """Whether *Import* is offered: what was exported of ``types`` is consolidated, and nothing came since."""
        wanted = set(every_type(types)) & (self.exported | self.consolidated)
        return self.consolidate_offered and bool(wanted) and wanted <= self.consolidated - self.stale.keys()


async def list_directory(exchange: Exchange, wrapping: Wrapping | None = None, progress: Progress = silent) -> Listing:
    """Read the directory anew, as the page does each time it is drawn."""
    return listing_of(await take_snapshot(exchange, progress), wrapping or Wrapping())


def listing_of(snapshot: Snapshot, wrapping: Wrapping) -> Listing:
    """Draw up the list of a snapshot. Manifests and locks are no lines of it: they belong to the files."""
    bundles = [bundle for name in snapshot.files if (bundle := BundleName.parse(name))]
    exported = frozenset(bundle.bulk_type for bundle in bundles if not bundle.is_consolidated)
    consolidated = frozenset(bundle.bulk_type for bundle in bundles if bundle.is_consolidated)
    clusters = snapshot.clusters()
    locks = frozenset({lock_name(None), *map(lock_name, clusters)})
    patience = Patience()
    return Listing(
        files=tuple(
            _listed(snapshot, name, wrapping, patience) for name in snapshot.files if not _belongs(name, locks)
        ),
        clusters=clusters,
        exported=exported,
        consolidated=consolidated,
        stale={t: stale for t in BulkType if t in consolidated and (stale := stale_sources(snapshot, t))},
        missing=snapshot.missing(),
    )


def stale_sources(snapshot: Snapshot, bulk_type: BulkType) -> tuple[StaleSource, ...]:
    """Compare the exports that a consolidated file was made from with those in the directory now.

    A consolidated file without a manifest cannot be compared, and counts as up to date.
    """
    signed = snapshot.consolidations.get(bulk_type)
    if signed is None:
        return ()
    then, now = signed.manifest.sources, snapshot.fingerprint(bulk_type)
    return tuple(
        StaleSource(name, _change(name in then, name in now), _modified(snapshot, name))
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    )


def _listed(snapshot: Snapshot, name: str, wrapping: Wrapping, patience: Patience) -> ListedFile:
    file, bundle, refusal = snapshot.files[name], BundleName.parse(name), snapshot.problem(name)
    certificates, problem = _content(snapshot, name, wrapping, refusal, patience)
    return ListedFile(
        name=name,
        cluster=bundle.cluster if bundle else None,
        node=bundle.node if bundle else None,
        bulk_type=bundle.bulk_type if bundle else None,
        consolidated=bool(bundle and bundle.is_consolidated),
        certificates=certificates,
        modified=file.entry.modified,
        size=file.entry.size,
        signed=refusal is None,
        problem=problem,
    )


def _content(
    snapshot: Snapshot, name: str, wrapping: Wrapping, refusal: Refusal | None, patience: Patience
) -> tuple[int | None, str]:
    """Count the certificates: from the manifest where it vouches for the bytes, else by opening the file."""
    record, data = snapshot.record(name), snapshot.files[name].data
    if record and refusal is None:
        return len(record.certificates), ""
    if data is None:
        return None, snapshot.files[name].problem
    problem = "" if isinstance(refusal, UnsignedFileError) else str(refusal)
    try:
        patience.spend(name, data)
        return len(wrapping.open(name, data).certificates), problem
    except Refusal as error:
        return None, problem or str(error)


def _belongs(name: str, locks: frozenset[str]) -> bool:
    """Whether a file is a manifest or a lock."""
    is_export_manifest = cluster_of_manifest(name) is not None
    is_consolidated_manifest = is_consolidated(name) and BundleName.parse(name) is None
    return name in locks or is_export_manifest or is_consolidated_manifest


def _change(was: bool, is_now: bool) -> str:  # noqa: FBT001 -- two sides of one comparison
    if was and is_now:
        return "was exported again"
    return "was taken out" if was else "was exported"


def _modified(snapshot: Snapshot, name: str) -> datetime | None:
    file = snapshot.files.get(name)
    return file.entry.modified if file else None
