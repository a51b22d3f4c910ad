"""Transactions on a cluster's database: short reads, and writes that exclude each other from their first statement."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, create_engine, select
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from certferry.cluster import schema
from certferry.cluster.upserting import upsert
from certferry.errors import Refusal

BUSY_SECONDS = 30


class DatabaseError(Refusal):
    """The cluster's database does not answer as it should."""

    code = "cluster.database"
    remedy = "See that the file is readable and writable by you, that the disk has room, and run it again."


class DatabaseForeignError(DatabaseError):
    """The database was made by another version of certferry, or by something else."""

    code = "cluster.database-foreign"
    remedy = "Use the certferry version that made this cluster, or restore its backup."


class Database:
    """A cluster's database. ``read`` and ``write`` give a connection inside one transaction."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = _engine(path)

    def create(self) -> None:
        """Make the file, its owner's alone, and the tables of a new cluster."""
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # stays with the file
        with self.write() as connection:
            schema.metadata.create_all(connection)
            put_fact(connection, "schema", str(schema.SCHEMA_VERSION))
            put_fact(connection, "version", "1")

    def check(self) -> None:
        """Raise ``DatabaseForeignError`` unless the tables are of this certferry's making."""
        try:
            with self.read() as connection:
                found = fact(connection, "schema")
        except DatabaseError as error:
            if not _is_foreign(error.__cause__):
                raise
            raise DatabaseForeignError(f"{self.path} is not a cluster's database") from error
        if found != str(schema.SCHEMA_VERSION):
            raise DatabaseForeignError(f"{self.path} has schema {found}, this certferry reads {schema.SCHEMA_VERSION}")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a read transaction: a view that does not change under the reader."""
        with self._connection("BEGIN") as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a write transaction; it commits at the end of the block and rolls back on any error."""
        with self._connection("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def _connection(self, begin: str) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                connection.exec_driver_sql(begin)
                try:
                    yield connection
                    connection.exec_driver_sql("COMMIT")
                except BaseException:
                    with suppress(DBAPIError):  # SQLite has rolled back by itself, as when the disk is full
                        connection.exec_driver_sql("ROLLBACK")
                    raise
        except DBAPIError as error:
            raise DatabaseError(f"{self.path}: {error.orig}") from error

    def close(self) -> None:
        """Give back what the engine holds."""
        self._engine.dispose()


def _engine(path: Path) -> Engine:
    def connect() -> sqlite3.Connection:
        # Opened for reading and writing only: a file that is away, as while a backup comes back, is not made anew.
        place = f"file:{quote(str(path))}?mode=rw"
        connection = sqlite3.connect(place, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    # A connection for each transaction: node processes and threads share nothing, and nothing outlives its use.
    # Transactions are opened by hand, so that writers can say IMMEDIATE.
    return create_engine("sqlite://", creator=connect, poolclass=NullPool, isolation_level="AUTOCOMMIT")


def _is_foreign(error: BaseException | None) -> bool:
    """Whether the file is no database, or has no such table."""
    told = error.orig if isinstance(error, DBAPIError) else None
    return getattr(told, "sqlite_errorcode", None) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


def fact(connection: Connection, key: str) -> str | None:
    """Read one single value."""
    return connection.scalar(select(schema.fact.c.value).where(schema.fact.c.key == key))


def put_fact(connection: Connection, key: str, value: str) -> None:
    """Write one single value, in place of an earlier one."""
    upsert(connection, schema.fact, [{"key": key, "value": value}], keys=["key"], update=["value"])


def version(connection: Connection) -> int:
    """Return the change version: it grows with every change that a node's services have to learn of."""
    return int(fact(connection, "version") or 0)


def advance_version(connection: Connection) -> int:
    """Count one change more, and return the new version."""
    new = version(connection) + 1
    put_fact(connection, "version", str(new))
    return new
