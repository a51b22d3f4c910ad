"""Putting checks into tables: which row and column a check belongs to, and the worst verdict of each cell."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from certferry.migrate.causes import read_table
from certferry.trust.list_check import Check, Verdict

SEVERITY: tuple[Verdict, ...] = ("pass", "warn", "unknown", "fail")
"""The verdicts, the worst last: what was not seen weighs more than a warning."""


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of them; of none it is *unknown*."""
    return max(verdicts, key=SEVERITY.index, default="unknown")


@dataclass(frozen=True, slots=True)
class Matrix:
    """A table of checks: ``cells[row, column]`` are the checks there."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], tuple[Check, ...]]

    def verdict(self, row: str, column: str) -> Verdict | None:
        """Return the worst verdict of a cell; None where nothing was looked at."""
        checks = self.cells.get((row, column))
        return worst(check.verdict for check in checks) if checks else None


@dataclass(frozen=True, slots=True)
class _Place:
    id: str
    title: re.Pattern[str]
    column: str

    def of(self, check: Check) -> tuple[str, str] | None:
        if self.id not in ("*", check.id):
            return None
        found = self.title.match(check.title)
        return (found["row"], self.column or found["column"]) if found else None


def build_matrix(name: str, checks: Iterable[Check]) -> Matrix | None:
    """Build one of the report's tables; None when no check belongs to it."""
    cells: dict[tuple[str, str], list[Check]] = {}
    for check, place in _placed(name, checks):
        cells.setdefault(place, []).append(check)
    if not cells:
        return None
    rows, columns = (tuple(dict.fromkeys(place[axis] for place in cells)) for axis in (0, 1))
    return Matrix(rows, columns, {place: tuple(there) for place, there in cells.items()})


def _placed(name: str, checks: Iterable[Check]) -> Iterator[tuple[Check, tuple[str, str]]]:
    for check in checks:
        place = next((place for known in _places(name) if (place := known.of(check))), None)
        if place:
            yield check, place


@cache
def _places(name: str) -> tuple[_Place, ...]:
    rows = read_table("report")["matrix"][name]
    return tuple(_Place(row["id"], re.compile(row["title"]), row.get("column", "")) for row in rows)
