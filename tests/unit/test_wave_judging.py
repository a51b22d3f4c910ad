"""What became of a phone, from its reset and where both clusters saw it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from certferry.cluster.migrations import MigrationPhone, PhoneState
from certferry.cluster.resets import ResetOutcome, ResetRequest
from certferry.cluster.sightings import Sighting, Step
from certferry.migrate.causes import find_cause
from certferry.migrate.result import PhoneResult
from certferry.migrate.waves.finding import conclude
from certferry.migrate.waves.judging import Seen, WaveCode, is_at_destination, judge

START = datetime(2026, 6, 1, 12, tzinfo=UTC)
PATIENCE = timedelta(seconds=100)
DEVICE = "SEP000000000001"
PHONE = MigrationPhone(DEVICE, 1, PhoneState.RESET, START)
OPEN = ResetRequest("m:1", DEVICE, START, "m")
TAKEN = replace(OPEN, node="source-pub", taken_at=START + timedelta(seconds=1))
DONE = replace(TAKEN, ended_at=TAKEN.taken_at, outcome=ResetOutcome.DONE)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def steps(detail: str = "", **seconds: float) -> dict[Step, Sighting]:
    return {Step(name): Sighting(DEVICE, Step(name), at(s), "pub", "192.0.2.9", detail) for name, s in seconds.items()}


def state(seen: Seen, now: float, phone: MigrationPhone = PHONE) -> tuple[PhoneState, str]:
    verdict = judge(phone, seen, PATIENCE, at(now))
    return verdict.state, verdict.code


BEFORE = steps(registered=-500)


def test_a_phone_that_the_destination_registered_last_has_moved() -> None:
    seen = Seen(DONE, steps(registered=-500, unregistered=2), steps(registered=9))
    assert state(seen, 10) == (PhoneState.MOVED, "")
    assert judge(PHONE, seen, PATIENCE, at(10)).at == at(9)


def test_a_destination_whose_clock_is_behind_is_believed_of_a_phone_that_signed_off_at_the_source() -> None:
    """It renewed at the source just before its reset, so by the clocks of both the source saw it last."""
    seen = Seen(DONE, steps(registered=1, unregistered=2), steps(registered=-1))
    assert state(seen, 5) == (PhoneState.MOVED, "")


def test_an_old_registration_at_the_destination_that_never_ended_is_not_believed() -> None:
    seen = Seen(DONE, steps(registered=-100, unregistered=2), steps(registered=-400))
    assert state(seen, 5) == (PhoneState.RESET, "")


def test_a_phone_that_came_back_is_seen_though_the_runner_s_clock_is_ahead_of_the_nodes() -> None:
    behind = replace(DONE, taken_at=at(-4))
    seen = Seen(behind, steps(unregistered=-3, registered=-1))
    assert state(seen, 2) == (PhoneState.FAILED, WaveCode.CAME_BACK)


def test_patience_ends_though_the_clock_of_the_node_is_an_hour_ahead() -> None:
    ahead = replace(DONE, taken_at=at(3600))
    assert state(Seen(ahead, BEFORE), 99) == (PhoneState.RESET, "")
    assert state(Seen(ahead, BEFORE), 100) == (PhoneState.FAILED, WaveCode.STAYED)


def test_a_phone_whose_source_set_its_clock_back_since_it_registered_there_has_moved() -> None:
    seen = Seen(DONE, steps(registered=3600, unregistered=2), steps(registered=4))
    assert state(seen, 5) == (PhoneState.MOVED, "")


def test_a_phone_that_was_told_before_the_clock_was_set_back_and_left_after_it_has_moved() -> None:
    told = replace(DONE, taken_at=at(3605))
    assert state(Seen(told, steps(registered=3600, unregistered=2), steps(registered=4)), 5) == (PhoneState.MOVED, "")


def test_a_phone_that_came_back_is_seen_though_the_clock_was_set_back() -> None:
    told = replace(DONE, taken_at=at(3605))
    seen = Seen(told, steps(itl=3600, unregistered=2, registered=4))
    assert state(seen, 5) == (PhoneState.FAILED, WaveCode.CAME_BACK)


def test_a_source_whose_clock_is_ahead_all_the_time_is_compared_with_itself() -> None:
    ahead = replace(DONE, taken_at=at(3601))
    seen = Seen(ahead, steps(registered=3602, unregistered=3603), {})
    assert state(seen, 5) == (PhoneState.RESET, "")
    came_back = Seen(ahead, steps(unregistered=3602, registered=3603), {})
    assert state(came_back, 5) == (PhoneState.FAILED, WaveCode.CAME_BACK)


def test_a_phone_on_its_way_is_waited_for() -> None:
    assert state(Seen(DONE, steps(registered=-500, unregistered=2)), 99) == (PhoneState.RESET, "")


def test_a_phone_that_left_and_registered_at_the_source_again_came_back() -> None:
    seen = Seen(DONE, steps(unregistered=2, registered=7), steps(itl=4))
    assert state(seen, 8) == (PhoneState.FAILED, WaveCode.CAME_BACK)


@pytest.mark.parametrize("step", ["ctl", "itl", "configuration"])
def test_asking_the_destination_for_files_is_leaving_too(step: str) -> None:
    seen = Seen(DONE, steps(registered=7), {Step(step): replace(BEFORE[Step.REGISTERED], at=at(4))})
    assert state(seen, 8) == (PhoneState.FAILED, WaveCode.CAME_BACK)


def test_a_renewal_at_the_source_is_no_coming_back() -> None:
    assert state(Seen(DONE, steps(registered=7)), 8) == (PhoneState.RESET, "")


def test_a_registration_before_the_reset_was_taken_is_no_coming_back() -> None:
    seen = Seen(DONE, steps(unregistered=0.2, registered=0.8))
    assert state(seen, 8) == (PhoneState.RESET, "")


def test_a_phone_that_never_left_has_failed_when_patience_ends() -> None:
    assert state(Seen(DONE, steps(registered=7)), 102) == (PhoneState.FAILED, WaveCode.STAYED)
    unanswered = replace(DONE, outcome=ResetOutcome.UNANSWERED)
    verdict = judge(PHONE, Seen(unanswered, BEFORE), PATIENCE, at(102))
    assert "did not answer the reset" in verdict.reason


def test_a_phone_that_is_nowhere_has_failed_when_patience_ends() -> None:
    seen = Seen(DONE, steps(registered=-500, unregistered=2))
    assert state(seen, 102) == (PhoneState.FAILED, WaveCode.NOWHERE)


def test_a_reset_that_nobody_took_is_withdrawn_first_and_only_then_the_phone_fails() -> None:
    verdict = judge(PHONE, Seen(OPEN), PATIENCE, at(101))
    assert (verdict.state, verdict.withdraw) == (PhoneState.RESET, True)
    withdrawn = replace(OPEN, outcome=ResetOutcome.ABSENT)
    assert state(Seen(withdrawn), 101) == (PhoneState.FAILED, WaveCode.ABSENT)


def test_a_phone_that_moved_by_itself_has_its_open_reset_withdrawn() -> None:
    verdict = judge(PHONE, Seen(OPEN, BEFORE, steps(registered=3)), PATIENCE, at(4))
    assert (verdict.state, verdict.withdraw) == (PhoneState.MOVED, True)


def test_patience_counts_from_when_the_reset_was_taken() -> None:
    late = replace(DONE, taken_at=at(60))
    assert state(Seen(late), 150) == (PhoneState.RESET, "")


def test_a_phone_whose_node_died_with_the_reset_is_uncertain_until_it_is_seen() -> None:
    seen = Seen(TAKEN, BEFORE)
    assert state(seen, 5) == (PhoneState.RESET, "")
    assert state(seen, 20)[0] is PhoneState.UNCERTAIN
    assert state(seen, 180)[0] is PhoneState.UNCERTAIN
    uncertain = replace(PHONE, state=PhoneState.UNCERTAIN)
    assert state(replace(seen, destination=steps(registered=150)), 151, uncertain) == (PhoneState.MOVED, "")
    assert state(replace(seen, source=steps(unregistered=30, registered=40)), 41, uncertain)[0] is PhoneState.FAILED


def test_an_uncertain_phone_that_is_never_seen_fails_after_twice_the_patience() -> None:
    seen = Seen(TAKEN, steps(registered=-500, unregistered=-1))
    verdict = judge(replace(PHONE, state=PhoneState.UNCERTAIN), seen, PATIENCE, at(202))
    assert (verdict.state, verdict.code) == (PhoneState.FAILED, WaveCode.NOWHERE)
    assert "never said how it ended" in verdict.reason


def test_an_uncertain_phone_whose_node_spoke_up_late_is_under_way_again() -> None:
    assert state(Seen(DONE), 20, replace(PHONE, state=PhoneState.UNCERTAIN)) == (PhoneState.RESET, "")


def test_a_failed_phone_that_comes_late_has_moved_and_stays_failed_otherwise() -> None:
    failed = replace(PHONE, state=PhoneState.FAILED, code="wave.nowhere", reason="it was nowhere")
    assert state(Seen(DONE, steps(unregistered=2), steps(registered=300)), 301, failed)[0] is PhoneState.MOVED
    assert state(Seen(DONE, steps(unregistered=2, registered=300)), 301, failed) == (PhoneState.FAILED, "wave.nowhere")


def test_a_phone_that_left_the_destination_before_its_reset_has_not_moved() -> None:
    gone = Seen(OPEN, {}, steps(registered=-50, unregistered=-20))
    assert not is_at_destination(gone)
    assert state(gone, 2) == (PhoneState.RESET, "")


@pytest.mark.parametrize("code", list(WaveCode))
def test_every_code_is_a_cause_of_the_troubleshooting_table(code: WaveCode) -> None:
    assert find_cause(code.value) is not None


# --- why


FAILED = replace(PHONE, state=PhoneState.FAILED, code=WaveCode.CAME_BACK.value, reason="it came back to the source")


def rehearsed(outcome: str, code: str) -> PhoneResult:
    return PhoneResult(DEVICE, outcome, "tvs", code, f"rehearsal: {code}")  # type: ignore[arg-type]


def test_the_rehearsal_of_the_very_phone_gives_the_cause() -> None:
    found = conclude(FAILED, rehearsed("would-fail", "configuration.missing"), Seen(DONE))
    assert found.phone.code == "configuration.missing"
    assert found.phone.reason.startswith("it came back to the source; ")
    assert json.dumps(found.to_json())


def test_a_tvs_that_said_invalid_is_the_cause_even_if_it_knows_better_now() -> None:
    seen = Seen(DONE, steps("invalid CN=dst", tvs=3), steps(itl=2))
    found = conclude(FAILED, rehearsed("would-migrate", "phone.registered"), seen)
    assert found.phone.code == "tvs.invalid"


def test_a_refused_registration_is_the_cause() -> None:
    seen = Seen(DONE, steps(tvs=3), steps("403 Forbidden", refused=5, itl=2, configuration=4))
    found = conclude(FAILED, None, seen)
    assert found.phone.code == "registration.failed"
    assert "403 Forbidden" in found.phone.reason


def test_a_phone_that_would_migrate_and_that_the_destination_never_saw_was_sent_elsewhere_by_dhcp() -> None:
    assert (
        conclude(FAILED, rehearsed("would-migrate", "phone.registered"), Seen(DONE)).phone.code == WaveCode.NEVER_CAME
    )


def test_a_phone_that_took_lists_and_asked_no_tvs_may_not_have_reached_one() -> None:
    found = conclude(FAILED, None, Seen(DONE, {}, steps(itl=2)))
    assert found.phone.code == WaveCode.CAME_BACK
    assert "tvs.unreachable" in [diagnosis.code for diagnosis in found.diagnoses]


def test_when_a_virtual_phone_would_migrate_the_real_one_is_to_be_looked_at() -> None:
    found = conclude(FAILED, rehearsed("would-migrate", "phone.registered"), Seen(DONE, {}, steps(itl=2)))
    assert "look at what this one holds" in found.phone.reason


def test_what_was_seen_before_the_reset_tells_nothing() -> None:
    seen = Seen(DONE, steps("invalid CN=dst", tvs=-3), steps(itl=-2))
    assert conclude(FAILED, rehearsed("would-migrate", "phone.registered"), seen).phone.code == WaveCode.NEVER_CAME
