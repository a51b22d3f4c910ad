r"""Steering a migration, as a pure state machine: time and what was seen go in, what is to be done comes out.

::

    waiting --reset--> reset --------> moved
       |                 |  \             ^
       |                 |   uncertain --+     (its node died with the reset in hand)
       |                 v       v      |
       |               failed <--+      |
       |                 +--------------+      (it came late)
       +--(at the destination already)--+

Everything that ``advance`` needs stands in the phones' rows, so a runner that was killed is replaced by one that
reads them: the wave under way is the first with a phone that has not ended, the pace goes on from the last reset,
the pause between waves from the last end. A reset is asked for under a name that is the same every time, and is
asked for before it is written down; a phone found waiting whose reset was asked for already is taken for reset.

Moments that are yet to come were written down before the clock was set back. They are taken for now, once and in
their order, so that pace, pauses and patience go on from here instead of waiting until the clock is there again.

When failures reach the threshold, one in the canaries, or when an operator wants a pause, no phone is reset any more;
those under way are followed to their end, and then the migration pauses.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import islice

from certferry.cluster.migrations import MigrationPhone, PhoneState
from certferry.migrate.waves.judging import Seen, is_at_destination, judge
from certferry.migrate.waves.planning import Rules

SLACK = timedelta(seconds=1)
"""So much of the pace may be made up for when a turn came late: never more than a second's resets at once."""
_EVER = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENT = timedelta(microseconds=1)
ASKED_TO = "an operator asked for it"


@dataclass(frozen=True, slots=True)
class BeginWave:
    """The first phones of a wave are about to be reset."""

    wave: int


@dataclass(frozen=True, slots=True)
class Reset:
    """Ask for the reset of phones; ``slot`` is the moment the pace gave to the last of them."""

    devices: tuple[str, ...]
    slot: datetime


@dataclass(frozen=True, slots=True)
class Mark:
    """A phone is in another state than before, as it is here."""

    phone: MigrationPhone


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take back resets that nobody has taken, if it is still so."""

    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is under way any more and nothing more is to be reset."""

    reason: str
    by_threshold: bool


@dataclass(frozen=True, slots=True)
class Finish:
    """Every phone has ended."""


@dataclass(frozen=True, slots=True)
class Redate:
    """The clock was set back by at least ``seconds``: ``phones`` with what lay ahead of it taken for now."""

    phones: tuple[MigrationPhone, ...]
    seconds: float


Action = BeginWave | Reset | Mark | Withdraw | Pause | Finish | Redate


@dataclass(frozen=True)
class Steered:
    """A migration as its runner knows it.

    Failures before ``counted_from`` are those an operator has seen and resumed after; ``slot`` is how far the pace
    has been used up.
    """

    rules: Rules
    phones: Mapping[str, MigrationPhone]
    counted_from: datetime = _EVER
    slot: datetime = _EVER

    @classmethod
    def of(cls, rules: Rules, phones: Iterable[MigrationPhone], counted_from: datetime = _EVER) -> "Steered":
        """Take up a migration as it is written down."""
        known = {phone.device: phone for phone in phones}
        last = max((phone.reset_at for phone in known.values() if phone.reset_at), default=_EVER)
        return cls(rules, known, counted_from, last)

    @cached_property
    def by_state(self) -> Mapping[PhoneState, tuple[MigrationPhone, ...]]:
        """The phones of each state, in the order in which they are reset."""
        found: dict[PhoneState, list[MigrationPhone]] = {state: [] for state in PhoneState}
        for phone in self.phones.values():
            found[phone.state].append(phone)
        return {state: tuple(phones) for state, phones in found.items()}

    @property
    def under_way(self) -> tuple[MigrationPhone, ...]:
        """The phones that were reset and have not ended."""
        return self.by_state[PhoneState.RESET] + self.by_state[PhoneState.UNCERTAIN]

    @property
    def wave(self) -> int | None:
        """The wave under way or next: the first in which a phone has not ended; None when all have."""
        open_phones = (*self.by_state[PhoneState.WAITING], *self.under_way)
        return min((phone.wave for phone in open_phones), default=None)

    def stop_reason(self) -> str:
        """Say why no more phones are to be reset; empty when they are."""
        failed = [each for each in self.by_state[PhoneState.FAILED] if _ended(each) >= self.counted_from]
        wave = max((phone.wave for phone in failed), default=-1)
        in_wave = sum(phone.wave == wave for phone in failed)
        if any(phone.wave == 0 for phone in failed):
            return f"{in_wave} of the canaries failed" if wave == 0 else "a canary failed"
        size = sum(phone.wave == wave for phone in self.phones.values()) if self.rules.stop_at.percent else 0
        if failed and self.rules.stop_at.is_reached(failures=len(failed), in_wave=in_wave, wave_size=size):
            return (
                f"{len(failed)} phones failed, {in_wave} of them in wave {wave}; the threshold is {self.rules.stop_at}"
            )
        return ""

    def due(self, now: datetime) -> tuple[MigrationPhone, ...]:
        """Tell which phones the pace and the pause between waves let be reset now."""
        wave, count = self.wave, self._allowed(now)
        if wave is None or count == 0 or now < self._may_begin(wave):
            return ()
        return tuple(islice((phone for phone in self.by_state[PhoneState.WAITING] if phone.wave == wave), count))

    def begins(self, wave: int) -> bool:
        """Whether no phone of a wave was ever reset."""
        return all(phone.state is PhoneState.WAITING for phone in self.phones.values() if phone.wave == wave)

    def watched(self, now: datetime, *, failed: bool = True) -> tuple[str, ...]:
        """Tell which phones have to be looked up before ``advance``: under way, about to be reset, and ``failed``.

        Those that failed may have come late; they need not be looked up each turn.
        """
        late = self.by_state[PhoneState.FAILED] if failed else ()
        return tuple(phone.device for phone in (*self.under_way, *late, *self.due(now)))

    @property
    def next_up(self) -> tuple[MigrationPhone, ...]:
        """The phones that wait in the wave under way or next."""
        wave = self.wave
        return tuple(phone for phone in self.by_state[PhoneState.WAITING] if phone.wave == wave)

    def after(self, actions: Iterable[Action], now: datetime) -> "Steered":
        """Tell how the migration stands when ``actions`` are done."""
        changed, slot = {phone.device: phone for phone in changes(self, actions, now)}, self.slot
        counted_from = self.counted_from
        for action in actions:
            if isinstance(action, Reset):
                slot = action.slot
            elif isinstance(action, Redate):
                slot, counted_from = min(slot, now), min(counted_from, now)
        return replace(self, phones={**self.phones, **changed}, slot=slot, counted_from=counted_from)

    def slot_after(self, count: int, now: datetime) -> datetime:
        """Tell the moment that the pace gives to the last of ``count`` phones."""
        return max(self.slot + count * self._step, now - SLACK + (count - 1) * self._step)

    @property
    def _step(self) -> timedelta:
        return timedelta(seconds=1 / self.rules.pace)

    def _allowed(self, now: datetime) -> int:
        first = self.slot_after(1, now)
        return 0 if first > now else 1 + (now - first) // self._step

    def _may_begin(self, wave: int) -> datetime:
        """Tell when a wave may begin: one under way at once, another a while after the one before it ended."""
        if not self.begins(wave):
            return _EVER
        ended = [_ended(phone) for phone in self.phones.values() if phone.wave < wave]
        return max(ended) + timedelta(seconds=self.rules.between) if ended else _EVER


@dataclass(frozen=True, slots=True)
class Observations:
    """What was looked up: phones by device (those of ``watched``), and whether an operator wants a pause."""

    phones: Mapping[str, Seen] = field(default_factory=dict)
    pause_wanted: bool = False


def advance(steered: Steered, seen: Observations, now: datetime) -> tuple[Action, ...]:
    """Decide what is to be done now."""
    if set_back := redated(steered, now):
        return (set_back,)
    judged = tuple(_judged(steered, seen, now))
    then = steered.after(judged, now)
    stop = then.stop_reason()
    if stop or seen.pause_wanted:
        paused = () if then.under_way or then.wave is None else (Pause(stop or ASKED_TO, by_threshold=bool(stop)),)
        return (*judged, *(paused or _finished(then)))
    return (*judged, *_go_on(then, seen, now), *_finished(then))


def changes(steered: Steered, actions: Iterable[Action], now: datetime) -> Iterator[MigrationPhone]:
    """Tell how phones are written down after ``actions``."""
    for action in actions:
        if isinstance(action, Mark):
            yield action.phone
        elif isinstance(action, Redate):
            yield from action.phones
        elif isinstance(action, Reset):
            for device in action.devices:
                yield replace(steered.phones[device], state=PhoneState.RESET, reset_at=now)


def redated(steered: Steered, now: datetime, *, resumed: bool = False) -> Redate | None:
    """Take moments ahead of the clock for now; None when there are none.

    Failures from before the counting began stay before it: all, when an operator has ``resumed`` right now.
    """
    moments = [each for phone in steered.phones.values() for each in (phone.reset_at, phone.ended_at) if each]
    latest = max(steered.slot, steered.counted_from, *moments)
    if latest <= now:
        return None
    counted_from = min(steered.counted_from, now)

    def past(moment: datetime | None) -> datetime | None:
        if moment is None or moment <= now:
            return moment
        return counted_from - _MOMENT if resumed or moment < steered.counted_from else now

    dated = [(p, replace(p, reset_at=past(p.reset_at), ended_at=past(p.ended_at))) for p in steered.phones.values()]
    changed = tuple(after for before, after in dated if after != before)
    return Redate(changed, (latest - now).total_seconds())


def _judged(steered: Steered, seen: Observations, now: datetime) -> Iterator[Action]:
    patience, withdrawn = timedelta(seconds=steered.rules.patience), []
    for phone in (*steered.under_way, *steered.by_state[PhoneState.FAILED]):
        verdict = judge(phone, seen.phones.get(phone.device, Seen()), patience, now)
        if verdict.withdraw:
            withdrawn.append(phone.device)
        if verdict.state is not phone.state:
            ended = _between(phone.reset_at or now, verdict.at or now, now)
            yield Mark(_marked(phone, verdict.state, ended, verdict.code, verdict.reason))
    if withdrawn:
        yield Withdraw(tuple(withdrawn))


def _marked(phone: MigrationPhone, state: PhoneState, ended: datetime, code: str, reason: str) -> MigrationPhone:
    return replace(phone, state=state, ended_at=ended if state.has_ended else None, code=code, reason=reason)


def _between(earliest: datetime, at: datetime, latest: datetime) -> datetime:
    """Keep a moment that another clock told within what can be."""
    return min(max(earliest, at), latest)


def _go_on(steered: Steered, seen: Observations, now: datetime) -> Iterator[Action]:
    due = steered.due(now)
    known = {phone.device: seen.phones[phone.device] for phone in due if phone.device in seen.phones}
    asked = [phone for phone in due if (have := known.get(phone.device)) and have.request]
    there = [
        phone
        for phone in due
        if phone not in asked and phone.device in known and is_at_destination(known[phone.device])
    ]
    new = tuple(phone.device for phone in due if phone.device in known and phone not in asked and phone not in there)
    if due and known and steered.begins(due[0].wave):
        yield BeginWave(due[0].wave)
    for phone in asked:
        request = known[phone.device].request
        asked_at = min(request.asked_at, now) if request else now
        yield Mark(replace(phone, state=PhoneState.RESET, reset_at=asked_at))
    for phone in there:
        yield Mark(_marked(phone, PhoneState.MOVED, now, "", "was at the destination already"))
    if new or asked:
        yield Reset(new, steered.slot_after(len(new) + len(asked), now))


def _finished(steered: Steered) -> Sequence[Action]:
    return (Finish(),) if steered.wave is None else ()


def _ended(phone: MigrationPhone) -> datetime:
    return phone.ended_at or _EVER
