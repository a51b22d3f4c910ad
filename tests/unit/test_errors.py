"""Every refusal has a name, a code of its own, a meaning and a next step."""

import re
from collections import Counter

import pytest

from certferry.errors import MalformedError, Refusal, UsageError
from product import every_refusal

CODE = re.compile(r"[a-z0-9]+(\.[a-z0-9-]+)?")
each_refusal = pytest.mark.parametrize("refusal", every_refusal(), ids=lambda refusal: refusal.__qualname__)


def test_no_two_refusals_share_a_code() -> None:
    shared = {code: count for code, count in Counter(refusal.code for refusal in every_refusal()).items() if count > 1}
    assert shared == {}


@each_refusal
def test_a_refusal_names_its_own_code(refusal: type[Refusal]) -> None:
    assert "code" in vars(refusal)
    assert CODE.fullmatch(refusal.code)


@each_refusal
def test_a_refusal_says_what_it_means(refusal: type[Refusal]) -> None:
    meaning = (vars(refusal).get("__doc__") or "").strip()
    assert meaning.split("\n\n")[0].endswith(".")


@each_refusal
def test_a_refusal_says_the_next_step(refusal: type[Refusal]) -> None:
    assert refusal.remedy.strip()
    assert refusal.remedy[0].isupper() or refusal.remedy[0].isdigit()


@each_refusal
def test_a_refusal_is_called_an_error(refusal: type[Refusal]) -> None:
    assert refusal is Refusal or refusal.__name__.endswith("Error")


def test_a_refusal_reads_as_its_sentence_alone() -> None:
    assert str(UsageError("two targets were named")) == "two targets were named"


def test_one_occurrence_may_have_a_remedy_of_its_own() -> None:
    refusal = MalformedError("cut short", remedy="Copy it again in binary mode.")
    assert refusal.remedy == "Copy it again in binary mode."
    assert MalformedError("cut short").remedy == MalformedError.remedy
