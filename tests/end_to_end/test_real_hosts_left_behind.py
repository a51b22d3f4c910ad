"""A test run that is killed leaves no process behind, and its namespaces only until the next run."""

import subprocess
import sys
from pathlib import Path

import pytest

import dhcp_network
from command_line import wait_until
from dhcp_network import dhcp_network as network_of_hosts

RUN = """
import sys, time
from pathlib import Path
import dhcp_network
dhcp_network.FAMILY = sys.argv[2]
with dhcp_network.dhcp_network(Path(sys.argv[1])) as network:
    process, _ = network.host("198.51.100.2/24").launch("sleep", "600")
    print(network.name, process.pid, flush=True)
    time.sleep(600)
"""


def test_what_a_killed_run_left_is_gone_when_the_next_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dhcp_network, "FAMILY", "cl")  # another worker's test may be the next one at any moment
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    with network_of_hosts(ours) as mine:
        words = [sys.executable, "-c", RUN, str(theirs), dhcp_network.FAMILY]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=Path(dhcp_network.__file__).parent) as run:
            assert run.stdout is not None
            name, pid = run.stdout.readline().split()
            run.kill()
        wait_until(lambda: not Path("/proc", pid).exists())
        assert name in namespaces()
        dhcp_network.sweep()
        assert name not in namespaces()
        assert mine.name in namespaces()


def namespaces() -> set[str]:
    """The networks that have namespaces."""
    told = subprocess.run([dhcp_network._ip(), "netns", "list"], capture_output=True, text=True, check=True)
    return {line.partition("-")[0] for line in told.stdout.splitlines()}
