"""The report of a migration: one HTML page that needs nothing else, JSON, or CSV; every phone is in it."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any

from certferry.cluster.migrations import Event, Migration, MigrationPhone, PhoneState
from certferry.migrate.causes import Language, find_cause
from certferry.migrate.sheet import Sheet
from certferry.migrate.waves.plots import draw_throughput, draw_times, percentile, times_to_register
from certferry.migrate.waves.status import Status, describe

_TOLD = ("started", "resumed", "option150", "wave", "stopping", "paused", "cancelled", "finished", "clock-set-back")
_TONES = {PhoneState.MOVED: "pass", PhoneState.FAILED: "fail", PhoneState.UNCERTAIN: "warn"}


@dataclass(frozen=True, slots=True)
class Report:
    """What a report is made of."""

    migration: Migration
    status: Status
    events: tuple[Event, ...]
    source: str
    at: datetime

    def to_json(self) -> dict[str, Any]:
        """Give everything as one object."""
        times = times_to_register(self.status.phones)
        return self.status.to_json() | {
            "source": self.source,
            "destination": self.migration.destination,
            "created_at": self.migration.created_at.isoformat(),
            "actor": self.migration.actor,
            "settings": dict(self.migration.plan),
            "totals": {key: value for key, value in self.status.totals.to_json().items() if key not in _OF_ONE_WAVE},
            "seconds_to_register": {str(p): round(percentile(times, p), 1) for p in (50, 95, 100)} if times else {},
            "failures": [_failure(code, phones) for code, phones in self.failures().items()],
            "events": [{"kind": e.kind, "at": e.at.isoformat(), **e.details} for e in self.events],
        }

    def failures(self) -> dict[str, list[MigrationPhone]]:
        """The phones that failed, by code, the most frequent first."""
        found: dict[str, list[MigrationPhone]] = {}
        for phone in self.status.failures:
            found.setdefault(phone.code, []).append(phone)
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))

    def to_csv(self) -> str:
        """Give a line for each phone."""
        text = io.StringIO()
        rows = [{key: _cell(value) for key, value in describe(phone).items()} for phone in self.status.phones]
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def to_html(self, language: Language = "en") -> str:
        """Give the page."""
        return "\n".join(_Page(self, language).lines()) + "\n"


_OF_ONE_WAVE = ("number", "canary")
_COLUMNS = ("device", "wave", "state", "outcome", "step", "code", "reason", "reset_at", "ended_at")
_FORMULAS = ("=", "+", "-", "@", "\t")


def _cell(value: object) -> object:
    """Write a cell; one that a spreadsheet would take for a formula is taken for text."""
    if not isinstance(value, str):
        return value
    line = value.replace("\r", " ")  # which the csv module would leave bare, and readers take for the line's end
    return f"'{line}" if line.startswith(_FORMULAS) else line


def _failure(code: str, phones: Sequence[MigrationPhone]) -> dict[str, Any]:
    cause = find_cause(code)
    told = {"cause": cause.cause.en, "fix": cause.fix.en, "step": cause.step.value} if cause else {}
    return {"code": code, "phones": [phone.device for phone in phones], **told}


class _Page:
    def __init__(self, report: Report, language: Language) -> None:
        self._report, self._language, self._status = report, language, report.status
        self._sheet = Sheet("waves_report", language, ("report.css", "waves/report.css"))
        self._say = self._sheet.say

    def lines(self) -> Iterator[str]:
        yield from self._sheet.opening(self._say("report", migration=self._status.migration))
        ends = {"source": self._report.source, "destination": self._report.migration.destination}
        yield f'<p class="soft">{self._say("from-to", **ends, at=f"{self._report.at:%Y-%m-%d %H:%M %Z}".strip())}</p>'
        yield f"{self._verdict()}\n</header>\n<main>"
        for part in (self._waves, self._plots, self._failures, self._phones, self._events):
            yield from part()
        yield self._sheet.closing()

    def _verdict(self) -> str:
        totals = self._status.totals
        left = totals.waiting + totals.reset
        tone = "unknown" if left else "fail" if totals.failed else "pass"
        key = {"unknown": "not-ended", "fail": "some-failed", "pass": "all-moved"}[tone]
        counts = {"phones": totals.phones, "moved": totals.moved, "failed": totals.failed, "left": left}
        return f'<p class="verdict {tone}">{self._say(key, **counts, state=self._status.state)}</p>'

    def _waves(self) -> Iterator[str]:
        columns = ("phones", "waiting", "reset", "moved", "failed")
        yield f"<section>\n<h2>{self._say('waves')}</h2>\n<table><thead>{self._heads('wave', *columns)}</thead><tbody>"
        for wave in self._status.waves:
            name = self._say("canaries") if wave.number == 0 else str(wave.number)
            cells = "".join(f'<td class="number">{wave.to_json()[column]}</td>' for column in columns)
            yield f"<tr><td>{name}</td>{cells}</tr>"
        yield "</tbody></table>\n</section>"

    def _plots(self) -> Iterator[str]:
        phones, words = self._status.phones, self._sheet.words
        times = times_to_register(phones)
        if not times:
            return
        yield f"<section>\n<h2>{self._say('throughput')}</h2>"
        yield draw_throughput(phones, words["throughput"], words["seconds"], words["rate"])
        yield f"<h2>{self._say('times')}</h2>"
        half, most = (f"{percentile(times, percent):.1f}" for percent in (50, 95))
        yield f"<p>{self._say('times-told', half=half, most=most, last=f'{times[-1]:.1f}')}</p>"
        yield draw_times(phones, words["times"], words["after"], words["share"])
        yield "</section>"

    def _failures(self) -> Iterator[str]:
        yield f"<section>\n<h2>{self._say('failures')}</h2>"
        if not self._report.failures():
            yield f"<p>{self._say('none')}</p>"
        for code, phones in self._report.failures().items():
            cause = find_cause(code)
            yield f'<article class="item fail"><h3>{len(phones)} <code>{escape(code)}</code></h3>'
            if cause:
                yield f"<p>{escape(cause.cause.of(self._language))}</p>"
                yield f"<p><strong>{self._say('fix')}:</strong> {escape(cause.fix.of(self._language))}</p>"
            yield f'<p class="told">{escape(phones[0].device)}: {escape(phones[0].reason)}</p></article>'
        yield "</section>"

    def _phones(self) -> Iterator[str]:
        heads = self._heads("device", "wave", "state", "reset-at", "ended-at", "reason")
        yield f"<section>\n<h2>{self._say('phones')}</h2>\n"
        yield f'<div class="wide"><table class="phones"><thead>{heads}</thead><tbody>'
        for phone in self._status.phones:
            state = f'<span class="badge {_TONES.get(phone.state, "unknown")}">{self._say(phone.state.value)}</span>'
            times = "".join(f"<td>{f'{at:%H:%M:%S}' if at else ''}</td>" for at in (phone.reset_at, phone.ended_at))
            code = f"<code>{escape(phone.code)}</code> " if phone.code else ""
            cells = f"<td>{phone.wave}</td><td>{state}</td>{times}<td>{code}{escape(phone.reason)}</td>"
            yield f"<tr><td><code>{escape(phone.device)}</code></td>{cells}</tr>"
        yield "</tbody></table></div>\n</section>"

    def _events(self) -> Iterator[str]:
        yield f'<section>\n<h2>{self._say("events")}</h2>\n<ul class="told">'
        for event in self._report.events:
            if event.kind in _TOLD:
                told = ", ".join(f"{key} {_plain(value)}" for key, value in event.details.items() if value != "")
                yield f"<li>{event.at:%Y-%m-%d %H:%M:%S} {escape(event.kind)} {escape(told)}</li>"
        yield "</ul>\n</section>"

    def _heads(self, *keys: str) -> str:
        return "<tr>" + "".join(f'<th scope="col">{self._say(key)}</th>' for key in keys) + "</tr>"


def _plain(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
