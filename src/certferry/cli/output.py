"""What a command prints: data on stdout (text, or one JSON object), everything else on stderr."""

import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table
from rich.text import Text

from certferry.cli.columns import lines_of
from certferry.errors import Refusal

MOST_DRAWN = 500
"""Rows of a table that are fitted into a terminal; to draw thousands takes longer than to find them."""
_PIPE_WIDTH = 10_000
_CONTROLS = [*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A)]
_VISIBLE = {number: f"\\u{number:04x}" for number in _CONTROLS if chr(number) not in "\n\t"}


def visible(text: str) -> str:
    """Show control characters instead of sending them: names in certificates and files are chosen by strangers."""
    return text.translate(_VISIBLE)


class _PipeConsole(Console):
    """A console that lets the command decide what it means that its reader went away."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


class Output:
    """One command's output. ``as_json`` chooses between text and one JSON object on stdout."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.answered = False
        self.console = _PipeConsole(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
        # In a pipe nothing is folded or cut: the reader is a program.
        width = None if sys.stdout.isatty() else _PIPE_WIDTH
        self._stdout = _PipeConsole(highlight=False, soft_wrap=True, width=width, markup=False, emoji=False)

    @property
    def is_terminal(self) -> bool:
        """Whether somebody watches: progress is shown only then."""
        return sys.stderr.isatty()

    @property
    def can_ask(self) -> bool:
        """Whether somebody is there to answer a question."""
        return self.is_terminal and sys.stdin.isatty()

    def data(self, value: Mapping[str, Any], text: str | None = None) -> None:
        """Print the result: the object as JSON, or ``text`` for people."""
        if self.as_json:
            self.answered = True
            line = json.dumps(value, default=_plain, ensure_ascii=not _writes_utf8())
            sys.stdout.write(visible(line) + "\n")  # written as \uXXXX, which JSON reads as what it was
            sys.stdout.flush()
        elif text is not None:
            self.text(text)

    def text(self, text: str) -> None:
        """Print text for people on stdout; nothing with ``--json``."""
        if not self.as_json:
            self._stdout.print(Text(visible(text)))

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[object]], *, sentences: bool = False) -> None:
        """Print a table for people on stdout; nothing with ``--json``. ``sentences``: in its last column."""
        if self.as_json:
            return
        cells = [[visible(str(cell)) for cell in row] for row in rows]
        if sys.stdout.isatty() and len(cells) <= MOST_DRAWN:
            self._stdout.print(_drawn(headings, cells))
        else:
            sys.stdout.writelines(f"{line}\n" for line in lines_of(headings, cells, sentences=sentences))
            sys.stdout.flush()

    def say(self, text: str, style: str = "") -> None:
        """Tell the person running the command something, on stderr."""
        self.console.print(Text(visible(text), style))

    def warn(self, text: str) -> None:
        """Warn the person running the command, on stderr."""
        self.console.print(Text.assemble(("warning", "yellow"), f" {visible(text)}"))

    def refuse(self, refusal: Refusal) -> None:
        """Say on stderr what was refused, and what to do next."""
        sentence = (visible(refusal.sentence), (f"({refusal.code})", "dim"))
        self.console.print(Text.assemble(("refused ", "bold red"), sentence[0], " ", sentence[1]))
        if refusal.remedy:
            self.console.print(Text.assemble(("next    ", "bold"), visible(refusal.remedy)))

    def note(self, text: str) -> None:
        """Say something that only matters while somebody watches."""
        if self.is_terminal:
            self.say(text, "dim")


def let_any_text_out() -> None:
    """Let standard output take what its encoding lacks, as an escape, instead of breaking off."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drawn(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _writes_utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)
