"""Lets the tests of clusters run on PostgreSQL: with ``CERTFERRY_TEST_POSTGRESQL=postgresql://USER@HOST:PORT/postgres``.

Each cluster that ``make_cluster`` makes is in a database of its own then, which is emptied and used again after the
test. Tests that need a cluster's folder are skipped.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from os import getpid
from pathlib import Path
from shutil import copy

import psycopg
import pytest
from sqlalchemy import Connection, delete, insert, select, text

from certferry.cluster import schema
from certferry.cluster.database import Database
from certferry.cluster.location import ClusterLocation
from certferry.cluster.rows import continue_numbers

TEST_SERVER = "CERTFERRY_TEST_POSTGRESQL"
_numbers = count(1)
_unused: list[str] = []


@contextmanager
def copies_on(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path, Path], ClusterLocation]]:
    """Give a function that copies a cluster in a folder to a database of ``server``, exactly as it is."""
    used: list[str] = []
    monkeypatch.setattr(ClusterLocation, "folder", property(_folder))

    def copied(template: Path, folder: Path) -> ClusterLocation:
        used.append(_unused.pop() if _unused else _new(server))
        _fill(Database(ClusterLocation.parse(used[-1])), Database(ClusterLocation.parse(template)))
        folder.mkdir()
        return ClusterLocation.parse(f"{used[-1]}?seal_key={copy(template / 'seal.key', folder)}")

    yield copied
    _unused.extend(used)


def _folder(location: ClusterLocation) -> Path:
    if location.server is not None:
        pytest.skip("is about a cluster in a folder")
    return Path(location.text)


def _new(server: str) -> str:
    """Make a database with empty tables; return its URL."""
    name = f"test_{getpid()}_{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    url = f"{server.rpartition('/')[0]}/{name}"
    with closing(Database(ClusterLocation.parse(url))) as database, database.alter() as connection:
        schema.metadata.create_all(connection)
    return url


def _fill(goal: Database, source: Database) -> None:
    with closing(goal), closing(source), goal.alter() as writing, source.read() as reading:
        _end_others(writing)
        for table in reversed(schema.metadata.sorted_tables):
            writing.execute(delete(table))  # TRUNCATE makes new files, which takes far longer for a few rows
        for table in schema.metadata.sorted_tables:
            if rows := [row._asdict() for row in reading.execute(select(table))]:
                writing.execute(insert(table), rows)
            continue_numbers(writing, table)


def _end_others(connection: Connection) -> None:
    """End what an earlier test left open, which might hold locks."""
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
    connection.execute(text(others + "pg_backend_pid()"))
