"""Sentences that the rooms below speak in English only, told in the reader's language.

The tables ``sentences.toml`` and ``checks.toml`` pair each English sentence, with ``{names}`` for what varies, with the
Japanese one; ``remedies.toml`` says by a refusal's code what to do. A sentence that is in no table is told as it is;
tests hold the tables to what the rooms below say.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from certferry.errors import Refusal
from certferry.web.pages.language import Language

_SIDES = {"source": "移行元", "destination": "移行先"}
_NAME = re.compile(r"\\\{(\w+)\\\}")


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
        return cls(tell(refusal.sentence, language), code, remedy_of(code, refusal.remedy, language))


def tell(sentence: str, language: Language) -> str:
    """Return ``sentence`` in ``language``; unchanged when there is no translation."""
    if language == "en":
        return sentence
    for pattern, translation in _patterns():
        if found := pattern.fullmatch(sentence):
            return translation.format(**{name: tell_side(value, language) for name, value in found.groupdict().items()})
    return sentence


def remedy_of(code: str, remedy: str, language: Language) -> str:
    """Return what to do about the refusal ``code``."""
    if language == "en":
        return remedy
    return _table("sentences")["remedies"].get(code) or _table("remedies").get(code) or tell(remedy, language)


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    pairs = [*_table("sentences")["sentences"].items(), *_table("checks").items()]
    # Sentences with fewer gaps fit fewer others, so they are tried first.
    pairs.sort(key=lambda pair: english_gaps(pair[0]))
    return tuple((_pattern(english), japanese) for english, japanese in pairs)


def english_gaps(english: str) -> tuple[int, int]:
    """How loosely a sentence fits: by its gaps, then by how little is fixed."""
    return english.count("{"), -len(english)


def tell_side(value: str, language: Language) -> str:
    """Tell which cluster of a migration is meant, where a value begins with it."""
    if language == "en":
        return value
    first, blank, rest = value.partition(" ")
    return f"{_SIDES.get(first, first)}{blank}{rest}"


def _pattern(english: str) -> re.Pattern[str]:
    return re.compile(_NAME.sub(r"(?P<\1>.+)", re.escape(english)), re.DOTALL)


@cache
def _table(name: str) -> Mapping[str, Any]:
    text = (files("certferry.web") / "translations" / f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
