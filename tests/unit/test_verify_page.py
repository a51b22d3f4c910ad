"""Every check that verification can make is told on its page, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/verify-before-you-migrate.md"
SOURCES = [*(ROOT / "src/certferry/migrate").glob("verify_*.py"), ROOT / "src/certferry/trust/list_check.py"]
ONLY_BESIDE_A_TRUSTED_LIST = {"list.accepted"}


def made() -> set[str]:
    found = set()
    for source in SOURCES:
        found |= set(re.findall(r'(?:judged|Check|_for_old)\(\s*(?:seen,\s*)?"([a-z0-9.-]+)"', source.read_text()))
    return found - ONLY_BESIDE_A_TRUSTED_LIST


def told() -> set[str]:
    rows = [line.split("|")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([a-z0-9.-]+)`", row)}


def test_every_check_is_told_on_the_page() -> None:
    assert len(made()) > 30
    assert told() == made()
