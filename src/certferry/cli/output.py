"""What a command prints: data on stdout (text, or one JSON object), everything else on stderr."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_PIPE_WIDTH = 10_000


class Output:
    """One command's output. ``as_json`` chooses between text and one JSON object on stdout."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        # In a pipe nothing is folded or cut: the reader is a program.
        self._stdout = Console(
            highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_WIDTH, markup=False
        )

    @property
    def is_terminal(self) -> bool:
        """Whether somebody watches: progress is shown only then."""
        return self.console.is_terminal

    def data(self, value: Mapping[str, Any], text: str | None = None) -> None:
        """Print the result: the object as JSON, or ``text`` for people."""
        if self.as_json:
            sys.stdout.write(json.dumps(value, default=_plain, ensure_ascii=False) + "\n")
            sys.stdout.flush()
        elif text is not None:
            self.text(text)

    def text(self, text: str) -> None:
        """Print text for people on stdout; nothing with ``--json``."""
        if not self.as_json:
            self._stdout.print(text)

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table for people on stdout; nothing with ``--json``."""
        if self.as_json:
            return
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for heading in headings:
            table.add_column(heading, overflow="fold", no_wrap=not self._stdout.is_terminal)
        for row in rows:
            table.add_row(*(escape(str(cell)) for cell in row))
        self._stdout.print(table)

    def say(self, text: str) -> None:
        """Tell the person running the command something, on stderr; markup allowed."""
        self.console.print(text)

    def note(self, text: str) -> None:
        """Say something that only matters while somebody watches."""
        if self.is_terminal:
            self.console.print(f"[dim]{escape(text)}[/dim]")


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, tuple):
        return list(value)
    return str(value)
