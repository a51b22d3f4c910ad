"""The two engines a cluster's database can have: a SQLite file in its folder, or PostgreSQL over the network.

Both are driven in autocommit mode and transactions are opened by hand, so that writers exclude each other from their
first statement on.
"""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from certferry.cluster.location import ClusterLocation
from certferry.cluster.server_address import ServerAddress, password
from certferry.cluster.server_remedies import USUAL, remedy_of

BUSY_SECONDS = 30
CONNECT_SECONDS = 5
POOL_SIZE, POOL_OVERFLOW, POOL_SECONDS = 2, 8, 600


class Storage(Protocol):
    """A database engine as ``Database`` drives it."""

    engine: Engine
    place: str
    remedy: str
    remedy_at_commit: str
    begin_read: Sequence[str]
    begin_write: Sequence[str]
    begin_founding: Sequence[str]

    def prepare(self) -> None:
        """Make ready what a new cluster's tables are made in; raises ``FileExistsError``."""

    def remedy_of(self, told: str) -> str | None:
        """Return what to do about what the engine ``told``, where that is known better than ``remedy``."""

    def is_missing(self, error: BaseException | None) -> bool:
        """Whether ``error`` says that there are no tables of a cluster."""

    def is_foreign(self, error: BaseException | None) -> bool:
        """Whether ``error`` says that this is something else than a cluster's database."""


def storage_of(location: ClusterLocation) -> Storage:
    """Make ready to use the database at ``location``; nothing is opened yet."""
    return SqliteStorage(location.database) if location.server is None else PostgresqlStorage(location)


class SqliteStorage:
    """A file. A connection for each transaction: processes and threads share nothing, and nothing outlives its use."""

    remedy = "See that the file is readable and writable by you, that the disk has room, and run it again."
    remedy_at_commit = remedy
    begin_read: Sequence[str] = ("BEGIN",)
    begin_write: Sequence[str] = ("BEGIN IMMEDIATE",)
    begin_founding: Sequence[str] = begin_write

    def __init__(self, path: Path) -> None:
        self._path = path
        self.place = str(path)
        self.engine = create_engine(
            "sqlite://", creator=self._connect, poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )

    def _connect(self) -> sqlite3.Connection:
        # Opened for reading and writing only: a file that is away, as while a backup comes back, is not made anew.
        place = f"file:{quote(str(self._path))}?mode=rw"
        connection = sqlite3.connect(place, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    def prepare(self) -> None:
        """Make the file, its owner's alone."""
        os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with self.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # stays with the file

    def remedy_of(self, told: str) -> str | None:
        """Nothing better is known."""
        del told
        return None

    def is_missing(self, error: BaseException | None) -> bool:
        """Whether the file is not there."""
        del error
        return not self._path.is_file()

    def is_foreign(self, error: BaseException | None) -> bool:
        """Whether the file is no database, or has no such table."""
        told = error.orig if isinstance(error, DBAPIError) else None
        return getattr(told, "sqlite_errorcode", None) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


class PostgresqlStorage:
    """A schema of a PostgreSQL database, with a small pool of connections that are tried before they are used."""

    remedy = USUAL
    remedy_at_commit = "The change may have been made: see 'certferry audit show', and run it again if it was not."
    begin_read: Sequence[str] = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",)

    def __init__(self, location: ClusterLocation) -> None:
        assert location.server is not None  # noqa: S101 -- storage_of looked
        self._server = server = location.server
        self.place = location.text
        # READ COMMITTED: each statement after the lock sees what the writer before has committed.
        lock = f"SELECT pg_advisory_xact_lock({_lock_number(server.schema)})"
        self.begin_write: Sequence[str] = ("BEGIN ISOLATION LEVEL READ COMMITTED", lock)
        own_schema = [f'CREATE SCHEMA IF NOT EXISTS "{server.schema}"'] if server.schema != "public" else []
        self.begin_founding: Sequence[str] = (*self.begin_write, *own_schema)
        self.engine = create_engine(
            server.url,
            isolation_level="AUTOCOMMIT",
            connect_args=connect_options(server),
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_timeout=BUSY_SECONDS,
            pool_recycle=POOL_SECONDS,
            pool_pre_ping=True,
            pool_use_lifo=True,
            use_native_hstore=False,  # saves a query with each connection
        )
        event.listen(self.engine, "do_connect", _add_password)

    def prepare(self) -> None:
        """Nothing: the schema is made in the same transaction as the tables."""

    def remedy_of(self, told: str) -> str | None:
        """What to do about what libpq or the server told."""
        return remedy_of(told, self._server)

    def is_missing(self, error: BaseException | None) -> bool:
        """Whether there is no table of that name in the schema: SQLSTATE 42P01."""
        return _sqlstate(error) == "42P01"

    def is_foreign(self, error: BaseException | None) -> bool:
        """Whether the table has other columns than ours: SQLSTATE 42703."""
        return _sqlstate(error) == "42703"


def connect_options(server: ServerAddress) -> dict[str, Any]:
    """What each connection is opened with, so that neither side waits for ever for one that is gone.

    The server ends the transaction of a host that vanished, which else would keep all other writers out.
    """
    settings = {
        "search_path": server.schema,
        "lock_timeout": f"{BUSY_SECONDS}s",
        "statement_timeout": "300s",
        "idle_in_transaction_session_timeout": "120s",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "25s",
    }
    return {
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        "application_name": "certferry",
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,  # milliseconds
        **({} if "connect_timeout" in server.url.query else {"connect_timeout": CONNECT_SECONDS}),
    }


def _add_password(_dialect: object, _record: object, _arguments: object, options: dict[str, Any]) -> None:
    # Read with each connection, so that a password can change while certferry runs.
    if secret := password():
        options["password"] = secret


def _lock_number(schema: str) -> int:
    """Number the lock that writers of one cluster take: 63 bits that other programs' locks hardly hit."""
    return int.from_bytes(sha256(f"certferry {schema}".encode()).digest()[:8]) >> 1


def _sqlstate(error: BaseException | None) -> str | None:
    told = error.orig if isinstance(error, DBAPIError) else None
    with suppress(AttributeError):
        return str(told.sqlstate)  # type: ignore[union-attr]
    return None
