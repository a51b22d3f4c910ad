"""How bulk certificate management looks on a terminal: the list of files, the plan, what is offered next."""

from certferry.bulk.directory import ListedFile, Listing
from certferry.bulk.importing import ImportPlan
from certferry.cli.output import Output


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
