"""How bulk certificate management looks on a terminal: the list of files, the plan, what is offered next."""

from collections import Counter
from collections.abc import Iterable, Sequence

from certferry.bulk.directory import ListedFile, Listing
from certferry.bulk.files import BundleName
from certferry.bulk.importing import ImportPlan
from certferry.cli.output import Output
from certferry.cluster.values import HistoryEntry, TrustChange
from certferry.trust.purpose import BulkType
from certferry.trust.store_rules import Action, Code

_SKIPPED = {
    Code.HELD: "held already",
    Code.OWN: "this cluster's own",
    Code.OLDER: "older than another of the same name",
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


def show_plan(out: Output, made: ImportPlan, own: str, *, verbose: bool) -> None:
    """Print what was found, the table of changes, who vouches for them, and warnings; skips in full if ``verbose``."""
    rows = [
        (c.action, c.store, c.certificate.subject, c.from_cluster, c.certificate.sha256[:16], c.reason)
        for c in made.changes
        if verbose or c.action != Action.SKIP
    ]
    if rows:
        out.table(("action", "trust store", "subject", "from", "sha256", "reason"), rows)
    if skipped := _skipped(made):
        out.text(f"{skipped}{'' if verbose else ' (-v lists each)'}")
    _show_found(out, made, own)
    for name, fingerprint in made.signers.items():
        out.text(f"{name} vouches for its certificates with {fingerprint or 'nothing (no manifest)'}")
    if made.refused:
        count = len({change.certificate.sha256 for change in made.refused})
        out.warn(
            f"{count} certificates are refused, for the reasons in the table: see to it at their cluster, "
            "export there and consolidate again"
        )
    for warning in (*made.warnings, *(text for change in made.changes for text in change.warnings)):
        out.warn(warning)


def tell_imported(out: Output, made: ImportPlan, own: str) -> None:
    """Say of each type that came from other clusters that it was imported, and whose."""
    for kind in BulkType:
        if clusters := [each.cluster for each in made.found if each.bulk_type is kind and each.cluster != own]:
            tell_type(out, kind, "imported", f"from {', '.join(clusters)}")


def tell_types(out: Output, kinds: Iterable[BulkType], verb: str, rest: str) -> None:
    """Say of each type that something was done with its certificates, in the order of the drop-down."""
    done = set(kinds)
    for kind in BulkType:
        if kind in done:
            tell_type(out, kind, verb, rest)


def types_of(names: Iterable[str]) -> list[BulkType]:
    """Tell of which types the files of these names are, in the order of the drop-down."""
    there = {bundle.bulk_type for name in names if (bundle := BundleName.parse(name))}
    return [kind for kind in BulkType if kind in there]


def undo_question(entry: HistoryEntry, steps: Sequence[TrustChange], own: str) -> str:
    """Ask whether a change is to be taken back, saying what that does."""
    removed = sum(step.action == "remove" for step in steps)
    what = f"Take back {entry.id}, the {entry.action} of {entry.at:%Y-%m-%d %H:%M} UTC by {entry.actor}"
    return f"{what}: remove {removed} entries from the trust stores of {own} and put {len(steps) - removed} back?"


def removal_question(cluster: str, names: Sequence[str], place: str) -> str:
    """Ask whether a cluster's files are to leave the directory, saying how many and of which types."""
    kinds = ", ".join(types_of(names))
    return f"Remove the {len(names)} files that {cluster} exported{f' ({kinds})' if kinds else ''} from {place}?"


def tell_type(out: Output, kind: BulkType, verb: str, rest: str) -> None:
    """Say in Unified CM's words that something was done with certificates of one type."""
    out.text(f"Successfully {verb} {kind} certificate(s) {rest}.")


def _skipped(made: ImportPlan) -> str:
    counted = Counter(change.code for change in made.changes if change.action == Action.SKIP)
    reasons = ", ".join(f"{count} {_SKIPPED[code]}" for code, count in counted.most_common())
    return f"{counted.total()} skipped: {reasons}" if counted else ""


def _show_found(out: Output, made: ImportPlan, own: str) -> None:
    kinds = [kind for kind in BulkType if any(each.bulk_type is kind for each in made.found)]
    counts = {(each.cluster, each.bulk_type): each.certificates for each in made.found}
    rows = [
        (
            f"{cluster} (this cluster)" if cluster == own else cluster,
            *(counts.get((cluster, kind), "") for kind in kinds),
        )
        for cluster in dict.fromkeys(each.cluster for each in made.found)
    ]
    out.table(("found from", *kinds), rows)
