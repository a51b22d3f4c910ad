"""In which language a page speaks: English or Japanese, from one table each, complete in both."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from starlette.requests import Request

Language = Literal["en", "ja"]
LANGUAGES: dict[Language, str] = {"en": "English", "ja": "日本語"}
COOKIE = "certferry-language"


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one language: ``words("menu.security")``; a key that is missing is an error."""

    language: Language

    def __call__(self, key: str, **values: object) -> str:
        """Return the words for ``key``, with ``values`` put in; raise ``KeyError`` when there are none."""
        text = table(self.language)[key]
        return text.format(**values) if values else text

    def has(self, key: str) -> bool:
        """Whether there are words for ``key``."""
        return key in table(self.language)


@cache
def table(language: Language) -> Mapping[str, str]:
    """Read the words of one language, by dotted key."""
    text = (files("certferry.web") / "translations" / f"{language}.toml").read_text(encoding="utf-8")
    return dict(_flat(tomllib.loads(text), ""))


def _flat(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def language_of(request: Request) -> Language:
    """Choose by ``?lang=``, else the cookie, else what the browser prefers, else English."""
    for wanted in (request.query_params.get("lang"), request.cookies.get(COOKIE)):
        if wanted == "ja":
            return "ja"
        if wanted == "en":
            return "en"
    return _preferred(request.headers.get("accept-language", ""))


def _preferred(header: str) -> Language:
    for part in header.split(","):
        name = part.split(";")[0].strip().lower()
        if name.startswith("ja"):
            return "ja"
        if name.startswith("en"):
            return "en"
    return "en"
