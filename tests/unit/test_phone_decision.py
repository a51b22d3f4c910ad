"""The decision table, row by row, and that it has no holes."""

from itertools import product

import pytest

from certferry.phone.decision import (
    ITL_SIGNERS_IN_CTL,
    SIGNER_ROLES,
    TABLE,
    TVS_ROLES,
    TVS_TABLE,
    Answer,
    Finding,
    Held,
    Kind,
    Verdict,
    decide,
)
from certferry.phone.outcome import Code
from certferry.wire.roles import Role

LISTS = (Kind.CTL, Kind.ITL)
CHECKING = (Held.ITL, Held.CTL)


def test_the_table_has_a_decision_for_everything() -> None:
    for kind, held, finding in product(Kind, Held, Finding):
        assert TABLE[kind][held][finding].reason


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("finding", Finding)
def test_a_phone_without_lists_believes_any_list_without_a_check(kind: Kind, finding: Finding) -> None:
    decision = decide(kind, Held.NOTHING, finding)
    assert decision.verdict is Verdict.ACCEPT
    assert not decision.verify
    assert "leap of faith" in decision.reason


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("held", CHECKING)
@pytest.mark.parametrize("finding", [Finding.IN_CTL, Finding.IN_ITL])
def test_a_file_of_a_signer_in_a_current_list_is_accepted_if_its_signature_holds(
    kind: Kind, held: Held, finding: Finding
) -> None:
    decision = decide(kind, held, finding)
    assert decision.verdict is Verdict.ACCEPT
    assert decision.verify


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("held", CHECKING)
@pytest.mark.parametrize("finding", [Finding.NOWHERE, Finding.WITHOUT_ROLE])
def test_about_a_signer_in_no_current_list_tvs_is_asked(kind: Kind, held: Held, finding: Finding) -> None:
    assert decide(kind, held, finding).verdict is Verdict.ASK_TVS


@pytest.mark.parametrize("finding", Finding)
@pytest.mark.parametrize("kind", [Kind.ITL, Kind.CONFIGURATION])
def test_with_emptied_lists_any_itl_and_any_configuration_is_accepted(kind: Kind, finding: Finding) -> None:
    decision = decide(kind, Held.ROLLED_BACK, finding)
    assert (decision.verdict, decision.verify) == (Verdict.ACCEPT, False)


@pytest.mark.parametrize("finding", [Finding.NOWHERE, Finding.WITHOUT_ROLE])
def test_with_emptied_lists_the_ctl_of_a_stranger_is_rejected(finding: Finding) -> None:
    decision = decide(Kind.CTL, Held.ROLLED_BACK, finding)
    assert (decision.verdict, decision.code) == (Verdict.REJECT, Code.LIST_ROLLED_BACK)


@pytest.mark.parametrize("finding", [Finding.IN_CTL, Finding.IN_ITL])
def test_with_emptied_lists_the_ctl_of_a_remaining_sast_is_accepted(finding: Finding) -> None:
    decision = decide(Kind.CTL, Held.ROLLED_BACK, finding)
    assert (decision.verdict, decision.verify) == (Verdict.ACCEPT, True)


@pytest.mark.parametrize("held", CHECKING)
def test_an_unsigned_configuration_is_rejected_by_a_phone_with_lists(held: Held) -> None:
    decision = decide(Kind.CONFIGURATION, held, Finding.UNSIGNED)
    assert (decision.verdict, decision.code) == (Verdict.REJECT, Code.CONFIG_UNSIGNED)


def test_an_unsigned_configuration_is_accepted_by_a_phone_without_lists() -> None:
    assert decide(Kind.CONFIGURATION, Held.NOTHING, Finding.UNSIGNED).verdict is Verdict.ACCEPT


@pytest.mark.parametrize(
    ("answer", "verdict", "code"),
    [
        (Answer.VOUCHED, Verdict.ACCEPT, None),
        (Answer.WITHOUT_ROLE, Verdict.REJECT, Code.TVS_ROLE),
        (Answer.OTHER_CERTIFICATE, Verdict.REJECT, Code.TVS_OTHER),
        (Answer.INVALID, Verdict.REJECT, Code.TVS_INVALID),
    ],
)
def test_what_tvs_says_leads_to(answer: Answer, verdict: Verdict, code: Code | None) -> None:
    decision = TVS_TABLE[answer]
    assert (decision.verdict, decision.code, decision.verify) == (verdict, code, True)


def test_every_rejection_has_a_code_and_nothing_else_has() -> None:
    decisions = [TABLE[kind][held][finding] for kind, held, finding in product(Kind, Held, Finding)]
    for decision in (*decisions, *TVS_TABLE.values()):
        assert (decision.code is not None) == (decision.verdict is Verdict.REJECT)


def test_lists_need_a_sast_and_configurations_a_tftp() -> None:
    sast, tftp = {Role.SAST}, {Role.TFTP, Role.CALLMANAGER_TFTP}
    assert SIGNER_ROLES[Kind.CTL, Kind.CTL] == SIGNER_ROLES[Kind.CTL, Kind.ITL] == sast
    assert SIGNER_ROLES[Kind.ITL, Kind.ITL] == TVS_ROLES[Kind.CTL] == TVS_ROLES[Kind.ITL] == sast
    assert SIGNER_ROLES[Kind.CONFIGURATION, Kind.CTL] == SIGNER_ROLES[Kind.CONFIGURATION, Kind.ITL] == tftp
    assert TVS_ROLES[Kind.CONFIGURATION] == tftp


def test_only_in_the_ctl_may_call_control_sign_an_itl() -> None:
    assert SIGNER_ROLES[Kind.ITL, Kind.CTL] == ITL_SIGNERS_IN_CTL == {Role.SAST, Role.TFTP, Role.CALLMANAGER_TFTP}
