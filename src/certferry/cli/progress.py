"""Progress bars on a terminal; silence in a pipe."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from certferry.cli.output import Output

Report = Callable[[str, int, int], None]


@contextmanager
def progress_bars(out: Output) -> Iterator[Report]:
    """Give a function ``report(step, done, total)`` that draws one bar for each step."""
    if not out.is_terminal or out.as_json:
        yield lambda _step, _done, _total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=out.console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done, total=total)

        yield report
