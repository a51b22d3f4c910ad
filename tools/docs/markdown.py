"""Markdown as the generated blocks need it."""

from collections.abc import Iterable, Sequence


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Draw a table; a pipe in a cell is escaped."""
    lines = [_row(headings), _row(["---"] * len(headings)), *map(_row, rows)]
    return "\n".join(lines)


def code(text: object) -> str:
    """Set a word in code."""
    return f"`{text}`"


def listed(words: Iterable[object]) -> str:
    """List words in code, or a dash for none."""
    return ", ".join(map(code, words)) or "-"


def plain(docstring: str) -> str:
    """Turn a docstring's first paragraph into Markdown: one line, code in single backticks."""
    return " ".join(docstring.strip().split("\n\n")[0].split()).replace("``", "`")


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
