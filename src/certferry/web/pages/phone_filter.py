"""Which phones a page is about: those that its filter finds, or those selected on it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from certferry.cluster.cluster import Cluster
from certferry.cluster.phone_search import PHONE_SORTS, STATUSES, PhoneLine, PhoneQuery
from certferry.cluster.phones import device_name
from certferry.cluster.searching import Slice
from certferry.web.phone_resets import MOST_PHONES, must_be_few
from certferry.web.views import served_digests

_LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """The phones that something is to be done with, as they stand now."""

    lines: Sequence[PhoneLine]

    @property
    def devices(self) -> str:
        """Their names as the form carries them: what was shown is what it is done with."""
        return " ".join(each.phone.device for each in self.lines)

    @property
    def registered(self) -> int:
        """How many are registered now."""
        return sum(each.is_registered for each in self.lines)

    @property
    def absent(self) -> int:
        """How many are at no node."""
        return len(self.lines) - self.registered


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


def filter_of(query: Mapping[str, str]) -> Mapping[str, str]:
    """Keep of a query what leads back to the phones that were found."""
    return {name: query[name] for name in ("text", "status") if query.get(name)}


def found_phones(cluster: Cluster, query: PhoneQuery) -> Wanted:
    """Find phones; raise ``TooManyPhonesError``."""
    found = cluster.phone_search.find(query, served_digests(cluster), Slice(0, MOST_PHONES))
    must_be_few(found.total)
    return Wanted(found.items)


def chosen_phones(cluster: Cluster, texts: Sequence[str]) -> Wanted:
    """Find the phones of these names; raise ``PhoneInvalidError``, ``PhoneUnknownError``, ``TooManyPhonesError``."""
    devices = sorted(set(map(device_name, texts)))
    must_be_few(len(devices))
    cluster.resets.must_know(devices)
    return found_phones(cluster, PhoneQuery(devices=devices))
