"""The clock of the runner's host is set back while phones migrate: the migration goes on from there, in its order."""

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from certferry.cluster.migrations import Event, MigrationPhone, Migrations, PhoneState, Progress, State, lease_of
from certferry.cluster.resets import ResetOutcome, ResetRequest
from certferry.cluster.values import Phone
from certferry.migrate.waves import lease
from certferry.migrate.waves.judging import Seen
from certferry.migrate.waves.planning import Rules, Threshold
from certferry.migrate.waves.running import CLOCK_SET_BACK, Runner, Running
from certferry.migrate.waves.sides import Sides
from certferry.migrate.waves.steering import (
    BeginWave,
    Mark,
    Observations,
    Redate,
    Reset,
    Steered,
    advance,
    redated,
)
from conftest import MakeCluster

pytestmark = pytest.mark.slow

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
RULES = Rules(pace=1.0, between=30.0, patience=60.0, stop_at=Threshold(number=3))
DEVICES = [f"SEP{number:012X}" for number in range(8)]


def phone(number: int, state: PhoneState, wave: int = 1, *, at: timedelta = HOUR) -> MigrationPhone:
    """Give a phone that was reset, and ended if it did, ``at`` from now."""
    reset_at = None if state is PhoneState.WAITING else NOW + at
    ended_at = NOW + at if state.has_ended else None
    return MigrationPhone(DEVICES[number], wave, state, reset_at, ended_at)


def after_a_turn(steered: Steered, now: datetime = NOW) -> Steered:
    (action,) = advance(steered, Observations(), now)
    assert isinstance(action, Redate)
    return steered.after([action], now)


def turn(steered: Steered, now: datetime, **seen: Seen) -> tuple[Any, ...]:
    known = {device: seen.get(device, Seen()) for device in steered.watched(now)}
    return advance(steered, Observations(known), now)


def seconds(number: float) -> datetime:
    return NOW + timedelta(seconds=number)


def test_the_pace_goes_on_from_the_clock_as_it_is() -> None:
    steered = Steered.of(RULES, [phone(0, PhoneState.RESET), phone(1, PhoneState.WAITING)])
    assert advance(steered, Observations(), NOW) == (
        Redate((replace(steered.phones[DEVICES[0]], reset_at=NOW),), 3600),
    )
    then = after_a_turn(steered)
    assert turn(then, seconds(0.5)) == ()
    assert turn(then, seconds(1)) == (Reset((DEVICES[1],), seconds(1)),)


def test_no_more_phones_are_reset_at_once_than_the_pace_allows() -> None:
    waiting = [phone(number, PhoneState.WAITING) for number in range(1, 8)]
    steered = after_a_turn(Steered.of(RULES, [phone(0, PhoneState.RESET), *waiting]))
    asked = []
    for tenths in range(31):
        actions = turn(steered, seconds(tenths / 10))
        asked += [device for action in actions if isinstance(action, Reset) for device in action.devices]
        steered = steered.after(actions, seconds(tenths / 10))
    assert asked == DEVICES[1:4]


def test_the_pause_between_waves_is_kept_from_now_and_no_longer() -> None:
    steered = after_a_turn(Steered.of(RULES, [phone(0, PhoneState.MOVED), phone(1, PhoneState.WAITING, wave=2)]))
    assert turn(steered, seconds(29)) == ()
    assert turn(steered, seconds(30)) == (BeginWave(2), Reset((DEVICES[1],), seconds(29)))


def test_patience_with_a_phone_begins_now_and_no_later() -> None:
    steered = after_a_turn(Steered.of(RULES, [phone(0, PhoneState.RESET)]))
    assert turn(steered, seconds(59)) == ()
    (mark,) = (action for action in turn(steered, seconds(60)) if isinstance(action, Mark))
    assert (mark.phone.state, mark.phone.code) == (PhoneState.FAILED, "wave.nowhere")


def test_what_lies_behind_stays_as_it_was_written_down() -> None:
    old = phone(0, PhoneState.MOVED, at=-HOUR)
    (action,) = advance(Steered.of(RULES, [old, phone(1, PhoneState.RESET)]), Observations(), NOW)
    assert isinstance(action, Redate)
    assert [each.device for each in action.phones] == [DEVICES[1]]


def test_a_clock_that_was_not_set_back_changes_nothing() -> None:
    steered = Steered.of(RULES, [phone(0, PhoneState.RESET, at=timedelta())], NOW)
    assert redated(steered, NOW) is None
    assert turn(steered, NOW) == ()


def test_failures_still_count_and_those_an_operator_has_seen_still_do_not() -> None:
    resumed = NOW + HOUR
    seen = [phone(number, PhoneState.FAILED, at=HOUR - timedelta(minutes=1)) for number in range(3)]
    fresh = [phone(number, PhoneState.FAILED, at=HOUR + timedelta(minutes=1)) for number in range(3, 6)]
    rest = phone(7, PhoneState.WAITING)
    assert not after_a_turn(Steered.of(RULES, [*seen, *fresh[:2], rest], resumed)).stop_reason()
    assert after_a_turn(Steered.of(RULES, [*seen, *fresh, rest], resumed)).stop_reason().startswith("3 phones failed")


def test_a_canary_that_failed_just_before_still_stops_it() -> None:
    steered = after_a_turn(Steered.of(RULES, [phone(0, PhoneState.FAILED, 0), phone(1, PhoneState.WAITING)]))
    assert steered.stop_reason() == "1 of the canaries failed"


def test_who_resumes_after_it_has_seen_every_failure_there_is() -> None:
    failed = [phone(number, PhoneState.FAILED, 0) for number in range(3)]
    steered = Steered.of(RULES, [*failed, phone(7, PhoneState.WAITING)], NOW)
    action = redated(steered, NOW, resumed=True)
    assert action is not None
    then = steered.after([action], NOW)
    assert then.stop_reason() == ""
    assert redated(then, NOW) is None
    for each in then.phones.values():
        assert each.ended_at is None or (each.reset_at is not None and each.reset_at <= each.ended_at)


def test_a_reset_asked_for_before_is_taken_for_one_of_now() -> None:
    steered = Steered.of(RULES, [phone(0, PhoneState.WAITING)])
    asked = Seen(ResetRequest("m:0", DEVICES[0], NOW + HOUR, "m"))
    marks = [action for action in turn(steered, NOW, **{DEVICES[0]: asked}) if isinstance(action, Mark)]
    assert [mark.phone.reset_at for mark in marks] == [NOW]


# --- the runner


class Stage:
    """A migration whose phones nobody has registered, and a clock that the test sets."""

    def __init__(self, sides: Sides, *phones: MigrationPhone, rules: Rules = RULES) -> None:
        self.sides, self.now, self.turns = sides, NOW, 0
        self.told: list[Event] = []
        rows = [MigrationPhone(each.device, each.wave) for each in phones]
        self.ledger: Migrations = sides.source.migrations
        self.ledger.create("m1", "dst", rules.to_json(), rows)
        mine = lease.this_runner()
        self.ledger.claim("m1", lease_of(mine, NOW + HOUR, lease.SECONDS), NOW + HOUR)
        self.ledger.record("m1", mine, Progress(phones))
        self.ledger.release("m1", mine)

    def clock(self) -> datetime:
        return self.now

    def happened(self, event: Event) -> None:
        self.told.append(event)

    def stands(self, status: Callable[[], Any]) -> None:
        """Let a second pass."""
        self.turns += 1
        self.now += timedelta(seconds=1)

    def runner(self) -> Runner:
        return Runner(self.sides, "m1", self, Running(self.clock, 0, settle=0))

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.ledger.events("m1")]


@pytest.fixture
def sides(make_cluster: MakeCluster) -> Sides:
    made = [make_cluster(name, nodes=1) for name in ("source", "dst")]
    for cluster in made:
        cluster.add_phones([Phone(device) for device in DEVICES])
    return Sides(*made)


async def test_a_migration_taken_up_after_the_clock_was_set_back_ends_as_soon_as_any(sides: Sides) -> None:
    stage = Stage(sides, phone(0, PhoneState.MOVED), phone(1, PhoneState.RESET), rules=replace(RULES, patience=5.0))
    status = await stage.runner().run()
    assert (status.state, status.totals.failed) == ("done", 1)
    assert stage.turns < 10
    assert stage.kinds.count(CLOCK_SET_BACK) == 1
    assert all(each.ended_at and each.ended_at < NOW + HOUR for each in stage.ledger.phones("m1"))


async def test_the_lease_is_written_anew_so_that_others_need_not_wait_for_the_old_one(sides: Sides) -> None:
    stage = Stage(sides, phone(0, PhoneState.RESET, at=timedelta()), rules=replace(RULES, patience=10.0))
    runner, until = stage.runner(), list[datetime | None]()

    def stands(status: Callable[[], Any]) -> None:
        until.append(stage.ledger.find("m1").runner_until)
        stage.now += timedelta(seconds=1) if len(until) != 2 else -HOUR

    stage.stands = stands  # type: ignore[method-assign]
    await runner.run()
    assert max(each for each in until[3:] if each) < NOW - HOUR + timedelta(minutes=1)


async def test_failed_phones_are_looked_for_soon_after_it(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    late = phone(0, PhoneState.FAILED, at=timedelta())
    stage = Stage(sides, late, phone(1, PhoneState.RESET, at=timedelta()), rules=replace(RULES, patience=20.0))
    looked: list[bool] = []
    look_up = Sides.look_up

    def counted(self: Sides, migration: str, devices: Collection[str]) -> Any:
        looked.append(late.device in devices)
        if len(looked) == 3:
            stage.now -= HOUR
        return look_up(self, migration, devices)

    monkeypatch.setattr(Sides, "look_up", counted)
    await stage.runner().run()
    assert sum(looked[3:12]) >= 2


async def test_a_second_runner_counts_the_same_failures_as_the_first(sides: Sides) -> None:
    """An operator resumed in the hour that is yet to come; the clock was set back, and the first runner died."""
    stage = Stage(sides, phone(0, PhoneState.WAITING))
    ledger, first = stage.ledger, "ann@elsewhere pid 1 x"
    resumed = Event("resumed", NOW + HOUR, {"from": State.PAUSED.value})
    set_back = Event(CLOCK_SET_BACK, NOW, {"seconds": 3600.0})
    failed = [phone(0, PhoneState.FAILED, 0, at=timedelta(seconds=1))]
    ledger.claim("m1", lease_of(first, NOW, lease.SECONDS), NOW)
    ledger.record("m1", first, Progress(failed, (resumed, set_back), State.RUNNING))
    ledger.release("m1", first)
    stage.now = seconds(5)
    runner = stage.runner()
    runner._begin(())
    assert runner._steered.stop_reason() == "1 of the canaries failed"


def test_no_request_is_in_the_way_of_the_outcomes() -> None:
    """A reset that ended before the clock was set back stays ended."""
    done = ResetRequest("m:0", DEVICES[0], NOW + HOUR, "m", "pub", NOW + HOUR, NOW + HOUR, ResetOutcome.ABSENT)
    steered = after_a_turn(Steered.of(RULES, [phone(0, PhoneState.RESET)]))
    (mark,) = (a for a in turn(steered, seconds(1), **{DEVICES[0]: Seen(done)}) if isinstance(a, Mark))
    assert mark.phone.code == "wave.absent"
