"""Transactions on a cluster's database: short reads, and writes that exclude each other from their first statement."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, func, inspect, select
from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from certferry.cluster import schema
from certferry.cluster.engines import storage_of
from certferry.cluster.location import ClusterExistsError, ClusterLocation, ClusterMissingError
from certferry.cluster.upserting import upsert
from certferry.errors import Refusal, UsageError

MOVED = "moved-to"
CHANNEL = "certferry_"
"""What the name of a cluster's notification channel in PostgreSQL begins with; its schema follows."""


class DatabaseError(Refusal):
    """The cluster's database does not answer as it should."""

    code = "cluster.database"
    remedy = "See that the file is readable and writable by you, that the disk has room, and run it again."


class UnstorableError(UsageError):
    """Something given is no value that a database keeps: text with a NUL or half a character, or a number too large."""

    code = "cluster.unstorable"
    remedy = "Write text in UTF-8 without NUL, and numbers of a sensible size."


class DatabaseForeignError(DatabaseError):
    """The database was made by another version of certferry, or by something else."""

    code = "cluster.database-foreign"
    remedy = "Use the certferry version that made this cluster, or restore its backup."


class DatabaseOutdatedError(DatabaseError):
    """The cluster was made by an earlier certferry, and its tables are not those of this one."""

    code = "cluster.database-outdated"
    remedy = "Stop everything that uses the cluster, back it up, and run: certferry cluster upgrade"


class ClusterMovedError(Refusal):
    """The cluster lives elsewhere since 'certferry cluster move'; what stands here is what it was before."""

    code = "cluster.moved"
    remedy = "Use the place it was moved to."


class Database:
    """A cluster's database. ``read`` and ``write`` give a connection inside one transaction."""

    def __init__(self, location: ClusterLocation) -> None:
        self.location = location
        self._storage = storage_of(location)

    @contextmanager
    def found(self, make_tables: Callable[[Connection], None] | None = None) -> Iterator[Connection]:
        """Open the transaction that writes a new cluster into tables made for it: all of it, or nothing.

        ``make_tables`` makes other tables than those of this certferry, as a backup may need.

        Raises ``ClusterExistsError``, also for the slower of two that do this at once.
        """
        try:
            self._storage.prepare()
        except FileExistsError as error:
            raise self._exists() from error
        with self._transaction(self._storage.begin_founding) as connection:
            if inspect(connection).has_table(schema.fact.name):
                raise self._exists()
            (make_tables or _make_tables)(connection)
            put_fact(connection, "schema", str(schema.SCHEMA_VERSION))
            put_fact(connection, "version", "1")
            yield connection

    def must_not_exist(self) -> None:
        """Raise ``ClusterExistsError`` where a cluster stands."""
        if self._holds_cluster():
            raise self._exists()

    def check(self) -> None:
        """Raise unless the tables are of this certferry's making and in use here.

        Raises ``ClusterMissingError``, ``ClusterMovedError``, ``DatabaseOutdatedError``, ``DatabaseForeignError``.
        """
        try:
            with self.read() as connection:
                self._guard(connection)
        except DatabaseError as error:
            if self._storage.is_missing(error.__cause__):
                raise ClusterMissingError(f"no cluster in {self.location.text}") from error
            if self._storage.is_foreign(error.__cause__):
                raise DatabaseForeignError(f"{self._storage.place} is not a cluster's database") from error
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a read transaction: a view that does not change under the reader."""
        with self._transaction(self._storage.begin_read) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a write transaction; it commits at the end of the block and rolls back on any error.

        Raises what ``check`` raises: a process may have opened the cluster before it was moved or upgraded.
        """
        with self.alter() as connection:
            self._guard(connection)
            yield connection

    @contextmanager
    def alter(self) -> Iterator[Connection]:
        """Open a write transaction whatever the tables are, for an upgrade."""
        with self._transaction(self._storage.begin_write) as connection:
            yield connection

    def close(self) -> None:
        """Give back what the engine holds."""
        self._storage.engine.dispose()

    @contextmanager
    def _transaction(self, begin: Sequence[str]) -> Iterator[Connection]:
        at_commit = ""
        try:
            with self._storage.engine.connect() as connection:
                try:
                    for statement in begin:
                        connection.exec_driver_sql(statement)
                    yield connection
                    at_commit = self._storage.remedy_at_commit
                    connection.exec_driver_sql("COMMIT")
                except BaseException:
                    with suppress(SQLAlchemyError):  # rolled back already: a full disk, a connection that is gone
                        connection.exec_driver_sql("ROLLBACK")
                    raise
        except (DataError, UnicodeEncodeError, OverflowError) as error:
            # What was given, perhaps by a stranger, is to blame, not the database: nobody need look at its disk.
            raise UnstorableError("what was given cannot be kept: it is no text, or too large") from error
        except (DBAPIError, PoolTimeoutError) as error:
            told = str(error.orig if isinstance(error, DBAPIError) else error)
            sentence = f"{self._storage.place}: {' '.join(told.split())}"
            remedy = at_commit or self._storage.remedy_of(told) or self._storage.remedy
            raise DatabaseError(sentence, remedy=remedy) from error

    def _guard(self, connection: Connection) -> None:
        place, table = self._storage.place, schema.fact
        rows = connection.execute(select(table.c.key, table.c.value).where(table.c.key.in_(["schema", MOVED])))
        facts = {row.key: row.value for row in rows}
        if moved := facts.get(MOVED):
            raise ClusterMovedError(f"the cluster in {self.location.text} was moved", remedy=f"Use it at {moved}")
        _check_schema(facts.get("schema"), place)

    def _holds_cluster(self) -> bool:
        if self.location.server is None:
            return self.location.database.exists()
        with self.read() as connection:
            return inspect(connection).has_table(schema.fact.name)

    def _exists(self) -> ClusterExistsError:
        return ClusterExistsError(f"{self.location.text} holds a cluster already")


def _make_tables(connection: Connection) -> None:
    schema.metadata.create_all(connection, checkfirst=False)  # no table of another program is taken for ours


def _check_schema(found: str | None, place: str) -> None:
    if found == str(schema.SCHEMA_VERSION):
        return
    sentence = f"{place} has schema {found}, this certferry reads {schema.SCHEMA_VERSION}"
    if found is not None and found.isdecimal() and int(found) < schema.SCHEMA_VERSION:
        raise DatabaseOutdatedError(sentence)
    raise DatabaseForeignError(sentence)


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
    """Count one change more, and return the new version; nodes hear of it once it is committed."""
    new = version(connection) + 1
    put_fact(connection, "version", str(new))
    wake_nodes(connection)
    return new


def wake_nodes(connection: Connection) -> None:
    """Have the nodes look at the cluster as soon as this is committed."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_notify(func.concat(CHANNEL, func.current_schema()), "")))
