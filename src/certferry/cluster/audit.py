"""The audit log: append-only JSON lines, each carrying the hash of the line before it.

So a missing or changed line is seen (``certferry audit verify``). No line follows the last one: how many lines there
are and the hash of the last stand beside the log.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import sha256

from sqlalchemy import Connection, insert, select

from certferry.cluster import schema
from certferry.cluster.database import fact, put_fact
from certferry.errors import Refusal

_BEGINNING = "0" * 64
_HEAD = "audit-head"


class AuditBrokenError(Refusal):
    """A line of the audit log is missing or was changed."""

    code = "cluster.audit-broken"
    remedy = "Compare with a backup of the cluster; somebody changed its database by hand."


def append(connection: Connection, *, actor: str, action: str, details: Mapping[str, object], now: datetime) -> None:
    """Add a line inside the transaction that does what it tells."""
    count, last = _head(connection)
    line = json.dumps(
        {"at": now.isoformat(), "actor": actor, "action": action, **details, "previous": last},
        sort_keys=True,
        ensure_ascii=False,
    )
    connection.execute(insert(schema.audit), {"line": line})
    put_fact(connection, _HEAD, f"{count + 1} {_hash(line)}")


def read_lines(connection: Connection) -> tuple[str, ...]:
    """Read the whole log, oldest line first."""
    return tuple(connection.scalars(select(schema.audit.c.line).order_by(schema.audit.c.position)))


def check(connection: Connection) -> int:
    """Return how many lines the log has; raise ``AuditBrokenError`` when one is missing or was changed."""
    written, last = _head(connection)
    lines = read_lines(connection)
    verify(lines)
    if len(lines) != written or (lines and _hash(lines[-1]) != last):
        raise AuditBrokenError(f"the audit log ends with line {len(lines)}, which is not line {written} as written")
    return len(lines)


def verify(lines: Iterable[str]) -> int:
    """Return how many lines there are; raise ``AuditBrokenError`` naming the first that does not fit.

    Lines alone cannot tell that the last one was changed, or that some are missing after it: ``check`` can.
    """
    expected, count = _BEGINNING, 0
    for count, line in enumerate(lines, 1):
        if _previous(line) != expected:
            raise AuditBrokenError(f"line {count} of the audit log does not follow from the line before it")
        expected = _hash(line)
    return count


def _previous(line: str) -> object:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry.get("previous") if isinstance(entry, dict) else None


def _head(connection: Connection) -> tuple[int, str]:
    """How many lines were written, and the hash of the last."""
    count, _, last = (fact(connection, _HEAD) or f"0 {_BEGINNING}").partition(" ")
    return int(count), last


def _hash(line: str) -> str:
    return sha256(line.encode()).hexdigest()
