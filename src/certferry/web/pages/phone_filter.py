"""The filter above the phones, as the query of a page tells it."""

import re
from collections.abc import Mapping

from certferry.cluster.phone_search import PHONE_SORTS, STATUSES, PhoneQuery

_LONGEST_TEXT = 200


def phone_query(query: Mapping[str, str]) -> PhoneQuery:
    """Read which phones are looked for; what cannot be meant so is left out."""
    status, order = query.get("status", ""), query.get("order", "")
    return PhoneQuery(
        _device_text(typed_text(query)),
        None,
        status if status in STATUSES else None,
        order if order in PHONE_SORTS else "device",
        query.get("down") == "1",
    )


def typed_text(query: Mapping[str, str]) -> str:
    """Read the text that is looked for, as it was typed."""
    return query.get("text", "").strip()[:_LONGEST_TEXT]


def _device_text(text: str) -> str:
    """Let a MAC address be written with colons, dashes or dots."""
    plain = re.sub(r"[:.\-]", "", text)
    return plain if re.fullmatch(r"(?i)(sep)?[0-9a-f]{4,12}", plain) else text
