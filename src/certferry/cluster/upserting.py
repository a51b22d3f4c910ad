"""Insert or update in one statement, on SQLite and PostgreSQL alike."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, or_
from sqlalchemy.dialects import sqlite


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    keys: Sequence[str],
    update: Sequence[str] = (),
    later: str | None = None,
    soon: str | None = None,
) -> None:
    """Write ``rows``; where a row with the same ``keys`` stands, write its columns ``update`` anew.

    Without ``update`` a row that stands stays as it is. ``keys`` are the columns of a primary key or a unique
    constraint. Every row has the same columns; the last of several rows with the same keys wins. With ``later``, a
    column, a row is only written over one that has less or the same there; or more than ``soon``, if that is given.
    """
    if not rows:
        return
    # Both have the same ON CONFLICT, but SQLAlchemy keeps it with each dialect.
    statement = sqlite.insert(table) if connection.dialect.name == "sqlite" else _insert_in_postgresql(table)
    if update:
        anew = {name: statement.excluded[name] for name in update}
        where = _is_later(table.c[later], statement.excluded[later], soon) if later else None
        statement = statement.on_conflict_do_update(index_elements=list(keys), set_=anew, where=where)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=list(keys))
    connection.execute(statement, [dict(row) for row in rows])


def _is_later(stands: ColumnElement[Any], comes: ColumnElement[Any], soon: str | None) -> ColumnElement[bool]:
    return stands <= comes if soon is None else or_(stands <= comes, stands > soon)


def _insert_in_postgresql(table: Table) -> Any:
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 -- takes 70 ms that no command on a folder needs

    return postgresql.insert(table)
