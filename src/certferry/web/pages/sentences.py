"""Sentences that the rooms below speak in English only, told in the reader's language.

The tables beside the pages' own words pair each English sentence, with ``{names}`` for what varies, with the Japanese
one; ``remedies.toml`` says by a refusal's code what to do. A sentence that is in no table is told as it is; tests hold
the tables to what the rooms below say.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from certferry.errors import Refusal
from certferry.web.pages.language import Language, table
from certferry.web.pages.sentence_index import SentenceIndex

_SIDES = {"source": "移行元", "destination": "移行先"}
_TABLES = (
    "checks",
    "evidence",
    "reasons",
    "refusals_bulk",
    "refusals_cluster",
    "refusals_web",
    "refusals_wire",
    "refusals_fleet",
    "refusals_dhcp",
)
_WORDS = {"state": "wave-state", "kind": "job"}
"""Gaps that words of the pages stand in, with the beginning of their keys."""
_LONGEST = 4000
_LONGEST_LIST = 1000
_DEEPEST = 5
"""How many sentences are sought within each other; strangers' texts stand in some."""
_AFTER_NAME = ": "


@dataclass(frozen=True, slots=True)
class Told:
    """A refusal for people: the sentence, its stable code and the next step."""

    sentence: str
    code: str
    remedy: str

    @classmethod
    def of(cls, refusal: Refusal, language: Language, code: str = "") -> "Told":
        """Tell ``refusal`` in ``language``."""
        code = code or refusal.code
        sentence = tell(refusal.sentence, language)
        if language != "en" and sentence == refusal.sentence:
            sentence = _quoted(sentence, code)
        return cls(sentence, code, remedy_of(code, refusal.remedy, language))

    @property
    def beside_field(self) -> str:
        """What stands beside the field that is wrong: the sentence, and below it the next step."""
        return f"{self.sentence}\n{self.remedy}"


def tell(sentence: str, language: Language) -> str:
    """Return ``sentence`` in ``language``; unchanged when there is no translation."""
    if language == "en" or len(sentence) > _LONGEST:
        return sentence
    return _in_japanese(sentence)


def remedy_of(code: str, remedy: str, language: Language) -> str:
    """Return what to do about the refusal ``code``."""
    if language == "en":
        return remedy
    return _table("sentences")["remedies"].get(code) or _table("remedies").get(code) or tell(remedy, language)


def _quoted(sentence: str, code: str) -> str:
    """Say around a quotation of a driver, OpenSSL or a server what it is about; the quotation stands as it is."""
    frames = _table("quoted")
    return str(frames.get(code, frames["otherwise"])).replace("{quote}", sentence)


def tell_side(value: str, language: Language) -> str:
    """Tell which cluster of a migration is meant, where a value begins with it."""
    if language == "en":
        return value
    first, blank, rest = value.partition(" ")
    return f"{_SIDES.get(first, first)}{blank}{rest}"


@lru_cache(maxsize=4096)
def _in_japanese(sentence: str, depth: int = _DEEPEST) -> str:
    """Tell a sentence whole; else each of those that are joined in it; else what stands behind a name."""
    if not depth:
        return sentence
    found = _index().find(sentence)
    if found and found.neat and not _is_list(sentence):
        return found.filled(lambda gap, value: _value(gap, value, depth - 1))
    told = _joined(sentence, depth - 1)
    if told == sentence and found:
        return found.filled(lambda gap, value: _value(gap, value, depth - 1))
    return told


def _joined(sentence: str, depth: int) -> str:
    """Tell each of the sentences that are joined in one, or what stands behind a name."""
    between = next((between for between in ("; ", ", ") if between in sentence and _is_joined(sentence, between)), "")
    if between:
        return between.join(_in_japanese(part, depth) for part in sentence.split(between))
    name, colon, rest = sentence.partition(_AFTER_NAME)
    told = _in_japanese(rest, depth) if rest else rest
    return sentence if told == rest else f"{_value('', name, depth)}{colon}{told}"


def _is_joined(sentence: str, between: str) -> bool:
    return between == "; " or _is_list(sentence)


def _is_list(sentence: str) -> bool:
    """Whether sentences of one kind stand in a row with commas between; a comma in a sentence makes no list."""
    if ", " not in sentence or len(sentence) > _LONGEST_LIST:
        return False
    found = [_index().find(part) for part in sentence.split(", ")]
    known = [each for each in found if each and each.values]
    alike = len({each.translation for each in known}) == 1 or all(each.anchored for each in known)
    return len(known) == len(found) and alike


def _value(gap: str, value: str, depth: int) -> str:
    """Tell what stands in a gap: a word of the pages, a sentence, something of one side, or a name as it stands."""
    if gap in _WORDS and (word := table("ja").get(f"{_WORDS[gap]}.{value}")):
        return word
    told = _in_japanese(value, depth) if " " in value else value
    return tell_side(value, "ja") if told == value else told


@cache
def _index() -> SentenceIndex:
    pairs = dict(_table("sentences")["sentences"])
    for name in _TABLES:
        pairs |= _table(name)
    return SentenceIndex.of(pairs)


@cache
def _table(name: str) -> Mapping[str, Any]:
    text = (files("certferry.web") / "translations" / f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
