"""Phones with where they are and which lists they hold, found, counted and sorted in the database, a page at a time.

How a phone's lists compare with those served is said by the same rule as in ``list_status``; here it is SQL, so that
one status can be looked for among 40,000 phones.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    case,
    false,
    func,
    literal,
    not_,
    or_,
    select,
)

from certferry.cluster import schema
from certferry.cluster.database import Database
from certferry.cluster.searching import Found, Slice, contains, slice_of
from certferry.cluster.sightings import GRACE, Step, is_later, stamp
from certferry.cluster.values import Phone

MATCH, MISMATCH, NOT_INSTALLED, UNKNOWN = "match", "mismatch", "not installed", "unknown"
STATUSES = (MISMATCH, NOT_INSTALLED, MATCH, UNKNOWN)
PHONE_SORTS = ("device", "model", "group", "status", "registered")
EVER = timedelta(days=3650)
_PHONE, _HELD = schema.phone, schema.held_list
_CAME, _LEFT = schema.sighting.alias("came"), schema.sighting.alias("gone")


@dataclass(frozen=True, slots=True)
class ServedDigests:
    """SHA-1, in upper-case hex, of the CTL (empty: none) and the ITLs that the cluster serves."""

    ctl: str
    itls: Collection[str]


@dataclass(frozen=True, slots=True)
class PhoneQuery:
    """Which phones: every condition that is set has to hold; ``status`` is that of both lists together.

    ``devices`` are names, a thousand at the most.
    """

    text: str = ""
    group: str | None = None
    status: str | None = None
    sort: str = "device"
    descending: bool = False
    devices: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class PhoneLine:
    """A phone as a list shows it: the status of its lists, and where it registered last.

    ``is_registered`` says whether that registration lasts still; ``node`` is empty when none was ever seen.
    """

    phone: Phone
    ctl: str
    itl: str
    status: str
    told_at: datetime | None
    node: str
    address: str
    registered_at: datetime | None
    is_registered: bool


class PhoneSearch:
    """Searches among one cluster's phones."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def find(self, query: PhoneQuery, served: ServedDigests, part: Slice) -> Found[PhoneLine]:
        """Find phones."""
        status = _Statuses(served, _HELD)
        conditions = _conditions(query, status)
        wanted = _lines(status).where(*conditions)
        column: ColumnElement[Any] = _order(query.sort, status)
        order = column.desc() if query.descending else column
        # Without a text to look for, counting costs little, and a page of names is sorted without their lines.
        alone = None if query.text else select(_PHONE.c.device).select_from(_sorted_by(query)).where(*conditions)
        with self._database.read() as connection:
            rows, total = slice_of(connection, wanted, part, _PHONE.c.device, order, alone=alone)
        now = self._clock()
        return Found(tuple(_line(row, now) for row in rows), total)

    def count(self, served: ServedDigests) -> Mapping[str, int]:
        """How many of the cluster's phones have which status."""
        held = select(_HELD.c.ctl, _HELD.c.itl, func.count().label("phones"))
        held = held.join(_PHONE, _PHONE.c.device == _HELD.c.device).group_by(_HELD.c.ctl, _HELD.c.itl)
        alike = held.subquery()  # 40,000 phones hold a handful of different lists
        both = _Statuses(served, alike).both
        told = select(both, func.sum(alike.c.phones)).group_by(both)
        with self._database.read() as connection:
            counts: dict[str, int] = {row[0]: int(row[1]) for row in connection.execute(told)}
            phones = connection.scalar(select(func.count()).select_from(_PHONE)) or 0
        return dict.fromkeys(STATUSES, 0) | counts | {UNKNOWN: phones - sum(counts.values())}

    def registered(self) -> Mapping[str, int]:
        """How many phones are registered now, by node."""
        with self._database.read() as connection:
            asked = self._registered(connection, _CAME.c.node, func.count()).group_by(_CAME.c.node)
            return {row[0]: row[1] for row in connection.execute(asked)}

    def registered_devices(self) -> frozenset[str]:
        """The phones that are registered now."""
        with self._database.read() as connection:
            return frozenset(connection.scalars(self._registered(connection, _CAME.c.device)))

    def _registered(self, connection: Connection, *columns: ColumnElement[Any]) -> Select[Any]:
        """Ask for registrations that last: how long each does stands in its detail, of which there are few."""
        came = _CAME.c.step == Step.REGISTERED.value
        details = connection.scalars(select(_CAME.c.detail).where(came).distinct()).all()
        now = self._clock()
        lasting = [and_(_CAME.c.detail == each, _CAME.c.at >= stamp(now - _life(each))) for each in details]
        joined = _CAME.outerjoin(_LEFT, and_(_LEFT.c.device == _CAME.c.device, _LEFT.c.step == Step.UNREGISTERED.value))
        left = and_(_LEFT.c.device.is_not(None), _LEFT.c.node == _CAME.c.node, _left_later(now))
        return select(*columns).select_from(joined).where(came, or_(false(), *lasting), not_(left))

    def holders(self) -> Mapping[tuple[str, str], int]:
        """How many phones said they hold which list, by kind and SHA-1 (empty: not installed)."""
        found: dict[tuple[str, str], int] = {}
        with self._database.read() as connection:
            asked = select(_HELD.c.ctl, _HELD.c.itl, func.count()).group_by(_HELD.c.ctl, _HELD.c.itl)
            for ctl, itl, number in connection.execute(asked):
                for kind, digest in (("CTL", ctl), ("ITL", itl)):
                    found[kind, digest] = found.get((kind, digest), 0) + number
        return found


class _Statuses:
    """The status of CTL, ITL and both as SQL, for the lists in ``held``; null where a phone never said it."""

    def __init__(self, served: ServedDigests, held: FromClause) -> None:
        ctl, itl = held.c.ctl, held.c.itl
        self.ctl = _status(ctl, ctl == served.ctl)
        self.itl = _status(itl, itl.in_(sorted(served.itls)))
        # A CTL that is not installed counts only where there is one.
        counted = literal(bool(served.ctl)) | (ctl != "")
        self.both = case(
            (itl.is_(None), UNKNOWN),
            (or_(self.itl == MISMATCH, and_(counted, self.ctl == MISMATCH)), MISMATCH),
            (or_(self.itl == NOT_INSTALLED, and_(counted, self.ctl == NOT_INSTALLED)), NOT_INSTALLED),
            else_=MATCH,
        )


def _left_later(now: datetime) -> ColumnElement[bool]:
    """Say ``is_later`` in SQL."""
    left, came, soon = _LEFT.c.at, _CAME.c.at, stamp(now + GRACE)
    return case((left <= soon, or_(came > soon, left >= came)), else_=and_(came > soon, left >= came))


def _status(held: ColumnElement[str], is_served: ColumnElement[bool]) -> ColumnElement[str]:
    return case((held.is_(None), UNKNOWN), (held == "", NOT_INSTALLED), (is_served, MATCH), else_=MISMATCH)


def _conditions(query: PhoneQuery, status: _Statuses) -> Sequence[ColumnElement[bool]]:
    conditions = [contains(query.text, _PHONE.c.device, _PHONE.c.model, _PHONE.c.group, _PHONE.c.description)]
    if query.group is not None:
        conditions.append(_PHONE.c.group == query.group)
    if query.status is not None:
        conditions.append(status.both == query.status)
    if query.devices is not None:
        conditions.append(_PHONE.c.device.in_(sorted(query.devices)))
    return conditions


def _sorted_by(query: PhoneQuery) -> FromClause:
    """Phones with no more beside them than it takes to find and sort them."""
    joined: FromClause = _PHONE
    if query.status is not None or query.sort == "status":
        joined = joined.outerjoin(_HELD, _HELD.c.device == _PHONE.c.device)
    if query.sort == "registered":
        joined = joined.outerjoin(_CAME, and_(_CAME.c.device == _PHONE.c.device, _CAME.c.step == Step.REGISTERED.value))
    return joined


def _lines(status: _Statuses) -> Select[Any]:
    joined: FromClause = _PHONE.outerjoin(_HELD, _HELD.c.device == _PHONE.c.device)
    for seen, step in ((_CAME, Step.REGISTERED), (_LEFT, Step.UNREGISTERED)):
        joined = joined.outerjoin(seen, and_(seen.c.device == _PHONE.c.device, seen.c.step == step.value))
    columns = (
        *_PHONE.c,
        status.ctl.label("ctl_status"),
        status.itl.label("itl_status"),
        status.both.label("status"),
        _HELD.c.at.label("told_at"),
        _CAME.c.node,
        _CAME.c.address,
        _CAME.c.at,
        _CAME.c.detail,
        _LEFT.c.node.label("left_node"),
        _LEFT.c.at.label("left_at"),
    )
    return select(*columns).select_from(joined)


def _order(sort: str, status: _Statuses) -> ColumnElement[Any]:
    if sort == "status":
        return status.both
    if sort == "registered":
        return func.coalesce(_CAME.c.at, "")
    column: ColumnElement[Any] = _PHONE.c[sort]
    return column


def _line(row: Row[Any], now: datetime) -> PhoneLine:
    return PhoneLine(
        Phone(row.device, row.model, row.group, row.secure, row.description),
        row.ctl_status,
        row.itl_status,
        row.status,
        _moment(row.told_at),
        row.node or "",
        row.address or "",
        _moment(row.at),
        _lasts(row, now),
    )


def _lasts(row: Any, now: datetime) -> bool:
    """Whether the last registration neither ended nor ran out, as ``Sightings.registered`` says it."""
    came, left = _moment(row.at), _moment(row.left_at)
    if came is None or (left is not None and row.left_node == row.node and is_later(left, came, now)):
        return False
    return now <= came + _life(row.detail)


def _life(detail: str) -> timedelta:
    """How long a registration counts, as its detail begins with its seconds."""
    seconds = detail.partition(" ")[0]
    return timedelta(seconds=int(seconds)) + GRACE if seconds.isdecimal() else EVER


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
