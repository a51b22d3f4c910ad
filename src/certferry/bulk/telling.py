"""Bulk certificate management told to programs: the directory and a plan as JSON, and why a button is not offered."""

from typing import Any

from certferry.bulk.directory import Listing
from certferry.bulk.importing import ImportPlan
from certferry.trust.import_rules import PlannedChange


def listing_json(listing: Listing) -> dict[str, Any]:
    """Describe the directory."""
    return {
        "files": [
            {
                "name": each.name,
                "cluster": each.cluster,
                "node": each.node,
                "type": each.bulk_type.value if each.bulk_type else None,
                "consolidated": each.consolidated,
                "certificates": each.certificates,
                "modified": each.modified,
                "bytes": each.size,
                "signed": each.signed,
                "problem": each.problem,
            }
            for each in listing.files
        ],
        "clusters": listing.clusters,
        "consolidate_offered": listing.consolidate_offered,
        "import_offered": listing.import_offered(),
        "stale": {kind.value: [str(source) for source in sources] for kind, sources in listing.stale.items()},
        "missing": listing.missing,
    }


def why_not_consolidate(listing: Listing) -> str:
    """Say why *Consolidate* is not offered; empty when it is (bulk 1.2)."""
    if listing.consolidate_offered:
        return ""
    some = ", ".join(listing.clusters) or "none"
    return f"Consolidate is offered once two clusters have exported; so far: {some}."


def why_not_import(listing: Listing) -> str:
    """Say why *Import* is not offered; empty when it is (bulk 1.2)."""
    if listing.import_offered():
        return ""
    if reason := why_not_consolidate(listing):
        return reason.replace("Consolidate", "Import", 1)
    for kind, sources in listing.stale.items():
        return f"{kind}: {sources[0]}; consolidate again."
    return "Import is offered once everything exported is consolidated."


def plan_json(made: ImportPlan) -> dict[str, Any]:
    """Describe a plan."""
    return {
        "found": [
            {"cluster": each.cluster, "type": each.bulk_type.value, "certificates": each.certificates}
            for each in made.found
        ],
        "changes": [_change(change) for change in made.changes],
        "pending": len(made.pending),
        "signers": dict(made.signers),
        "warnings": made.warnings,
    }


def _change(change: PlannedChange) -> dict[str, Any]:
    return {
        "action": change.action.value,
        "store": change.store.value,
        "subject": change.certificate.subject,
        "sha256": change.certificate.sha256,
        "from_cluster": change.from_cluster,
        "reason": change.reason,
        "code": change.code.value,
        "displaced": [certificate.sha256 for certificate in change.displaced],
    }
