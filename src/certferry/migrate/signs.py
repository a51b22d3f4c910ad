"""Signs: words in a line that are evidence, which causes they speak for and how strongly. The table is data.

An ``Observation`` is one sign seen once. ``spot`` finds the signs of one line; readers that follow several lines
(``phone_log``, ``tvs_trace``) name their signs with ``named``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, Self

from certferry.migrate.causes import read_table

LONGEST_EVIDENCE = 240


class Certainty(StrEnum):
    """How sure the evidence makes us of a cause, the surest first."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"

    @property
    def weaker(self) -> "Certainty":
        """Return the next weaker one."""
        return Certainty.LIKELY if self is Certainty.CERTAIN else Certainty.POSSIBLE


RANK = {certainty: rank for rank, certainty in enumerate(Certainty)}


@dataclass(frozen=True, slots=True)
class Sign:
    """A row of the table: what a line says, and what that speaks for and against."""

    says: str
    where: re.Pattern[str] | None
    unless: re.Pattern[str] | None
    causes: Mapping[str, Certainty]
    rules_out: frozenset[str]
    shown: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of the table."""
        where, unless = (re.compile(row[key], re.IGNORECASE) if key in row else None for key in ("where", "unless"))
        weighed = {code: Certainty(text) for code, text in row.get("causes", {}).items()}
        rules_out, says = frozenset[str](row.get("rules-out", ())), row.get("says", "")
        return cls(says, where, unless, weighed, rules_out, row.get("shown", says))

    def fits(self, line: str) -> bool:
        """Whether a line that has the words is meant; ``line`` is in its own capital letters."""
        if self.where and not self.where.search(line):
            return False
        return not (self.unless and self.unless.search(line))


@dataclass(frozen=True, slots=True)
class Observation:
    """A sign that was seen: its causes, the words it was seen in, when (if told), and what the words name.

    ``facts`` may name ``device``, ``tvs``, ``signer``, ``destination``, and ``remedy`` where the evidence itself
    carries the exact next step.
    """

    causes: Mapping[str, Certainty]
    evidence: str
    rules_out: frozenset[str] = frozenset()
    at: datetime | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


@cache
def signs() -> tuple[Sign, ...]:
    """Return the signs of single lines."""
    return tuple(Sign.of(row) for row in read_table("signs")["sign"] if "says" in row)


@cache
def _named() -> Mapping[str, Sign]:
    return {row["name"]: Sign.of(row) for row in read_table("signs")["sign"] if "name" in row}


@cache
def cause_of_check() -> Mapping[str, str]:
    """Return which cause a failed check stands for, by the check's id."""
    return dict(read_table("signs")["checks"])


def spot(line: str, among: Iterable[Sign]) -> Iterator[Observation]:
    """Find the signs that one line shows."""
    low = line.lower()
    for sign in among:
        if sign.says in low and sign.fits(line):
            yield Observation(sign.causes, clip(line), sign.rules_out)


def named(name: str, evidence: str, **facts: str) -> Observation:
    """Make the observation of a sign that a reader found over several lines."""
    sign = _named()[name]
    return Observation(sign.causes, clip(evidence), sign.rules_out, facts=facts)


def clip(line: str) -> str:
    """Return a line as it is shown for evidence: blanks folded, no longer than somebody reads."""
    text = " ".join(line[: 4 * LONGEST_EVIDENCE].split())
    return text if len(text) <= LONGEST_EVIDENCE else text[: LONGEST_EVIDENCE - 1] + "…"
