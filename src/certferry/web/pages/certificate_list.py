"""The certificate list: own certificates and trust stores in one table, found by what a person remembers of them.

Trust stores are searched in the database; the few own certificates are merged in.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from certferry.cluster.certificate_search import CertificateNotFoundError
from certferry.cluster.cluster import Cluster
from certferry.cluster.searching import Slice, TrustLine, TrustQuery
from certferry.cluster.values import OWN, Identity
from certferry.trust.purpose import Store
from certferry.trust.roles import roles_of

T = TypeVar("T")
SIZES = (25, 50, 100, 200)
EXPIRY_DAYS = (0, 30, 90, 365)
"""Choices of the filter: expired already, or within so many days."""
_LONGEST_TEXT = 200
_LONGEST_NUMBER = 9


@dataclass(frozen=True, slots=True)
class Row:
    """One certificate in one place: ``name`` is its purpose, or the store that holds it; ``node`` None is all."""

    name: str
    is_trust: bool
    sha256: str
    common_name: str
    subject: str
    issuer: str
    serial: str
    not_after: datetime
    key: str
    node: str | None = None
    origin: str = OWN
    description: str = ""
    added_at: datetime | None = None

    @classmethod
    def of_identity(cls, identity: Identity) -> "Row":
        """Show an own certificate."""
        held = identity.certificate
        key = f"{held.key_kind} {held.key_bits}"
        fields = (held.sha256, held.common_name, held.subject, held.issuer, held.serial_hex, held.not_after, key)
        return cls(identity.purpose.value, False, *fields, node=identity.node)  # noqa: FBT003 -- a row's second field

    @classmethod
    def of_line(cls, line: TrustLine) -> "Row":
        """Show an entry of a trust store."""
        fields = (line.sha256, line.common_name, line.subject, line.issuer, line.serial, line.not_after, line.key)
        more = {"origin": line.origin, "description": line.description, "added_at": line.added_at}
        return cls(line.store.value, True, *fields, **more)  # type: ignore[arg-type]  # noqa: FBT003 -- as above

    @property
    def is_own(self) -> bool:
        """Whether the certificate is one of the cluster's own, or a copy of one."""
        return self.origin == OWN

    @property
    def path(self) -> str:
        """Where the page of this certificate is."""
        kind = "trust" if self.is_trust else "own"
        return f"/security/certificates/{kind}/{quote(self.name)}/{self.sha256}"

    @property
    def is_self_signed(self) -> bool:
        """Whether it names itself as its issuer."""
        return self.subject == self.issuer

    def days_left(self, now: datetime) -> int:
        """Whole days until it expires; negative once it has."""
        return (self.not_after - now) // timedelta(days=1)

    def contains(self, text: str) -> bool:
        """Whether a name, serial or fingerprint contains ``text`` in any letter case."""
        fields = (self.subject, self.issuer, self.serial, self.sha256, self.node or "")
        return any(text.lower() in field.lower() for field in fields)


_ORDERS: dict[str, tuple[str, Callable[[Row], Any]]] = {
    "certificate": ("store", lambda row: (row.is_trust, row.name if row.is_trust else "")),
    "common-name": ("name", attrgetter("common_name")),
    "expiration": ("expiry", attrgetter("not_after")),
}
"""How the list can be ordered: the database's name for it, and the same for rows."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a long list."""

    rows: Sequence[T]
    number: int
    size: int
    total: int

    @property
    def last(self) -> int:
        """The number of the last page."""
        return max(1, -(-self.total // self.size))

    @property
    def first_row(self) -> int:
        """The number of the first row shown, from 1; 0 in an empty list."""
        return (self.number - 1) * self.size + 1 if self.rows else 0

    @property
    def last_row(self) -> int:
        """The number of the last row shown."""
        return self.first_row + len(self.rows) - 1 if self.rows else 0


@dataclass(frozen=True, slots=True)
class Search:
    """What the reader looks for, as the query of the page tells it."""

    text: str = ""
    name: str = ""
    usage: str = ""
    expiry: int | None = None
    order: str = "certificate"
    descending: bool = False
    number: int = 1
    size: int = 50

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Search":
        """Read a query; what cannot be meant so is left out."""
        order = query.get("order", "")
        return cls(
            text=query.get("text", "").strip()[:_LONGEST_TEXT],
            name=query.get("store", ""),
            usage=query.get("usage", ""),
            expiry=whole_number(query.get("expiry", ""), None),
            order=order if order in _ORDERS else "certificate",
            descending=query.get("down") == "1",
            number=page_number(query),
            size=page_size(query),
        )

    def find(self, cluster: Cluster, now: datetime) -> Page[Row]:
        """Return the page of ``cluster``'s certificates that is looked for."""
        sort, key = _ORDERS[self.order]
        own = sorted(self._own(cluster, now), key=key, reverse=self.descending)
        start = (self.number - 1) * self.size
        skip = max(0, start - len(own))
        found = self._trust(cluster, now, sort, Slice(skip, self.size + len(own)))
        # Rows left out in front all sort before this page, so that merging what is around it suffices.
        merged = sorted([*own, *found[0]], key=key, reverse=self.descending)
        rows = merged[start - skip : start - skip + self.size]
        return Page(rows, self.number, self.size, len(own) + found[1])

    def _limit(self, now: datetime) -> datetime | None:
        return None if self.expiry is None else now + timedelta(days=min(self.expiry, 36_500))

    def _plain(self) -> str:
        """Return the text to look for; a fingerprint may be written with colons."""
        digits = self.text.replace(":", "")
        return digits if digits and not set(digits.lower()) - set("0123456789abcdef") else self.text

    def _own(self, cluster: Cluster, now: datetime) -> list[Row]:
        if self.usage == "trust":
            return []
        limit = self._limit(now)
        rows = [Row.of_identity(identity) for identity in cluster.identities()]
        return [
            row
            for row in rows
            if self.name in ("", row.name) and row.contains(self._plain()) and (not limit or row.not_after < limit)
        ]

    def _trust(self, cluster: Cluster, now: datetime, sort: str, part: Slice) -> tuple[list[Row], int]:
        if self.usage == "identity" or (self.name and self.name not in tuple(Store)):
            return [], 0
        store = Store(self.name) if self.name else None
        query = TrustQuery(store, None, self._limit(now), self._plain(), sort, self.descending)
        found = cluster.find_trust(query, part)
        return [Row.of_line(line) for line in found.items], found.total


def find_row(cluster: Cluster, kind: str, name: str, sha256: str) -> Row:
    """Return the certificate that a path names; raise ``CertificateNotFoundError``."""
    if kind == "own":
        rows = [Row.of_identity(each) for each in cluster.identities() if each.purpose == name]
    else:
        query = TrustQuery(Store(name), text=sha256) if name in tuple(Store) else None
        rows = [Row.of_line(line) for line in cluster.find_trust(query).items] if query else []
    for row in rows:
        if row.sha256 == sha256:
            return row
    raise CertificateNotFoundError(f"no certificate is called {sha256[:16]!r}")


def places_of(cluster: Cluster, sha256: str) -> list[Row]:
    """Return every place of a certificate: own purposes and trust stores."""
    own = [Row.of_identity(each) for each in cluster.identities() if each.certificate.sha256 == sha256]
    return [*own, *(Row.of_line(line) for line in cluster.find_trust(TrustQuery(text=sha256)).items)]


def roles_lost(cluster: Cluster, row: Row) -> list[str]:
    """Say which roles TVS stops to report for a certificate that leaves one store."""
    stores = [Store(place.name) for place in places_of(cluster, row.sha256) if place.is_trust]
    purposes = [each.purpose for each in cluster.identities() if each.certificate.sha256 == row.sha256]
    after = roles_of((store for store in stores if store.value != row.name), purposes)
    return sorted(role.name for role in roles_of(stores, purposes) - after)


def whole_number(text: str, otherwise: T) -> int | T:
    """Read digits; anything else is ``otherwise``."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER else otherwise


def page_number(query: Mapping[str, str]) -> int:
    """Read which page is wanted."""
    return max(1, whole_number(query.get("page", ""), 1))


def page_size(query: Mapping[str, str]) -> int:
    """Read *Rows per Page*."""
    size = whole_number(query.get("size", ""), 50)
    return size if size in SIZES else 50


def part_of(query: Mapping[str, str]) -> Slice:
    """Say which part of a result a page shows."""
    return Slice((page_number(query) - 1) * page_size(query), page_size(query))


def page_of(rows: Sequence[T], query: Mapping[str, str]) -> Page[T]:
    """Cut the page that is asked for out of a list that is there as a whole."""
    part = part_of(query)
    return page_found(rows[part.skip : part.skip + part.limit], len(rows), query)


def page_found(rows: Sequence[T], total: int, query: Mapping[str, str]) -> Page[T]:
    """Make the page that is asked for of the rows that were found for it, of ``total``."""
    return Page(rows, page_number(query), page_size(query), total)


def moment() -> datetime:
    """Return the present time, whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)
