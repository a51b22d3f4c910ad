"""The runner: looks, lets ``steering`` decide, does it, writes it down; turn after turn, holding the lease.

Whatever kills it, another runner goes on from the database: ``resume``.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from certferry.cluster.database import DatabaseError
from certferry.cluster.migrations import (
    TO_RUN,
    Event,
    Lease,
    Migration,
    Migrations,
    MigrationStateError,
    PhoneState,
    Progress,
    State,
    Wanted,
    lease_of,
)
from certferry.errors import Refusal
from certferry.migrate.gather import Reach
from certferry.migrate.waves import lease
from certferry.migrate.waves.finding import FIRST, find_out
from certferry.migrate.waves.planning import Rules
from certferry.migrate.waves.sides import Sides, reset_id
from certferry.migrate.waves.status import Status
from certferry.migrate.waves.steering import (
    Action,
    BeginWave,
    Finish,
    Mark,
    Observations,
    Pause,
    Redate,
    Reset,
    Steered,
    Withdraw,
    advance,
    changes,
    redated,
)

__all__ = ["AWAY", "TURN", "MigrationStateError", "Nobody", "Runner", "Running", "Watcher"]

TURN = 0.25
"""Seconds between two turns."""
LATE = timedelta(seconds=5)
"""How often failed phones are looked for: there may be thousands, and few come late."""
CLOCK_SET_BACK = "clock-set-back"
"""The kind of the event that says so."""
_RETRY = 0.5
AWAY = 600.0
"""Seconds that a database may be away before the runner gives up; another can go on from there."""


class Watcher(Protocol):
    """Who looks on."""

    def happened(self, event: Event) -> None:
        """Learn of an event."""
        ...

    def stands(self, status: Callable[[], Status]) -> None:
        """Learn, each turn, how the migration stands."""
        ...


class Nobody:
    """Nobody looks on."""

    def happened(self, event: Event) -> None:
        """Do nothing."""

    def stands(self, status: Callable[[], Status]) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Running:
    """How a runner works: its clock, its seconds between turns, and how patiently failures are looked into.

    ``away`` is for how many seconds it waits for a database, and ``settle`` how long nodes then have to tell what
    they saw meanwhile.
    """

    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    turn: float = TURN
    reach: Reach | None = None
    away: float = AWAY
    settle: float = 3.0


class Runner:
    """Steers one migration from ``begin`` to its end or a pause."""

    def __init__(
        self,
        sides: Sides,
        migration: str,
        watcher: Watcher | None = None,
        how: Running | None = None,
        states: Collection[State] = TO_RUN,
    ) -> None:
        """``states`` are those in which the migration may be found: whoever starts it must not resume it unseen."""
        self._sides, self._id = sides, migration
        self._states = states
        self._watcher = watcher or Nobody()
        self._how = how or Running()
        self._name = lease.this_runner()
        self._lease = Lease(self._name, datetime.min.replace(tzinfo=UTC))
        self._migration: Migration | None = None
        self._steered = Steered(Rules(), {})
        self._stopping = self._away = ""
        self._next_late = datetime.min.replace(tzinfo=UTC)

    @property
    def _ledger(self) -> Migrations:
        return self._sides.source.migrations

    def status(self) -> Status:
        """Tell how the migration stands."""
        assert self._migration is not None  # noqa: S101 -- asked by watchers, who are told after the beginning
        now, state = (
            self._how.clock(),
            replace(self._migration, state=State.RUNNING, reason=self._away or self._stopping),
        )
        steered = replace(state, runner=self._name, runner_until=self._lease.until)
        return Status.of(steered, self._steered.phones.values(), now)

    async def run(self, events: Sequence[Event] = ()) -> Status:
        """Steer until every phone has ended or the migration pauses; return how it stands then.

        ``events`` are noted first: what was done before the first reset. Raises ``MigrationLockedError``,
        ``MigrationOverlapError``, ``MigrationStateError``. Broken off in any way, it can be resumed.
        """
        try:
            self._begin(events)
            end = await self._patient_turn()
            while end is None:
                await asyncio.sleep(self._how.turn)
                end = await self._patient_turn()
            await self._end(end)
        finally:
            with suppress(DatabaseError):  # it is away: the lease runs out by itself
                self._ledger.release(self._id, self._name)
        return Status.of(self._ledger.find(self._id), self._ledger.phones(self._id), self._how.clock())

    def _begin(self, events: Sequence[Event]) -> None:
        now = self._how.clock()
        self._lease = lease_of(self._name, now, lease.SECONDS)
        found = self._ledger.claim(self._id, self._lease, now, is_gone=lease.is_gone, states=self._states)
        self._migration = found
        kind = "started" if found.state is State.PLANNED else "resumed"
        mine = Event(kind, now, {"from": found.state.value, "reason": found.reason})
        self._ledger.record(self._id, self._name, Progress(events=(*events, mine)))
        counted_from = _counted_from(self._ledger.events(self._id))
        phones = self._ledger.phones(self._id)
        self._steered = Steered.of(Rules.of_json(found.plan), phones, *counted_from)
        for event in (*events, mine):
            self._watcher.happened(event)
        if set_back := redated(self._steered, now, resumed=found.state is State.PAUSED):
            self._write([set_back], now)
        self._take_up_asked()

    def _take_up_asked(self) -> None:
        """Watch the phones that a killed runner asked to reset and had no time to write down."""
        waiting = {reset_id(self._id, phone.device): phone for phone in self._steered.next_up}
        asked = self._sides.source.resets.find(waiting)
        found = [replace(waiting[key], state=PhoneState.RESET, reset_at=each.asked_at) for key, each in asked.items()]
        if found:
            self._record(Progress(tuple(found)))
            self._steered = self._steered.after([Mark(phone) for phone in found], self._how.clock())

    async def _patient_turn(self) -> Pause | Finish | None:
        """Take a turn; one that a database broke off is taken again when it is back. Each step may be done twice."""
        given_up = time.monotonic() + self._how.away
        while True:
            try:
                if self._away:
                    self._stay(self._how.clock())
                    await asyncio.sleep(self._how.settle)
                    self._away = ""
                return self._turn()
            except DatabaseError as error:
                if type(error) is not DatabaseError or time.monotonic() > given_up:
                    raise
                self._away = f"waiting for the database: {error.sentence}"
            self._watcher.stands(self.status)
            await asyncio.sleep(max(self._how.turn, _RETRY))

    def _turn(self) -> Pause | Finish | None:
        now = self._how.clock()
        wanted = self._stay(now)
        seen = self._sides.look_up(self._id, self._steered.watched(now, failed=self._is_time_for_late(now)))
        actions = advance(self._steered, Observations(seen, wanted is Wanted.PAUSE), now)
        self._do(actions)
        self._write(actions, now)
        self._tell_stopping(wanted, now)
        self._watcher.stands(self.status)
        return next((action for action in actions if isinstance(action, Pause | Finish)), None)

    def _is_time_for_late(self, now: datetime) -> bool:
        """Whether failed phones are looked for: each few seconds, and before the end."""
        if timedelta() < self._next_late - now <= LATE and self._steered.under_way:
            return False
        self._next_late = now + LATE
        return True

    def _stay(self, now: datetime) -> Wanted:
        """Hold the lease: nothing is done by a runner that slept so long that another took over."""
        left = (self._lease.until - now).total_seconds()
        if lease.SECONDS * 2 / 3 < left <= lease.SECONDS:  # more is left when the clock was set back
            return self._ledger.wanted(self._id, self._name)
        self._lease = lease_of(self._name, now, lease.SECONDS)
        return self._ledger.renew(self._id, self._lease)

    def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Reset) and action.devices:
                asked = {reset_id(self._id, device): device for device in action.devices}
                self._sides.source.resets.ask(asked, by=self._id)
            elif isinstance(action, Withdraw):
                self._sides.source.resets.withdraw([reset_id(self._id, device) for device in action.devices])

    def _write(self, actions: Sequence[Action], now: datetime) -> None:
        changed = tuple(changes(self._steered, actions, now))
        self._record(Progress(changed, tuple(_events(actions, self._steered, now))))
        self._steered = self._steered.after(actions, now)

    def _record(self, progress: Progress) -> None:
        if progress.phones or progress.events or progress.state:
            self._ledger.record(self._id, self._name, progress)
        for event in progress.events:
            self._watcher.happened(event)

    def _tell_stopping(self, wanted: Wanted, now: datetime) -> None:
        reason = self._steered.stop_reason() or ("a pause was asked for" if wanted is Wanted.PAUSE else "")
        if reason and reason != self._stopping and self._steered.under_way:
            told = {"reason": reason, "under_way": len(self._steered.under_way)}
            self._record(Progress((), (Event("stopping", now, told),), State.RUNNING, f"stopping: {reason}"))
        self._stopping = reason

    # The end

    async def _end(self, end: Pause | Finish) -> None:
        await self._find_out()
        now = self._how.clock()
        if isinstance(end, Pause):
            self._record(Progress((), (Event("paused", now, {"reason": end.reason}),), State.PAUSED, end.reason))
        else:
            failed = len(self._steered.by_state[PhoneState.FAILED])
            counts = {"moved": len(self._steered.phones) - failed, "failed": failed}
            self._record(Progress((), (Event("finished", now, counts),), State.DONE))

    async def _find_out(self) -> None:
        """Look into the first failures that nobody has looked into yet."""
        failed = sorted(
            self._steered.by_state[PhoneState.FAILED], key=lambda phone: (str(phone.ended_at), phone.device)
        )
        looked_into = {event.details["device"] for event in self._ledger.events(self._id) if event.kind == "diagnosis"}
        first = [phone for phone in failed if phone.device not in looked_into][:FIRST]
        if not first:
            return
        seen = self._sides.look_up(self._id, [phone.device for phone in first])
        holding = asyncio.create_task(self._hold_lease())
        try:
            found = await find_out(self._sides, first, seen, self._how.clock(), self._how.reach)
        finally:
            holding.cancel()
        marks = tuple(Mark(each.phone) for each in found)
        now = self._how.clock()
        events = tuple(Event("diagnosis", now, each.to_json()) for each in found)
        self._record(Progress(tuple(mark.phone for mark in marks), events))
        self._steered = self._steered.after(marks, now)

    async def _hold_lease(self) -> None:
        with suppress(Refusal):  # whoever lost the lease learns of it when it writes
            while True:
                await asyncio.sleep(lease.SECONDS / 5)
                self._stay(self._how.clock())


def _counted_from(events: Iterable[Event]) -> tuple[datetime, ...]:
    """Tell since when failures count: since the last time that an operator resumed what had paused.

    Where the clock was set back after that, what had failed before stands behind it.
    """
    begun: list[datetime] = []
    for event in events:
        if event.kind == "resumed" and event.details.get("from") == State.PAUSED.value:
            begun = [event.at]
        elif event.kind == CLOCK_SET_BACK and begun:
            begun = [min(begun[0], event.at)]
    return tuple(begun)


def _events(actions: Iterable[Action], steered: Steered, now: datetime) -> Iterator[Event]:
    moved = []
    for action in actions:
        match action:
            case BeginWave(wave):
                phones = sum(phone.wave == wave for phone in steered.phones.values())
                yield Event("wave", now, {"wave": wave, "canary": wave == 0, "phones": phones})
            case Redate(_, seconds):
                yield Event(CLOCK_SET_BACK, now, {"seconds": seconds})
            case Reset(devices) if devices:
                yield Event("reset", now, {"devices": list(devices)})
            case Mark(phone) if phone.state is PhoneState.MOVED:
                moved.append(phone.device)
            case Mark(phone):
                told = {"device": phone.device, "wave": phone.wave, "code": phone.code, "reason": phone.reason}
                yield Event(phone.state.value, now, told)
            case _:
                pass
    if moved:
        yield Event("moved", now, {"devices": moved})
