"""Take the pictures of the guides anew: run the published procedure in a browser, keep one picture of each step.

``python tools/take_pictures.py``; then look at every picture in ``docs/images`` before it is committed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
TEST = "tests/end_to_end/test_web_browser.py"
STEPS = (
    "bulk-empty",
    "export-dialog-source",
    "export-done-source",
    "consolidate-done",
    "import-plan-source",
    "bulk-full",
    "verification",
    "console",
    "waves-plan",
    "waves-planned",
    "waves-running",
    "waves-done",
    "waves-phones",
)


def main() -> int:
    """Run the test with pictures on, then copy those the guides show."""
    folder = Path(tempfile.mkdtemp(prefix="pictures-"))
    command = [sys.executable, "-m", "pytest", "-q", "-n0", TEST, "-k", "published_procedure"]
    environment = {**os.environ, "CERTFERRY_PICTURES": str(folder)}
    code = subprocess.run([*command, "--basetemp", "/tmp/certferry"], cwd=ROOT, env=environment, check=False).returncode  # noqa: S108 -- its name is in the pictures
    if code == 0:
        IMAGES.mkdir(exist_ok=True)
        for language in ("en", "ja"):
            for step in STEPS:
                shutil.copy(folder / f"{step}.{language}.light.png", IMAGES / f"{step}.{language}.png")
    shutil.rmtree(folder)
    return code


if __name__ == "__main__":
    sys.exit(main())
