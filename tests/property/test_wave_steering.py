"""Steering a migration, whatever phones do and whoever is killed whenever: what must hold in every history."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from certferry.cluster.migrations import MigrationPhone, PhoneState
from certferry.cluster.resets import ResetOutcome, ResetRequest
from certferry.cluster.sightings import Sighting, Step
from certferry.migrate.waves.judging import Seen
from certferry.migrate.waves.planning import Rules, Threshold
from certferry.migrate.waves.steering import (
    SLACK,
    Action,
    Finish,
    Observations,
    Pause,
    Redate,
    Reset,
    Steered,
    Withdraw,
    advance,
    changes,
)

START = datetime(2026, 6, 1, 12, tzinfo=UTC)
BEHAVIOURS = (
    "moves",
    "returns",
    "vanishes",
    "absent",
    "node dies",
    "node dies too late",
    "late",
    "there",
    "unanswered",
)
MOST_TURNS = 3_000


@dataclass
class World:
    """Two clusters and phones that behave as they are told to, and the rows that survive every crash."""

    behaviours: dict[str, str]
    rows: dict[str, MigrationPhone]
    now: datetime = START
    requests: dict[str, ResetRequest] = field(default_factory=dict)
    told: Counter[str] = field(default_factory=Counter)
    source: dict[str, dict[Step, Sighting]] = field(default_factory=dict)
    destination: dict[str, dict[Step, Sighting]] = field(default_factory=dict)
    coming: list[tuple[datetime, str, str, Step]] = field(default_factory=list)
    asked: list[tuple[datetime, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for device, behaviour in self.behaviours.items():
            self.see("source", device, Step.REGISTERED, START - timedelta(hours=1))
            if behaviour == "there":
                self.see("destination", device, Step.REGISTERED, START - timedelta(minutes=1))

    def see(self, side: str, device: str, step: Step, at: datetime) -> None:
        steps: dict[str, dict[Step, Sighting]] = getattr(self, side)
        steps.setdefault(device, {})[step] = Sighting(device, step, at, f"{side}-pub", "192.0.2.9")

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        for device, request in self.requests.items():
            if request.taken_at is None and request.outcome is None and self.behaviours[device] != "absent":
                self.requests[device] = self._take(request)
        for event in [event for event in self.coming if event[0] <= self.now]:
            self.coming.remove(event)
            self.see(event[1], event[2], event[3], event[0])

    def _take(self, request: ResetRequest) -> ResetRequest:
        device, behaviour = request.device, self.behaviours[request.device]
        taken = replace(request, node="source-pub", taken_at=self.now)
        if behaviour != "node dies":
            self.told[device] += 1
            self.coming += self._way(device, behaviour)
        outcome = {"node dies": None, "node dies too late": None, "unanswered": ResetOutcome.UNANSWERED}
        return replace(taken, outcome=outcome.get(behaviour, ResetOutcome.DONE))

    def _way(self, device: str, behaviour: str) -> Iterator[tuple[datetime, str, str, Step]]:
        def after(seconds: float) -> datetime:
            return self.now + timedelta(seconds=seconds)

        if behaviour in ("moves", "node dies too late"):
            yield after(1), "source", device, Step.UNREGISTERED
            yield after(3), "destination", device, Step.REGISTERED
        elif behaviour == "returns":
            yield after(1), "source", device, Step.UNREGISTERED
            yield after(2), "source", device, Step.REGISTERED
        elif behaviour == "late":
            yield after(25), "destination", device, Step.REGISTERED
        elif behaviour == "vanishes":
            yield after(1), "source", device, Step.UNREGISTERED

    def set_clock_back(self, seconds: float) -> None:
        """What is on its way comes as soon as it would have."""
        back = timedelta(seconds=seconds)
        self.now -= back
        self.coming = [(at - back, side, device, step) for at, side, device, step in self.coming]

    def look(self, devices: Sequence[str]) -> dict[str, Seen]:
        return {
            d: Seen(self.requests.get(d), dict(self.source.get(d, {})), dict(self.destination.get(d, {})))
            for d in devices
        }

    def ask(self, devices: Sequence[str]) -> None:
        for device in devices:
            if device not in self.requests:
                self.requests[device] = ResetRequest(device, device, self.now.replace(microsecond=0), "m")
                self.asked.append((self.now, device))

    def withdraw(self, devices: Sequence[str]) -> None:
        for device in devices:
            request = self.requests[device]
            if request.taken_at is None and request.outcome is None:
                self.requests[device] = replace(request, outcome=ResetOutcome.ABSENT)


@dataclass
class History:
    """A migration steered to its end by runners that are killed now and then, with operators who pause it."""

    world: World
    rules: Rules
    chance: Random
    kills: float
    pauses: float
    set_back: tuple[int, float] = (-1, 0.0)
    counted_from: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    ended: bool = False
    ends: dict[str, list[PhoneState]] = field(default_factory=dict)
    paused: list[Pause] = field(default_factory=list)

    def run(self) -> None:
        steered = self._taken_up()
        for turn in range(MOST_TURNS):
            self.world.pass_time(self.chance.choice((0.1, 0.25, 0.25, 1, 2.5)))
            if turn == self.set_back[0]:
                self.world.set_clock_back(self.set_back[1])
            after = self._turn(steered)
            if self.ended:
                return
            steered = after or self._taken_up()
        raise AssertionError("it never ended")

    def _taken_up(self) -> Steered:
        return Steered.of(self.rules, self.world.rows.values(), self.counted_from)

    def _turn(self, steered: Steered) -> Steered | None:
        """One turn; None when the runner was killed in it."""
        world, now = self.world, self.world.now
        pause = self.chance.random() < self.pauses
        actions = advance(steered, Observations(world.look(steered.watched(now)), pause_wanted=pause), now)
        self._check(steered, actions, pause=pause)
        if self._killed():
            return None
        for action in actions:
            if isinstance(action, Reset):
                world.ask(action.devices)
            elif isinstance(action, Withdraw):
                world.withdraw(action.devices)
            if self._killed():
                return None
        for phone in changes(steered, actions, now):
            self._write(phone)
        if self._killed():
            return None
        return None if self._learned(actions) else steered.after(actions, now)

    def _learned(self, actions: Sequence[Action]) -> bool:
        """Note what the runner tells of itself; whether it goes."""
        for action in actions:
            if isinstance(action, Redate):
                self.counted_from = min(self.counted_from, self.world.now)
            elif isinstance(action, Pause):
                self.paused.append(action)
                self.counted_from = self.world.now + timedelta(microseconds=1)
        self.ended = any(isinstance(action, Finish) for action in actions)
        return any(isinstance(action, Pause) for action in actions)

    def _killed(self) -> bool:
        return self.chance.random() < self.kills

    def _write(self, phone: MigrationPhone) -> None:
        before = self.world.rows[phone.device].state
        if phone.state is not before:
            assert before is not PhoneState.MOVED
            if phone.state.has_ended:
                self.ends.setdefault(phone.device, []).append(phone.state)
        self.world.rows[phone.device] = phone

    def _check(self, steered: Steered, actions: Sequence[Action], *, pause: bool) -> None:
        then = steered.after(actions, self.world.now)
        new = [d for action in actions if isinstance(action, Reset) for d in action.devices]
        if pause or self._too_many(then):
            assert new == []
        for device in new:
            earlier = [p for p in then.phones.values() if p.wave < then.phones[device].wave]
            assert all(phone.state.has_ended for phone in earlier)

    def _too_many(self, steered: Steered) -> bool:
        """The threshold once more, in the words of the documentation."""
        failed = [p for p in steered.phones.values() if p.state is PhoneState.FAILED]
        fresh = [p for p in failed if p.ended_at and p.ended_at >= self.counted_from]
        canaries = any(p.wave == 0 for p in fresh)
        if not self.rules.stop_at.percent:
            return canaries or len(fresh) >= self.rules.stop_at.number
        last = max((p.wave for p in fresh), default=0)
        size = sum(p.wave == last for p in steered.phones.values())
        return canaries or (
            bool(fresh) and sum(p.wave == last for p in fresh) / size * 100 >= self.rules.stop_at.percent
        )


@st.composite
def histories(draw: st.DrawFn) -> History:
    behaviours = draw(st.lists(st.sampled_from(BEHAVIOURS), min_size=1, max_size=14))
    size, canaries = draw(st.integers(1, 6)), draw(st.integers(0, 3))
    devices = {f"SEP{number:012X}": behaviour for number, behaviour in enumerate(behaviours)}
    waves = {d: 0 if place < canaries else 1 + (place - canaries) // size for place, d in enumerate(devices)}
    threshold = draw(st.sampled_from(("1", "2", "10", "20%", "50%", "100%")))
    rules = Rules(draw(st.sampled_from((0.5, 2.0, 7.0))), draw(st.sampled_from((0.0, 3.0))), 20.0)
    return History(
        World(devices, {device: MigrationPhone(device, wave) for device, wave in waves.items()}),
        replace(rules, stop_at=Threshold.parse(threshold)),
        Random(draw(st.integers(0, 2**32))),
        draw(st.sampled_from((0.0, 0.02, 0.15))),
        draw(st.sampled_from((0.0, 0.03))),
    )


@settings(deadline=None, max_examples=40)
@given(histories())
def test_no_phone_is_told_to_reset_twice(history: History) -> None:
    history.run()
    assert all(count == 1 for count in history.world.told.values())


@settings(deadline=None, max_examples=40)
@given(histories())
def test_every_phone_ends_in_one_state_and_the_one_it_deserves(history: History) -> None:
    history.run()
    deserved = {"moves": "moved", "there": "moved", "late": "moved", "node dies too late": "moved"}
    for device, phone in history.world.rows.items():
        assert phone.state.has_ended
        assert phone.ended_at is not None
        assert history.ends[device] in ([PhoneState.MOVED], [PhoneState.FAILED], [PhoneState.FAILED, PhoneState.MOVED])
        if (behaviour := history.world.behaviours[device]) != "late":
            assert phone.state.value == deserved.get(behaviour, "failed"), behaviour
            assert phone.code.startswith("wave.") is (phone.state is PhoneState.FAILED)


@settings(deadline=None, max_examples=200)
@given(histories(), st.integers(0, 80), st.sampled_from((0.3, 15.0, 7200.0)))
def test_a_clock_that_is_set_back_holds_up_nothing_and_changes_no_end(
    history: History, turn: int, seconds: float
) -> None:
    """Two hours are more than all turns of a history together: what waited for the clock would never end."""
    history.set_back = turn, seconds
    history.run()
    assert all(count == 1 for count in history.world.told.values())
    deserved = {"moves": "moved", "there": "moved", "late": "moved", "node dies too late": "moved"}
    for device, phone in history.world.rows.items():
        assert history.ends[device] in ([PhoneState.MOVED], [PhoneState.FAILED], [PhoneState.FAILED, PhoneState.MOVED])
        if (behaviour := history.world.behaviours[device]) != "late":
            assert phone.state.value == deserved.get(behaviour, "failed"), behaviour


@settings(deadline=None, max_examples=40)
@given(histories())
def test_the_pace_is_kept_whoever_is_killed(history: History) -> None:
    history.run()
    times = [at for at, _ in history.world.asked]
    for first in range(len(times)):
        for last in range(first, len(times)):
            seconds = (times[last] - times[first] + SLACK).total_seconds()
            assert last - first + 1 <= 1 + history.rules.pace * seconds + 1e-6


@settings(deadline=None, max_examples=40)
@given(histories())
def test_a_phone_that_was_at_the_destination_already_is_not_reset(history: History) -> None:
    history.run()
    there = {device for device, behaviour in history.world.behaviours.items() if behaviour == "there"}
    assert there.isdisjoint(history.world.requests)


@settings(deadline=None, max_examples=40)
@given(histories())
def test_waves_follow_one_another_with_their_pause(history: History) -> None:
    history.run()
    rows = history.world.rows.values()
    numbers = sorted({phone.wave for phone in rows})
    asked = {device: at for at, device in history.world.asked}
    for earlier, later in pairwise(numbers):
        ends = [
            p.ended_at for p in rows if p.wave == earlier and p.ended_at and history.ends[p.device][-1:] == ["moved"]
        ]
        begins = [asked[p.device] for p in rows if p.wave == later and p.device in asked]
        late = {"late", "there"} & {history.world.behaviours[p.device] for p in rows if p.wave <= earlier}
        if ends and begins and not late:
            assert min(begins) - max(ends) >= timedelta(seconds=history.rules.between)


@settings(deadline=None, max_examples=40)
@given(histories())
def test_a_migration_pauses_only_with_nothing_under_way_and_says_why(history: History) -> None:
    history.run()
    assert all(pause.reason for pause in history.paused)
    if history.pauses == 0:
        assert all(pause.by_threshold for pause in history.paused)
