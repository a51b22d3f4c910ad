"""How a migration is shown: status, live picture, lines of JSON, report."""

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live

from certferry.cli.exit_codes import ExitCode
from certferry.cli.migrate_options import exit_code
from certferry.cli.migrate_view import LineView, LiveView, headline, picture, waves_shown
from certferry.cluster.migrations import Event, Migration, MigrationPhone, PhoneState, State
from certferry.migrate.waves.plots import draw_throughput, draw_times, percentile, throughput, times_to_register
from certferry.migrate.waves.report import Report
from certferry.migrate.waves.status import Status, WaveStatus, moving_rate

START = datetime(2026, 6, 1, 12, tzinfo=UTC)
PLAN = {"pace": 1.0, "between": 0.0, "patience": 60.0, "stop_at": "5%", "wave_size": 10}


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def moved(number: int, wave: int = 0, seconds: float = 10) -> MigrationPhone:
    return MigrationPhone(name(number), wave, PhoneState.MOVED, at(number), at(number + seconds))


def failed(number: int, wave: int = 0, code: str = "tvs.invalid", reason: str = "<b>came</b> back") -> MigrationPhone:
    return MigrationPhone(name(number), wave, PhoneState.FAILED, at(number), at(number + 9), code, reason)


def waiting(number: int, wave: int = 0) -> MigrationPhone:
    return MigrationPhone(name(number), wave)


def name(number: int) -> str:
    return f"SEP{number:012X}"


def status(*phones: MigrationPhone, state: State = State.DONE, **more: Any) -> Status:
    migration = Migration("m1", START, "ann", "/clusters/dst", PLAN, state, **more)
    return Status.of(migration, phones, at(60))


MIXED = (moved(0), failed(1), moved(2, 1), failed(3, 1, "wave.nowhere"), waiting(4, 1), waiting(5, 2))


def test_a_status_has_the_keys_of_the_command_line_contract() -> None:
    told = status(*MIXED, state=State.PAUSED, reason="a canary failed").to_json()
    assert {"migration", "state", "reason", "waves", "phones"} <= set(told)
    assert told["waves"][1] == {
        "number": 1, "canary": False, "phones": 3, "waiting": 1, "reset": 0, "uncertain": 0, "moved": 1, "failed": 1,
    }  # fmt: skip
    assert told["waves"][0]["canary"] is True
    assert {"device", "wave", "state", "outcome", "step", "reason"} <= set(told["phones"][0])
    assert [phone["outcome"] for phone in told["phones"]] == [
        "migrated", "failed", "migrated", "failed", "waiting", "waiting",
    ]  # fmt: skip
    assert told["phones"][1]["step"] == "tvs"


def test_phones_under_way_are_counted_as_reset_and_the_uncertain_ones_besides() -> None:
    under_way = [MigrationPhone(name(n), 1, state) for n, state in enumerate((PhoneState.RESET, PhoneState.UNCERTAIN))]
    (wave,) = status(*under_way).waves
    assert (wave.phones, wave.reset, wave.uncertain) == (2, 2, 1)
    assert status(*under_way).to_json()["phones"][0]["outcome"] == "under way"


def test_a_migration_whose_runner_died_says_how_to_go_on() -> None:
    assert "certferry migrate resume" in status(*MIXED, state=State.RUNNING).reason
    alive = status(*MIXED, state=State.RUNNING, runner="ann", runner_until=at(70))
    assert alive.reason == ""


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    phones = [moved(number, seconds=1) for number in range(50)]
    assert moving_rate(phones, at(50)) == pytest.approx(31 / 30)
    assert moving_rate(phones, at(500)) == 0
    assert moving_rate([moved(0, seconds=2)], at(4)) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("phones", "state", "code"),
    [
        ((moved(0), moved(1)), State.DONE, ExitCode.DONE),
        ((failed(0), failed(1)), State.DONE, ExitCode.FAILED),
        ((moved(0), failed(1)), State.DONE, ExitCode.PARTLY_DONE),
        ((moved(0), waiting(1)), State.PAUSED, ExitCode.PARTLY_DONE),
    ],
)
def test_the_exit_code_says_how_it_ended(phones: tuple[MigrationPhone, ...], state: State, code: ExitCode) -> None:
    assert exit_code(status(*phones, state=state)) == code


# --- live


def drawn(seen: Status) -> str:
    console = Console(file=io.StringIO(), width=150, force_terminal=False)
    console.print(picture(seen))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_picture_shows_waves_and_the_first_failures() -> None:
    text = drawn(status(*MIXED, state=State.PAUSED, reason="a canary failed"))
    assert "m1: paused (a canary failed); 2 of 6 moved, 2 failed, 0 under way" in text
    assert re.search(r"canaries +2 +0 +0 +1 +1", text)
    assert "tvs.invalid  <b>came</b> back" in text


def test_many_failures_are_counted_not_listed() -> None:
    assert "and 15 more" in drawn(status(*(failed(number) for number in range(20))))


def test_control_characters_in_a_reason_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in drawn(status(failed(0, reason="evil \x1b[2J")))


def test_of_many_waves_those_around_the_one_under_way_are_shown() -> None:
    waves = [WaveStatus(n, moved=1) for n in range(30)] + [WaveStatus(n, waiting=1) for n in range(30, 60)]
    assert [wave.number for wave in waves_shown(waves)] == list(range(24, 36))
    assert [wave.number for wave in waves_shown(waves[:30])] == list(range(18, 30))
    assert list(waves_shown(waves[:3])) == waves[:3]


def test_the_live_picture_is_drawn_when_it_is_due() -> None:
    console = Console(file=io.StringIO(), width=150, force_terminal=False)
    with Live(console=console, auto_refresh=False) as live:
        view = LiveView(live)
        view.happened(Event("wave", START))
        for phones in (MIXED, MIXED[:1]):
            view.stands(lambda phones=phones: status(*phones))  # type: ignore[misc]
        live.refresh()
    assert isinstance(console.file, io.StringIO)
    assert "2 of 6 moved" in console.file.getvalue()


def test_a_rate_is_told_while_it_runs() -> None:
    running = status(*[moved(n, seconds=50) for n in range(9)], state=State.RUNNING, runner="a", runner_until=at(99))
    assert headline(running).endswith("0.3 a second")


def test_lines_are_events_at_once_and_a_status_each_second_when_something_changed() -> None:
    written: list[str] = []
    view = LineView(written.append)
    view.happened(Event("failed", START, {"device": name(1), "reason": "因 \x1b"}))
    view.stands(lambda: status(*MIXED))
    view.stands(lambda: status(*MIXED[:2]))
    first, second = (json.loads(line) for line in written)
    assert first == {"event": "failed", "at": START.isoformat(), "device": name(1), "reason": "因 \x1b"}
    assert [wave["number"] for wave in second["status"]["waves"]] == [0, 1, 2]
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in written)
    view._next = 0
    view.stands(lambda: status(*MIXED))
    assert len(written) == 2


# --- report


def report(*phones: MigrationPhone, events: tuple[Event, ...] = ()) -> Report:
    migration = Migration("m1", START, "ann", "/clusters/<dst>", PLAN, State.DONE)
    return Report(migration, Status.of(migration, phones, at(60)), events, "/clusters/src", at(60))


def test_the_report_has_every_phone_the_totals_and_every_failure_with_its_fix() -> None:
    told = report(*MIXED).to_json()
    assert told["totals"] == {"phones": 6, "waiting": 2, "reset": 0, "uncertain": 0, "moved": 2, "failed": 2}
    assert [failure["code"] for failure in told["failures"]] == ["tvs.invalid", "wave.nowhere"]
    assert all(failure["fix"] and failure["cause"] for failure in told["failures"])
    assert told["seconds_to_register"] == {"50": 10.0, "95": 10.0, "100": 10.0}
    assert json.dumps(told)


def test_an_unknown_code_is_reported_without_a_fix() -> None:
    assert report(failed(0, code="no.such-code")).to_json()["failures"][0] == {
        "code": "no.such-code", "phones": [name(0)],
    }  # fmt: skip


def test_the_table_for_spreadsheets_has_a_line_for_each_phone_and_no_formula() -> None:
    formulas = ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1"]
    text = report(failed(9, reason="one\rline"), *MIXED, *(failed(9, reason=formula) for formula in formulas)).to_csv()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["device"] for row in rows] == [
        name(9), *(phone.device for phone in MIXED), *[name(9)] * len(formulas)
    ]  # fmt: skip
    assert rows[0]["reason"] == "one line"
    assert [row["reason"] for row in rows[1 + len(MIXED) :]] == [f"'{formula}" for formula in formulas]


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_page_needs_nothing_else_and_escapes_what_it_was_told(language: Any) -> None:
    events = (Event("paused", at(5), {"reason": "<script>"}), Event("moved", at(6), {"devices": [name(0)]}))
    page = report(*MIXED, events=events).to_html(language)
    assert f'lang="{language}"' in page
    assert "default-src 'none'" in page
    assert not re.search(r"<script|<b>came|<dst>|https?://|style=\"", page)
    assert page.count("<svg") == 2
    assert all(phone.device in page for phone in MIXED)
    assert "&lt;script&gt;" in page


def test_a_page_without_a_moved_phone_has_no_plots() -> None:
    assert "<svg" not in report(waiting(0)).to_html()
    assert draw_throughput([], "", "", "") == draw_times([], "", "", "") == ""


@pytest.mark.parametrize(
    ("phones", "tone"), [((moved(0),), "pass"), ((moved(0), failed(1)), "fail"), ((moved(0), waiting(1)), "unknown")]
)
def test_the_verdict_stands_on_top(phones: tuple[MigrationPhone, ...], tone: str) -> None:
    assert f'class="verdict {tone}"' in report(*phones).to_html()


def test_throughput_counts_each_phone_once() -> None:
    phones = [moved(number, seconds=number % 7) for number in range(1000)]
    points = throughput(phones)
    width = points[1][0]
    assert len(points) <= 61
    assert sum(rate * width for _, rate in points) == pytest.approx(1000)


def test_times_to_register_are_those_of_phones_that_moved() -> None:
    assert times_to_register([moved(0, seconds=9), moved(1, seconds=3), failed(2), waiting(3)]) == [3, 9]


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (1, 1), (50, 2), (51, 3), (95, 4), (100, 4)])
def test_a_percentile_is_a_value_that_was_seen(percent: int, value: float) -> None:
    assert percentile([1, 2, 3, 4], percent) == value


def test_a_plot_stays_small_however_many_phones_there_are() -> None:
    phones = [moved(number, seconds=number % 97) for number in range(20_000)]
    assert len(draw_times(phones, "label", "across", "up")) < 20_000
    assert len(draw_throughput(phones, "label", "across", "up")) < 10_000
