"""The report for the change board: one HTML file that needs nothing else.

On top the verdict in one sentence, then the chain of trust, what to do, the matrices, the phones, and the evidence
of every check. Nothing is loaded from anywhere and no script runs (the page forbids both itself), so that it may be
mailed; everything that came from a network is escaped. Filters are anchors. It prints on A4.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from certferry.migrate.causes import Language, find_cause
from certferry.migrate.chain_picture import SIGNS, chain_links, draw_chain
from certferry.migrate.matrix import SEVERITY, Matrix, build_matrix
from certferry.migrate.record import code_of_check
from certferry.migrate.result import PhoneResult, Verification
from certferry.migrate.sheet import Sheet
from certferry.trust.list_check import Check, Verdict

LISTED_PHONES = 200
"""Phones of one outcome and code that are listed one by one."""
TOLD_REMEDIES = 4
"""Remedies of one check that are listed before the evidence is referred to."""
FEW_COLUMNS = 10
"""Up to so many columns of a matrix have their names written across."""
_OUTCOMES: dict[str, Verdict] = {"would-migrate": "pass", "would-fail": "fail", "unknown": "unknown"}


def render_html(verification: Verification, title: str = "", language: Language = "en") -> str:
    """Write the report as one HTML page; ``title`` heads it instead of the usual one."""
    return "\n".join(_Page(verification, language).lines(title)) + "\n"


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Checks of one id with the same verdict and remedy."""

    number: int
    checks: tuple[Check, ...]

    @property
    def first(self) -> Check:
        return self.checks[0]


class _Page:
    def __init__(self, verification: Verification, language: Language) -> None:
        self._all, self._language = verification, language
        self._sheet = Sheet("report", language)
        self._say = self._sheet.say
        self._evidence = _grouped(verification.checks)
        self._place = {id(check): group.number for group in self._evidence for check in group.checks}

    def lines(self, title: str) -> Iterator[str]:
        yield from self._sheet.opening(escape(title) or self._say("report"))
        where = {"source": self._all.source, "destination": self._all.destination}
        yield f'<p class="soft">{self._say("from-to", **where, at=f"{self._all.at:%Y-%m-%d %H:%M %Z}".strip())}</p>'
        yield from self._verdict()
        yield "</header>\n<main>"
        for part in (self._chain, self._to_do, self._matrices, self._phones, self._evidence_list):
            yield from part()
        yield self._sheet.closing()

    # The verdict

    def _verdict(self) -> Iterator[str]:
        counts, phones = self._all.counts, self._all.phones
        lost = sum(phone.outcome == "would-fail" for phone in phones)
        unsure = sum(phone.outcome == "unknown" for phone in phones)
        values = {"checks": len(self._all.checks), "failed": counts["fail"], "unknown": counts["unknown"]}
        tone: Verdict = "fail" if not self._all.ok else "unknown" if counts["unknown"] or unsure else "pass"
        key = {"fail": "no-go-phones" if lost else "no-go", "pass": "go-phones" if phones else "go"}.get(tone, "unsure")
        told = self._say(key, **values, lost=lost, unsure=unsure, phones=len(phones))
        yield f'<p class="verdict {tone}">{SIGNS[tone]} {told}</p>'
        yield f'<p class="counts"><span class="show soft">{self._say("show")}</span>'
        for verdict in reversed(SEVERITY):
            yield f'<a class="badge {verdict}" href="#only-{verdict}">{self._named(verdict)} {counts[verdict]}</a>'
        yield f'<a class="show" href="#evidence">{self._say("all")}</a></p>'

    def _named(self, verdict: Verdict) -> str:
        return f"{SIGNS[verdict]} {self._say(verdict)}"

    # Pictures and tables

    def _chain(self) -> Iterator[str]:
        yield f'<section>\n<h2>{self._say("chain")}</h2>\n<p class="soft">{self._say("chain-about")}</p>'
        label = self._sheet.words["chain"]
        yield f"{draw_chain(chain_links(self._all, self._language), label)}\n</section>"

    def _matrices(self) -> Iterator[str]:
        for name, heading in (("tvs", "matrix"), ("nodes", "nodes")):
            matrix = build_matrix(name, self._all.checks)
            if matrix:
                yield f'<section class="sheet">\n<h2>{self._say(heading)}</h2>'
                yield f'<p class="soft">{self._say(f"{heading}-about")}</p>'
                yield from self._matrix(matrix)
                yield "</section>"

    def _matrix(self, matrix: Matrix) -> Iterator[str]:
        legend = " ".join(f'<span class="badge {verdict}">{self._named(verdict)}</span>' for verdict in SEVERITY)
        heads = "".join(f'<th scope="col"><span>{self._column(column)}</span></th>' for column in matrix.columns)
        kind = "grid few" if len(matrix.columns) <= FEW_COLUMNS else "grid"
        yield f'<p class="counts">{legend}</p>\n<div class="wide"><table class="{kind}">'
        yield f'<thead><tr><th scope="col">{self._say("node")}</th>{heads}</tr></thead>\n<tbody>'
        for row in matrix.rows:
            cells = "".join(self._cell(matrix, row, column) for column in matrix.columns)
            yield f'<tr><th scope="row">{escape(row)}</th>{cells}</tr>'
        yield "</tbody></table></div>"

    def _column(self, column: str) -> str:
        return self._say(column) if column in self._sheet.words else escape(column)

    def _cell(self, matrix: Matrix, row: str, column: str) -> str:
        verdict = matrix.verdict(row, column)
        if verdict is None:
            return f'<td class="none"><span title="{self._say("not-looked-at")}">·</span></td>'
        check = max(matrix.cells[row, column], key=lambda check: SEVERITY.index(check.verdict))
        told = f"{self._say(verdict)}: {escape(check.title)}"
        link = f'<a href="#e{self._place[id(check)]}" title="{told}" aria-label="{told}">{SIGNS[verdict]}</a>'
        return f'<td class="cell {verdict}">{link}</td>'

    # Phones

    def _phones(self) -> Iterator[str]:
        if not self._all.phones:
            return
        yield f"<section>\n<h2>{self._say('phones')}</h2>"
        for alike in _phones_alike(self._all.phones):
            yield from self._phones_with_one_outcome(alike)
        yield "</section>"

    def _phones_with_one_outcome(self, alike: Sequence[PhoneResult]) -> Iterator[str]:
        first, left = alike[0], len(alike) - LISTED_PHONES
        verdict = _OUTCOMES.get(first.outcome, "unknown")
        words = self._say(first.outcome if first.outcome in _OUTCOMES else "unknown")
        badge = f'<span class="badge {verdict}">{SIGNS[verdict]} {words} {len(alike)}</span>'
        cause = self._cause(first.code) if verdict != "pass" else ""
        yield f"<p>{badge} {self._say('step')}: {escape(first.step)} <code>{escape(first.code)}</code>{cause}</p>"
        heads = "".join(f'<th scope="col">{self._say(key)}</th>' for key in ("device", "reason"))
        yield f'<table class="phones"><thead><tr>{heads}</tr></thead><tbody>'
        for phone in alike[:LISTED_PHONES]:
            yield f"<tr><td><code>{escape(phone.device)}</code></td><td>{escape(phone.reason)}</td></tr>"
        if left > 0:
            yield f'<tr><td colspan="2">{self._say("more-phones", count=left)}</td></tr>'
        yield "</tbody></table>"

    # What to do, and why

    def _to_do(self) -> Iterator[str]:
        yield f"<section>\n<h2>{self._say('remedies')}</h2>"
        remedies = self._remedies()
        if not remedies:
            yield f"<p>{self._say('remedies-none')}</p>\n</section>"
            return
        yield '<ol class="todo">'
        for groups in remedies.values():
            first, checks = groups[0].first, [check for group in groups for check in group.checks]
            badge = f'<a class="badge {first.verdict}" href="#e{groups[0].number}">{self._named(first.verdict)}</a>'
            told = f"{escape(first.title)}{self._and_more(checks)}{self._remedies_of(groups)}"
            yield f"<li>{badge} {told}{self._in_japanese(first)}</li>"
        yield "</ol>\n</section>"

    def _remedies_of(self, groups: Sequence[_Evidence]) -> str:
        different = list(dict.fromkeys(group.first.remedy for group in groups))
        told = "".join(f"<br>→ {escape(remedy)}" for remedy in different[:TOLD_REMEDIES])
        left = len(different) - TOLD_REMEDIES
        return told + (f'<br><span class="soft">{self._say("and-more", count=left)}</span>' if left > 0 else "")

    def _remedies(self) -> dict[tuple[str, str], list[_Evidence]]:
        found: dict[tuple[str, str], list[_Evidence]] = {}
        for group in self._evidence:
            if group.first.verdict != "pass" and group.first.remedy:
                found.setdefault((group.first.id, group.first.verdict), []).append(group)
        return found

    def _in_japanese(self, check: Check) -> str:
        """Add the cause in Japanese: titles and remedies of checks are told in English only."""
        return (
            self._cause(code_of_check(check.id, check.title))
            if self._language == "ja" and check.verdict in ("fail", "warn")
            else ""
        )

    def _cause(self, code: str) -> str:
        cause = find_cause(code) if code else None
        return f'<br><span class="soft">{escape(cause.cause.of(self._language))}</span>' if cause else ""

    def _evidence_list(self) -> Iterator[str]:
        yield f'<section id="evidence">\n<h2>{self._say("evidence")}</h2>'
        for verdict in SEVERITY:
            yield f'<span id="only-{verdict}"></span>'
        for group in self._evidence:
            yield from self._item(group)
        yield "</section>"

    def _item(self, group: _Evidence) -> Iterator[str]:
        check = group.first
        yield f'<article class="item {check.verdict}" id="e{group.number}">'
        heading = f"{self._badge(check.verdict)} {escape(check.title)}{self._and_more(group.checks)}"
        if len(group.checks) == 1:
            yield f"<h3>{heading}</h3>\n<p>{escape(check.evidence)} <code>{escape(check.id)}</code></p>"
        elif check.verdict == "pass":
            yield f"<details><summary>{heading} <code>{escape(check.id)}</code></summary>"
            yield from self._told(group)
            yield "</details>"
        else:
            yield f"<h3>{heading} <code>{escape(check.id)}</code></h3>"
            yield from self._told(group)
        if check.remedy:
            yield f"<p><strong>→</strong> {escape(check.remedy)}</p>"
        yield "</article>"

    def _told(self, group: _Evidence) -> Iterator[str]:
        """List each evidence once, with every place where it was seen."""
        places: dict[str, list[str]] = {}
        for check in group.checks:
            places.setdefault(check.evidence, []).append(escape(check.title))
        yield '<ul class="told">'
        for evidence, titles in places.items():
            yield f'<li>{" · ".join(titles)}<br><span class="soft">{escape(evidence)}</span></li>'
        yield "</ul>"

    def _badge(self, verdict: Verdict) -> str:
        return f'<span class="badge {verdict}">{self._named(verdict)}</span>'

    def _and_more(self, checks: Sequence[Check]) -> str:
        more = len(checks) - 1
        return f' <span class="soft">{self._say("like-it", count=more)}</span>' if more else ""


def _grouped(checks: Iterable[Check]) -> tuple[_Evidence, ...]:
    """Put checks together that ask for the same, the worst first."""
    alike: dict[tuple[str, str, str], list[Check]] = {}
    for check in checks:
        alike.setdefault((check.id, check.verdict, check.remedy), []).append(check)
    ordered = sorted(alike.values(), key=lambda group: -SEVERITY.index(group[0].verdict))
    return tuple(_Evidence(number, tuple(group)) for number, group in enumerate(ordered, 1))


def _phones_alike(phones: Sequence[PhoneResult]) -> Iterable[list[PhoneResult]]:
    alike: dict[tuple[str, str], list[PhoneResult]] = {}
    for phone in phones:
        alike.setdefault((phone.outcome, phone.code), []).append(phone)
    return sorted(alike.values(), key=lambda group: -SEVERITY.index(_OUTCOMES.get(group[0].outcome, "unknown")))
