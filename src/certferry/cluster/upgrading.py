"""Bringing the tables of a cluster that an earlier certferry made to those of this one: all of it, or nothing.

It is a command of its own. Several machines may share the cluster, and each has to have the new certferry by then.
"""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from certferry.cluster import audit, schema
from certferry.cluster.acting import actor
from certferry.cluster.database import Database, DatabaseOutdatedError, fact, put_fact
from certferry.cluster.location import ClusterLocation

MIGRATIONS = Path(__file__).parent / "alembic"


@dataclass(frozen=True, slots=True)
class Upgraded:
    """Which schema was found and which there is now; ``backup`` is a copy of the SQLite file as it was."""

    before: int
    after: int
    backup: Path | None = None


def upgrade(location: ClusterLocation, now: datetime) -> Upgraded:
    """Upgrade the cluster; does nothing where it is up to date.

    Raises ``ClusterMissingError``, ``ClusterMovedError``, ``DatabaseForeignError``.
    """
    with closing(Database(location)) as database:
        try:
            database.check()
        except DatabaseOutdatedError:
            return _upgrade(database, now)
    return Upgraded(schema.SCHEMA_VERSION, schema.SCHEMA_VERSION)


def _upgrade(database: Database, now: datetime) -> Upgraded:
    with database.alter() as connection:
        before, after = int(fact(connection, "schema") or 0), schema.SCHEMA_VERSION
        if before == after:  # by another one, a moment ago
            return Upgraded(before, after)
        backup = _copy(database.location, before) if database.location.server is None else None
        migrate(connection, before)
        put_fact(connection, "schema", str(after))
        details = {"before": before, "after": after}
        audit.append(connection, actor=actor(), action="upgrade-cluster", details=details, now=now)
    return Upgraded(before, after, backup)


def migrate(connection: Connection, before: int, after: int = schema.SCHEMA_VERSION) -> None:
    """Run the migrations after revision ``before``, 0 for all, up to ``after`` in the transaction that is open."""
    from alembic import command  # noqa: PLC0415 -- 0.1 s to load, which other commands need not wait for
    from alembic.config import Config  # noqa: PLC0415 -- same

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    # New clusters get their tables at once, without Alembic: 'fact' tells which revision those are.
    command.stamp(config, str(before) if before else "base", purge=True)
    command.upgrade(config, str(after))


def _copy(location: ClusterLocation, before: int) -> Path:
    """Copy the SQLite file as it is before this transaction, for its owner alone."""
    copy = location.database.with_name(f"{location.database.name}.schema-{before}")
    new = copy.with_name(f"{copy.name}.{os.getpid()}")
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(location.database)) as file, closing(sqlite3.connect(new)) as target:
        file.backup(target)
    return new.replace(copy)
