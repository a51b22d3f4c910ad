"""What a phone's screen says."""

import pytest

from certferry.phone.flash import Flash
from certferry.phone.outcome import Code
from certferry.phone.status import (
    Status,
    installed_text,
    list_failure_texts,
    loaded_text,
    rejected_text,
)


def test_a_loaded_configuration_is_shown_with_how_it_came() -> None:
    assert loaded_text("SEP001122334455.cnf.xml.sgn", "HTTP") == "SEP001122334455.cnf.xml.sgn(HTTP)"


def test_a_rejected_configuration_is_shown_with_the_only_reason_ever_seen() -> None:
    told = rejected_text("a.cnf.xml.sgn", Code.CONFIG_SIGNATURE)
    assert told == "invalid file a.cnf.xml.sgn, authenticated fail. Reason:14"


@pytest.mark.parametrize("code", [Code.CONFIG_MALFORMED, Code.CONFIG_ENCRYPTED])
def test_one_that_is_rejected_for_what_is_in_it_is_not_shown_as_that(code: Code) -> None:
    assert rejected_text("a.cnf.xml.sgn", code) is None


def test_a_list_whose_signer_nobody_vouches_for_is_shown_as_a_verification_failure() -> None:
    assert list_failure_texts(Code.TVS_INVALID) == (Status.TRUST_LIST_UPDATE_FAILED, Status.VERIFICATION_FAILURE)
    assert list_failure_texts(Code.FILE_SERVER_FAILED) == (Status.TRUST_LIST_UPDATE_FAILED,)


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        (Flash(), Flash(), Status.NO_TRUST_LIST),
        (Flash(itl=b"1"), Flash(itl=b"1"), None),
        (Flash(), Flash(itl=b"1"), Status.ITL_INSTALLED),
        (Flash(b"1"), Flash(b"1", b"1"), Status.ITL_INSTALLED),
        (Flash(itl=b"1"), Flash(itl=b"2"), Status.TRUST_LIST_UPDATED),
        (Flash(b"1", b"1"), Flash(b"2", b"1"), Status.TRUST_LIST_UPDATED),
        (Flash(b"1"), Flash(b"2"), Status.TRUST_LIST_UPDATED),
    ],
)
def test_what_is_shown_of_the_lists_follows_from_what_changed(
    before: Flash, after: Flash, shown: Status | None
) -> None:
    assert installed_text(before, after) is shown
