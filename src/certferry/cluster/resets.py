"""Phones that are to be reset: asked for by anybody, told by the node at which the phone is registered.

A phone is told at most once for each request, whoever is killed whenever: a node takes the request and commits,
and only then tells the phone. What a node took and never ended stays taken, and nobody tells it again.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, exists, func, select, update

from certferry.cluster import audit, schema
from certferry.cluster.database import Database, wake_nodes
from certferry.cluster.phones import PhoneUnknownError, device_name
from certferry.cluster.sightings import chunks, stamp
from certferry.cluster.upserting import upsert

_TABLE = schema.reset_request
_OPEN = _TABLE.c.taken_at.is_(None)
"""Nobody has it. A request that is withdrawn is not open either: it counts as taken by no node."""


class ResetOutcome(StrEnum):
    """How a request ended: the phone answered, did not, or was registered nowhere."""

    DONE = "done"
    UNANSWERED = "unanswered"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class ResetRequest:
    """One phone that is to be reset once. ``node`` is empty until one took it; ``outcome`` is None until it ended."""

    id: str
    device: str
    asked_at: datetime
    asked_by: str
    node: str = ""
    taken_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: ResetOutcome | None = None


class Resets:
    """The reset requests of one cluster."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def ask(self, devices: Mapping[str, str], by: str) -> None:
        """Ask for resets, ``{id: device}``. A request that is there already stays as it is, however far it got."""
        if devices:
            with self._database.write() as connection:
                self._ask(connection, devices, by)

    def must_know(self, devices: Iterable[str]) -> None:
        """Raise ``PhoneUnknownError`` for the first of ``devices`` that the cluster does not know."""
        with self._database.read() as connection:
            _must_be_known(connection, map(device_name, devices))

    def ask_by_hand(self, identifier: str, devices: Sequence[str], by: str) -> tuple[str, ...]:
        """Ask for resets in ``by``'s name, which the audit log keeps; return the requests' ids.

        The same ``identifier`` asks once. Raises ``PhoneUnknownError``, and asks for none then.
        """
        asked = {f"{identifier}-{device}": device for device in map(device_name, devices)}
        with self._database.write() as connection:
            _must_be_known(connection, asked.values())
            known = connection.scalars(select(_TABLE.c.id).where(_TABLE.c.id == next(iter(asked), ""))).all()
            if asked and not known:
                self._ask(connection, asked, by)
                details = {"devices": list(asked.values())}
                audit.append(connection, actor=by, action="reset-phones", details=details, now=self._clock())
        return tuple(asked)

    def _ask(self, connection: Connection, devices: Mapping[str, str], by: str) -> None:
        now = stamp(self._clock())
        rows = [
            {"id": identifier, "device": device, "asked_at": now, "asked_by": by, "node": "", "outcome": ""}
            for identifier, device in sorted(devices.items())
        ]
        upsert(connection, _TABLE, rows, keys=["id"])
        wake_nodes(connection)

    def take(self, node: str, devices: Collection[str], limit: int | None = None) -> tuple[ResetRequest, ...]:
        """Claim what is open for ``devices``, the oldest first: what is returned here, nobody else ever gets."""
        known = frozenset(devices)
        asked = select(_TABLE.c.id, _TABLE.c.device).where(_OPEN).order_by(_TABLE.c.asked_at, _TABLE.c.id)
        with self._database.read() as connection:
            wanted = [row.id for row in connection.execute(asked) if row.device in known][:limit]
        if not wanted:
            return ()
        claim = update(_TABLE).where(_OPEN).values(node=node, taken_at=stamp(self._clock())).returning(_TABLE)
        taken: list[ResetRequest] = []
        with self._database.write() as connection:
            for chunk in chunks(wanted):
                taken += [_request(row) for row in connection.execute(claim.where(_TABLE.c.id.in_(chunk)))]
        return tuple(sorted(taken, key=lambda request: (request.asked_at, request.id)))

    def end(self, identifier: str, outcome: ResetOutcome) -> None:
        """Say how a request that was taken ended; the first word stays."""
        self.end_all({identifier: outcome})

    def end_all(self, outcomes: Mapping[str, ResetOutcome]) -> None:
        """Say how several requests ended."""
        now = stamp(self._clock())
        with self._database.write() as connection:
            for identifier, outcome in sorted(outcomes.items()):
                ended = update(_TABLE).where(_TABLE.c.id == identifier, _TABLE.c.ended_at.is_(None))
                connection.execute(ended.values(ended_at=now, outcome=outcome.value))

    def withdraw(self, identifiers: Collection[str]) -> frozenset[str]:
        """End as ``ABSENT`` those that nobody has taken, and tell which these were."""
        now = stamp(self._clock())
        gone = update(_TABLE).where(_OPEN).values(taken_at=now, ended_at=now, outcome=ResetOutcome.ABSENT.value)
        withdrawn: set[str] = set()
        with self._database.write() as connection:
            for chunk in chunks(sorted(identifiers)):
                found = connection.execute(gone.where(_TABLE.c.id.in_(chunk)).returning(_TABLE.c.id))
                withdrawn.update(found.scalars())
        return frozenset(withdrawn)

    def find(self, identifiers: Collection[str]) -> dict[str, ResetRequest]:
        """How far the requests of these ids got; unknown ones are left out."""
        with self._database.read() as connection:
            return {
                row.id: _request(row)
                for chunk in chunks(identifiers)
                for row in connection.execute(select(_TABLE).where(_TABLE.c.id.in_(chunk)))
            }

    def open_count(self) -> int:
        """How many requests nobody has taken."""
        with self._database.read() as connection:
            return connection.scalar(select(func.count()).select_from(_TABLE).where(_OPEN)) or 0

    def version_and_any_open(self) -> tuple[int, bool]:
        """Read the cluster's change version and whether a request is open, in one query."""
        version = select(schema.fact.c.value).where(schema.fact.c.key == "version").scalar_subquery()
        with self._database.read() as connection:
            row = connection.execute(select(version, exists().where(_OPEN))).one()
        return int(row[0] or 0), bool(row[1])


def _must_be_known(connection: Connection, devices: Iterable[str]) -> None:
    table = schema.phone
    for chunk in chunks(devices):
        known = set(connection.scalars(select(table.c.device).where(table.c.device.in_(chunk))))
        if strange := next((device for device in chunk if device not in known), None):
            raise PhoneUnknownError(f"the cluster knows no phone {strange}")


def withdraw_all(connection: Connection, now: datetime) -> int:
    """End as ``ABSENT`` whatever nobody has taken, and tell how many requests these were."""
    gone = {"taken_at": stamp(now), "ended_at": stamp(now), "outcome": ResetOutcome.ABSENT.value}
    return connection.execute(update(_TABLE).where(_OPEN).values(gone)).rowcount


def _request(row: Row[Any]) -> ResetRequest:
    taken_at = _moment(row.taken_at) if row.node else None
    outcome = ResetOutcome(row.outcome) if row.outcome else None
    asked_at = datetime.fromisoformat(row.asked_at)
    return ResetRequest(row.id, row.device, asked_at, row.asked_by, row.node, taken_at, _moment(row.ended_at), outcome)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
