"""Every noun is known at once, and imported only when it is meant."""

import subprocess
import sys

import pytest

from certferry.cli.nouns import NOUNS, Commands
from command_line import certferry

HEAVY = {"sqlalchemy", "asyncssh", "fastapi", "uvicorn", "matplotlib", "psycopg", "alembic"}
"""What takes long to import, and no command needs all of it."""


def imported_by(*words: str) -> set[str]:
    """Run a command in a process of its own; tell which of the heavy modules it has imported at its end."""
    told = "import sys, atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr, sep=chr(10)))"
    ended = subprocess.run(
        [sys.executable, "-c", f"{told}\nfrom certferry.cli.main import run\nrun({list(words)!r})"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    modules = set(ended.stderr.split())
    assert "certferry.cli.main" in modules, ended.stderr
    return modules & HEAVY


@pytest.mark.parametrize("noun", NOUNS)
def test_every_noun_is_a_command_that_says_what_it_does(noun: str) -> None:
    command = Commands()[noun]
    assert command.name == noun
    assert command.help or command.short_help


def test_the_names_are_known_before_anything_is_imported() -> None:
    commands = Commands()
    assert list(commands) == list(NOUNS)
    assert "migrate" in commands
    assert (len(commands), "no-such-noun" in commands) == (len(NOUNS), False)


def test_a_command_that_was_imported_once_stays_the_same() -> None:
    commands = Commands()
    assert commands["tvs"] is commands.get("tvs")
    assert [name for name, _ in commands.items()] == list(NOUNS)
    assert {command.name for command in commands.values()} == set(NOUNS)


def test_help_lists_the_nouns_in_their_order() -> None:
    listed = [line.split()[1] for line in certferry("--help").stdout.splitlines() if line.startswith("│ ")]
    assert [word for word in listed if word in NOUNS] == list(NOUNS)


def test_a_noun_that_is_misspelt_is_guessed() -> None:
    assert "Did you mean 'cluster'?" in certferry("clustr", "show").stderr


def test_the_version_is_told_without_a_database_an_ssh_library_or_a_web_server() -> None:
    assert imported_by("--version") == set()


def test_a_file_is_signed_without_a_database_an_ssh_library_or_a_web_server() -> None:
    assert imported_by("trustlist", "show", "/no/such/file") <= {"sqlalchemy"}


def test_a_cluster_is_opened_without_an_ssh_library_or_a_web_server() -> None:
    assert imported_by("cluster", "show", "--cluster", "/no/such/folder") == {"sqlalchemy"}
