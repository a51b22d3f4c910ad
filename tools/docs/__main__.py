"""Write the parts of docs/ that follow from the code: ``python tools/docs``; ``--check`` only says what is out of date.

Any Markdown file under docs/ may hold blocks like this one; what stands between the two lines is written anew::

    <!-- generated: refusals -->
    <!-- end -->
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import commands
import decision
import refusals
import rest_api
import trust

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
BLOCKS: Mapping[str, Callable[[], str]] = {
    **commands.BLOCKS,
    **decision.BLOCKS,
    **refusals.BLOCKS,
    **rest_api.BLOCKS,
    **trust.BLOCKS,
}


def main() -> int:
    """Write or check; return the exit code."""
    parser = argparse.ArgumentParser(description="Write the generated blocks of docs/.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a block is out of date")
    check = parser.parse_args().check
    outdated = [path for path in sorted((ROOT / "docs").rglob("*.md")) if _settle(path, write=not check)]
    for path in outdated:
        print(f"{path.relative_to(ROOT)}: {'out of date, run: make docs' if check else 'written'}")
    return 1 if check and outdated else 0


def _settle(path: Path, *, write: bool) -> bool:
    """Say whether a file is out of date; with ``write``, bring it up to date."""
    before = path.read_text(encoding="utf-8")
    after = BLOCK.sub(_filled, before)
    if write and after != before:
        path.write_text(after, encoding="utf-8")
    return after != before


def _filled(found: re.Match[str]) -> str:
    return f"{found[1]}\n{BLOCKS[found['name']]().strip()}\n\n{found[3]}"


if __name__ == "__main__":
    sys.exit(main())
