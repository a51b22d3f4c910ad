"""An index of sentence templates: which template is a given sentence an instance of, and what fills its gaps.

``{place} closed the connection`` is a template with one gap. A sentence without gaps is found at once; the templates
that begin with a fixed word are sought by that word; the few that begin with a gap are tried after these. Before a
pattern is matched the fixed text at both ends is compared, so that most templates cost two comparisons.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Self

_GAP = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Found:
    """The translation of a sentence's template and what stands in the gaps.

    ``anchored`` is whether the template begins with a fixed word; ``neat`` is whether no gap took in what stands
    between a name and a sentence, or between two sentences, so that the template is surely the right one.
    """

    translation: str
    values: Mapping[str, str]
    anchored: bool = True
    neat: bool = True

    def filled(self, told: Callable[[str, str], str]) -> str:
        """Fill the translation, each gap as ``told`` tells its value."""
        values = {gap: told(gap, value) for gap, value in self.values.items()}
        return _GAP.sub(lambda gap: values.get(gap[1], ""), self.translation)


@dataclass(frozen=True, slots=True)
class _Template:
    fixed: tuple[str, ...]
    pattern: re.Pattern[str]
    translation: str

    @classmethod
    def of(cls, english: str, translation: str) -> Self:
        pieces = _GAP.split(english)
        parts = [f"(?P<{piece}>.+?)" if place % 2 else re.escape(piece) for place, piece in enumerate(pieces)]
        return cls(tuple(pieces[::2]), re.compile("".join(parts), re.DOTALL), translation)

    @property
    def anchored(self) -> bool:
        return " " in self.fixed[0]

    def find(self, sentence: str) -> Found | None:
        if not (sentence.startswith(self.fixed[0]) and sentence.endswith(self.fixed[-1])):
            return None
        if not all(piece in sentence for piece in self.fixed):
            return None
        match = self.pattern.fullmatch(sentence)
        return Found(self.translation, match.groupdict(), self.anchored, self._is_neat(match)) if match else None

    def _is_neat(self, match: re.Match[str]) -> bool:
        # What ends a sentence may be a sentence with a name of its own.
        *inner, last = match.groups()
        inner = inner if self.fixed[-1] == "" else [*inner, last]
        return not any(": " in value for value in inner) and not any("; " in value for value in match.groups())


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
            (by_word[_first_word(english)] if template.anchored else others).append(template)
        return cls(exact, {word: tuple(templates) for word, templates in by_word.items()}, tuple(others))

    def find(self, sentence: str) -> Found | None:
        """Find the template of ``sentence``, a neat one if there is any; None when it is an instance of none."""
        if sentence in self.exact:
            return Found(self.exact[sentence], {})
        first: Found | None = None
        for template in chain(self.by_word.get(_first_word(sentence), ()), self.others):
            found = template.find(sentence)
            if found and found.neat:
                return found
            first = first or found
        return first


def _looseness(english: str) -> tuple[int, int, str]:
    """How loosely a template fits: by how little is fixed, then by its gaps."""
    return -len(_GAP.sub("", english)), len(_GAP.findall(english)), english


def _first_word(text: str) -> str:
    return text.partition(" ")[0]
