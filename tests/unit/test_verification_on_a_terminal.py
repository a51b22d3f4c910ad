"""How a verification is printed for people: what mends something is said once for all that it mends."""

from datetime import UTC, datetime

import pytest

from certferry.cli.output import Output
from certferry.cli.verification_options import print_result
from certferry.migrate.result import PhoneResult, Verification
from certferry.trust.list_check import Check, Verdict
from command_line import certferry

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@pytest.mark.parametrize("text", ["dst-pub", "192.0.2.1:6969", "192.0.2.1,192.0.2.2,192.0.2.3"])
def test_what_option_150_cannot_carry_is_wrong_usage(text: str) -> None:
    told = certferry("verify", "--source", "127.0.0.1", "--destination", "127.0.0.2", "--option150", text, "--json")
    assert (told.code, told.error["code"]) == (2, "dhcp.tftp-servers")


def check(verdict: Verdict, title: str, remedy: str = "") -> Check:
    return Check("tvs.vouches", title, verdict, "seen", remedy)


def printed(capsys: pytest.CaptureFixture[str], *checks: Check, everything: bool = False) -> list[str]:
    phones = (PhoneResult("SEP001122334455", "would-fail", "tvs", "tvs.invalid", "not vouched for"),)
    result = Verification.of(checks, phones, source="a", destination="b", at=NOW)
    print_result(Output(as_json=False), result, everything=everything)
    return capsys.readouterr().out.splitlines()


def test_equal_remedies_are_told_once_below_all_that_they_mend(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(
        capsys, check("fail", "one", "Import."), check("fail", "other", "Reset."), check("fail", "two", "Import.")
    )
    assert lines.count("  Import.") == 1
    start = lines.index("fail: one")
    assert lines[start - 1 : start + 5] == ["", "fail: one", "fail: two", "  Import.", "", "fail: other"]


def test_what_fails_is_told_before_what_warns_and_that_before_what_is_unknown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = printed(capsys, check("unknown", "u", "Look."), check("warn", "w", "Mind."), check("fail", "f", "Mend."))
    assert [line for line in lines if line.startswith(("fail:", "warn:", "unknown:"))] == [
        "fail: f",
        "warn: w",
        "unknown: u",
    ]
    assert "  Look." in lines, "how to find out what was not seen is told, too"


def test_what_passes_or_has_no_remedy_is_in_the_table_only(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, check("pass", "p", "Nothing."), check("warn", "w"), everything=True)
    assert not any(line.startswith(("pass:", "warn:")) for line in lines)
    assert [line.split()[0] for line in lines[:3]] == ["verdict", "pass", "warn"]
