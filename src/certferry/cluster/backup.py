"""Backing a cluster up into one file while it is in use, and restoring it elsewhere: everything, or nothing.

The rows are those of one moment. After they are restored they are compared with what was read then. A cluster that an
earlier certferry made is backed up as it is, and upgraded when it is restored.
"""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, delete, insert

from certferry import __version__
from certferry.cluster import audit, identities, resets, schema
from certferry.cluster.acting import actor
from certferry.cluster.audit import AuditBrokenError
from certferry.cluster.backup_file import (
    BackupDamagedError,
    BackupError,
    BackupForeignError,
    BackupHeader,
    BackupKeyError,
    BackupReader,
    BackupWriter,
    fingerprint,
    new_file,
    unwrap,
    wrap,
)
from certferry.cluster.database import Database, DatabaseOutdatedError, fact, put_fact
from certferry.cluster.founding import new_place
from certferry.cluster.location import ClusterLocation
from certferry.cluster.rows import RowsDigest, continue_numbers, digest_of, read_rows, tables_there
from certferry.cluster.sealing import Seal
from certferry.cluster.upgrading import migrate


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What a backup holds: how many rows of each table, and the state of the audit log. ``made_at`` is UTC.

    ``audit_problem`` says what is wrong with the audit log, where something is.
    """

    header: BackupHeader
    rows: Mapping[str, int]
    audit_problem: str | None


def back_up(
    source: ClusterLocation, file: Path, now: datetime, *, passphrase: str | None = None, replace: bool = False
) -> BackedUp:
    """Write all of a cluster into ``file``, with its seal key only when there is a passphrase to encrypt that with.

    Raises ``BackupExistsError``, ``BackupPassphraseError``, and what opening the cluster raises.
    """
    seal, key = Seal.load(source.key_file), source.key_file.read_bytes()
    wrapped = wrap(key, passphrase) if passphrase is not None else ""
    with closing(Database(source)) as database, _any_schema(database) as reading:
        identities.check_seal(reading, seal)
        header = BackupHeader(
            name=fact(reading, "name") or "",
            release=fact(reading, "release") or "",
            schema=int(fact(reading, "schema") or 0),
            made_at=now.isoformat(),
            certferry=__version__,
            host=socket.gethostname(),
            key_file=str(source.key_file.absolute()),
            fingerprint=fingerprint(key),
            wrapped=wrapped,
        )
        with new_file(file, replace=replace) as opened:
            digests = _write(reading, BackupWriter(opened, header, key))
        return BackedUp(header, {name: count for name, (count, _) in digests.items()}, _audit_problem(reading))


@contextmanager
def _any_schema(database: Database) -> Iterator[Connection]:
    """Read a cluster's database, be it one that waits for its upgrade."""
    with suppress(DatabaseOutdatedError):
        database.check()
    with database.read() as connection:
        yield connection


def _write(reading: Connection, writer: BackupWriter) -> dict[str, tuple[int, str]]:
    digests = {}
    for table in tables_there(reading):
        columns = [column.name for column in table.columns]
        writer.line({"table": table.name, "columns": columns})
        digest = RowsDigest()
        for rows in read_rows(reading, table, columns):
            writer.line({"rows": [list(row.values()) for row in rows]})
            digest.add(rows)
        digests[table.name] = digest.value
    writer.line({"digests": digests})
    writer.end()
    return digests


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored, and how many lines the audit log has; ``schema`` is what it was upgraded to.

    ``resets_withdrawn`` counts phones that were to be reset when the backup was made: nobody expects it any more.
    """

    header: BackupHeader
    rows: Mapping[str, int]
    schema: int
    resets_withdrawn: int
    audit_lines: int
    audit_problem: str | None


def restore(
    file: Path,
    target: ClusterLocation,
    now: datetime,
    *,
    passphrase: Callable[[], str],
    key_file: Path | None = None,
) -> Restored:
    """Make a cluster at ``target`` of what ``file`` holds; ``passphrase`` is called when the key is in it.

    Raises ``ClusterExistsError``, ``BackupForeignError``, ``BackupDamagedError``, ``BackupKeyError``,
    ``BackupPassphraseError``, ``SealError``; nothing is left behind then.
    """
    try:
        opened = file.open("rb")
    except OSError as error:
        raise BackupError(f"cannot read {file}: {error.strerror}", remedy="See that you may read it.") from error
    with opened, closing(Database(target)) as goal:
        reader = BackupReader(opened, str(file))
        if not 0 < reader.header.schema <= schema.SCHEMA_VERSION:
            later = f"{file} has schema {reader.header.schema}, this certferry reads {schema.SCHEMA_VERSION}"
            raise BackupForeignError(later)
        goal.must_not_exist()
        key = _key(reader.header, target, passphrase, key_file)
        reader.check_authentic(key)
        with new_place(target, key) as seal, goal.found(_tables_of(reader.header.schema)) as writing:
            return _restore(writing, seal, reader, now)


def _key(header: BackupHeader, target: ClusterLocation, passphrase: Callable[[], str], key_file: Path | None) -> bytes:
    """Find the seal key: in the file named, in the backup, or on this machine already."""
    if key_file is not None:
        Seal.load(key_file)
        key = key_file.read_bytes()
    elif header.wrapped:
        key = unwrap(header.wrapped, passphrase())
    elif target.key_file.is_file():
        Seal.load(target.key_file)
        key = target.key_file.read_bytes()
    else:
        bring = f"Bring the key file that was {header.key_file} on {header.host}, and name it: --seal-key FILE"
        raise BackupKeyError("this backup does not hold the key of the cluster's private keys", remedy=bring)
    if fingerprint(key) != header.fingerprint:
        named = key_file or target.key_file
        raise BackupKeyError(
            f"{named} is not the key of this backup's private keys",
            remedy=f"Bring the one that was {header.key_file} on {header.host}: --seal-key FILE",
        )
    return key


def _tables_of(number: int) -> Callable[[Connection], None] | None:
    """Say how to make the tables of a schema; None for those of this certferry."""
    return None if number == schema.SCHEMA_VERSION else lambda connection: migrate(connection, 0, number)


def _restore(writing: Connection, seal: Seal, reader: BackupReader, now: datetime) -> Restored:
    before, after = reader.header.schema, schema.SCHEMA_VERSION
    rows = _load(writing, reader)
    identities.check_seal(writing, seal)
    problem = _audit_problem(writing)
    if before < after:
        migrate(writing, before)
        put_fact(writing, "schema", str(after))
    withdrawn = resets.withdraw_all(writing, now)
    details = {"made": reader.header.made_at, "host": reader.header.host, "before": before, "after": after}
    audit.append(
        writing, actor=actor(), action="restore-cluster", details={**details, "resets_withdrawn": withdrawn}, now=now
    )
    return Restored(reader.header, rows, after, withdrawn, len(audit.read_lines(writing)), problem)


def _load(writing: Connection, reader: BackupReader) -> dict[str, int]:
    """Fill the tables, and compare them with what was read when the backup was made."""
    tables = {table.name: table for table in tables_there(writing)}
    writing.execute(delete(schema.fact))  # those of a new cluster
    columns: dict[str, list[str]] = {}
    told: Mapping[str, Any] = {}
    table: Table | None = None
    for line in reader.lines():
        if "table" in line:
            table, columns[line["table"]] = _known(tables, line), line["columns"]
        elif "rows" in line and table is not None:
            names = columns[table.name]
            writing.execute(insert(table), [dict(zip(names, row, strict=True)) for row in line["rows"]])
        else:
            told = line["digests"]
    for name, names in columns.items():
        continue_numbers(writing, tables[name])
        if list(digest_of(writing, tables[name], names)) != told[name]:
            raise BackupDamagedError(f"table {name} did not arrive as it was", remedy="Report this as a defect.")
    return {name: told[name][0] for name in columns}


def _known(tables: Mapping[str, Table], line: Mapping[str, Any]) -> Table:
    table = tables.get(line["table"])
    if table is None or not {*line["columns"]} <= {column.name for column in table.columns}:
        raise BackupForeignError(f"the backup has a table {line['table']} that this certferry does not know")
    return table


def _audit_problem(connection: Connection) -> str | None:
    try:
        audit.check(connection)
    except AuditBrokenError as error:
        return error.sentence
    return None
