"""*Import*, in two steps: a plan that changes nothing and can be read, then one transaction that can be undone.

Nothing is imported that is not vouched for: the consolidated file by its manifest, made from exactly the exports
that are in the directory now, and each certificate by the signed manifest of the cluster it came from.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from certferry.bulk.directory import stale_sources
from certferry.bulk.exchange import Exchange, Progress, silent
from certferry.bulk.files import BundleName, cluster_of_manifest
from certferry.bulk.lock import WAIT_SECONDS
from certferry.bulk.origins import ForeignFile, gather
from certferry.bulk.participant import Participant
from certferry.bulk.settling import Judge, Unfit, settled
from certferry.bulk.snapshot import Snapshot, UnsignedFileError, every_type
from certferry.bulk.wrapping import Wrapping
from certferry.cluster.values import TrustChange, TrustEntry
from certferry.errors import Refusal, UsageError
from certferry.trust.import_rules import Incoming, PlannedChange, plan_import
from certferry.trust.purpose import BulkType, Store
from certferry.trust.store_rules import Action, HeldCertificate
from certferry.wire.certificate import Certificate

ACTION = "bulk import"
"""What the history and the audit log call an import."""

_HEX = frozenset("0123456789abcdef")
_SHA256_DIGITS = 64


class NotConsolidatedError(Refusal):
    """There is no consolidated file to import."""

    code = "bulk.not-consolidated"
    remedy = "Consolidate on one publisher, either one, then import."


class StaleConsolidationError(Refusal):
    """Something was exported, or taken out, after the consolidation."""

    code = "bulk.consolidation-stale"
    remedy = "Consolidate again, then import."


class SignerUnexpectedError(Refusal):
    """A cluster's manifest is not signed by the certificate that was named for it."""

    code = "bulk.signer-unexpected"
    remedy = "Compare with the tomcat certificate that the cluster's publisher shows; do not import before they agree."


class FingerprintMalformedError(UsageError):
    """An expected fingerprint is no SHA-256."""

    code = "bulk.fingerprint"
    remedy = "Give the SHA-256 of the publisher's tomcat certificate: 64 hex digits, with or without colons."


class PlanOutdatedError(Refusal):
    """The trust stores changed after the plan was made."""

    code = "bulk.plan-outdated"
    remedy = "Plan again and look at the changes once more."


@dataclass(frozen=True, slots=True)
class Found:
    """How many different certificates of one type a cluster brought into the exchange."""

    cluster: str
    bulk_type: BulkType
    certificates: int


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What an import would do, in order, and whom it believes.

    ``found`` is what there was to import, by cluster and type, this cluster's own exports included.
    ``signers`` has the fingerprint of each cluster's manifest signer, None for a cluster nothing vouches for.
    ``warnings`` are sentences for the operator. ``held`` is a digest of what the stores held when the plan was
    made, of all that decides about it.
    ``exported`` tells when each of these clusters exported, by its own word.
    """

    types: tuple[BulkType, ...]
    found: tuple[Found, ...]
    changes: tuple[PlannedChange, ...]
    signers: Mapping[str, str | None]
    warnings: tuple[str, ...]
    held: str
    exported: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def pending(self) -> tuple[PlannedChange, ...]:
        """The changes that alter a store."""
        return tuple(change for change in self.changes if change.changes_something)

    @property
    def refused(self) -> tuple[PlannedChange, ...]:
        """The certificates that are not taken, each with its reason."""
        return tuple(change for change in self.changes if change.action == Action.REFUSE)


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did; ``undo_id`` is None when there was nothing to do."""

    undo_id: str | None
    changes: tuple[PlannedChange, ...]


async def plan(
    participant: Participant,
    exchange: Exchange,
    types: Iterable[BulkType] | None = None,
    *,
    now: datetime,
    wrapping: Wrapping | None = None,
    expect: Mapping[str, str] | None = None,
    foreign: Sequence[ForeignFile] = (),
    accept_unsigned: bool = False,
    progress: Progress = silent,
    wait: float = WAIT_SECONDS,
) -> ImportPlan:
    """Plan the import of ``types`` (None: all that were exported) and of ``foreign`` files; change nothing.

    ``expect`` pins clusters: their manifest must be signed by the certificate with that SHA-256.
    ``accept_unsigned`` is the operator's word for files without a manifest.
    """
    judge = _unfit(types, foreign, accept_unsigned=accept_unsigned)
    snapshot = await settled(exchange, judge, progress, wait)
    chosen = _chosen(snapshot, types)
    _check_expected(snapshot, expect or {})
    gathered = gather(snapshot, chosen, foreign, wrapping or Wrapping(), accept_unsigned=accept_unsigned)
    entries = participant.trust_entries_about({item.certificate for item in gathered.incoming})
    changes = plan_import(gathered.incoming, _held(entries), now, participant.name)
    signers = {cluster: gathered.signers[cluster] for cluster in gathered.signers if cluster != participant.name}
    exported = {name: snapshot.manifests[name].manifest.exported_at for name, signer in signers.items() if signer}
    warnings = (
        *gathered.warnings,
        *_changed_signers(participant, signers),
        *_put_back(participant, exported),
        *_namesakes(participant, gathered.incoming),
    )
    found = _found(gathered.incoming)
    return ImportPlan(tuple(chosen), found, changes, signers, warnings, _state(entries), exported)


def apply(participant: Participant, made: ImportPlan) -> Imported:
    """Carry out a plan in one transaction; raise ``PlanOutdatedError`` when what it looked at changed meanwhile."""
    entries = participant.trust_entries_about({change.certificate for change in made.changes})
    if _state(entries) != made.held:
        raise PlanOutdatedError(f"the trust stores of {participant.name} changed after the plan was made")
    held = {(entry.store, entry.certificate): entry for entry in entries}
    steps = [step for change in made.pending for step in _steps(change, held)]
    undo_id = participant.change_trust(steps, action=ACTION, details=_details(made)) if steps else None
    signers = {_signer_key(cluster): fingerprint for cluster, fingerprint in made.signers.items() if fingerprint}
    exported = {_exported_key(cluster): at.isoformat() for cluster, at in made.exported.items()}
    participant.put_settings(signers | exported, {})
    return Imported(undo_id, made.changes)


def _unfit(types: Iterable[BulkType] | None, foreign: Sequence[ForeignFile], *, accept_unsigned: bool) -> Judge:
    """Make the judge that says why a directory cannot be imported from."""

    def judge(snapshot: Snapshot) -> Unfit | None:
        chosen = _chosen(snapshot, types)
        if not chosen and not foreign:
            told = "no cluster exported a certificate of the chosen type"
            return Unfit(NotConsolidatedError(told, remedy="Export on both publishers first, then consolidate."))
        for name, refusal in snapshot.broken.items():
            if cluster := cluster_of_manifest(name):
                return Unfit(refusal, (cluster,))
        refusals = (_refusal(snapshot, bulk_type, accept_unsigned=accept_unsigned) for bulk_type in chosen)
        return next((Unfit(refusal, (None,)) for refusal in refusals if refusal), None)

    return judge


def _chosen(snapshot: Snapshot, types: Iterable[BulkType] | None) -> list[BulkType]:
    """Drop the types that nobody exported: not every cluster owns a certificate of every type."""
    return [t for t in every_type(types) if snapshot.bundles(t) or BundleName(t).text in snapshot.files]


def _refusal(snapshot: Snapshot, bulk_type: BulkType, *, accept_unsigned: bool) -> Refusal | None:
    name = BundleName(bulk_type).text
    if name not in snapshot.files:
        return NotConsolidatedError(f"type {bulk_type} was exported but not consolidated")
    problem = snapshot.problem(name)
    if problem and not (accept_unsigned and isinstance(problem, UnsignedFileError)):
        return problem
    if stale := stale_sources(snapshot, bulk_type):
        return StaleConsolidationError(f"{name} is out of date: {stale[0]}{_and_more(len(stale) - 1)}")
    return None


def _and_more(count: int) -> str:
    return f", and {count} more" if count else ""


def _found(incoming: Iterable[Incoming]) -> tuple[Found, ...]:
    """Count what came in; one certificate that several nodes export counts once."""
    different = {(item.from_cluster, item.bulk_type, item.certificate) for item in incoming}
    counted = Counter((cluster, bulk_type) for cluster, bulk_type, _ in different)
    order = list(BulkType)
    inside = sorted(counted.items(), key=lambda each: (each[0][0], order.index(each[0][1])))
    return tuple(Found(cluster, bulk_type, count) for (cluster, bulk_type), count in inside)


def _check_expected(snapshot: Snapshot, expect: Mapping[str, str]) -> None:
    for cluster, text in expect.items():
        fingerprint = _fingerprint(text)
        signed = snapshot.manifests.get(cluster)
        shown = signed.fingerprint if signed else "nobody"
        if shown != fingerprint:
            raise SignerUnexpectedError(f"the export of {cluster} is signed by {shown}, not by {fingerprint}")


def _fingerprint(text: str) -> str:
    digits = text.replace(":", "").strip().lower().removeprefix("sha256")
    if len(digits) != _SHA256_DIGITS or set(digits) - _HEX:
        raise FingerprintMalformedError(f"{text!r} is not a SHA-256 fingerprint")
    return digits


def _changed_signers(participant: Participant, signers: Mapping[str, str | None]) -> list[str]:
    """Remember who signed: another certificate than at the last import is worth a look."""
    return [
        f"the export of {cluster} is signed by another certificate ({fingerprint}) than at the last import"
        for cluster, fingerprint in signers.items()
        if fingerprint and participant.setting(_signer_key(cluster)) not in (None, "", fingerprint)
    ]


def _put_back(participant: Participant, exported: Mapping[str, datetime]) -> list[str]:
    """Remember how old an export was: whoever writes into the directory may put back an older one, rightly signed."""
    last = participant.settings([_exported_key(cluster) for cluster in exported])
    return [
        f"the export of {cluster} was made at {at:%Y-%m-%d %H:%M:%S} UTC, before the one that was imported last"
        for cluster, at in exported.items()
        if (known := last.get(_exported_key(cluster))) and at < datetime.fromisoformat(known)
    ]


def _namesakes(participant: Participant, incoming: Iterable[Incoming]) -> list[str]:
    own = {identity.certificate for identity in participant.identities()}
    strangers = {item.certificate for item in incoming if item.from_cluster == participant.name} - own
    if not strangers:
        return []
    warning = (
        f"{len(strangers)} certificates in the directory carry this cluster's name but are not its own: export "
        f"again if they were regenerated; if another cluster is called {participant.name} too, rename one"
    )
    return [warning]


def _signer_key(cluster: str) -> str:
    return f"bulk.signer.{cluster}"


def _exported_key(cluster: str) -> str:
    return f"bulk.exported.{cluster}"


def _held(entries: Iterable[TrustEntry]) -> dict[Store, list[HeldCertificate]]:
    held: dict[Store, list[HeldCertificate]] = {store: [] for store in Store}
    for entry in entries:
        held[entry.store].append(HeldCertificate(entry.certificate, entry.origin))
    return held


def _state(entries: Iterable[TrustEntry]) -> str:
    """Digest what decided about a plan, which is kept until somebody decides about it."""
    lines = sorted(f"{entry.store} {entry.certificate.sha256} {entry.origin}\n" for entry in entries)
    return sha256("".join(lines).encode()).hexdigest()


def _steps(change: PlannedChange, held: Mapping[tuple[Store, Certificate], TrustEntry]) -> list[TrustChange]:
    """Translate one planned change; only what came from the same cluster makes room for it."""
    gone = [
        TrustChange("remove", entry.store, entry.certificate, entry.origin, entry.description)
        for displaced in change.displaced
        if (entry := held.get((change.store, displaced))) and entry.origin == change.from_cluster
    ]
    return [*gone, TrustChange("add", change.store, change.certificate, change.from_cluster)]


def _details(made: ImportPlan) -> dict[str, object]:
    return {
        "types": [str(bulk_type) for bulk_type in made.types],
        "signers": {cluster: fingerprint or "unsigned" for cluster, fingerprint in made.signers.items()},
        "added": sum(change.action == Action.ADD for change in made.changes),
        "replaced": sum(change.action == Action.REPLACE for change in made.changes),
        "refused": len(made.refused),
    }
