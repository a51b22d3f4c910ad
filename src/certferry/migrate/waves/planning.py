"""In what order phones migrate: canaries of every kind first, then waves of one size; and when to stop."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, Self

from certferry.cluster.values import Phone
from certferry.errors import UsageError

CANARIES, WAVE = 5, 200
"""Canaries at least (else one in a hundred), and phones in a wave, unless the operator says otherwise."""


class ThresholdInvalidError(UsageError):
    """Not a number of failures, nor a share of a wave."""

    code = "waves.threshold-invalid"
    remedy = "Write --stop-at 3 for three failures, or --stop-at 5% for a twentieth of a wave."


@dataclass(frozen=True, slots=True)
class Threshold:
    """How many failures stop a migration: ``number`` since it began to run, or ``percent`` of a wave; never none."""

    number: int = 0
    percent: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``3`` or ``5%``; raises ``ThresholdInvalidError``."""
        digits, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
        if not (digits.isascii() and digits.isdecimal()) or not 1 <= int(digits) <= (100 if percent else 10**6):
            raise ThresholdInvalidError(f"{text!r} is no threshold")
        return cls(percent=int(digits)) if percent else cls(number=int(digits))

    def __str__(self) -> str:
        return f"{self.percent}%" if self.percent else str(self.number)

    def is_reached(self, *, failures: int, in_wave: int, wave_size: int) -> bool:
        """Whether so many failures, ``in_wave`` of them in the wave under way, are too many."""
        if self.percent:
            return in_wave > 0 and in_wave * 100 >= self.percent * wave_size
        return failures >= self.number


@dataclass(frozen=True, slots=True)
class Rules:
    """How a migration goes: resets each second, seconds between waves and of patience with a phone, when to stop."""

    pace: float = 5.0
    between: float = 30.0
    patience: float = 300.0
    stop_at: Threshold = Threshold(percent=5)

    def to_json(self) -> dict[str, Any]:
        """Give what ``of_json`` reads."""
        return asdict(self) | {"stop_at": str(self.stop_at)}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Self:
        """Read a migration's settings."""
        threshold = Threshold.parse(value["stop_at"])
        return replace(cls(value["pace"], value["between"], value["patience"]), stop_at=threshold)


def plan_waves(
    phones: Sequence[Phone], *, canary: int | None = None, size: int = WAVE, registered: Collection[str] = ()
) -> dict[str, int]:
    """Give each phone its wave: 0 for ``canary`` canaries, then ``size`` phones in each.

    Canaries are chosen among phones that are ``registered``, as others tell nothing.
    """
    count = max(CANARIES, -(-len(phones) // 100)) if canary is None else canary
    first = choose_canaries(phones, count, registered)
    ahead = frozenset(first)
    rest = [phone.device for phone in phones if phone.device not in ahead]
    return dict.fromkeys(first, 0) | {device: 1 + place // size for place, device in enumerate(rest)}


def choose_canaries(phones: Sequence[Phone], count: int, registered: Collection[str] = ()) -> list[str]:
    """Choose ``count`` phones so that every model, every group, secure and not come first, then every combination."""
    kinds: dict[Kind, list[str]] = {}
    for phone in sorted(phones, key=lambda phone: (phone.device not in registered, phone.device)):
        kinds.setdefault(Kind.of(phone), []).append(phone.device)
    return list(islice(_in_turn(kinds, registered), count))


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """What makes phones behave differently when they migrate."""

    model: str
    group: str
    secure: bool

    @classmethod
    def of(cls, phone: Phone) -> Self:
        """Tell the kind of a phone."""
        return cls(phone.model, phone.group, phone.secure)

    @property
    def traits(self) -> frozenset[tuple[str, object]]:
        """Model, group, profile, each for itself."""
        return frozenset({("model", self.model), ("group", self.group), ("secure", self.secure)})


def _in_turn(kinds: Mapping[Kind, list[str]], registered: Collection[str]) -> Iterator[str]:
    """Take one phone of each kind, round after round; kinds with registered phones before those without."""
    waiting = {kind: list(reversed(devices)) for kind, devices in kinds.items()}
    while waiting:
        alive = [kind for kind, devices in waiting.items() if devices[-1] in registered]
        for kind in _most_new_first({kind: len(waiting[kind]) for kind in alive or waiting}):
            yield waiting[kind].pop()
        waiting = {kind: devices for kind, devices in waiting.items() if devices}


def _most_new_first(kinds: Mapping[Kind, int]) -> Iterator[Kind]:
    """Order kinds so that each shows as many new traits as it can; of equals the one with most phones first."""
    left, seen = Counter(kinds), frozenset[tuple[str, object]]()
    while left:
        kind = min(left, key=lambda kind: (-len(kind.traits - seen), -left[kind], kind))
        del left[kind]
        seen |= kind.traits
        yield kind
