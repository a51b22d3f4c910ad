"""An import plan as bytes, so that it can be kept between being shown and being carried out.

Deflated JSON. Certificates are many and come in several changes, so each stands once, as DER in Base64, and changes
name it by its place::

    {"types": [...], "found": [[cluster, type, certificates], ...], "signers": {...}, "warnings": [...],
     "held": "...", "exported": {cluster: time}, "certificates": ["MII...", ...],
     "changes": [[action, store, certificate, from cluster, reason, [displaced...], code, [warnings...]], ...]}
"""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from certferry.bulk.importing import Found, ImportPlan
from certferry.trust.import_rules import PlannedChange
from certferry.trust.purpose import BulkType, Store
from certferry.trust.store_rules import Action, Code
from certferry.wire.certificate import Certificate


def plan_bytes(made: ImportPlan) -> bytes:
    """Write a plan; it names certificates that are public, and no secret."""
    named = (each for change in made.changes for each in (change.certificate, *change.displaced))
    places = {certificate: place for place, certificate in enumerate(dict.fromkeys(named))}
    whole = {
        "types": [kind.value for kind in made.types],
        "found": [[each.cluster, each.bulk_type.value, each.certificates] for each in made.found],
        "signers": dict(made.signers),
        "warnings": list(made.warnings),
        "held": made.held,
        "exported": {cluster: at.isoformat() for cluster, at in made.exported.items()},
        "certificates": [b64encode(certificate.der).decode() for certificate in places],
        "changes": [_row(change, places) for change in made.changes],
    }
    return zlib.compress(json.dumps(whole, separators=(",", ":")).encode(), 1)


def plan_of(body: bytes) -> ImportPlan:
    """Read what ``plan_bytes`` wrote; for nothing that comes from elsewhere."""
    whole = json.loads(zlib.decompress(body))
    certificates = [Certificate.parse(b64decode(text)) for text in whole["certificates"]]
    return ImportPlan(
        tuple(map(BulkType, whole["types"])),
        tuple(Found(cluster, BulkType(kind), count) for cluster, kind, count in whole["found"]),
        tuple(_change(row, certificates) for row in whole["changes"]),
        whole["signers"],
        tuple(whole["warnings"]),
        whole["held"],
        {cluster: datetime.fromisoformat(at) for cluster, at in whole.get("exported", {}).items()},
    )


def _row(change: PlannedChange, places: Mapping[Certificate, int]) -> list[Any]:
    displaced = [places[each] for each in change.displaced]
    return [
        change.action.value, change.store.value, places[change.certificate], change.from_cluster, change.reason,
        displaced, change.code.value, list(change.warnings),
    ]  # fmt: skip


def _change(row: list[Any], certificates: list[Certificate]) -> PlannedChange:
    action, store, place, cluster, reason, displaced, code, warnings = row
    return PlannedChange(
        Action(action), Store(store), certificates[place], cluster, reason,
        tuple(certificates[each] for each in displaced), Code(code), tuple(warnings),
    )  # fmt: skip
