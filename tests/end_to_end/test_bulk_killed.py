"""SIGKILL at each step of export, consolidation, import, undo and removal, against a real OpenSSH server."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from openssh import needs_sshd, running_sshd

VICTIM = Path(__file__).parents[1] / "bulk_victim.py"
STEPS = [("export", 11), ("consolidate", 11), ("import", 13), ("undo", 4), ("remove", 5)]
"""Every how many steps to try. ``KILL_AT_EVERY_STEP=1`` in the environment tries all; that takes ten minutes."""


async def reports(operation: str, tmp_path: Path, every: int) -> list[dict[str, Any]]:
    (tmp_path / "server").mkdir()
    (tmp_path / "clusters").mkdir()
    async with running_sshd(tmp_path / "server") as server:
        settings = server.settings
        given = {
            "host": settings.host,
            "port": settings.port,
            "user": settings.user,
            "directory": settings.directory,
            "client_key": str(settings.client_key),
            "known_hosts": str(settings.known_hosts),
        }
        words = [operation, str(tmp_path / "clusters"), str(every), str(server.pid)]
        command = [sys.executable, "-W", "error", str(VICTIM), *words]
        done = subprocess.run(command, input=json.dumps(given).encode(), capture_output=True, check=False)  # noqa: ASYNC221 -- nothing else runs
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


@needs_sshd
@pytest.mark.slow
@pytest.mark.parametrize(("operation", "every"), STEPS)
async def test_whatever_step_it_dies_at_nothing_torn_is_seen_and_the_next_run_ends_right(
    operation: str, every: int, tmp_path: Path
) -> None:
    steps = await reports(operation, tmp_path, 1 if os.environ.get("KILL_AT_EVERY_STEP") else every)
    assert len(steps) >= 3
    full = steps[0]["before"]["foreign"] + steps[0]["before"]["pending"]
    assert full == 15, "5 of tomcat and its EC twin, 7 of CallManager and its EC twin in two stores, CAPF, ITLRecovery"
    for report in steps:
        halfway, end = report["halfway"], report["end"]
        assert halfway["torn"] == [], report
        assert halfway["foreign"] in (0, full), "an import is whole or not at all"
        assert halfway["refused"] or halfway["pending"] + halfway["foreign"] in (0, full), report
        assert end["temporaries"] == [], report
        assert end["torn"] == [], report
        assert end["missing"] == 0, report
        assert_ended_right(operation, end, full)


def assert_ended_right(operation: str, end: dict[str, Any], full: int) -> None:
    expected: dict[str, dict[str, Any]] = {
        "export": {"clusters": ["destination", "source"], "refused": "bulk.consolidation-stale", "foreign": 0},
        "consolidate": {"refused": "", "pending": full, "foreign": 0},
        "import": {"refused": "", "pending": 0, "foreign": full},
        "undo": {"refused": "", "pending": full, "foreign": 0},
        "remove": {"clusters": ["source"], "refused": "bulk.consolidation-stale", "foreign": 0},
    }
    for key, value in expected[operation].items():
        assert end[key] == value, (key, end)
