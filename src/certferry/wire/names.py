"""Distinguished names in the text form that Unified CM writes into trust lists, TVS messages and traces.

The order is fixed, ``CN;OU;O;L;ST;C``, joined by ``;`` without a space; attributes of other types are dropped
(phone-trust 1.5: proven by length arithmetic on published transcripts; that DC parts are dropped is deduced
from one issuer). Other writers join with ``,`` in DER order, so comparison goes through ``comparable``.
"""

from itertools import chain

from cryptography import x509
from cryptography.x509.oid import NameOID

CLUSTER_ORDER = (
    ("CN", NameOID.COMMON_NAME),
    ("OU", NameOID.ORGANIZATIONAL_UNIT_NAME),
    ("O", NameOID.ORGANIZATION_NAME),
    ("L", NameOID.LOCALITY_NAME),
    ("ST", NameOID.STATE_OR_PROVINCE_NAME),
    ("C", NameOID.COUNTRY_NAME),
)
_PLACE = {oid: place for place, (_, oid) in enumerate(CLUSTER_ORDER)}
_KNOWN = frozenset(label for label, _ in CLUSTER_ORDER)


def name_text(name: x509.Name) -> str:
    """Write ``name`` as the cluster does: ``CN=pub;OU=IST;O=Example;L=Brisbane;ST=QLD;C=AU``."""
    parts: list[list[str]] = [[] for _ in CLUSTER_ORDER]
    for attribute in name:  # once: a cluster with thousands of certificates writes as many names to look at them
        if (place := _PLACE.get(attribute.oid)) is not None:
            parts[place].append(f"{CLUSTER_ORDER[place][0]}={_as_text(attribute.value)}")
    return ";".join(chain.from_iterable(parts))


def _as_text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def comparable(text: str) -> str:
    """Return a form in which two spellings of one name are equal.

    ``;`` and ``,`` both part attributes, their order does not count, letter case and space around parts do
    not count, and attributes that the cluster's own form drops are dropped (phone-trust 1.5, its trap).
    """
    parts: list[str] = []
    kept = False
    for piece in text.rstrip("\0").replace(",", ";").split(";"):
        label, equals, value = piece.partition("=")
        if equals:
            label = label.strip().upper()
            kept = label in _KNOWN
            parts += [f"{label}={_bare(value)}"] * kept
        elif kept and _bare(piece):
            # A comma inside a value ("O=Example, Inc") is not a separator: give the piece back to its value.
            parts[-1] += f",{_bare(piece)}"
    return ";".join(sorted(parts))


def _bare(value: str) -> str:
    """Take off what writers put around a value: spaces, quotes, the backslash that escapes a comma."""
    return value.strip(' "\\').casefold()
