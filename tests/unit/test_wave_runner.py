"""The runner against two clusters whose nodes are played by the test: who is reset, what is written, who may steer."""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.database import DatabaseError, DatabaseForeignError
from certferry.cluster.migrations import (
    Event,
    Lease,
    Migration,
    MigrationLockedError,
    MigrationPhone,
    PhoneState,
    Progress,
    State,
    Wanted,
)
from certferry.cluster.resets import ResetOutcome
from certferry.cluster.sightings import Sighting, Step
from certferry.cluster.values import Phone
from certferry.migrate.gather import Reach
from certferry.migrate.waves.judging import Seen
from certferry.migrate.waves.planning import Rules, Threshold
from certferry.migrate.waves.running import MigrationStateError, Runner, Running
from certferry.migrate.waves.sides import Sides, reset_id
from certferry.migrate.waves.status import Status
from certferry.migrate.waves.steering import Pause
from conftest import MakeCluster

pytestmark = pytest.mark.slow

PHONES = [Phone(f"SEP{number:012X}") for number in range(6)]
QUICK = Reach(tftp=0.05, tftp_tries=1, http=0.1, tvs=0.1)


class Stage:
    """Two clusters, a migration of six phones (two canaries), and a node of the source that obeys ``behaves``."""

    def __init__(self, sides: Sides, **rules: Any) -> None:
        self.sides = sides
        self.rules = replace(Rules(1000, 0, 60, Threshold(number=2)), **rules)
        self.ahead = timedelta()
        self.told: list[str] = []
        self.seen: list[Event] = []
        rows = [MigrationPhone(phone.device, place // 2) for place, phone in enumerate(PHONES)]
        self.migration: Migration = sides.source.migrations.create("m1", "dst", self.rules.to_json(), rows)

    def clock(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def see(self, cluster: Cluster, device: str, step: Step) -> None:
        cluster.sightings.note([Sighting(device, step, self.clock(), f"{cluster.name}-pub", "192.0.2.9", "3600 s")])

    def runner(self, watcher: Any = None) -> Runner:
        return Runner(self.sides, "m1", watcher or self, Running(self.clock, 0.01, QUICK, settle=0))

    def happened(self, event: Event) -> None:
        self.seen.append(event)

    def stands(self, status: Callable[[], Status]) -> None:
        self.last = status()

    async def play(self, behaves: Callable[[str], None]) -> None:
        """Be the node that has every phone registered."""
        while True:
            for request in self.sides.source.resets.take("source-pub", [phone.device for phone in PHONES]):
                self.told.append(request.device)
                self.sides.source.resets.end(request.id, ResetOutcome.DONE)
                behaves(request.device)
            await asyncio.sleep(0.01)

    async def run(self, behaves: Callable[[str], None] | None = None) -> Status:
        playing = asyncio.create_task(self.play(behaves or self.moves))
        try:
            async with asyncio.timeout(60):
                return await self.runner().run()
        finally:
            playing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await playing

    async def first_reset(self) -> None:
        while self.states.count("waiting") == 6:  # noqa: ASYNC110 -- it stands in the database
            await asyncio.sleep(0.01)

    def moves(self, device: str) -> None:
        self.see(self.sides.source, device, Step.UNREGISTERED)
        self.see(self.sides.destination, device, Step.REGISTERED)

    def comes_back(self, device: str) -> None:
        self.see(self.sides.source, device, Step.UNREGISTERED)
        self.see(self.sides.source, device, Step.REGISTERED)

    @property
    def states(self) -> list[str]:
        return [phone.state.value for phone in self.sides.source.migrations.phones("m1")]

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.sides.source.migrations.events("m1")]


@pytest.fixture
def sides(make_cluster: MakeCluster) -> Sides:
    def now() -> datetime:
        return datetime.now(UTC).replace(microsecond=0)

    made = [make_cluster(name, nodes=1, clock=lambda: datetime(2026, 6, 1, tzinfo=UTC)) for name in ("source", "dst")]
    for cluster in made:
        cluster.add_phones(PHONES)
        cluster._clock = now
    return Sides(*made)


async def test_every_phone_is_reset_once_wave_by_wave_and_moves(sides: Sides) -> None:
    stage = Stage(sides)
    status = await stage.run()
    assert (status.state, status.totals.moved) == ("done", 6)
    assert stage.told == [phone.device for phone in PHONES]
    assert [event.details["wave"] for event in stage.seen if event.kind == "wave"] == [0, 1, 2]
    assert stage.kinds == [event.kind for event in stage.seen]
    assert sides.source.migrations.find("m1").runner == ""


async def test_a_canary_that_comes_back_pauses_it_and_is_looked_into(sides: Sides) -> None:
    stage = Stage(sides)
    status = await stage.run(stage.comes_back)
    assert (status.state, status.reason) == ("paused", "2 of the canaries failed")
    assert stage.states == ["failed", "failed", "waiting", "waiting", "waiting", "waiting"]
    diagnoses = [event for event in stage.seen if event.kind == "diagnosis"]
    assert {event.details["device"] for event in diagnoses} == {PHONES[0].device, PHONES[1].device}
    assert stage.last.state == "running"


async def test_resuming_goes_on_past_the_failures_that_were_seen(sides: Sides) -> None:
    stage = Stage(sides)
    await stage.run(stage.comes_back)
    status = await stage.run()
    assert (status.state, status.totals.moved, status.totals.failed) == ("done", 4, 2)
    assert len(stage.told) == len(set(stage.told)) == 6
    assert len([event for event in stage.seen if event.kind == "diagnosis"]) == 2


async def test_a_failed_phone_that_was_mended_by_hand_is_taken_for_moved(sides: Sides) -> None:
    stage = Stage(sides)
    await stage.run(stage.comes_back)
    for phone in PHONES[:2]:
        stage.see(sides.destination, phone.device, Step.REGISTERED)
    assert (await stage.run()).totals.moved == 6


async def test_a_reset_asked_for_by_a_runner_that_was_killed_before_it_wrote_it_down_is_not_asked_again(
    sides: Sides,
) -> None:
    stage = Stage(sides)
    sides.source.resets.ask({reset_id("m1", PHONES[0].device): PHONES[0].device}, by="m1")
    status = await stage.run()
    assert status.totals.moved == 6
    assert sorted(stage.told) == sorted(phone.device for phone in PHONES)


async def test_what_a_killed_runner_asked_for_is_watched_to_its_end_before_a_pause(sides: Sides) -> None:
    """It had no time to write the reset down, and the one that goes on is asked to pause at once."""
    stage = Stage(sides)
    device = PHONES[0].device
    sides.source.resets.ask({reset_id("m1", device): device}, by="m1")
    runner = stage.runner()
    runner._begin([])
    sides.source.migrations.want("m1", Wanted.PAUSE)
    assert stage.states[0] == "reset"
    assert runner._turn() is None
    stage.moves(device)
    end = runner._turn()
    assert isinstance(end, Pause)
    assert stage.states == ["moved", *["waiting"] * 5]


async def test_a_database_that_is_away_for_a_while_is_waited_for(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, away, reasons = Stage(sides), [DatabaseError("it is restarted")] * 2, list[str]()
    really = Sides.look_up

    def look_up(self: Sides, migration: str, devices: Collection[str]) -> dict[str, Seen]:
        if len(stage.told) >= 2 and away:
            raise away.pop()
        return really(self, migration, devices)

    monkeypatch.setattr(Sides, "look_up", look_up)
    monkeypatch.setattr(stage, "stands", lambda status: reasons.append(status().reason))
    status = await stage.run()
    assert (status.totals.moved, away) == (6, [])
    assert "waiting for the database: it is restarted" in reasons
    assert sorted(stage.told) == sorted(phone.device for phone in PHONES)


@pytest.mark.parametrize(("error", "away"), [(DatabaseError, 0.0), (DatabaseForeignError, 600.0)])
async def test_a_database_that_stays_away_or_is_another_ends_the_run(
    sides: Sides, monkeypatch: pytest.MonkeyPatch, error: type[DatabaseError], away: float
) -> None:
    def look_up(*_: object) -> dict[str, Seen]:
        raise error("no")

    monkeypatch.setattr(Sides, "look_up", look_up)
    stage = Stage(sides)
    with pytest.raises(error):
        await Runner(sides, "m1", None, Running(stage.clock, 0.01, QUICK, away)).run()
    assert sides.source.migrations.find().runner == ""


async def test_failed_phones_are_not_looked_for_each_turn(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, looked = Stage(sides, stop_at=Threshold(number=9)), list[Collection[str]]()
    begun, ticks = datetime.now(UTC), count()  # however long turns take, the clock shows a hundredth of a second more
    monkeypatch.setattr(stage, "clock", lambda: begun + timedelta(seconds=next(ticks) / 100) + stage.ahead)
    sides.source.migrations.claim("m1", Lease("x", stage.clock()), stage.clock())
    failed = MigrationPhone(PHONES[5].device, 2, PhoneState.FAILED, stage.clock(), stage.clock(), "wave.nowhere")
    sides.source.migrations.record("m1", "x", Progress([failed]))
    sides.source.migrations.release("m1", "x")
    really = Sides.look_up

    def look_up(self: Sides, migration: str, devices: Collection[str]) -> dict[str, Seen]:
        looked.append(devices)
        return really(self, migration, devices)

    monkeypatch.setattr(Sides, "look_up", look_up)
    runner = stage.runner()
    runner._begin([])
    for _ in range(4):
        runner._turn()
    stage.ahead = timedelta(seconds=6)
    runner._turn()
    assert [failed.device in devices for devices in looked] == [True, False, False, False, True]


async def test_phones_that_are_there_already_are_not_reset(sides: Sides) -> None:
    stage = Stage(sides)
    stage.see(sides.destination, PHONES[1].device, Step.REGISTERED)
    assert (await stage.run()).totals.moved == 6
    assert PHONES[1].device not in stage.told


async def test_a_phone_that_nobody_has_registered_is_given_up_and_never_reset_later(sides: Sides) -> None:
    stage = Stage(sides, patience=1)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(60):
            status = await stage.runner().run()
    assert [phone.code for phone in status.failures] == ["wave.absent"] * 2
    assert sides.source.resets.open_count() == 0


async def test_a_pause_lets_those_under_way_end_and_resets_no_more(sides: Sides) -> None:
    stage = Stage(sides, pace=1)
    arrive: list[str] = []

    def asked_to_pause(device: str) -> None:
        sides.source.migrations.want("m1", Wanted.PAUSE)
        arrive.append(device)
        asyncio.get_running_loop().call_later(0.3, stage.moves, device)

    status = await stage.run(asked_to_pause)
    assert (status.state, status.reason) == ("paused", "an operator asked for it")
    assert status.totals.moved == len(arrive) == len(stage.told) < 6
    assert "stopping" in stage.kinds


async def test_a_runner_whose_lease_another_took_stops_before_it_resets_anybody(sides: Sides) -> None:
    stage = Stage(sides, pace=0.001)
    running = asyncio.create_task(stage.runner().run())
    await stage.first_reset()
    ledger = sides.source.migrations
    lease = ledger.find("m1")
    stage.ahead = timedelta(hours=2)
    other = Runner(sides, "m1", None, Running(lambda: stage.clock() + timedelta(hours=1), 0.01, QUICK))
    other._begin([])
    before = sides.source.resets.open_count()
    with pytest.raises(MigrationLockedError):
        await running
    assert sides.source.resets.open_count() == before
    assert ledger.find("m1").runner != lease.runner


async def test_interrupted_it_lets_go_of_the_migration_at_once(sides: Sides) -> None:
    stage = Stage(sides, pace=0.001)
    running = asyncio.create_task(stage.runner().run())
    await stage.first_reset()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    found = sides.source.migrations.find("m1")
    assert (found.state, found.runner) == (State.RUNNING, "")
    status = Status.of(found, sides.source.migrations.phones("m1"), stage.clock())
    assert "certferry migrate resume" in status.reason


async def test_what_has_ended_cannot_be_run_again(sides: Sides) -> None:
    stage = Stage(sides)
    await stage.run()
    with pytest.raises(MigrationStateError):
        await stage.runner().run()


async def test_what_was_done_before_the_first_reset_stands_first(sides: Sides) -> None:
    stage = Stage(sides)
    playing = asyncio.create_task(stage.play(stage.moves))
    await stage.runner().run([Event("option150", stage.clock(), {"done": "ann said so"})])
    playing.cancel()
    assert stage.kinds[:3] == ["option150", "started", "wave"]


async def test_a_runner_is_quiet_when_nobody_looks_on(sides: Sides) -> None:
    stage = Stage(sides)
    playing = asyncio.create_task(stage.play(stage.moves))
    status = await Runner(sides, "m1", how=Running(stage.clock, 0.01)).run()
    playing.cancel()
    assert {phone.state for phone in status.phones} == {PhoneState.MOVED}
