"""The chain of trust as a picture: phone, the lists it holds, TVS, store, signer, new list; each with its verdict.

Drawn as SVG without any outside part. Colours come from the page (``var(--fail)`` ...), and every link says its
verdict in words and with a sign too, so that it reads in black and white.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any
from unicodedata import east_asian_width

from certferry.migrate.causes import Language, Text, read_table
from certferry.migrate.matrix import worst
from certferry.migrate.result import Verification
from certferry.trust.list_check import Check, Verdict

SIGNS: dict[Verdict, str] = {"pass": "✓", "warn": "!", "fail": "✗", "unknown": "?"}
_WIDTH, _HEIGHT, _GAP, _TOP, _PER_ROW = 236, 112, 92, 12, 3
_ROW = _HEIGHT + 64
_LETTER = 7.6
_OF_BOTH = ("expiry.stores", "replication.served")
"""Checks of the source that are not about the lists it serves."""


@dataclass(frozen=True, slots=True)
class Link:
    """One box of the chain: what it is, the arrow to the next, its verdict and how many checks speak for it."""

    name: str
    about: str
    then: str
    verdict: Verdict
    told: str


def chain_links(verification: Verification, language: Language) -> tuple[Link, ...]:
    """Judge every link by the checks that speak for it; the phone itself by its rehearsal."""
    table = read_table("report")
    words = {key: Text(**text).of(language) for key, text in table["words"].items()}
    links = []
    for number, row in enumerate(table["link"]):
        name, about, then = (Text(**row[key]).of(language) for key in ("name", "about", "then"))
        verdicts = [check.verdict for check in verification.checks if _speaks_for(row, check)]
        if number == 0:
            verdicts = [_of_phone(phone.outcome) for phone in verification.phones]
        verdict = worst(verdicts)
        told = f"{words[verdict]}: {verdicts.count(verdict)}/{len(verdicts)}" if verdicts else words["not-looked-at"]
        links.append(Link(name, about, then, verdict, told))
    return tuple(links)


def _speaks_for(row: Mapping[str, Any], check: Check) -> bool:
    if check.title.startswith("source ") and check.id not in _OF_BOTH:
        return "side" in row
    return check.id in row["checks"]


def _of_phone(outcome: str) -> Verdict:
    verdicts: dict[str, Verdict] = {"would-migrate": "pass", "would-fail": "fail"}
    return verdicts.get(outcome, "unknown")


def draw_chain(links: tuple[Link, ...], label: str) -> str:
    """Draw the links, three in a row, the second row running back, as one SVG element."""
    rows = -(-len(links) // _PER_ROW)
    width = _PER_ROW * _WIDTH + (_PER_ROW - 1) * _GAP + 4
    height = _TOP + rows * _HEIGHT + (rows - 1) * (_ROW - _HEIGHT) + 4
    parts = [part for number, link in enumerate(links) for part in _draw(number, link, last=number == len(links) - 1)]
    return (
        f'<svg class="chain" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" class="tip"/></marker></defs>'
        f"{''.join(parts)}</svg>"
    )


def _corner(number: int) -> tuple[int, int]:
    row, column = divmod(number, _PER_ROW)
    if row % 2:
        column = _PER_ROW - 1 - column
    return 2 + column * (_WIDTH + _GAP), _TOP + row * _ROW


def _draw(number: int, link: Link, *, last: bool) -> Iterator[str]:
    x, y = _corner(number)
    middle = x + _WIDTH / 2
    yield f'<g class="{link.verdict}"><rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="10"/>'
    yield _line(middle, y + 30, link.name, "name")
    yield _line(middle, y + 54, link.about, "about")
    yield _line(middle, y + 88, f"{SIGNS[link.verdict]} {link.told}", "told")
    yield "</g>"
    if not last:
        yield from _arrow(number, link.then)


def _arrow(number: int, text: str) -> Iterator[str]:
    (x, y), (to_x, to_y) = _corner(number), _corner(number + 1)
    if y == to_y:
        begin, end = (x + _WIDTH + 4, to_x - 4) if to_x > x else (x - 4, to_x + _WIDTH + 4)
        level = y + _HEIGHT / 2
        yield f'<path class="arrow" d="M{begin} {level} {end} {level}"/>'
        yield _line((begin + end) / 2, level - 10, text, "then", room=_GAP - 12)
    else:
        middle = x + _WIDTH / 2
        yield f'<path class="arrow" d="M{middle} {y + _HEIGHT + 4} {middle} {to_y - 4}"/>'
        yield f'<text class="then side" x="{middle + 12}" y="{(y + _HEIGHT + to_y) / 2 + 5}">{escape(text)}</text>'


def _line(x: float, y: float, text: str, kind: str, room: int = _WIDTH - 20) -> str:
    wide = _letters(text) * _LETTER * (1.15 if kind in ("name", "told") else 1)
    squeeze = f' textLength="{room}" lengthAdjust="spacingAndGlyphs"' if wide > room else ""
    return f'<text class="{kind}" x="{x}" y="{y}"{squeeze}>{escape(text)}</text>'


def _letters(text: str) -> int:
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)
