"""Searches that give one page at a time, done in the database: thousands of certificates and phones stay there.

Subject, issuer, serial and validity stand inside a certificate's DER, where SQL sees nothing. They are copied into a
table of their own as certificates are stored, or when a search finds some that are not in it yet; that table can be
lost without harm.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Connection, Select, func, or_, select, true

from certferry.cluster import schema
from certferry.cluster.certificate_text import are_texts_there, put_missing_texts
from certferry.cluster.database import Database
from certferry.cluster.dialects import JsonLength, LikeAnyCase, like
from certferry.cluster.rows import count_rows
from certferry.cluster.trust_stores import UndoImpossibleError
from certferry.cluster.values import OWN
from certferry.trust.purpose import Store
from certferry.wire.certificate import Certificate

T = TypeVar("T")
_SORTS = {"name": "common_name", "expiry": "not_after", "store": "store", "origin": "origin", "added": "added_at"}


@dataclass(frozen=True, slots=True)
class Slice:
    """Which part of a result: how many to skip, how many to give."""

    skip: int = 0
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """One page of a result, and how many there are in all."""

    items: tuple[T, ...]
    total: int


@dataclass(frozen=True, slots=True)
class TrustQuery:
    """Which trust entries: every condition that is set has to hold.

    ``text`` stands in subject, issuer, serial, SHA-256, origin or description, in any letter case. ``usage`` is
    ``own`` for copies of the cluster's own certificates, ``foreign`` for all others.
    """

    store: Store | None = None
    usage: str | None = None
    expires_before: datetime | None = None
    text: str = ""
    sort: str = "store"
    descending: bool = False


@dataclass(frozen=True, slots=True)
class TrustLine:
    """A trust entry as a list shows it, without the certificate's bytes."""

    store: Store
    sha256: str
    subject: str
    issuer: str
    common_name: str
    serial: str
    not_before: datetime
    not_after: datetime
    key: str
    origin: str
    added_at: datetime
    description: str

    @property
    def is_own(self) -> bool:
        """Whether this is a copy of one of the cluster's own certificates."""
        return self.origin == OWN


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """A change of the trust stores as a list shows it, with the number of its steps."""

    id: str
    at: datetime
    actor: str
    action: str
    changes: int
    details: str
    undone: bool


@dataclass(frozen=True, slots=True)
class HistoryStep:
    """One certificate that a change of the trust stores added or removed."""

    action: str
    store: Store
    sha256: str
    subject: str
    origin: str


class Searches:
    """What a cluster answers page by page; a part of ``Cluster``."""

    _database: Database

    def find_trust(self, query: TrustQuery, part: Slice = Slice()) -> Found[TrustLine]:
        """Find entries of the trust stores."""
        self.prepare_searches()
        with self._database.read() as connection:
            return _find_trust(connection, query, part)

    def holds(self, store: Store, subject: str, serial: str) -> bool:
        """Whether a store has a certificate of that subject and serial (in hex), as trust lists name their signer."""
        self.prepare_searches()
        entry, text = schema.trust_entry, schema.certificate_text
        joined = select(entry.c.id).join(text, text.c.sha256 == entry.c.sha256)
        named = joined.where(entry.c.store == store.value, text.c.subject == subject, text.c.serial == serial)
        with self._database.read() as connection:
            return connection.execute(named.limit(1)).first() is not None

    def held_certificates(self) -> Sequence[tuple[Store, str, bool]]:
        """Store, SHA-256, and whether it is the cluster's own, of all trust entries; no certificate is opened."""
        entry = schema.trust_entry
        with self._database.read() as connection:
            rows = connection.execute(select(entry.c.store, entry.c.sha256, entry.c.origin == OWN))
            return [(Store(store), sha256, bool(is_own)) for store, sha256, is_own in rows]

    def trust_ends(self) -> Sequence[tuple[str, str, str, datetime]]:
        """Store, subject, serial and end of validity of all trust entries."""
        self.prepare_searches()
        entry, text = schema.trust_entry, schema.certificate_text
        asked = select(entry.c.store, text.c.subject, text.c.serial, text.c.not_after)
        asked = asked.join(text, text.c.sha256 == entry.c.sha256).order_by(entry.c.store, entry.c.id)
        with self._database.read() as connection:
            return [(*row[:3], datetime.fromisoformat(row[3])) for row in connection.execute(asked)]

    def devices(self) -> Sequence[str]:
        """The names of all phones that the cluster knows."""
        with self._database.read() as connection:
            return connection.scalars(select(schema.phone.c.device)).all()

    def find_certificate(self, sha256: str) -> tuple[Certificate, tuple[Store, ...]] | None:
        """Return the certificate of that fingerprint and the trust stores that hold it; None when there is none."""
        table, entry = schema.certificate, schema.trust_entry
        with self._database.read() as connection:
            der = connection.scalar(select(table.c.der).where(table.c.sha256 == sha256))
            stores = connection.scalars(select(entry.c.store).where(entry.c.sha256 == sha256).order_by(entry.c.id))
            return None if der is None else (Certificate.parse(der), tuple(map(Store, stores)))

    def find_history(self, part: Slice = Slice()) -> Found[HistoryLine]:
        """Give the changes of the trust stores, latest first."""
        table = schema.history
        with self._database.read() as connection:
            counted = JsonLength(table.c.changes).label("count")
            rows, total = slice_of(connection, select(table, counted), part, table.c.position, table.c.position.desc())
        lines = (
            HistoryLine(r.id, datetime.fromisoformat(r.at), r.actor, r.action, r.count, r.details, r.undone)
            for r in rows
        )
        return Found(tuple(lines), total)

    def find_steps(self, identifier: str, part: Slice = Slice()) -> tuple[HistoryLine, Found[HistoryStep]]:
        """Give one change of the trust stores, and a page of what it did; raises ``UndoImpossibleError``."""
        self.prepare_searches()
        table, text = schema.history, schema.certificate_text
        with self._database.read() as connection:
            row = connection.execute(select(table).where(table.c.id == identifier)).first()
            if row is None:
                raise UndoImpossibleError(f"there is no change {identifier!r}")
            steps = json.loads(row.changes)
            shown = steps[part.skip : part.skip + part.limit]
            named = select(text.c.sha256, text.c.subject).where(text.c.sha256.in_([step["sha256"] for step in shown]))
            names = {name.sha256: name.subject for name in connection.execute(named)}
        line = HistoryLine(
            row.id, datetime.fromisoformat(row.at), row.actor, row.action, len(steps), row.details, row.undone
        )
        return line, Found(tuple(_step(step, names) for step in shown), len(steps))

    def find_audit(self, text: str = "", part: Slice = Slice()) -> Found[str]:
        """Give the lines of the audit log that contain ``text``, latest first."""
        table = schema.audit
        query = select(table.c.line).where(contains(text, table.c.line))
        with self._database.read() as connection:
            rows, total = slice_of(connection, query, part, table.c.position, table.c.position.desc())
        return Found(tuple(row.line for row in rows), total)

    def counts(self) -> Mapping[str, int]:
        """Count phones, trust entries, and lines of the audit log."""
        tables = {"phones": schema.phone, "trust_entries": schema.trust_entry, "audit_lines": schema.audit}
        with self._database.read() as connection:
            return {name: count_rows(connection, table) for name, table in tables.items()}

    def prepare_searches(self) -> None:
        """Copy what searches look at out of certificates that came since; a search does it too when it has to."""
        with self._database.read() as connection:
            if are_texts_there(connection):
                return
        with self._database.write() as connection:
            put_missing_texts(connection)


def _step(form: Mapping[str, str], names: Mapping[str, str]) -> HistoryStep:
    sha256 = form["sha256"]
    return HistoryStep(form["action"], Store(form["store"]), sha256, names.get(sha256, ""), form["origin"])


def _find_trust(connection: Connection, query: TrustQuery, part: Slice) -> Found[TrustLine]:
    entry, text = schema.trust_entry, schema.certificate_text
    wanted = select(entry, *(column for column in text.c if column.name != "sha256")).join(
        text, text.c.sha256 == entry.c.sha256
    )
    wanted = wanted.where(*_conditions(query))
    column = wanted.selected_columns[_SORTS.get(query.sort, "store")]
    order = column.desc() if query.descending else column
    # What an entry itself tells is found without its certificate's text: both are large.
    is_plain = column.table is entry and not query.text and query.expires_before is None
    alone = select(entry.c.id).where(*_conditions(query)) if is_plain else None
    rows, total = slice_of(connection, wanted, part, entry.c.id, order, alone=alone)
    return Found(tuple(_trust_line(row) for row in rows), total)


def _conditions(query: TrustQuery) -> Sequence[ColumnElement[bool]]:
    entry, text = schema.trust_entry, schema.certificate_text
    conditions = [contains(query.text, text.c.searched, entry.c.origin, entry.c.description)]
    if query.store is not None:
        conditions.append(entry.c.store == query.store.value)
    if query.usage is not None:
        conditions.append(entry.c.origin == OWN if query.usage == "own" else entry.c.origin != OWN)
    if query.expires_before is not None:
        conditions.append(text.c.not_after < query.expires_before.astimezone(UTC).isoformat())
    return conditions


def _trust_line(row: Any) -> TrustLine:
    return TrustLine(
        Store(row.store),
        row.sha256,
        row.subject,
        row.issuer,
        row.common_name,
        row.serial,
        datetime.fromisoformat(row.not_before),
        datetime.fromisoformat(row.not_after),
        row.key,
        row.origin,
        datetime.fromisoformat(row.added_at),
        row.description,
    )


def contains(text: str, *columns: ColumnElement[str]) -> ColumnElement[bool]:
    """Match any column that contains ``text`` in any letter case; an empty text is in every column."""
    if not text:
        return true()
    pattern = f"%{like(text)}%"
    return or_(*(LikeAnyCase(column, pattern) for column in columns))


def slice_of(
    connection: Connection,
    query: Select[Any],
    part: Slice,
    key: ColumnElement[Any],
    *order: ColumnElement[Any],
    alone: Select[Any] | None = None,
) -> tuple[Sequence[Any], int]:
    """Return the rows of one page, and how many there are: one pass over short rows, then the page's own rows.

    Two passes, when there is a query of the keys ``alone`` that is so cheap that a pass for each costs less.
    """
    if alone is not None:
        total = connection.scalar(select(func.count()).select_from(alone.subquery())) or 0
        keys = connection.scalars(alone.order_by(*order, key).offset(part.skip).limit(part.limit)).all()
        return _rows_of(connection, query, key, keys), total
    counted = query.with_only_columns(key, func.count().over()).order_by(*order, key)
    found = connection.execute(counted.offset(part.skip).limit(part.limit)).all()
    if not found:
        return (), connection.scalar(select(func.count()).select_from(query.subquery())) or 0
    return _rows_of(connection, query, key, [row[0] for row in found]), found[0][1]


def _rows_of(connection: Connection, query: Select[Any], key: ColumnElement[Any], keys: Sequence[Any]) -> Sequence[Any]:
    """Return the rows of ``keys`` in that order; were SQL asked for an order, it might walk a whole index for it."""
    rows = connection.execute(query.where(key.in_(keys)).add_columns(key.label("key_of_row")))
    found = {row.key_of_row: row for row in rows}
    return [found[each] for each in keys]
