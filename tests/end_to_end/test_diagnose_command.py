"""``certferry diagnose`` and ``certferry report`` as somebody runs them: files, pipes, languages, exit codes."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certferry.cli.diagnose import LARGEST_INPUT, PHONES_NAMED
from certferry.migrate.result import PhoneResult, Verification
from certferry.trust.list_check import Check
from command_line import COMMAND, certferry

FAILED = "[8:52:30am 10/01/19] Trust List Update Failed\r\n"
KEYS = {"step", "cause", "certainty", "evidence", "settle", "fix", "code"}


def piped(data: bytes, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([*COMMAND, *arguments], input=data, capture_output=True, check=False)


@pytest.fixture
def result(tmp_path: Path) -> Path:
    check = Check("tvs.vouches", "TVS 192.0.2.1:2445 vouches for dst", "fail", "invalid <b>", "Import All.")
    phone = PhoneResult("SEP001122334455", "would-fail", "tvs", "tvs.invalid", "nobody vouched")
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    path = tmp_path / "result.json"
    verification = Verification.of((check,), (phone,), source="192.0.2.1", destination="192.0.2.2", at=at)
    path.write_text(json.dumps(verification.to_json()))
    return path


def test_a_message_is_explained() -> None:
    ended = certferry("diagnose", "--message", "TFTP server not authorized", "--json")
    assert ended.code == 0
    (finding,) = ended.json["findings"]
    assert set(finding) == KEYS
    assert (finding["code"], finding["step"], finding["certainty"]) == ("tftp.not-authorized", "ctl", "certain")


def test_several_messages_are_weighed_together() -> None:
    ended = certferry(
        "diagnose",
        "--message",
        "Trust List Update Failed",
        "--message",
        "Not using TVS - TVS not in Trust list",
        "--json",
    )
    assert ended.json["findings"][0]["code"] == "tvs.not-in-itl"


def test_a_file_is_explained_in_words(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(FAILED)
    ended = certferry("diagnose", tmp_path / "log", "--tvs", "192.0.2.7")
    assert ended.code == 0
    assert "likely: The source's TVS does not know the signer" in ended.stdout
    assert "certferry tvs ask 192.0.2.7 SIGNER.pem --query" in ended.stdout
    assert "[8:52:30am 10/01/19] Trust List Update Failed" in ended.stdout


def test_the_answer_can_be_japanese(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(FAILED)
    ended = certferry("diagnose", tmp_path / "log", "--lang", "ja")
    assert "有力" in ended.stdout
    assert "対処" in ended.stdout


@pytest.mark.parametrize("arguments", [("diagnose",), ("diagnose", "-")])
def test_a_log_can_be_piped_in(arguments: tuple[str, ...]) -> None:
    ended = piped(FAILED.encode(), *arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["findings"][0]["code"] == "tvs.invalid"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_log_saved_on_windows_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "log").write_bytes(FAILED.encode(encoding))
    assert certferry("diagnose", tmp_path / "log").code == 0


def test_a_result_is_explained_phone_by_phone(result: Path) -> None:
    ended = certferry("diagnose", result, "--json")
    assert {finding["code"] for finding in ended.json["findings"]} == {"tvs.invalid"}
    assert certferry("diagnose", result, "--device", "SEP001122334455").code == 0


WELL = Check("tvs.vouches", "TVS 192.0.2.1:2445 vouches for dst", "pass", "SAST, TFTP")
UNSEEN = Check("tvs.vouches", "TVS 192.0.2.2:2445 vouches for dst", "unknown", "no answer in 5 s")


def recorded(path: Path, *checks: Check) -> Path:
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    verification = Verification.of(checks, (), source="192.0.2.1", destination="192.0.2.2", at=at)
    path.write_text(json.dumps(verification.to_json()))
    return path


def test_a_result_in_which_nothing_failed_is_said_to_be_so(tmp_path: Path) -> None:
    result = recorded(tmp_path / "result.json", WELL, WELL)
    ended = certferry("diagnose", result)
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.startswith("Nothing failed: 2 checks pass")
    told = certferry("diagnose", result, "--json", "--lang", "ja")
    assert (told.code, told.json["findings"]) == (0, [])
    assert "失敗はありません" in told.json["nothing_failed"]
    assert "nothing_recognised" not in told.json


def test_what_could_not_be_seen_is_named_where_nothing_failed(tmp_path: Path) -> None:
    ended = certferry("diagnose", recorded(tmp_path / "result.json", WELL, UNSEEN))
    assert ended.code == 0
    assert "1 could not be told" in ended.stdout
    assert "TVS 192.0.2.2:2445 vouches for dst: no answer in 5 s" in ended.stdout


def test_a_rehearsal_in_which_all_phones_would_migrate_is_not_taken_for_a_migration(tmp_path: Path) -> None:
    phone = PhoneResult("SEP001122334455", "would-migrate", "registration", "phone.registered", "registered at dst")
    verification = Verification.of((WELL, UNSEEN), (phone,), source="a", destination="b", at=datetime.now(UTC))
    (tmp_path / "result.json").write_text(json.dumps(verification.to_json()))
    ended = certferry("diagnose", tmp_path / "result.json")
    assert (ended.code, ended.stdout.splitlines()) == (
        0,
        [
            "Nothing failed: 1 check passes, 1 phone would migrate. 1 could not be told:",
            "  TVS 192.0.2.2:2445 vouches for dst: no answer in 5 s",
        ],
    )
    told = certferry("diagnose", tmp_path / "result.json", "--json").json
    assert [each["code"] for each in told["findings"]] == ["phone.registered"]
    assert told["nothing_failed"].startswith("Nothing failed")


def test_a_result_in_which_nothing_could_be_told_is_no_success(tmp_path: Path) -> None:
    assert certferry("diagnose", recorded(tmp_path / "result.json", UNSEEN)).code == 4
    assert certferry("diagnose", recorded(tmp_path / "result.json")).code == 4


def test_a_demo_that_went_well_did_not_fail(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text('{"ok": true, "modes": [{"phones": 20, "failed": 0}]}')
    ended = certferry("diagnose", tmp_path / "demo.json")
    assert (ended.code, ended.stdout.startswith("Nothing failed")) == (0, True)
    (tmp_path / "demo.json").write_text('{"ok": false, "modes": [{"phones": 20, "failed": 1}]}')
    assert certferry("diagnose", tmp_path / "demo.json").code == 4


def test_a_phone_that_is_not_in_a_result_is_not_said_to_be_well(tmp_path: Path) -> None:
    record = {"ok": True, "checks": [], "phones": [{"device": "SEP001122334455", "outcome": "would-migrate"}]}
    (tmp_path / "result.json").write_text(json.dumps(record))
    assert certferry("diagnose", tmp_path / "result.json", "--device", "SEP001122334455").code == 0
    assert certferry("diagnose", tmp_path / "result.json", "--device", "SEP001122334466").code == 4


def phones_without_fault(path: Path, count: int) -> Path:
    phones = [{"device": f"SEP0011223344{number:02X}", "outcome": "would-migrate"} for number in range(count)]
    path.write_text(json.dumps({"ok": True, "checks": [], "phones": phones}))
    return path


def test_of_a_phone_that_is_not_in_a_result_that_is_said_and_which_phones_are(tmp_path: Path) -> None:
    result = phones_without_fault(tmp_path / "result.json", 2)
    ended = certferry("diagnose", result, "--device", "SEP001122334466")
    told = "SEP001122334466 does not appear in this result. These do: SEP001122334400, SEP001122334401."
    assert (ended.code, ended.stdout, ended.stderr.splitlines()) == (4, "", [told])
    japanese = certferry("diagnose", result, "--device", "SEP001122334466", "--lang", "ja", "--json").json
    assert japanese["findings"] == []
    assert "SEP001122334466 はこの結果にありません" in japanese["nothing_recognised"]


def test_of_many_phones_in_a_result_the_first_are_named_and_the_others_counted(tmp_path: Path) -> None:
    result = phones_without_fault(tmp_path / "result.json", PHONES_NAMED + 90)
    ended = certferry("diagnose", result, "--device", "SEP001122334499FF")
    assert ended.stderr.count("SEP0011223344") == 1 + PHONES_NAMED
    assert "and 90 more." in ended.stderr


def test_a_result_about_no_phone_says_so_of_one_that_is_asked_for(tmp_path: Path) -> None:
    ended = certferry("diagnose", recorded(tmp_path / "result.json", WELL), "--device", "SEP001122334466")
    assert (ended.code, "does not appear in this result. No phone does." in ended.stderr) == (4, True)


def test_what_failed_for_all_is_told_with_a_warning_that_the_phone_is_not_in_the_result(result: Path) -> None:
    ended = certferry("diagnose", result, "--device", "SEP001122334466", "--json")
    assert (ended.code, [each["code"] for each in ended.json["findings"]]) == (0, ["tvs.invalid"])
    (warning,) = ended.json["warnings"]
    assert warning == "SEP001122334466 does not appear in this result. These do: SEP001122334455."
    assert certferry("diagnose", result, "--device", "SEP001122334455", "--json").json["warnings"] == []


def test_where_a_failure_is_about_no_phone_at_all_nobody_is_said_to_be_missing(tmp_path: Path) -> None:
    failed = Check("tvs.vouches", "TVS 192.0.2.1:2445 vouches for dst", "fail", "invalid", "Import All.")
    ended = certferry("diagnose", recorded(tmp_path / "result.json", failed), "--device", "SEP001122334466", "--json")
    assert (ended.code, ended.json["warnings"], ended.stderr) == (0, [], "")


def test_of_a_log_no_phone_is_said_to_be_missing(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("all is well\n")
    ended = certferry("diagnose", tmp_path / "log", "--device", "SEP001122334466")
    assert (ended.code, "Nothing recognised" in ended.stderr) == (4, True)


def test_nothing_recognised_is_said_honestly_and_ends_with_4(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\x00\xff all is well\n")
    ended = certferry("diagnose", tmp_path / "log")
    assert (ended.code, ended.stdout) == (4, "")
    assert "Nothing recognised" in ended.stderr
    told = certferry("diagnose", tmp_path / "log", "--json", "--lang", "ja")
    assert told.code == 4
    assert told.json["findings"] == []
    assert "貼り付けて" in told.json["nothing_recognised"]


def test_control_characters_of_a_log_do_not_reach_the_terminal() -> None:
    ended = piped(b"\x1b[31mTFTP timeout\x1b]0;gotcha\x07\n", "diagnose")
    assert ended.returncode == 0
    assert b"\x1b" not in ended.stdout


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    ended = certferry("diagnose", tmp_path / "nowhere", "--json")
    assert ended.code == 1
    assert ended.error["code"] == "cli.file-unreadable"


@pytest.mark.slow
def test_only_the_beginning_of_an_endless_log_is_read(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        log.write(FAILED.encode())
        log.truncate(LARGEST_INPUT + 5_000_000)
    ended = certferry("diagnose", tmp_path / "log")
    assert ended.code == 0
    assert "only the first 64 MB were read" in ended.stderr


def test_a_report_is_written_from_a_result(result: Path, tmp_path: Path) -> None:
    ended = certferry("report", result, "--html", tmp_path / "page.html", "--title", "Change <4711>")
    assert ended.code == 0, ended.stderr
    page = (tmp_path / "page.html").read_text()
    assert "<h1>Change &lt;4711&gt;</h1>" in page
    assert "Do not move phones yet" in page


def test_a_report_can_go_to_standard_output_in_japanese(result: Path) -> None:
    ended = piped(result.read_bytes(), "report", "-", "--html", "-", "--lang", "ja")
    assert ended.returncode == 0
    assert "まだ電話機を移行しないでください".encode() in ended.stdout


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[]", "{}", '{"ok": 1, "checks": 3, "phones": [], "at": "x"}', "[" * 99_999]
)
def test_a_result_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    ended = certferry("report", tmp_path / "result.json", "--html", tmp_path / "page.html", "--json")
    assert ended.code == 2
    assert ended.error["code"] == "migrate.result-malformed"
    assert not (tmp_path / "page.html").exists()
