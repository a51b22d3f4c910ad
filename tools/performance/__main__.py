"""Measure everything and write docs/explanation/performance.md with its pictures.

    python tools/performance               run every benchmark, keep its figures, write the page
    python tools/performance tvs tftp      run these, keep the figures of the others
    python tools/performance --page        write the page from the figures kept

``make bench`` is the first. What a benchmark prints is kept as it is under docs/explanation/performance/.
"""

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from page import write_page
from subjects import SUBJECTS, Subject

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
KEPT = REPOSITORY / "docs" / "explanation" / "performance"


def main() -> int:
    """Run what was asked for, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *(subject.name for subject in SUBJECTS)])
    parser.add_argument("--page", action="store_true", help="run nothing")
    given = parser.parse_args()
    failed = []
    for subject in SUBJECTS:
        wanted = not given.page and (not given.names or subject.name in given.names)
        if wanted and not run(subject):
            failed.append(subject.name)
    write_page(REPOSITORY, kept())
    if failed:
        print(f"failed, their earlier figures are kept: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def run(subject: Subject) -> bool:
    """Run one benchmark, show what it prints, keep it; False when it failed."""
    print(f"== {subject.name}", file=sys.stderr)
    command = [sys.executable, str(REPOSITORY / "benchmarks" / f"{subject.name}.py"), *subject.options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return False
    figures = json.loads(done.stdout) if "--json" in subject.options else {"text": done.stdout}
    print(subject.told(figures))
    KEPT.mkdir(exist_ok=True)
    kept = {"measured": datetime.now(UTC).date().isoformat(), "figures": figures}
    (KEPT / f"{subject.name}.json").write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    return True


def kept() -> dict[str, dict[str, Any]]:
    """Read the figures of the latest run of each benchmark."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(KEPT.glob("*.json"))}


if __name__ == "__main__":
    sys.exit(main())
