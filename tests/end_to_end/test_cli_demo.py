"""``certferry demo``: the whole procedure on this machine; its exit code is whether every phone moved."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certferry.lab.demo import DemoPlan, ModeReport
from certferry.lab.demo import Story as Narrated
from command_line import certferry, certferry_process

AGREED = {"mode", "phones", "registered_at_destination", "failed", "tvs_requests", "seconds"}


@pytest.mark.slow
def test_both_modes_move_every_phone(tmp_path: Path) -> None:
    ended = certferry_process("demo", "--phones", "3", "--nodes", "2", "--dir", tmp_path / "lab", "--json", timeout=300)
    assert ended.code == 0
    assert ended.json["ok"] is True
    assert [mode["mode"] for mode in ended.json["modes"]] == ["non-secure", "secure"]
    for mode in ended.json["modes"]:
        assert set(mode) >= AGREED
        assert (mode["phones"], mode["registered_at_destination"], mode["failed"]) == (3, 3, 0)
        assert mode["tvs_requests"] == 3
        assert mode["before_exchange"] == {"tvs.invalid": 3}
    assert "\x1b" not in ended.stderr
    assert "3 of 3 phones registered at the destination" in ended.stderr
    kept = tmp_path / "lab" / "secure" / "destination"
    assert certferry("cluster", "show", "--cluster", kept, "--json").json["name"] == "destination"
    again = certferry("demo", "--phones", "1", "--nodes", "1", "--dir", tmp_path / "lab", "--json")
    assert (again.code, again.error["code"]) == (1, "cluster.exists")


@pytest.mark.slow
def test_phones_in_several_processes_move_as_well_and_their_memory_is_told() -> None:
    words = ["--phones", "8", "--nodes", "1", "--processes", "2", "--secure"]
    ended = certferry_process("demo", *words, "--json", timeout=300)
    (mode,) = ended.json["modes"]
    assert (ended.code, mode["registered_at_destination"], mode["tvs_requests"]) == (0, 8, 8)
    assert mode["before_exchange"] == {"tvs.invalid": 8}
    assert mode["bytes_each"] > 0
    assert "the phones have 2 processes" in ended.stderr


REPORT = ModeReport(secure=False, phones=2, registered_at_destination=2, tvs_requests=2, seconds=0.5)
Told = dict[str, Any]


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Told]]:
    """Let the command run a play with a known end in place of the procedure; give back what was asked of it."""

    def stage(**end: Any) -> list[Told]:
        asked: list[Told] = []

        async def play(plan: DemoPlan, folder: Path, story: Narrated, *, secure: bool) -> ModeReport:
            asked.append({"plan": plan, "folder": folder, "secure": secure})
            story.step("Two clusters")
            story.detail("with [brackets] and :b: in the text")
            story.progress("migrating", 1, 2)
            return replace(REPORT, secure=secure, **end)

        monkeypatch.setattr("certferry.cli.demo.demonstrate", play)
        return asked

    return stage


def test_a_phone_that_fails_makes_the_demo_fail(staged: Callable[..., list[Told]]) -> None:
    staged(registered_at_destination=1, failures={"tvs.unreachable": 1})
    ended = certferry("demo", "--json")
    assert (ended.code, ended.json["ok"]) == (1, False)
    assert ended.json["modes"][0]["failed"] == 1
    assert ended.json["modes"][0]["failures"] == {"tvs.unreachable": 1}


def test_a_phone_that_moves_before_the_exchange_makes_the_demo_fail_too(staged: Callable[..., list[Told]]) -> None:
    staged(before_exchange={"phone.registered": 1})
    assert certferry("demo").code == 1


def test_what_is_left_out_is_as_published(staged: Callable[..., list[Told]]) -> None:
    asked = staged()
    assert certferry("demo").code == 0
    assert [each["secure"] for each in asked] == [False, True]
    assert asked[0]["plan"] == DemoPlan(20, 3, "10.5.2", "11.5.1")


@pytest.mark.parametrize(("option", "secure"), [("--secure", True), ("--non-secure", False)])
def test_one_mode_can_be_chosen(option: str, secure: bool, staged: Callable[..., list[Told]]) -> None:
    asked = staged()
    words = ["--phones", "7", "--nodes", "1", "--source-release", "12.0", "--destination-release", "15"]
    modes = certferry("demo", option, *words, "--json").json["modes"]
    assert [mode["mode"] for mode in modes] == ["secure" if secure else "non-secure"]
    assert [(each["secure"], each["plan"]) for each in asked] == [(secure, DemoPlan(7, 1, "12.0", "15"))]


def test_the_story_is_told_on_standard_error_and_the_result_on_standard_output(
    staged: Callable[..., list[Told]],
) -> None:
    staged()
    ended = certferry("demo", "--secure")
    assert "1. Two clusters" in ended.stderr
    assert "with [brackets] and :b: in the text" in ended.stderr
    assert "migrating" not in ended.stderr  # no progress where nobody watches
    assert ended.stdout.startswith("secure: 2 of 2 phones registered at the destination in 0.5 s (4 a second)")
    assert len(json.loads(certferry("demo", "--secure", "--json").stdout)["modes"]) == 1


def test_the_lab_is_thrown_away_unless_a_folder_was_named(staged: Callable[..., list[Told]], tmp_path: Path) -> None:
    asked = staged()
    certferry("demo", "--secure")
    assert not asked[0]["folder"].exists()
    certferry("demo", "--secure", "--dir", tmp_path / "kept")
    assert (tmp_path / "kept" / "secure").is_dir()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--phones", "0"], 2),
        (["--nodes", "22"], 2),
        (["--source-release", "9.1"], 2),
        (["--destination-release", "sixteen"], 2),
        (["--dir", "/dev/null/lab"], 1),
    ],
)
def test_a_demo_that_cannot_be_ends_at_once(words: list[str], code: int) -> None:
    ended = certferry("demo", "--phones", "1", "--nodes", "1", *words, "--json")
    assert ended.code == code
    assert ended.error["sentence"]
