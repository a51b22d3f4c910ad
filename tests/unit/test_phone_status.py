"""What a phone's screen says."""

from datetime import UTC, datetime

import pytest

from certferry.phone.status import Status, loaded_text, rejected_text, status_line


@pytest.mark.parametrize(
    ("hour", "shown"), [(0, "12:52:30am"), (8, "8:52:30am"), (12, "12:52:30pm"), (20, "8:52:30pm")]
)
def test_a_line_begins_with_the_time_as_8800_phones_write_it(hour: int, shown: str) -> None:
    when = datetime(2019, 10, 1, hour, 52, 30, tzinfo=UTC)
    assert status_line(Status.ITL_INSTALLED, when) == f"[{shown} 10/01/19] ITL installed"


def test_a_loaded_configuration_is_shown_with_how_it_came() -> None:
    assert loaded_text("SEP001122334455.cnf.xml.sgn", "HTTP") == "SEP001122334455.cnf.xml.sgn(HTTP)"


def test_a_rejected_configuration_is_shown_with_the_only_reason_ever_seen() -> None:
    assert rejected_text("a.cnf.xml.sgn") == "invalid file a.cnf.xml.sgn, authenticated fail. Reason:14"
