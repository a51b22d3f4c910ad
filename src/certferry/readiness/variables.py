"""Environment variables that look like certferry's and are not: a mistyped one is silently without effect."""

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches

from certferry.trust.list_check import Check

PREFIX = "CERTFERRY_"
_ID, _TITLE = "config.variables", "Every CERTFERRY_ variable is one that certferry reads"


def variable_checks(environment: Mapping[str, str], known: Collection[str]) -> Iterator[Check]:
    """Look for variables that nothing reads; their values are not told."""
    set_here = sorted(name for name in environment if name.upper().startswith(PREFIX))
    strange = [name for name in set_here if name not in known]
    for name in strange:
        endings = [each.removeprefix(PREFIX) for each in known]
        meant = get_close_matches(name.upper().removeprefix(PREFIX), endings, n=1)
        remedy = (
            f"Did you mean {PREFIX}{meant[0]}?" if meant else f"Unset it; certferry reads {', '.join(sorted(known))}."
        )
        yield Check(_ID, _TITLE, "warn", f"{name} is set, and nothing reads it", remedy)
    if not strange:
        yield Check(_ID, _TITLE, "pass", ", ".join(set_here) or "none is set")
