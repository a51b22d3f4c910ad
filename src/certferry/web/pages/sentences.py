"""Sentences that the rooms below speak in English only, told in the reader's language.

The table ``sentences.toml`` pairs each English sentence, with ``{names}`` for what varies, with the Japanese one. A
sentence that is not in it is told as it is; a test holds the table to what the rooms below say.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from certferry.errors import Refusal
from certferry.web.pages.language import Language

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
            return translation.format(**found.groupdict())
    return sentence


def remedy_of(code: str, remedy: str, language: Language) -> str:
    """Return what to do about the refusal ``code``."""
    if language == "en":
        return remedy
    return _table()["remedies"].get(code) or tell(remedy, language)


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((_pattern(english), japanese) for english, japanese in _table()["sentences"].items())


def _pattern(english: str) -> re.Pattern[str]:
    return re.compile(_NAME.sub(r"(?P<\1>.+)", re.escape(english)), re.DOTALL)


@cache
def _table() -> Mapping[str, Mapping[str, str]]:
    text = (files("certferry.web") / "translations" / "sentences.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
