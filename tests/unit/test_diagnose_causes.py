"""The table of causes: nothing that can happen is missing from it, and every entry can be acted on."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from certferry.cli.main import app
from certferry.errors import Refusal
from certferry.migrate.causes import Cause, Stage, causes, find_cause, meaning, refusals
from certferry.migrate.signs import Certainty, cause_of_check, signs
from certferry.migrate.troubleshooting import write_page
from certferry.phone.outcome import Code, Step

ROOT = Path(__file__).parents[2]
PHONE_TRUST_6, BULK_7 = range(1, 31), range(1, 23)
NOT_ABOUT_MIGRATING_PHONES = {("phone-trust", 29)}
"""CTI applications that do not know SHA-512: no phone is concerned."""

every_cause = pytest.mark.parametrize("cause", list(causes().values()), ids=list(causes()))


@pytest.mark.parametrize("code", list(Code))
def test_every_way_a_boot_ends_has_an_entry(code: Code) -> None:
    assert find_cause(code.value) is not None


def test_only_success_and_harmless_messages_are_called_fine() -> None:
    fine = {cause.code for cause in causes().values() if cause.fine}
    assert fine == {"phone.registered", "list.updated", "list.none", "file.ctl-not-found"}


@pytest.mark.parametrize(
    ("document", "section", "rows"), [("phone-trust", 6, PHONE_TRUST_6), ("bulk-certificates", 7, BULK_7)]
)
def test_every_known_failure_mode_has_a_cause(document: str, section: int, rows: range) -> None:
    told = {row for cause in causes().values() for row in _rows_of(cause, document, section)}
    missing = {row for row in rows if row not in told and (document, row) not in NOT_ABOUT_MIGRATING_PHONES}
    assert missing == set()


def _rows_of(cause: Cause, document: str, section: int) -> set[int]:
    for origin in cause.origin.split(";"):
        if origin.strip().startswith(document):
            found = re.search(rf"\b{section} (#\d+(?:, #\d+)*)", origin)
            return {int(row) for row in re.findall(r"\d+", found[1])} if found else set()
    return set()


@every_cause
def test_a_cause_is_told_in_both_languages(cause: Cause) -> None:
    for text in (cause.symptom, cause.cause, cause.settle, cause.fix):
        assert text.en.strip()
        assert text.en.isascii()
        assert re.search(r"[\u3040-\u30ff\u4e00-\u9fff]", text.ja) or text.ja.startswith("「")


@every_cause
def test_a_cause_names_its_facts(cause: Cause) -> None:
    assert re.match(r"(phone-trust|bulk-certificates) \d", cause.origin)


@every_cause
def test_commands_named_in_a_fix_exist(cause: Cause) -> None:
    for text in (cause.settle, cause.fix):
        for told in (text.en, text.ja):
            for words in re.findall(r"certferry ((?:[a-z]+ ?){1,2})", told):
                assert _exists(words.split()), words


def _exists(words: list[str]) -> bool:
    group = typer.main.get_command(app)
    commands: dict[str, object] = getattr(group, "commands")  # noqa: B009 -- typer's own group class is private
    found = commands.get(words[0])
    below: dict[str, object] | None = getattr(found, "commands", None)
    return found is not None and (below is None or len(words) == 1 or words[1] in below)


@every_cause
def test_a_phone_code_is_told_at_a_step_of_a_boot(cause: Cause) -> None:
    if cause.code in set(Code):
        assert cause.step.value in set(Step)


@pytest.mark.parametrize("kind", list(refusals().values()), ids=list(refusals()))
def test_every_refusal_of_the_migration_path_has_meaning_and_remedy(kind: type[Refusal]) -> None:
    found = find_cause(kind.code)
    assert found is not None
    assert meaning(kind)
    assert found.fix.en


def test_no_code_stands_for_two_things() -> None:
    assert not set(causes()) & set(refusals())


def test_signs_only_name_known_causes() -> None:
    named = {code for sign in signs() for code in (*sign.causes, *sign.rules_out)} | set(cause_of_check().values())
    assert {code for code in named if find_cause(code) is None} == set()


def test_every_sign_of_a_line_speaks_for_or_against_something() -> None:
    for sign in signs():
        assert sign.causes or sign.rules_out
        assert sign.says == sign.says.lower(), "words are compared in small letters"
        assert set(sign.causes.values()) <= set(Certainty)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_page_lists_every_code(language: str) -> None:
    page = write_page("ja" if language == "ja" else "en")
    for code in causes():
        assert f"### {code}\n" in page
    for code in refusals():
        assert f"| `{code}` |" in page


def test_links_of_the_page_lead_to_its_headings() -> None:
    page = write_page("en")
    headings = {heading.replace(".", "") for heading in re.findall(r"^### (\S+)$", page, re.MULTILINE)}
    assert set(re.findall(r"\(#([^)]+)\)", page)) <= headings


def test_the_pages_in_the_repository_are_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "troubleshooting", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_causes_come_in_the_order_of_the_migration() -> None:
    order = [list(Stage).index(cause.step) for cause in causes().values()]
    assert order == sorted(order)
