"""The page docs/explanation/performance.md, and its pictures, from the figures that were kept."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bars import draw
from subjects import SUBJECTS, Subject

TOP = """# What it costs

This page is written by `make bench`, from one run of everything in [`benchmarks/`](../../benchmarks/README.md) on one
machine with two cores, which servers and load generators share. **Only ratios within one run mean anything**; absolute
figures of different runs or machines say little. CPU is the server's own, as the operating system accounts it.
"""
HOW = """## How the servers do it

- **Nothing is looked up while a phone waits.** Answers of TVS, trust lists, signed configurations and HTTP responses
  are bytes in memory, made when the cluster changes and swapped in whole.
- **One epoll for all transfers and connections of a service**, itself watched by the event loop. A phone costs no task,
  no timer of its own and no buffer of 256 KB; TLS runs in memory, and deadlines stand in order instead of in the loop.
- **Bursts wait in the kernel**, with receive buffers of 4 MiB and long queues, and are drained many at a time.
- **Signatures are made once**, by content, for all workers and across restarts, on all cores, behind the service.
- **What is seen of phones** (metrics, where each phone is) is noted in memory and told to the database once a second,
  from a thread.
"""


def write_page(repository: Path, kept: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the page and its pictures."""
    explanation, images = repository / "docs" / "explanation", repository / "docs" / "images"
    (explanation / "performance.md").write_text("\n".join(text(kept)))
    for subject in SUBJECTS:
        figures = kept.get(subject.name, {}).get("figures")
        if subject.picture and figures and not subject.skipped(figures):
            drawn = draw(subject.picture.title, subject.picture.unit, subject.picture.groups(figures))
            (images / f"performance-{subject.name}.svg").write_text(drawn)


def text(kept: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Write the page line by line."""
    yield TOP
    yield from promises(kept)
    yield ""
    yield HOW
    for subject in SUBJECTS:
        if subject.name in kept:
            yield from section(subject, kept[subject.name])


def promises(kept: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Put what was promised beside what was measured."""
    yield "| | promised | measured |"
    yield "| --- | --- | --- |"
    for subject in SUBJECTS:
        figures = kept.get(subject.name, {}).get("figures")
        if figures is None or "text" in figures or subject.skipped(figures):
            continue
        for promise in subject.promises:
            link = f"[{subject.title.partition(':')[0]}](#{anchor(subject.title)})"
            yield f"| {link}: {promise.text} | {promise.target} | {promise.measured(figures)} |"


def section(subject: Subject, one: Mapping[str, Any]) -> Iterator[str]:
    """Write what is to be told of one benchmark."""
    yield f"## {subject.title}\n"
    yield f"{subject.method}\n"
    if reason := subject.skipped(one["figures"]):
        yield f"Not measured: {reason}.\n"
        return
    if subject.picture:
        yield f"![{subject.picture.title}](../images/performance-{subject.name}.svg)\n"
    yield f"`benchmarks/{subject.name}.py`, {one['measured']}:\n"
    yield f"```text\n{subject.told(one['figures'])}\n```\n"


def anchor(title: str) -> str:
    """Name a heading as Markdown readers link to it."""
    kept = "".join(sign for sign in title.lower() if sign.isalnum() or sign in " -_")
    return kept.replace(" ", "-")
