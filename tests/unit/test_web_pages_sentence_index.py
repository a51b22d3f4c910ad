"""Which template a sentence is an instance of, and what the tables of templates have to keep to."""

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import certferry.web
from certferry.bulk.directory import StaleSource
from certferry.web.pages.sentence_index import SentenceIndex
from certferry.web.pages.sentences import tell

TABLES = Path(certferry.web.__file__).parent / "translations"
GAP = re.compile(r"\{(\w+)\}")
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
PAIRS = {
    "it is late": "A",
    "{name} is late": "B {name}",
    "{name} is late by {count} days": "C {name} {count}",
    "the clock of {name} is late": "D {name}",
    "{name} was sent back: {reason}": "E {name} {reason}",
    "{who} does not answer to {name}": "F {who} {name}",
}


def told(sentence: str) -> str:
    found = SentenceIndex.of(PAIRS).find(sentence)
    return found.filled(lambda _, value: value) if found else ""


def test_a_sentence_without_gaps_is_found_before_any_template() -> None:
    assert told("it is late") == "A"


def test_a_gap_takes_in_what_varies() -> None:
    assert told("node 7 is late") == "B node 7"


def test_the_template_with_the_most_fixed_text_is_found() -> None:
    assert told("node 7 is late by 3 days") == "C node 7 3"
    assert told("the clock of node 7 is late") == "D node 7"


def test_a_template_is_preferred_whose_gaps_take_in_no_other_sentence() -> None:
    assert told("mail was sent back: nobody does not answer to it") == "E mail nobody does not answer to it"


def test_what_fits_no_template_is_not_found() -> None:
    assert told("node 7 is early") == ""
    assert told("") == ""


def test_braces_in_a_value_are_no_gaps() -> None:
    assert told("{name} is late") == "B {name}"
    assert told("{0} is late by {} days") == "C {0} {}"


def test_why_a_consolidation_is_out_of_date_is_told() -> None:
    for change in ("was exported again", "was exported", "was taken out"):
        for at in (None, datetime(2026, 6, 1, 12, tzinfo=UTC)):
            sentence = f"bulk_CAPF.p12 is out of date: {StaleSource('src_pub_CAPF.p12', change, at)}"
            assert "was" not in tell(sentence, "ja")
            assert "was" not in tell(f"{sentence}, and 2 more", "ja")


def table(path: Path) -> Mapping[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def pairs() -> list[tuple[str, str]]:
    plain = ("checks", "evidence", "reasons", *(path.stem for path in sorted(TABLES.glob("refusals_*.toml"))))
    found = [*table(TABLES / "sentences.toml")["sentences"].items()]
    return found + [pair for name in plain for pair in table(TABLES / f"{name}.toml").items()]


@pytest.mark.parametrize(("english", "japanese"), pairs())
def test_a_translation_has_the_gaps_of_its_sentence(english: str, japanese: str) -> None:
    assert set(GAP.findall(japanese)) <= set(GAP.findall(english))
    assert max(Counter(GAP.findall(english)).values(), default=1) == 1
    assert GAP.sub("", english).strip(), "a template of gaps alone fits everything"
    assert "{" not in GAP.sub("", english + japanese)


def test_no_sentence_is_translated_twice_in_different_words() -> None:
    known: dict[str, str] = {}
    twice = [english for english, japanese in pairs() if known.setdefault(english, japanese) != japanese]
    assert twice == []


def test_every_table_is_read() -> None:
    for path in TABLES.glob("refusals_*.toml"):
        english = next(iter(table(path)))
        assert tell(GAP.sub("X", english), "ja") != GAP.sub("X", english)
