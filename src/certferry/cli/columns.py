"""Tables as plain text, one line for each row: for pipes and logs, and where there are too many rows to draw.

A table whose last column holds sentences, such as evidence, may get wider than anybody reads. Then each sentence stands
on a line of its own below its row, indented and whole::

    verdict  check     what
        evidence
    fail     ctl.same  every TFTP node of the source serves the same CTL
        src-sub serves another one than src-pub

Lines that begin with a blank are those of sentences: ``grep ^fail`` finds rows, ``grep -A1`` their evidence too.
"""

from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len

WIDEST = 120
"""Columns of a line that is still read at a glance."""
_GAP = "  "
_INDENT = "    "

Row = Sequence[str]


def lines_of(headings: Row, rows: Iterable[Row], *, sentences: bool = False) -> Iterator[str]:
    """Write a table, without blanks at the ends of its lines; ``sentences`` are in its last column, if any."""
    table = [[_in_one_line(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    if not sentences or sum(widths) + len(_GAP) * (len(widths) - 1) <= WIDEST:
        return (_beside(row, widths) for row in table)
    return _with_sentences_below(table, widths[:-1])


def _with_sentences_below(table: Iterable[Row], widths: Sequence[int]) -> Iterator[str]:
    for *row, sentence in table:
        yield _beside(row, widths)
        if sentence:
            yield f"{_INDENT}{sentence}"


def _beside(row: Row, widths: Sequence[int]) -> str:
    padded = (cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True))
    return _GAP.join(padded).rstrip()


def _width(cell: str) -> int:
    """Count the columns of a terminal that a cell takes: Japanese characters take two."""
    return len(cell) if cell.isascii() else cell_len(cell)


def _in_one_line(cell: str) -> str:
    """Make no cell look like another row; blanks inside it stay as they are."""
    return cell if cell.isprintable() else " ".join(cell.splitlines()).replace("\t", " ")
