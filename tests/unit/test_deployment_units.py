"""The systemd units say what they promise, and are held to it by systemd's own tools where they are installed."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from certferry.cluster.values import STANDARD_PORTS, Service

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
SERVICES = ["certferry@.service", "certferry-web@.service"]
GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "run-as-a-service.md"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def section(unit: str, name: str) -> list[tuple[str, str]]:
    """The lines of a section; keys may repeat, so this is no mapping."""
    text = (UNITS / unit).read_text()
    body = re.search(rf"^\[{name}\]\n(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)
    assert body, f"{unit} has no [{name}]"
    pairs = (line.split("=", 1) for line in body[1].splitlines() if "=" in line and not line.startswith("#"))
    return [(key, value) for key, value in pairs]


def ports(unit: str) -> dict[str, set[int]]:
    return {
        kind: {int(value.rpartition(":")[2]) for key, value in section(unit, "Socket") if key == kind}
        for kind in ("ListenStream", "ListenDatagram")
    }


def test_the_standard_ports_of_phones_and_pages_are_opened_by_systemd() -> None:
    standard = {STANDARD_PORTS[Service.TVS], STANDARD_PORTS[Service.HTTP]}
    assert ports("certferry@.socket") == {"ListenStream": standard, "ListenDatagram": {STANDARD_PORTS[Service.TFTP]}}
    assert ports("certferry-web@.socket") == {"ListenStream": {8443}, "ListenDatagram": set()}


@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_runs_as_a_user_of_its_own_without_any_capability(unit: str) -> None:
    settings = dict(section(unit, "Service"))
    assert settings["User"] == settings["Group"] == "certferry"
    assert settings["CapabilityBoundingSet"] == settings["AmbientCapabilities"] == ""
    assert settings["NoNewPrivileges"] == "true"


@pytest.mark.parametrize("unit", SERVICES)
def test_systemd_waits_until_a_service_says_it_is_ready(unit: str) -> None:
    assert dict(section(unit, "Service"))["Type"] == "notify"


@pytest.mark.parametrize("unit", SERVICES)
def test_no_secret_stands_in_a_unit(unit: str) -> None:
    assert not re.search(r"password|secret|token", (UNITS / unit).read_text(), re.IGNORECASE)


@pytest.mark.parametrize("unit", SERVICES)
def test_a_unit_can_be_read_by_other_readers_of_such_files(unit: str) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read(UNITS / unit)
    assert {"Unit", "Service", "Install"} == set(parser.sections())


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES)
def test_the_exposure_that_the_guide_names_is_what_systemd_finds(unit: str) -> None:
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(UNITS / unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stderr
    assert f"| `{unit}` | {found[1]} |" in GUIDE.read_text()


@needs_systemd
@pytest.mark.parametrize("unit", [*SERVICES, "certferry@.socket", "certferry-web@.socket"])
def test_systemd_finds_nothing_wrong_with_a_unit(unit: str, tmp_path: Path) -> None:
    for each in UNITS.glob("*@.*"):
        text = each.read_text().replace("/usr/bin/certferry", "/bin/true")  # it is not installed where tests run
        (tmp_path / each.name).write_text(text)
    instance = unit.replace("@.", "@headquarters.")
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(tmp_path / instance)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stderr, done.stderr
