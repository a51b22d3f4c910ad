"""How bulk certificate management looks: the list of files, the plan, what is offered next; as text and as JSON."""

from typing import Any

from certferry.bulk.directory import ListedFile, Listing
from certferry.bulk.importing import ImportPlan
from certferry.cli.output import Output
from certferry.trust.import_rules import PlannedChange


def listing_json(listing: Listing) -> dict[str, Any]:
    """Describe the directory for ``bulk list --json``."""
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


def count_text(each: ListedFile) -> str:
    """Say how many certificates a file holds, or why that cannot be said."""
    return each.problem or (str(each.certificates) if each.certificates is not None else "")


def offers(listing: Listing) -> list[str]:
    """Say which button is offered next, and why another is not."""
    if not listing.consolidate_offered:
        return [f"Consolidate is offered once two clusters have exported; {len(listing.clusters)} has."]
    lines = [f"{kind}: {sources[0]}; consolidate again." for kind, sources in listing.stale.items()]
    if not listing.import_offered() and not lines:
        lines.append("Import is offered once everything exported is consolidated: certferry bulk consolidate")
    return lines or ["Next: certferry bulk import, on every cluster"]


def show_plan(out: Output, made: ImportPlan) -> None:
    """Print the table of changes, who vouches for them, and warnings."""
    rows = [
        (c.action, c.store, c.certificate.subject, c.from_cluster, c.certificate.sha256[:16], c.reason)
        for c in made.changes
    ]
    out.table(("action", "trust store", "subject", "from", "sha256", "reason"), rows)
    for name, fingerprint in made.signers.items():
        out.text(f"{name} vouches for its certificates with {fingerprint or 'nothing (no manifest)'}")
    for warning in (*made.warnings, *(text for change in made.changes for text in change.warnings)):
        out.warn(warning)


def plan_json(made: ImportPlan) -> dict[str, Any]:
    """Describe a plan for ``bulk import --json``."""
    return {
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
