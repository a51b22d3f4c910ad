"""The troubleshooting page, written from the causes and the refusals, so that no code is ever left out of it."""

from collections.abc import Iterator

from certferry.errors import Refusal, UsageError
from certferry.migrate.causes import Cause, Language, Stage, causes, meaning, read_table, refusals
from certferry.migrate.signs import Certainty, signs


def write_page(language: Language) -> str:
    """Write the whole page in Markdown."""
    return "\n".join(_lines(_words(language), language)) + "\n"


def _words(language: Language) -> dict[str, str]:
    return {key: text[language] for key, text in read_table("troubleshooting").items()}


def _lines(words: dict[str, str], language: Language) -> Iterator[str]:
    yield f"<!-- {words['generated']} -->\n"
    yield f"# {words['title']}\n\n{words['other-language']}\n\n{words['introduction']}\n"
    yield f"## {words['messages']}\n\n{words['messages-about']}\n"
    yield from _messages(words)
    for stage in Stage:
        yield f"## {words[stage.value]}\n"
        for cause in causes().values():
            if cause.step is stage:
                yield from _cause(cause, words, language)
    yield f"## {words['refusals']}\n\n{words['refusals-about']}\n"
    yield from _refusals(words)


def _messages(words: dict[str, str]) -> Iterator[str]:
    yield f"| {words['says']} | {words['points-to']} |\n|---|---|"
    for sign in signs():
        if sign.causes:
            told = ", ".join(_weighed(code, sure, words) for code, sure in sign.causes.items())
            yield f"| `{_cell(sign.shown)}` | {told} |"
    yield ""


def _weighed(code: str, sure: Certainty, words: dict[str, str]) -> str:
    return f"[{code}](#{_anchor(code)}) {words[sure.value]}"


def _anchor(code: str) -> str:
    """Name the heading as GitHub does: the dot goes."""
    return code.replace(".", "")


def _cause(cause: Cause, words: dict[str, str], language: Language) -> Iterator[str]:
    yield f"### {cause.code}\n"
    for key in ("symptom", "cause", "settle", "fix"):
        yield f"- **{words[key]}**: {_prose(getattr(cause, key).of(language))}"
    yield f"- {words['origin']}: {cause.origin}\n"


def _prose(text: str) -> str:
    """Show what is replaced by a name as one, and keep angle brackets from being taken for markup."""
    for name in ("device", "tvs", "destination", "signer"):
        text = text.replace(f"{{{name}}}", name.upper())
    return text.replace("<", "&lt;").replace("*", "\\*")


def _refusals(words: dict[str, str]) -> Iterator[str]:
    yield f"| {words['code']} | {words['meaning']} | {words['remedy']} | {words['exit']} |\n|---|---|---|---|"
    for code, kind in refusals().items():
        yield f"| `{code}` | {_cell(_prose(meaning(kind)))} | {_cell(_prose(kind.remedy))} | {_exit(kind)} |"


def _exit(kind: type[Refusal]) -> int:
    return 6 if kind.code == "bulk.locked" else 2 if issubclass(kind, UsageError) else 1


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
