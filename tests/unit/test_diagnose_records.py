"""From certferry's own JSON and words to the cause."""

import json
from datetime import UTC, datetime

import pytest

from certferry.migrate.diagnose import NO_HINTS, Hints, diagnose
from certferry.migrate.record import looks_like_record, parse_record
from certferry.migrate.result import PhoneResult, Verification
from certferry.migrate.signs import Certainty
from certferry.phone.outcome import Code
from certferry.trust.list_check import Check

CERTAIN, LIKELY, POSSIBLE = Certainty
NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def record(*parts: Check | PhoneResult) -> str:
    checks = tuple(part for part in parts if isinstance(part, Check))
    phones = tuple(part for part in parts if isinstance(part, PhoneResult))
    return json.dumps(Verification.of(checks, phones, source="a", destination="b", at=NOW).to_json())


def lost(device: str, code: str = "tvs.invalid") -> PhoneResult:
    return PhoneResult(device, "would-fail", "tvs", code, f"{device} was not vouched for")


def told(text: str, hints: Hints = NO_HINTS) -> dict[str, Certainty]:
    return {found.code: found.certainty for found in diagnose(text, hints)}


@pytest.mark.parametrize("code", list(Code))
def test_the_code_of_a_rehearsed_phone_is_the_cause(code: Code) -> None:
    assert told(record(lost("SEP001122334455", code.value))) == {code.value: CERTAIN}


def test_many_phones_with_one_code_are_one_finding() -> None:
    (found,) = diagnose(record(*(lost(f"SEP0011223344{n:02X}") for n in range(50))))
    assert found.evidence[-1] == "(50 such lines)"


def test_a_phone_whose_outcome_is_unknown_is_only_possibly_lost() -> None:
    phone = PhoneResult("SEP001122334455", "unknown", "configuration", "configuration.missing", "made up")
    assert told(record(phone)) == {"configuration.missing": POSSIBLE}


def test_one_phone_of_many_can_be_asked_about() -> None:
    text = record(lost("SEP001122334455"), lost("SEP001122334466", "tvs.role"))
    assert told(text, Hints(device="SEP001122334466")) == {"tvs.role": CERTAIN}


def test_a_diagnosis_that_a_report_holds_is_no_surer_than_it_was_when_it_was_made() -> None:
    made = [found.to_json() for found in diagnose("Trust List Update Failed")]
    before = {each["code"]: each["certainty"] for each in made}
    assert POSSIBLE in before.values()
    assert told(json.dumps({"events": [{"kind": "diagnosis", "diagnoses": made}]})) == before


def test_a_diagnosis_within_what_is_told_of_another_phone_is_left_out() -> None:
    made = [found.to_json() for found in diagnose(record(lost("SEP001122334466")))]
    text = json.dumps({"events": [{"device": "SEP001122334466", "diagnoses": made}]})
    assert told(text, Hints(device="SEP001122334466")) == {"tvs.invalid": CERTAIN}
    assert told(text, Hints(device="SEP001122334455")) == {}


@pytest.mark.parametrize(("verdict", "certainty"), [("fail", CERTAIN), ("warn", POSSIBLE)])
def test_a_check_that_does_not_pass_is_a_finding(verdict: str, certainty: Certainty) -> None:
    check = Check("tvs.vouches", "TVS 192.0.2.1:2445 vouches for dst", verdict, "invalid", "Do this.")  # type: ignore[arg-type]
    (found,) = diagnose(record(check))
    assert (found.code, found.certainty) == ("tvs.invalid", certainty)
    assert found.evidence == ("TVS 192.0.2.1:2445 vouches for dst: invalid",)
    assert found.fix() == "Do this.", "the check knows the exact next step"
    assert "一括" in found.fix("ja")


@pytest.mark.parametrize("verdict", ["pass", "unknown"])
def test_a_check_that_passes_or_saw_nothing_is_none(verdict: str) -> None:
    assert told(record(Check("tvs.vouches", "t", verdict, "e"))) == {}  # type: ignore[arg-type]


def test_a_check_no_table_knows_speaks_for_itself() -> None:
    (found,) = diagnose(record(Check("tvs.moon-phase", "The moon is full", "fail", "it is new", "Wait.")))
    assert (found.code, found.step.value) == ("tvs.moon-phase", "tvs")
    assert found.to_json("ja")["evidence"] == ["The moon is full: it is new"]
    assert found.fix() == "Wait."


def test_a_healthy_rehearsal_says_that_the_phones_would_move() -> None:
    healthy = record(PhoneResult("SEP001122334455", "would-migrate", "registration", "phone.registered", "done"))
    (found,) = diagnose(healthy)
    assert found.cause.fine


def test_counts_of_a_demonstration_are_read() -> None:
    assert told('{"modes": [{"before_exchange": {"tvs.invalid": 20, "tvs.role": 0}}]}') == {"tvs.invalid": CERTAIN}


def test_a_refused_command_is_explained_from_its_json_and_from_its_words() -> None:
    error = {"code": "bulk.login", "sentence": "the server said no", "remedy": "Check the password."}
    (found,) = diagnose(json.dumps({"ok": False, "error": error}))
    assert (found.code, found.fix()) == ("bulk.login", "Check the password.")
    assert told("refused the server said no (bulk.login)") == {"bulk.login": CERTAIN}


def test_codes_in_copied_words_are_known_and_names_of_files_and_hosts_are_not() -> None:
    assert told("3 ended with tvs.role: nobody gives it the role") == {"tvs.role": CERTAIN}
    assert told("tvs.role.example.com /tvs.role/x tvs.roles tvs.invalid.log") == {}


def test_a_log_that_begins_with_a_bracket_is_no_record() -> None:
    assert not looks_like_record("[8:52:30am 10/01/19] x")
    assert looks_like_record('\ufeff\r\n [ {"a": 1}]')


@pytest.mark.parametrize("text", ['{"checks": [', "[" * 100_000, '{"a": NaN', "{]"])
def test_a_record_that_is_cut_off_is_read_as_words(text: str) -> None:
    assert parse_record(text) is None
    assert told(f'{text}\n{{"code": "tvs.role", "device": "SEP0') == {"tvs.role": CERTAIN}


@pytest.mark.parametrize(
    "value",
    [
        {"verdict": None},
        {"verdict": "fail"},
        {"verdict": "fail", "id": 7, "title": [], "evidence": {}, "remedy": 3},
        {"outcome": 4, "code": {}},
        {"outcome": "would-fail", "code": "x" * 10_000},
        [[[1, None, True, "tvs.role"]]],
        {"tvs.role": True},
        {"certainty": "sure", "code": "tvs.role"},
        {"certainty": "likely", "code": "tvs.role", "evidence": [7, None]},
    ],
)
def test_strange_values_in_a_record_do_no_harm(value: object) -> None:
    for found in diagnose(json.dumps(value)):
        assert found.to_json()
