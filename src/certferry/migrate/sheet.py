"""What stands around every report: one HTML page that needs nothing else, in the reader's language.

A report may be opened from a mail or a share, so it may do nothing: its policy allows the one style sheet that it
brings, by the sheet's digest, and no script, no picture, no request.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files

from certferry.migrate.causes import Language, Text, read_table


@dataclass(frozen=True, slots=True)
class Sheet:
    """The words of one report in one language, and what stands above and below its content.

    ``table`` names the report's words among the tables, ``styles`` its style sheets below ``certferry.migrate``.
    """

    table: str
    language: Language
    styles: tuple[str, ...] = ("report.css",)

    @property
    def words(self) -> Mapping[str, str]:
        """Every text of the report, as it is."""
        return _words(self.table, self.language)

    def say(self, key: str, **values: object) -> str:
        """Write a text with its blanks filled, escaped for HTML."""
        return escape(self.words[key].format(**values))

    def opening(self, heading: str) -> Iterator[str]:
        """Write everything up to the heading, which is HTML; the header stays open."""
        style = _style(self.styles)
        digest = b64encode(sha256(style.encode()).digest()).decode()
        yield f'<!doctype html>\n<html lang="{self.language}">\n<head>\n<meta charset="utf-8">'
        yield (
            '<meta http-equiv="Content-Security-Policy" '
            f"content=\"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'\">"
        )
        yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
        yield f"<title>{heading}</title>\n<style>{style}</style>\n</head>\n<body>\n<header>\n<h1>{heading}</h1>"

    def closing(self) -> str:
        """Write what ends the content and the page."""
        return f'</main>\n<footer><p class="soft">{self.say("made-by")}</p></footer>\n</body>\n</html>'


@cache
def _words(table: str, language: Language) -> Mapping[str, str]:
    return {key: Text(**text).of(language) for key, text in read_table(table)["words"].items()}


@cache
def _style(names: tuple[str, ...]) -> str:
    root = files("certferry.migrate")
    return "".join((root / name).read_text(encoding="utf-8") for name in names)
