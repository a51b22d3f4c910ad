"""The rows of a cluster's tables, all of them: read in the order of their keys, counted, and compared."""

from collections.abc import Iterator, Sequence
from hashlib import sha256

from sqlalchemy import Connection, MetaData, RowMapping, Table, func, inspect, select

from certferry.cluster import schema

_ROWS_AT_ONCE = 1000


def every_table() -> list[Table]:
    """List the tables of this certferry, those that others refer to first."""
    return schema.metadata.sorted_tables


def tables_there(connection: Connection) -> list[Table]:
    """List the tables that the database has, as they are there: an earlier certferry may have made them."""
    there = [name for name in schema.metadata.tables if inspect(connection).has_table(name)]
    found = MetaData()
    found.reflect(connection, only=there)
    return found.sorted_tables


def read_rows(connection: Connection, table: Table, columns: Sequence[str] = ()) -> Iterator[list[RowMapping]]:
    """Read a table, some rows at once; all columns unless some are named."""
    chosen = [table.c[name] for name in columns] or table.c
    ordered = select(*chosen).order_by(*table.primary_key.columns)
    result = connection.execute(ordered.execution_options(yield_per=_ROWS_AT_ONCE))
    for rows in result.mappings().partitions():
        yield list(rows)


def count_rows(connection: Connection, table: Table) -> int:
    """Count them."""
    return connection.scalar(select(func.count()).select_from(table)) or 0


class RowsDigest:
    """How many rows were added, and one hash of all of them in their order."""

    def __init__(self) -> None:
        self._count = 0
        self._hash = sha256()

    def add(self, rows: list[RowMapping]) -> None:
        """Add the next rows."""
        for row in rows:
            self._hash.update(repr(tuple(row.values())).encode())
        self._count += len(rows)

    @property
    def value(self) -> tuple[int, str]:
        """The number and the hash in hex."""
        return self._count, self._hash.hexdigest()


def digest_of(connection: Connection, table: Table, columns: Sequence[str] = ()) -> tuple[int, str]:
    """Count the rows of a table, and hash all of them in the order of their keys."""
    digest = RowsDigest()
    for rows in read_rows(connection, table, columns):
        digest.add(rows)
    return digest.value


def continue_numbers(connection: Connection, table: Table) -> None:
    """Let PostgreSQL number new rows after those copied; SQLite does it by itself."""
    column = table.autoincrement_column
    if column is None or connection.dialect.name != "postgresql":
        return
    sequence = func.pg_get_serial_sequence(f'"{table.name}"', column.name)
    following = select(func.coalesce(func.max(column), 0) + 1).scalar_subquery()
    connection.execute(select(func.setval(sequence, following, False)))  # noqa: FBT003 -- PostgreSQL's own signature
