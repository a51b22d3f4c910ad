"""The audit log: append-only JSON lines, each carrying the hash of the line before it.

So a missing or changed line is seen (``certferry audit verify``).
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import sha256

from sqlalchemy import Connection, insert, select

from certferry.cluster import schema
from certferry.errors import Refusal

_BEGINNING = "0" * 64


class AuditBrokenError(Refusal):
    """A line of the audit log is missing or was changed."""

    code = "cluster.audit-broken"
    remedy = "Compare with a backup of the cluster; somebody changed its database by hand."


def append(connection: Connection, *, actor: str, action: str, details: Mapping[str, object], now: datetime) -> None:
    """Add a line inside the transaction that does what it tells."""
    last = connection.scalar(select(schema.audit.c.line).order_by(schema.audit.c.position.desc()).limit(1))
    entry = {
        "at": now.isoformat(),
        "actor": actor,
        "action": action,
        **details,
        "previous": _hash(last) if last else _BEGINNING,
    }
    connection.execute(insert(schema.audit), {"line": json.dumps(entry, sort_keys=True, ensure_ascii=False)})


def read_lines(connection: Connection) -> tuple[str, ...]:
    """Read the whole log, oldest line first."""
    return tuple(connection.scalars(select(schema.audit.c.line).order_by(schema.audit.c.position)))


def verify(lines: Iterable[str]) -> int:
    """Return how many lines there are; raise ``AuditBrokenError`` naming the first that does not fit."""
    expected, count = _BEGINNING, 0
    for count, line in enumerate(lines, 1):
        if json.loads(line).get("previous") != expected:
            raise AuditBrokenError(f"line {count} of the audit log does not follow from the line before it")
        expected = _hash(line)
    return count


def _hash(line: str) -> str:
    return sha256(line.encode()).hexdigest()
