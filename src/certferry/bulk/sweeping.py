"""Temporary files that a killed writer left in the exchange directory."""

from collections.abc import Iterable

from certferry.bulk.exchange import Entry, Exchange
from certferry.bulk.files import final_name, is_bundle_of, is_consolidated, lock_name, manifest_name

PARTS = frozenset({".part"})
ASIDE = frozenset({".aside"})
"""Old files that stepped aside. They are the only copy until their successor is in place: sweep them last."""


async def sweep(exchange: Exchange, entries: Iterable[Entry], scope: str | None, endings: frozenset[str]) -> None:
    """Remove what is left over of cluster ``scope``, or of consolidation (None); hold that lock while calling."""
    await exchange.remove_many(
        entry.name
        for entry in entries
        if entry.name.endswith(tuple(endings))
        and (final := final_name(entry.name)) is not None
        and _is_in(scope, final)
    )


def _is_in(scope: str | None, final: str) -> bool:
    if final == lock_name(scope):
        return True
    if scope is None:
        return is_consolidated(final)
    return final == manifest_name(scope) or is_bundle_of(final, scope)
