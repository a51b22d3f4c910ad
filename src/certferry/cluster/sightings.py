"""Where each phone was seen last at each step of its way, and which trust lists it said it holds.

The nodes tell it in batches, about each second. It is what an operator looks at while phones move; nothing is
decided by it, so it is not audited, and of two tellings the later moment stays, in whatever order they come.

A moment that lies ahead of the clock now was told before that clock was set back: it counts as earlier than any that
does not, so that what phones do from then on is seen.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Table, select

from certferry.cluster import schema
from certferry.cluster.database import Database
from certferry.cluster.upserting import upsert

MAX_DETAIL = 300
"""Longest detail kept, in characters: some of it is what a peer sent."""
CHUNK = 500
"""Devices in one statement."""
RAN_OUT = "ran out"
"""Detail of ``UNREGISTERED`` when nobody renewed: the registration said so itself, if it was not renewed elsewhere."""
GRACE = timedelta(seconds=60)
"""How long a registration counts beyond its end, as nodes tell late and their clocks differ."""
ABOUT_NOW = timedelta(seconds=2)
"""So far apart are the clocks of nodes that write; what is further ahead was written before a clock was set back."""
T = TypeVar("T", str, datetime)


class Step(StrEnum):
    """What a node saw a phone do."""

    CTL = "ctl"
    ITL = "itl"
    CONFIGURATION = "configuration"
    TVS = "tvs"
    REGISTERED = "registered"
    UNREGISTERED = "unregistered"
    REFUSED = "refused"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Sighting:
    """A phone, seen at one step by one node. ``detail`` is for people.

    Only that of ``REGISTERED`` is read again: it begins with the seconds that the registration lasts.
    """

    device: str
    step: Step
    at: datetime
    node: str
    address: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HeldLists:
    """Which lists a phone said it holds, as SHA-1 in upper-case hex; empty: not installed (phone-trust 4.6).

    ``status_code`` is None when the phone's last update of its lists succeeded.
    """

    device: str
    ctl: str
    itl: str
    status_code: int | None
    at: datetime


class Sightings:
    """The sightings of one cluster's phones."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def note(self, sightings: Iterable[Sighting], held: Iterable[HeldLists] = ()) -> None:
        """Keep what is later than what is there."""
        soon = stamp(self._clock() + ABOUT_NOW)
        seen = _latest(soon, ({"device": s.device, "step": s.step.value, "at": stamp(s.at), "node": s.node,
                               "address": s.address, "detail": s.detail[:MAX_DETAIL]} for s in sightings))  # fmt: skip
        lists = _latest(soon, ({"device": h.device, "step": "", "at": stamp(h.at), "ctl": h.ctl, "itl": h.itl,
                                "status_code": h.status_code} for h in held))  # fmt: skip
        for row in lists:
            del row["step"]
        if not seen and not lists:
            return
        with self._database.write() as connection:
            _put(connection, schema.sighting, seen, soon)
            _put(connection, schema.held_list, lists, soon)

    def of(self, devices: Collection[str]) -> dict[str, dict[Step, Sighting]]:
        """The last sighting at each step of ``devices``; a phone never seen is not among them."""
        found: dict[str, dict[Step, Sighting]] = {}
        for row in self._rows(schema.sighting, devices):
            found.setdefault(row.device, {})[Step(row.step)] = _sighting(row)
        return found

    def registered(self) -> dict[str, Sighting]:
        """Tell which phones are registered now, by the node that said so last."""
        table = schema.sighting
        with self._database.read() as connection:
            rows = connection.execute(select(table).where(table.c.step.in_([Step.REGISTERED, Step.UNREGISTERED]))).all()
        seen = [_sighting(row) for row in rows]
        left = {s.device: s for s in seen if s.step is Step.UNREGISTERED}
        now = self._clock()
        return {s.device: s for s in seen if s.step is Step.REGISTERED and _lasts(s, left.get(s.device), now)}

    def held(self, devices: Collection[str] | None = None) -> dict[str, HeldLists]:
        """The lists that ``devices``, or all phones, said they hold."""
        return {row.device: _held(row) for row in self._rows(schema.held_list, devices)}

    def _rows(self, table: Table, devices: Collection[str] | None) -> list[Row[Any]]:
        with self._database.read() as connection:
            if devices is None:
                return list(connection.execute(select(table)))
            return [
                row
                for chunk in chunks(devices)
                for row in connection.execute(select(table).where(table.c.device.in_(chunk)))
            ]


def stamp(at: datetime) -> str:
    """Write a moment so that texts compare as moments do, in whatever order a database sorts texts."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def chunks(values: Iterable[str]) -> Iterator[Sequence[str]]:
    """Cut ``values`` into what one statement can name."""
    rest = iter(values)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def _latest(soon: str, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each key: no statement may write a row twice."""
    kept: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = row["device"], row["step"]
        if key not in kept or _order(kept[key]["at"], soon) <= _order(row["at"], soon):
            kept[key] = row
    return [kept[key] for key in sorted(kept)]  # in one order, so that two writers never wait for each other


def _order(at: T, soon: T) -> tuple[bool, T]:
    """Order moments as they came: those ahead of the clock first."""
    return at <= soon, at


def _put(connection: Connection, table: Table, rows: list[dict[str, Any]], soon: str) -> None:
    keys = [column.name for column in table.primary_key]
    update = [column.name for column in table.columns if column.name not in keys]
    told_now, ahead = [row for row in rows if row["at"] <= soon], [row for row in rows if row["at"] > soon]
    upsert(connection, table, told_now, keys=keys, update=update, later="at", soon=soon)
    upsert(connection, table, ahead, keys=keys, update=update, later="at")


def is_later(one: datetime, other: datetime, now: datetime) -> bool:
    """Whether ``one`` came with ``other`` or after it, also when a clock was set back between them.

    ``now`` is told by whoever reads, perhaps on another machine than the nodes.
    """
    return _order(one, now + GRACE) >= _order(other, now + GRACE)


def _lasts(registered: Sighting, left: Sighting | None, now: datetime) -> bool:
    if left and left.node == registered.node and left.detail != RAN_OUT and is_later(left.at, registered.at, now):
        return False
    seconds = registered.detail.partition(" ")[0]
    return not seconds.isdecimal() or now <= registered.at + timedelta(seconds=int(seconds)) + GRACE


def _sighting(row: Row[Any]) -> Sighting:
    return Sighting(row.device, Step(row.step), datetime.fromisoformat(row.at), row.node, row.address, row.detail)


def _held(row: Row[Any]) -> HeldLists:
    return HeldLists(row.device, row.ctl, row.itl, row.status_code, datetime.fromisoformat(row.at))
