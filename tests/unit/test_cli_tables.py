"""How tables are printed: drawn for a terminal, as plain lines for pipes and logs and where they are long."""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout

import pytest

from certferry.cli.columns import WIDEST, lines_of
from certferry.cli.output import MOST_DRAWN, Output

HEADINGS = ("verdict", "check", "what", "evidence")
LONG = "src-sub serves another CTL than src-pub " * 4


def checked(evidence: str, verdict: str = "fail") -> tuple[str, ...]:
    return (verdict, "ctl.same", "the nodes serve the same CTL", evidence)


def table(rows: Sequence[Sequence[str]], *, sentences: bool = False) -> list[str]:
    return list(lines_of(HEADINGS, rows, sentences=sentences))


# --- plain lines


def test_columns_stand_below_one_another_and_no_line_ends_in_blanks() -> None:
    assert table([checked("no"), checked("", "unknown")]) == [
        "verdict  check     what                          evidence",
        "fail     ctl.same  the nodes serve the same CTL  no",
        "unknown  ctl.same  the nodes serve the same CTL",
    ]


def test_a_table_without_rows_is_its_headings() -> None:
    assert table([]) == ["verdict  check  what  evidence"]


def test_a_table_that_is_read_at_a_glance_keeps_its_sentences_beside() -> None:
    rows = [checked("no"), checked("yes", "pass")]
    assert table(rows, sentences=True) == table(rows)


def test_sentences_that_make_a_table_too_wide_stand_below_their_rows_each_whole() -> None:
    assert table([checked(LONG), checked("no", "warn"), checked("", "pass")], sentences=True) == [
        "verdict  check     what",
        "    evidence",
        "fail     ctl.same  the nodes serve the same CTL",
        f"    {LONG}",
        "warn     ctl.same  the nodes serve the same CTL",
        "    no",
        "pass     ctl.same  the nodes serve the same CTL",
    ]


@pytest.mark.parametrize(("more", "lines"), [(0, 2), (1, 4)])
def test_the_widest_line_that_is_still_one(more: int, lines: int) -> None:
    beside = len("fail     ctl.same  the nodes serve the same CTL  ")
    assert len(table([checked("x" * (WIDEST - beside + more))], sentences=True)) == lines


def test_a_wide_table_without_sentences_keeps_one_line_for_each_row() -> None:
    assert [len(line) > WIDEST for line in table([checked(LONG)])] == [False, True]


def test_characters_that_take_two_columns_do_not_shift_the_next() -> None:
    told = list(lines_of(("name", "group"), [("東京", "a"), ("tokyo", "b")]))
    assert told == ["name   group", "東京   a", "tokyo  b"]


def test_a_cell_of_several_lines_makes_no_line_that_looks_like_another_row() -> None:
    assert table([checked("no\npass     ctl.same  all is well")])[1:] == [
        "fail     ctl.same  the nodes serve the same CTL  no pass     ctl.same  all is well"
    ]


# --- where they go


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_a_terminal(*rows: Sequence[str]) -> list[str]:
    with redirect_stdout(Terminal()) as terminal:
        Output(as_json=False).table(HEADINGS, iter(rows), sentences=True)
    return terminal.getvalue().splitlines()


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many columns a terminal has that knows no colours."""
    monkeypatch.setenv("TERM", "dumb")
    return 80


def test_a_pipe_gets_plain_lines_in_the_order_they_were_printed(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(as_json=False)
    out.text("before")
    out.table(HEADINGS, [checked(LONG)], sentences=True)
    out.text("after")
    told = capsys.readouterr().out.splitlines()
    assert told == ["before", *table([checked(LONG)], sentences=True), "after"]


def test_a_terminal_gets_a_table_that_is_folded_to_its_width(narrow: int) -> None:
    lines = on_a_terminal(checked(LONG))
    assert len(lines) > 2
    assert max(map(len, lines)) <= narrow


@pytest.mark.usefixtures("narrow")
def test_a_long_table_is_written_in_plain_lines_on_a_terminal_too() -> None:
    rows = [checked(str(number)) for number in range(MOST_DRAWN + 1)]
    assert on_a_terminal(*rows) == table(rows)
    assert on_a_terminal(*rows[1:]) != table(rows[1:])


def test_control_characters_of_strangers_are_shown_in_pipes_too(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).table(("file",), [["\x1b[2Jcleared"]])
    assert capsys.readouterr().out.splitlines() == ["file", "\\u001b[2Jcleared"]


def test_nothing_but_the_object_is_printed_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).table(HEADINGS, [checked("no")])
    assert capsys.readouterr().out == ""
