"""The trust stores of a cluster: entries, changes in one transaction, history and undo."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from secrets import token_hex
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from certferry.cluster import schema
from certferry.cluster.certificate_search import SHORTEST_PREFIX
from certferry.cluster.certificate_text import name_key
from certferry.cluster.dialects import LikeAnyCase, like
from certferry.cluster.identities import store_certificates
from certferry.cluster.touched import Touched, touch
from certferry.cluster.values import OWN, HistoryEntry, Identity, TrustChange, TrustEntry
from certferry.errors import UsageError
from certferry.trust.purpose import OWN_COPIES, Store
from certferry.wire.certificate import Certificate

_Key = tuple[Store, Certificate]
_NAMED_AT_ONCE = 5000


class TrustEntryOwnError(UsageError):
    """The entry is a copy of one of the cluster's own certificates."""

    code = "cluster.trust-entry-own"
    remedy = "Regenerate the certificate instead; its copies follow."


class UndoImpossibleError(UsageError):
    """The change named is unknown, or was undone already."""

    code = "cluster.undo-impossible"
    remedy = "See the changes that can be undone with 'certferry bulk history'."


def read_entries(connection: Connection, store: Store | None = None) -> tuple[TrustEntry, ...]:
    """Read the entries of one store or of all, in the order they came."""
    return _read(connection, true() if store is None else schema.trust_entry.c.store == store.value)


def _read(connection: Connection, condition: ColumnElement[bool]) -> tuple[TrustEntry, ...]:
    table = schema.trust_entry
    query = select(table, schema.certificate.c.der).join(schema.certificate).order_by(table.c.store, table.c.id)
    parsed = _ParsedOnce()
    return tuple(
        TrustEntry(
            Store(row.store),
            parsed[row.der],
            row.origin,
            datetime.fromisoformat(row.added_at),
            row.description,
        )
        for row in connection.execute(query.where(condition))
    )


class _ParsedOnce(dict[bytes, Certificate]):
    """Certificates by DER: most are in several stores."""

    def __missing__(self, der: bytes) -> Certificate:
        made = self[der] = Certificate.parse(der)
        return made


def _read_own(connection: Connection) -> tuple[TrustEntry, ...]:
    return _read(connection, schema.trust_entry.c.origin == OWN)


def _held(connection: Connection, certificates: Iterable[Certificate]) -> dict[_Key, TrustEntry]:
    """Read the entries that hold one of ``certificates``, among 100,000 others."""
    parts = _parts(certificate.sha256 for certificate in certificates)
    entries = (entry for part in parts for entry in _read(connection, schema.trust_entry.c.sha256.in_(part)))
    return {(entry.store, entry.certificate): entry for entry in entries}


def read_entries_about(connection: Connection, certificates: Iterable[Certificate]) -> tuple[TrustEntry, ...]:
    """Read the entries with the subject of one of ``certificates``, however it is spelt, and the cluster's own.

    They are what the rules of stores look at. Names have to be there: see ``certificate_text``.
    """
    about = read_entries_named(connection, (certificate.subject for certificate in certificates))
    return tuple({(entry.store, entry.certificate): entry for entry in (*_read_own(connection), *about)}.values())


def read_entries_named(connection: Connection, subjects: Iterable[str]) -> tuple[TrustEntry, ...]:
    """Read the entries with one of ``subjects``, however it is spelt; names have to be there."""
    name = schema.certificate_name
    named = (select(name.c.sha256).where(name.c.name.in_(part)) for part in _parts(map(name_key, subjects)))
    return tuple(entry for part in named for entry in _read(connection, schema.trust_entry.c.sha256.in_(part)))


def read_entries_called(connection: Connection, store: Store, reference: str) -> tuple[TrustEntry, ...]:
    """Read those of a store that ``reference`` may mean (see ``certificate_search``), a few of many thousands.

    Texts have to be there: see ``certificate_text``.
    """
    entry, text = schema.trust_entry.c, schema.certificate_text.c
    if not reference.isascii():  # whose letter case a database may not know
        return read_entries(connection, store)
    pattern = like(reference)
    file = func.replace(text.common_name, " ", "_")
    names = (text.common_name, text.serial, text.sha256, file + ".pem", file + "_" + text.serial + ".pem")
    called = [LikeAnyCase(name, pattern) for name in names]
    if len(reference) >= SHORTEST_PREFIX:
        called.append(LikeAnyCase(text.sha256, pattern + "%"))
    return _read(connection, (entry.store == store.value) & entry.sha256.in_(select(text.sha256).where(or_(*called))))


def _parts(keys: Iterable[str]) -> Iterator[Sequence[str]]:
    """Leave out what was named before, and name no more at once than a query may have parameters."""
    unique = tuple(dict.fromkeys(keys))
    return (unique[begin : begin + _NAMED_AT_ONCE] for begin in range(0, len(unique), _NAMED_AT_ONCE))


def spare_own(connection: Connection, changes: Iterable[TrustChange]) -> None:
    """Raise ``TrustEntryOwnError`` when ``changes`` take away a copy of one of the cluster's own certificates."""
    own = {(entry.store, entry.certificate) for entry in _read_own(connection)}
    for change in changes:
        if change.action == "remove" and (change.store, change.certificate) in own:
            name = change.certificate.common_name
            raise TrustEntryOwnError(f"{name} in {change.store} is one of this cluster's own certificates")


def apply_changes(connection: Connection, changes: Iterable[TrustChange], now: datetime) -> tuple[TrustChange, ...]:
    """Carry out ``changes``; return those that changed something, a removal with the entry's own origin."""
    wanted = tuple(changes)
    store_certificates(connection, (change.certificate for change in wanted if change.action == "add"))
    held = _held(connection, (change.certificate for change in wanted))
    done: list[TrustChange] = []
    for change in wanted:
        entry = held.get((change.store, change.certificate))
        if change.action == "add" and entry is None:
            held[change.store, change.certificate] = _entry(change, now)
            done.append(change)
        elif change.action == "remove" and entry is not None:
            del held[change.store, change.certificate]
            done.append(_removal(entry))
    # Many of a kind go to the database at once: a statement for each would wait for the network each time.
    for action, run in groupby(done, key=lambda change: change.action):
        if action == "add":
            _add(connection, [_entry(change, now) for change in run])
        else:
            _remove(connection, run)
    touch(connection, Touched.TRUST, (change.certificate.sha256 for change in done))
    return tuple(done)


def _entry(change: TrustChange, now: datetime) -> TrustEntry:
    return TrustEntry(change.store, change.certificate, change.origin, change.added_at or now, change.description)


def _removal(entry: TrustEntry) -> TrustChange:
    return TrustChange("remove", entry.store, entry.certificate, entry.origin, entry.description, entry.added_at)


def _add(connection: Connection, entries: Iterable[TrustEntry]) -> None:
    rows = [
        {
            "store": entry.store.value,
            "sha256": entry.certificate.sha256,
            "origin": entry.origin,
            "description": entry.description,
            "added_at": entry.added_at.isoformat(),
        }
        for entry in entries
    ]
    connection.execute(insert(schema.trust_entry), rows)


def _remove(connection: Connection, changes: Iterable[TrustChange]) -> None:
    table = schema.trust_entry
    which = delete(table).where(table.c.store == bindparam("in_store"), table.c.sha256 == bindparam("of"))
    connection.execute(which, [{"in_store": each.store.value, "of": each.certificate.sha256} for each in changes])


def refresh_own_copies(connection: Connection, identities: Sequence[Identity], now: datetime) -> None:
    """Make the own entries of every store exactly the copies of the present own certificates."""
    due = {(store, identity.certificate): identity for identity in identities for store in OWN_COPIES[identity.purpose]}
    present = {(entry.store, entry.certificate) for entry in _read_own(connection)}
    stale = [
        TrustChange("remove", store, certificate) for store, certificate in present if (store, certificate) not in due
    ]
    fresh = [
        TrustChange("add", store, certificate, OWN, f"{identity.purpose} of {identity.node or 'the cluster'}")
        for (store, certificate), identity in due.items()
    ]
    apply_changes(connection, stale + fresh, now)


def record(
    connection: Connection,
    *,
    actor: str,
    action: str,
    changes: Sequence[TrustChange],
    details: Mapping[str, object],
    now: datetime,
) -> str:
    """Write a history entry; return its id, by which it can be undone."""
    identifier = token_hex(4)
    row = {
        "id": identifier,
        "at": now.isoformat(),
        "actor": actor,
        "action": action,
        "changes": json.dumps([_change_json(change) for change in changes]),
        "details": json.dumps(dict(details)),
        "undone": False,
    }
    connection.execute(insert(schema.history), row)
    return identifier


def read_history(connection: Connection) -> tuple[HistoryEntry, ...]:
    """Read all recorded changes, oldest first."""
    return _history(connection, select(schema.history).order_by(schema.history.c.position))


def _history(connection: Connection, query: Select[Any]) -> tuple[HistoryEntry, ...]:
    rows = connection.execute(query).all()
    forms = [json.loads(row.changes) for row in rows]
    known = _certificates(connection, (form["sha256"] for changes in forms for form in changes))
    return tuple(_history_entry(row, changes, known) for row, changes in zip(rows, forms, strict=True))


def _history_entry(
    row: Row[Any], changes: Iterable[Mapping[str, str]], known: Mapping[str, Certificate]
) -> HistoryEntry:
    return HistoryEntry(
        row.id,
        datetime.fromisoformat(row.at),
        row.actor,
        row.action,
        tuple(_change_of(form, known) for form in changes),
        json.loads(row.details),
        row.undone,
    )


def _certificates(connection: Connection, fingerprints: Iterable[str]) -> dict[str, Certificate]:
    table, known = schema.certificate, dict[str, Certificate]()
    for part in _parts(fingerprints):
        rows = connection.execute(select(table).where(table.c.sha256.in_(part)))
        known |= {row.sha256: Certificate.parse(row.der) for row in rows}
    return known


def take_back(connection: Connection, identifier: str, now: datetime) -> tuple[TrustChange, ...]:
    """Reverse the change ``identifier`` and mark it undone; return what that changed."""
    entry = read_undoable(connection, identifier)
    done = apply_changes(connection, [_reverse(change) for change in reversed(entry.changes)], now)
    connection.execute(update(schema.history).where(schema.history.c.id == identifier).values(undone=True))
    return done


def read_undoable(connection: Connection, identifier: str) -> HistoryEntry:
    """Read the change ``identifier``, which can be taken back; raises ``UndoImpossibleError``."""
    entry = next(iter(_history(connection, select(schema.history).where(schema.history.c.id == identifier))), None)
    if entry is None:
        raise UndoImpossibleError(f"there is no change {identifier!r}")
    if entry.undone:
        raise UndoImpossibleError(f"change {identifier} was undone before")
    return entry


def still_to_undo(entry: HistoryEntry, held: Iterable[TrustEntry]) -> tuple[TrustChange, ...]:
    """Tell what taking ``entry`` back would change in stores that hold ``held``."""
    there = {(each.store, each.certificate) for each in held}
    steps = (_reverse(change) for change in reversed(entry.changes))
    return tuple(step for step in steps if (step.action == "remove") == ((step.store, step.certificate) in there))


def _reverse(change: TrustChange) -> TrustChange:
    return replace(change, action="remove" if change.action == "add" else "add")


def _change_json(change: TrustChange) -> dict[str, str]:
    return {
        "action": change.action,
        "store": change.store.value,
        "sha256": change.certificate.sha256,
        "origin": change.origin,
        "description": change.description,
        "added_at": change.added_at.isoformat() if change.added_at else "",
    }


def _change_of(form: Mapping[str, str], known: Mapping[str, Certificate]) -> TrustChange:
    return TrustChange(
        "add" if form["action"] == "add" else "remove",
        Store(form["store"]),
        known[form["sha256"]],
        form["origin"],
        form["description"],
        datetime.fromisoformat(form["added_at"]) if form.get("added_at") else None,
    )
