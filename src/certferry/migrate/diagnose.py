"""From what somebody has in hand to the step, the cause, the check that settles it and the fix.

An essay, then four rules
=========================

The input may be anything: certferry's own JSON, one status message, a console log, a TVS trace, all of them pasted
one after the other, cut off at both ends. So nothing is parsed as a whole. Every line is looked at for *signs*
(``signs``, a table), two readers follow what takes several lines, and each sign speaks for causes with a certainty.
Then the weights are put together:

1. *Several lines for one cause*: the strongest counts, all are shown.
2. *Something rules a cause out* (a TVS that answered was reachable): it is dropped, unless other evidence makes it
   certain.
3. *A vague message is explained*: "Trust List Update Failed" has five possible causes; when a log shows that one of
   them is so, the message becomes evidence for that one and its other four are not told.
4. *It healed*: a failure whose own time is before that of a success counts one step less.

What is left is told, the surest first. When nothing is left, nothing is made up.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from certferry.migrate import phone_log, tvs_trace
from certferry.migrate.causes import Cause, Language, Stage, Text, find_cause
from certferry.migrate.phone_log import PhoneLogReader, plain_lines, shown_at
from certferry.migrate.record import parse_record, read_codes, read_record
from certferry.migrate.signs import RANK, Certainty, Observation, Sign, signs, spot
from certferry.migrate.tvs_trace import TvsTraceReader

CHUNK = 512
"""Lines that are searched for all words at once; only the signs that are in it are looked for line by line."""
LONGEST_LINE = 1 << 16
SHOWN, REMEMBERED = 5, 200
"""How many lines of evidence are kept for a cause, and how many different groups of causes."""

NOTHING_RECOGNISED = Text(
    "Nothing recognised. Paste the phone's status messages, its console log from the reset on, the source's TVS trace "
    "of that minute, or what certferry rehearse, verify, migrate or fleet run prints with --json",
    "該当する情報が見つかりません。電話機のステータス メッセージ、リセット以降のコンソールログ、"
    "その時刻の移行元の TVS トレース、または certferry の rehearse、verify、migrate、fleet run の --json の出力を"
    "貼り付けてください。",
)


@dataclass(frozen=True, slots=True)
class Hints:
    """What the asker knows besides: names that make the fix exact. Empty ones are taken from the evidence."""

    device: str = ""
    tvs: str = ""
    destination: str = ""


NO_HINTS = Hints()
_PLACEHOLDERS = {"device": "SEP<MAC>", "tvs": "SOURCE-TVS", "destination": "DESTINATION", "signer": "SIGNER"}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One cause with its certainty and the lines that say so; ``facts`` are the names that the fix is filled with."""

    cause: Cause
    certainty: Certainty
    evidence: tuple[str, ...]
    facts: Mapping[str, str]

    @property
    def code(self) -> str:
        """The cause's stable code."""
        return self.cause.code

    @property
    def step(self) -> Stage:
        """The step of the migration that broke."""
        return self.cause.step

    def settle(self, language: Language = "en") -> str:
        """Return the check that would settle it, with the names filled in."""
        return self._filled(self.cause.settle.of(language))

    def fix(self, language: Language = "en") -> str:
        """Return the exact next step; where the evidence brought its own remedy, that one (it is in English)."""
        own = self.facts.get("remedy", "")
        return own if own and language == "en" else self._filled(self.cause.fix.of(language))

    def to_json(self, language: Language = "en") -> dict[str, Any]:
        """Give the keys of the command-line contract."""
        return {
            "step": self.step.value,
            "cause": self.cause.cause.of(language),
            "certainty": self.certainty.value,
            "evidence": list(self.evidence),
            "settle": self.settle(language),
            "fix": self.fix(language),
            "code": self.code,
        }

    def _filled(self, text: str) -> str:
        for key, placeholder in _PLACEHOLDERS.items():
            text = text.replace(f"{{{key}}}", self.facts.get(key) or placeholder)
        return text


def diagnose(text: str, hints: Hints = NO_HINTS) -> tuple[Diagnosis, ...]:
    """Say what a text is evidence of, the surest first; an empty tuple when it says nothing known."""
    record = parse_record(text)
    if record is not None:
        return _conclude(read_record(record, hints.device), hints)
    return diagnose_lines(text.splitlines(), hints)


def diagnose_lines(lines: Iterable[str], hints: Hints = NO_HINTS) -> tuple[Diagnosis, ...]:
    """Say the same of a log too large to hold: each line is looked at once."""
    return _conclude(_observe(lines), hints)


# Seeing


def _observe(lines: Iterable[str]) -> Iterator[Observation]:
    phone, trace = PhoneLogReader(), TvsTraceReader()
    coming = (part for line in lines for part in plain_lines(line[:LONGEST_LINE]))
    while chunk := list(islice(coming, CHUNK)):
        yield from _observe_chunk(chunk, phone, trace)
    yield from trace.end()


def _observe_chunk(chunk: list[str], phone: PhoneLogReader, trace: TvsTraceReader) -> Iterator[Observation]:
    together = "\n".join(chunk).lower()
    there = [sign for sign in signs() if sign.says in together]
    readers = [
        reader.read
        for reader, keywords in ((phone, phone_log.KEYWORDS), (trace, tvs_trace.KEYWORDS))
        if any(keyword in together for keyword in keywords)
    ]
    for line in chunk:
        for reader in readers:
            yield from reader(line)
        yield from _observe_line(line, there)


def _observe_line(line: str, there: Iterable[Sign]) -> Iterator[Observation]:
    at = shown_at(line)
    for seen in spot(line, there):
        yield Observation(seen.causes, seen.evidence, seen.rules_out, at)
    yield from read_codes(line)


# Weighing


@dataclass(slots=True)
class _Group:
    """Every sighting of signs that speak for the same causes."""

    causes: dict[str, Certainty]
    lines: dict[str, None] = field(default_factory=dict)
    seen: int = 0
    latest: datetime | None = None
    undated: bool = False

    def add(self, seen: Observation) -> None:
        self.seen += 1
        if len(self.lines) < SHOWN:
            self.lines[seen.evidence] = None
        if seen.at is None:
            self.undated = True
        elif self.latest is None or seen.at > self.latest:
            self.latest = seen.at


class _Notebook:
    """What was seen, in bounded room whatever the length of the log."""

    def __init__(self) -> None:
        self.groups: dict[tuple[tuple[str, Certainty], ...], _Group] = {}
        self.ruled_out: set[str] = set()
        self.facts: dict[str, str] = {}
        self.remedies: dict[str, str] = {}

    def add(self, seen: Observation) -> None:
        self.ruled_out |= seen.rules_out
        for name, value in seen.facts.items():
            if name == "remedy":
                self.remedies.setdefault(next(iter(seen.causes)), value)
            else:
                self.facts.setdefault(name, value)
        key = tuple(seen.causes.items())
        if key and (key in self.groups or len(self.groups) < REMEMBERED):
            self.groups.setdefault(key, _Group(dict(seen.causes))).add(seen)


def _conclude(observations: Iterable[Observation], hints: Hints) -> tuple[Diagnosis, ...]:
    book = _Notebook()
    for seen in observations:
        book.add(seen)
    groups = list(book.groups.values())
    _let_success_heal(groups)
    _rule_out(groups, book.ruled_out)
    _explain_vague(groups)
    return tuple(sorted(_merge(groups, book, hints), key=_order))


def _let_success_heal(groups: list[_Group]) -> None:
    moved = [group.latest for group in groups if group.latest and "list.updated" in group.causes]
    for group in groups:
        if moved and group.latest and not group.undated and group.latest < max(moved):
            group.causes = {code: sure.weaker for code, sure in group.causes.items()}


def _rule_out(groups: list[_Group], ruled_out: set[str]) -> None:
    certain = {code for group in groups for code, sure in group.causes.items() if sure is Certainty.CERTAIN}
    for group in groups:
        group.causes = {code: sure for code, sure in group.causes.items() if code not in ruled_out - certain}


def _explain_vague(groups: list[_Group]) -> None:
    """Keep of a sign with several causes the one that another sign is surer of."""
    before = [dict(group.causes) for group in groups]
    for place, group in enumerate(groups):
        others = [causes for other, causes in enumerate(before) if other != place]
        explained = {code for code in group.causes if any(_is_surer(code, group, causes) for causes in others)}
        if explained and not _has_certain(group):
            group.causes = {code: group.causes[code] for code in explained}


def _is_surer(code: str, group: _Group, causes: Mapping[str, Certainty]) -> bool:
    """Whether other evidence is surer of this cause than the group is, and no less sure than the group is of any."""
    if code not in causes:
        return False
    strongest = min(RANK[sure] for sure in group.causes.values())
    return RANK[causes[code]] < RANK[group.causes[code]] and RANK[causes[code]] <= strongest


def _has_certain(group: _Group) -> bool:
    return Certainty.CERTAIN in group.causes.values()


def _merge(groups: list[_Group], book: _Notebook, hints: Hints) -> Iterator[Diagnosis]:
    given = {"device": hints.device, "tvs": hints.tvs, "destination": hints.destination}
    facts = book.facts | {key: value for key, value in given.items() if value}
    for code in dict.fromkeys(code for group in groups for code in group.causes):
        told = sorted((group for group in groups if code in group.causes), key=lambda group: RANK[group.causes[code]])
        own = {"remedy": book.remedies[code]} if code in book.remedies else {}
        cause = find_cause(code) or _own_words(code, told[0])
        yield Diagnosis(cause, told[0].causes[code], _evidence(told), facts | own)


def _evidence(groups: list[_Group]) -> tuple[str, ...]:
    lines = list(dict.fromkeys(line for group in groups for line in group.lines))[:SHOWN]
    seen = sum(group.seen for group in groups)
    return (*lines, f"({seen} such lines)") if seen > len(lines) else tuple(lines)


def _own_words(code: str, group: _Group) -> Cause:
    """Make a cause of a failed check that no table knows: it says itself what was seen and what to do."""
    name, told = code.partition(":")[2], next(iter(group.lines))
    step = next((stage for stage in Stage if name.startswith(stage.value)), Stage.EXCHANGE)
    same = Text(told, told)
    again = "certferry verify --source SOURCE --destination DESTINATION"
    return Cause(name, step, same, same, Text(again, again), Text(again, again), "certferry verify")


def _order(found: Diagnosis) -> tuple[int, bool, int]:
    return RANK[found.certainty], found.cause.fine, list(Stage).index(found.step)
