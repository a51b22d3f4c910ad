"""The documentation says what the product does: it is generated where it can be, and checked where not."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from certferry.bulk.settings import SftpSettings
from certferry.cli.exit_codes import ExitCode
from certferry.cluster.parameters import PARAMETERS
from certferry.phone.outcome import Code as PhoneCode
from certferry.trust.store_rules import Code as StoreCode
from product import ROOT, every_command, every_refusal, options_of

DOCS = ROOT / "docs"
FOLDERS = ("tutorials", "how-to", "reference", "explanation")
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("tools/*.md"), *ROOT.glob("benchmarks/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ .*$", re.MULTILINE)
JAPANESE_PAGES = ("reference/troubleshooting", "how-to/migrate-in-the-browser")
ROOMS = dict(
    re.findall(r"^\| `(\w+)/` \| (.*) \|$", (DOCS / "explanation" / "architecture.md").read_text("utf-8"), re.MULTILINE)
)
"""What the picture of the house says of each package."""
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def text_of(place: str | Path) -> str:
    return (ROOT / place).read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", text_of(page))


def commands_in(page: Path) -> Iterator[list[str]]:
    """The certferry commands in a page's blocks, as words; those with words left open (...) are left out."""
    for language, block in FENCE.findall(text_of(page)):
        if language == "text":
            continue  # what a program printed
        for line in block.replace("\\\n", " ").splitlines():
            for found in re.finditer(r"(?:^|; do |\$\()\s*(certferry .*?)(?=; done|\)$|\| |&$|&& |$)", line):
                words = shlex.split(found[1], comments=True)
                yield [word for word in words if word not in (">", "&")]


def anchors_of(page: Path) -> set[str]:
    headings = (re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()) for line in HEADING.findall(prose_of(page)))
    return {heading.replace(" ", "-") for heading in headings} | set(re.findall(r'<a id="([^"]+)">', text_of(page)))


# --- the house


@pytest.mark.parametrize("room", sorted(ROOMS.keys() - {"cli"}))  # has a module for each noun
def test_the_picture_of_the_house_names_every_module_of_a_room_and_no_other(room: str) -> None:
    folder = ROOT / "src" / "certferry" / room
    files = [path for path in (*folder.iterdir(), *folder.glob("waves/*")) if not path.name.startswith("__")]
    there = {path.stem for path in files if path.is_dir() or path.suffix == ".py"}
    named = set(re.findall(r"`([\w*]+)/?`", ROOMS[room]))
    assert [name for name in there if not any(fnmatch(name, each) for each in named)] == []
    assert [each for each in named if not any(fnmatch(name, each) for name in there)] == []


def test_the_picture_of_the_house_has_every_room() -> None:
    rooms = (ROOT / "src" / "certferry").glob("*/__init__.py")
    assert {path.parent.name for path in rooms} == ROOMS.keys()


# --- what is generated


def test_the_generated_blocks_are_up_to_date() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "tools" / "docs", "--check"], capture_output=True, text=True, check=False
    )
    assert (checked.stdout + checked.stderr, checked.returncode) == ("", 0)


# --- everything is told


def test_every_command_has_its_section() -> None:
    sections = set(re.findall(r"^## (certferry .*)$", text_of("docs/reference/commands.md"), re.MULTILINE))
    assert sections == set(every_command())


def test_every_option_is_told() -> None:
    text = text_of("docs/reference/commands.md")
    options = {word for name in every_command() for word in options_of(name) if word.startswith("--")}
    assert {option for option in options - {"--help", "--version"} if f"`{option}`" not in text} == set()


def test_every_refusal_is_told_with_its_remedy() -> None:
    text = text_of("docs/reference/refusals.md")
    assert {refusal.code for refusal in every_refusal() if f"`{refusal.code}`" not in text} == set()
    assert {refusal.code for refusal in every_refusal() if refusal.remedy.replace("|", "\\|") not in text} == set()


def test_every_exit_code_is_told() -> None:
    text = text_of("docs/reference/exit-codes.md")
    assert [code for code in ExitCode if f"| {code.value} | {code.name} |" not in text] == []


def test_every_enterprise_parameter_is_told_with_its_title_values_and_default() -> None:
    text = text_of("docs/reference/settings.md")
    for key, parameter in PARAMETERS.items():
        assert f"| `{key}` | {parameter.title} | `{parameter.default}` |" in text
        assert text.count(f"| `{key}` |") == 2


def test_every_sftp_setting_is_told() -> None:
    keys: list[str] = []

    class Participant:
        def put_settings(self, plain: dict[str, str], secrets: dict[str, str]) -> None:
            keys.extend([*plain, *secrets])

    SftpSettings("sftp.example.com", "user", "/exchange").save(Participant())  # type: ignore[arg-type]
    assert [key for key in keys if f"| `{key}` |" not in text_of("docs/reference/settings.md")] == []


def test_every_environment_variable_is_told() -> None:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    variables = {name for source in sources for name in re.findall(r"\bCERTFERRY_[A-Z0-9_]+", source)}
    assert {name for name in variables if f"`{name}`" not in text_of("docs/reference/settings.md")} == set()


def test_every_reason_of_an_import_plan_is_told() -> None:
    assert [code for code in StoreCode if f"`{code}`" not in text_of("docs/reference/trust.md")] == []


def test_every_way_a_phone_s_boot_ends_is_told() -> None:
    assert [code for code in PhoneCode if f"| `{code}` |" not in text_of("docs/reference/phone-outcomes.md")] == []


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    names = [re.split(r"[\[>=<;\s]", requirement)[0] for requirement in project["dependencies"]]
    assert [name for name in names if f"| {name} |" not in text_of("docs/explanation/dependencies.md")] == []


# --- what is told holds


@each_page
def test_every_command_shown_is_one_that_can_be_typed(page: Path) -> None:
    for words in commands_in(page):
        if words[1].startswith("-") or page.name == "commands.md":
            continue
        name = next(
            (" ".join(words[:count]) for count in (4, 3, 2) if " ".join(words[:count]) in every_command()), None
        )
        assert name, words
        options = {word.split("=")[0] for word in words if word.startswith("--") and len(word) > 2}
        assert options <= options_of(name), words


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(prose_of(page)):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            there = (page.parent / file).resolve() if file else page
            assert there.exists(), target
            assert not anchor or anchor in anchors_of(there), target


@each_page
def test_a_page_has_one_title_and_no_folder_of_somebody_s_machine(page: Path) -> None:
    assert len(re.findall(r"^# ", prose_of(page), re.MULTILINE)) == 1
    assert not re.search(r"/(work|home|root)/", text_of(page))


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_folder_has_an_index_of_all_its_pages(folder: str) -> None:
    index = DOCS / folder / "README.md"
    linked = set(LINK.findall(text_of(index)))
    assert {page.name for page in (DOCS / folder).glob("*.md")} - {"README.md"} == linked


# --- the Japanese README


def test_the_japanese_readme_has_the_headings_of_the_english_one() -> None:
    english, japanese = (HEADING.findall(prose_of(ROOT / name)) for name in ("README.md", "README.ja.md"))
    assert [line.split()[0] for line in japanese] == [line.split()[0] for line in english]


def test_the_japanese_readme_has_the_commands_of_the_english_one() -> None:
    english, japanese = (commands_without_comments(ROOT / name) for name in ("README.md", "README.ja.md"))
    assert japanese == english


def test_the_japanese_readme_links_to_the_same_pages() -> None:
    english, japanese = (set(LINK.findall(prose_of(ROOT / name))) for name in ("README.md", "README.ja.md"))
    more = {"docs/reference/glossary.md", *(f"docs/{page}.ja.md" for page in JAPANESE_PAGES)}
    assert japanese - {"README.md"} - english == more
    assert english - {"README.ja.md"} <= japanese


def commands_without_comments(page: Path) -> list[str]:
    blocks = [block for _, block in FENCE.findall(text_of(page)) if "│" not in block]
    lines = [re.sub(r"\s+#.*", "", line) for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]
