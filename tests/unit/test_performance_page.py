"""The performance page is what the figures that were kept come to, and keeps promises beside measurements."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as ET

import pytest

REPOSITORY = Path(__file__).parents[2]
TOOL = REPOSITORY / "tools" / "performance"


def row(ms: float, repeated: int) -> dict[str, Any]:
    burst = {"phones": 1000, "failed": 0, "repeated": repeated, "p99 ms": 100}
    return {"ms": ms, "files/s": 1 / ms, "bursts": [burst], "note": ""}


FIGURES = {
    "file bytes": 4096,
    "at once": 50,
    "servers": {
        "certferry": row(0.08, 0),
        "dnsmasq": row(0.1, 9),
        "atftpd": {"skipped": "atftpd is not installed"},
    },
}


@pytest.fixture(scope="module")
def tool() -> Iterator[dict[str, ModuleType]]:
    sys.path.insert(0, str(TOOL))
    try:
        yield {name: importlib.import_module(name) for name in ("bars", "page", "subjects")}
    finally:
        sys.path.remove(str(TOOL))


def kept(figures: Any) -> dict[str, dict[str, Any]]:
    return {"tftp": {"measured": "2026-11-23", "figures": figures}}


def test_a_promise_stands_beside_what_was_measured(tool: dict[str, ModuleType]) -> None:
    text = "\n".join(tool["page"].text(kept(FIGURES)))
    assert "server CPU for each transfer, beside dnsmasq | at most 1 | 0.80 |" in text
    assert "phones not served in a burst | 0 of 5,000 | 1000: 0 |" in text


def test_what_the_benchmark_prints_is_on_the_page(tool: dict[str, ModuleType]) -> None:
    text = "\n".join(tool["page"].text(kept(FIGURES)))
    assert "atftpd      skipped: atftpd is not installed" in text
    assert "`benchmarks/tftp.py`, 2026-11-23:" in text


def test_a_benchmark_that_only_prints_is_shown_as_it_printed(tool: dict[str, ModuleType]) -> None:
    figures = {"trust_lists": {"measured": "2026-11-23", "figures": {"text": "ITL of 21 nodes: 30000 bytes\n"}}}
    assert "```text\nITL of 21 nodes: 30000 bytes\n```" in "\n".join(tool["page"].text(figures))


def test_what_could_not_be_measured_says_why_and_promises_nothing(tool: dict[str, ModuleType]) -> None:
    figures = {"tvs": {"measured": "2026-11-23", "figures": {"skipped": {"all": "gcc is not installed"}}}}
    text = "\n".join(tool["page"].text(figures))
    assert "Not measured: gcc is not installed." in text
    assert "at most 1.25" not in text


def test_a_benchmark_that_was_never_run_is_not_mentioned(tool: dict[str, ModuleType]) -> None:
    assert "cold start" not in "\n".join(tool["page"].text(kept(FIGURES)))


def test_every_subject_is_a_benchmark_and_every_benchmark_a_subject(tool: dict[str, ModuleType]) -> None:
    scripts = {path.stem for path in (REPOSITORY / "benchmarks").glob("*.py")} - {"processes"}
    assert {subject.name for subject in tool["subjects"].SUBJECTS} == scripts


def test_links_lead_to_headings_of_the_page(tool: dict[str, ModuleType]) -> None:
    assert tool["page"].anchor("TFTP: a file of 4 KB in blocks of 512 bytes") == (
        "tftp-a-file-of-4-kb-in-blocks-of-512-bytes"
    )


def test_bars_are_as_long_as_their_figures_and_ours_stand_out(tool: dict[str, ModuleType]) -> None:
    bars = tool["bars"]
    drawn = bars.draw("A & B", "ms", [bars.Group("", (bars.Bar("certferry", 1.0, ours=True), bars.Bar("other", 2.0)))])
    root = ET.fromstring(drawn)
    rectangles = root.findall("{http://www.w3.org/2000/svg}rect")
    ours, other = (float(each.attrib["width"]) for each in rectangles)
    assert other == pytest.approx(2 * ours, abs=0.2)
    assert [each.attrib["class"] for each in rectangles] == ["ours", "other"]


def test_the_page_in_the_repository_is_what_its_figures_come_to(tool: dict[str, ModuleType]) -> None:
    folder = REPOSITORY / "docs" / "explanation" / "performance"
    figures = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    assert (folder.parent / "performance.md").read_text() == "\n".join(tool["page"].text(figures))
