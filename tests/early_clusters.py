"""Clusters as an earlier certferry made them: the same rows in the tables of its schema."""

import shutil
from contextlib import closing
from pathlib import Path

from sqlalchemy import insert, select, text

from certferry.cluster import schema
from certferry.cluster.database import Database
from certferry.cluster.location import ClusterLocation
from certferry.cluster.rows import continue_numbers, tables_there
from certferry.cluster.upgrading import migrate


def copy_to_early_schema(present: ClusterLocation, folder: Path, number: int) -> ClusterLocation:
    """Copy a cluster into ``folder``, into the tables that schema ``number`` had; what came later is left out."""
    early = ClusterLocation.parse(folder)
    fill_early_schema(present, early, number)
    return early


def fill_early_schema(present: ClusterLocation, early: ClusterLocation, number: int) -> None:
    """Do so at a place that is empty, in a folder or in PostgreSQL."""
    early.key_file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(present.key_file, early.key_file)
    with (
        closing(Database(early)) as new,
        closing(Database(present)) as old,
        new.found(lambda connection: migrate(connection, 0, number)) as writing,
        old.read() as reading,
    ):
        writing.execute(schema.fact.delete())
        for table in tables_there(writing):
            columns = [column.name for column in table.columns]
            chosen = select(*[schema.metadata.tables[table.name].c[name] for name in columns])
            if rows := [dict(zip(columns, row, strict=True)) for row in reading.execute(chosen)]:
                writing.execute(insert(table), rows)
            continue_numbers(writing, table)
        writing.execute(text(f"UPDATE fact SET value = '{number}' WHERE key = 'schema'"))
        writing.execute(text("DROP TABLE alembic_version"))
