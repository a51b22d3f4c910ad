"""An index of sentence templates: which template is a given sentence an instance of, and what fills its gaps.

``{place} closed the connection`` is a template with one gap. A sentence without gaps is found at once; the templates
that begin with a fixed word are sought by that word; the few that begin with a gap are tried after these. Before a
pattern is matched the fixed text at both ends is compared, so that most templates cost two comparisons.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

_GAP = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Found:
    """The translation of a sentence's template and what stands in the gaps."""

    translation: str
    values: Mapping[str, str]

    def swallows(self, between: str) -> bool:
        """Whether a gap took in what stands between two sentences, so that they may be sentences of their own."""
        return any(between in value for value in self.values.values())

    def filled(self, told: Callable[[str, str], str]) -> str:
        """Fill the translation, each gap as ``told`` tells its value."""
        values = {gap: told(gap, value) for gap, value in self.values.items()}
        return _GAP.sub(lambda gap: values.get(gap[1], ""), self.translation)


@dataclass(frozen=True, slots=True)
class _Template:
    head: str
    tail: str
    pattern: re.Pattern[str]
    translation: str

    @classmethod
    def of(cls, english: str, translation: str) -> Self:
        fixed = _GAP.split(english)
        pieces = [f"(?P<{piece}>.+)" if place % 2 else re.escape(piece) for place, piece in enumerate(fixed)]
        return cls(fixed[0], fixed[-1], re.compile("".join(pieces), re.DOTALL), translation)

    def find(self, sentence: str) -> Found | None:
        if not (sentence.startswith(self.head) and sentence.endswith(self.tail)):
            return None
        match = self.pattern.fullmatch(sentence)
        return Found(self.translation, match.groupdict()) if match else None


@dataclass(frozen=True, slots=True)
class SentenceIndex:
    """Templates by what is fixed in them; among those that fit, the one with the most fixed text is found."""

    exact: Mapping[str, str]
    by_word: Mapping[str, tuple[_Template, ...]]
    others: tuple[_Template, ...]

    @classmethod
    def of(cls, pairs: Mapping[str, str]) -> Self:
        """Index ``pairs`` of a template and its translation, whose gaps have the same names."""
        exact = {english: translation for english, translation in pairs.items() if not _GAP.search(english)}
        by_word: dict[str, list[_Template]] = defaultdict(list)
        others: list[_Template] = []
        for english in sorted(pairs.keys() - exact.keys(), key=_looseness):
            template = _Template.of(english, pairs[english])
            (by_word[_first_word(english)] if " " in template.head else others).append(template)
        return cls(exact, {word: tuple(templates) for word, templates in by_word.items()}, tuple(others))

    def find(self, sentence: str) -> Found | None:
        """Find the template of ``sentence``; None when it is an instance of none."""
        if sentence in self.exact:
            return Found(self.exact[sentence], {})
        return _first(self.by_word.get(_first_word(sentence), ()), sentence) or _first(self.others, sentence)


def _looseness(english: str) -> tuple[int, int, str]:
    """How loosely a template fits: by how little is fixed, then by its gaps."""
    return -len(_GAP.sub("", english)), len(_GAP.findall(english)), english


def _first_word(text: str) -> str:
    return text.partition(" ")[0]


def _first(templates: Iterable[_Template], sentence: str) -> Found | None:
    return next((found for template in templates if (found := template.find(sentence))), None)
