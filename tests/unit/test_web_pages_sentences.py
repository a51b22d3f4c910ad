"""Whatever a refusal, a check or a phone's fate may say on a page has a Japanese sentence: read out of the code."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain, product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import certferry
from certferry.errors import Refusal
from certferry.web.pages.sentences import Told, tell
from product import every_refusal

SOURCE = Path(certferry.__file__).parent
REFUSALS = {refusal.__name__ for refusal in every_refusal()}
REFUSING = ("bulk", "cluster", "dhcp", "migrate", "web", "trust", "wire", "fleet", "phone")
TELLING = (
    "migrate/verify_*.py",
    "trust/list_check.py",
    "phone/boot.py",
    "phone/candidate.py",
    "phone/decision.py",
    "phone/events.py",
    "phone/inquiry.py",
    "migrate/rehearse.py",
    "migrate/survey.py",
    "migrate/waves/finding.py",
    "migrate/waves/judging.py",
    "migrate/waves/steering.py",
    "migrate/waves/running.py",
    "migrate/waves/option150.py",
    "migrate/waves/status.py",
    "trust/store_rules.py",
    "trust/import_rules.py",
    "dhcp/kea.py",
    "dhcp/option150_step.py",
    "bulk/consolidating.py",
    "bulk/exporting.py",
    "bulk/importing.py",
    "bulk/lock.py",
    "bulk/origins.py",
    "bulk/settling.py",
    "bulk/snapshot.py",
    "bulk/wrapping.py",
    "web/jobs.py",
    "web/option150.py",
    "web/waves.py",
    "web/work.py",
)
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
WORDS = re.compile(r"\b[a-z]{2,}\b")
UNTOLD = re.compile(r"(?<![\w.-])[a-z]{2,} [a-z]{2,}\b")
COMMANDS = re.compile(r"\b(?:utils|certferry|show (?:cert|tls|itl)|run sql|file delete)\b[ \w-]*")
GAP = "X"
MOST = 64

COMMAND_LINE_ONLY = {
    "cluster/backup.py": "backups are made and restored on the command line",
    "cluster/backup_file.py": "backups are made and restored on the command line",
    "cluster/moving.py": "clusters are moved on the command line",
    "web/server.py": "it is refused before there is a page: the server does not start",
    "dhcp/asking.py": "pages never ask DHCP",
    "dhcp/judging.py": "pages never ask DHCP",
    "dhcp/snippets.py": "what to write in files of other servers is told on the command line",
    "fleet/dhcp.py": "pages never ask DHCP",
    "fleet/flash_folder.py": "only resident phones keep a flash, on the command line",
    "fleet/option150.py": "resident phones only, on the command line",
    "fleet/processes.py": "fleets run on the command line",
    "fleet/worker.py": "fleets run on the command line",
    "wire/dhcp.py": "pages never ask DHCP",
    "wire/phone_dhcp.py": "pages never ask DHCP",
    "wire/udp_datagram.py": "pages never ask DHCP",
    "wire/sip.py": "pages reach a registrar and send nothing",
    "wire/sip_requests.py": "pages reach a registrar and send nothing",
    "wire/phone_alarm.py": "a node's log tells it",
    "wire/encrypted_file.py": "files are encrypted and opened by nodes and the command line",
}
"""Files none of whose refusals reaches a page, with the reason."""
NOT_SENTENCES = {
    "bulk export": "what the audit log calls it, which has words of its own",
    "bulk consolidate": "what the audit log calls it, which has words of its own",
    "bulk import": "what the audit log calls it, which has words of its own",
    "option 150 is X, not X as certferry": "read as part of a larger text",
    "X left it: somebody else changed it": "read as part of a larger text",
}
"""Texts that are for no reader of a page, with the reason."""


@dataclass(frozen=True, slots=True)
class Module:
    """A file's tree and its functions, to follow names in."""

    path: Path
    tree: ast.Module

    @property
    def functions(self) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
        found = (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
        return {node.name: node for node in found}

    @property
    def name(self) -> str:
        return self.path.relative_to(SOURCE).as_posix()


@cache
def module(path: Path) -> Module:
    return Module(path, ast.parse(path.read_text(encoding="utf-8")))


class Reading:
    """Every text that an expression may be, with X for what varies."""

    def __init__(self, of: Module, scope: ast.AST) -> None:
        self._functions = of.functions
        self._assigned: dict[str, list[ast.expr]] = {}
        for node in ast.walk(scope):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        self._assigned.setdefault(target.id, []).append(node.value)
        self._of = of

    def texts(self, node: ast.expr, depth: int = 3) -> list[str]:
        return list(dict.fromkeys(self._read(node, depth)))[:MOST]

    def _read(self, node: ast.expr, depth: int) -> Iterator[str]:
        match node:
            case ast.Constant(value=str(text)):
                yield text
            case ast.JoinedStr(values=parts):
                yield from map("".join, product(*(self._part(part, depth) for part in parts)))
            case ast.BinOp(left=left, right=right, op=ast.Add()):
                yield from (a + b for a, b in product(self.texts(left, depth), self.texts(right, depth)))
            case _:
                yield from self._followed(node, depth)

    def _followed(self, node: ast.expr, depth: int) -> Iterator[str]:
        match node:
            case ast.IfExp(body=body, orelse=orelse):
                yield from chain(self._read(body, depth), self._read(orelse, depth))
            case ast.BoolOp(values=values):
                yield from chain.from_iterable(self._read(value, depth) for value in values)
            case ast.Await(value=value):
                yield from self._read(value, depth)
            case ast.Name(id=name) if depth and name in self._assigned:
                yield from chain.from_iterable(self._read(value, depth - 1) for value in self._assigned[name])
            case ast.Call(func=ast.Name(id=name)) if depth and name in self._functions:
                yield from self._returned(self._functions[name], depth - 1)
            case _:
                yield GAP

    def _part(self, part: ast.expr, depth: int) -> list[str]:
        if isinstance(part, ast.FormattedValue):
            return self.texts(part.value, depth - 1) if depth else [GAP]
        return self.texts(part, depth)

    def _returned(self, function: ast.FunctionDef | ast.AsyncFunctionDef, depth: int) -> Iterator[str]:
        inside = Reading(self._of, function)
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and node.value is not None:
                yield from inside.texts(node.value, depth)


def refused(path: Path) -> Iterator[str]:
    """The sentences of the refusals that a file makes."""
    return (text for _, text in calls(path))


def calls(path: Path) -> Iterator[tuple[str, str]]:
    """The refusals that a file makes, by their class, with what each may say."""
    of = module(path)
    outer = [node for node in ast.walk(of.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for function in outer:
        reading = Reading(of, function)
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and node.args and _called(node.func) in REFUSALS:
                yield from ((_called(node.func), text) for text in reading.texts(node.args[0]))


def _called(function: ast.expr) -> str:
    return getattr(function, "id", "") or getattr(function, "attr", "")


def said(path: Path) -> Iterator[str]:
    """Every text in a file that is written for people: two English words or more, and no docstring."""
    of = module(path)
    reading = Reading(of, ast.Module([], []))
    skipped = {id(node) for node in elsewhere(of.tree)}
    for node in ast.walk(of.tree):
        if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp) and id(node) not in skipped:
            yield from reading.texts(node)


def elsewhere(tree: ast.Module) -> Iterator[ast.AST]:
    """Docstrings, remedies (told by the refusal's code), keys, log lines and what is read as part of a larger text."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant() as text):
                yield text
            case ast.Assign(targets=[ast.Name(id="remedy")], value=text):
                yield text
            case ast.keyword(arg="remedy", value=text):
                yield text
            case ast.Call(func=ast.Attribute(value=ast.Name(id="logger"))):
                yield from ast.walk(node)
            case ast.JoinedStr() | ast.BinOp():
                yield from (inner for inner in ast.walk(node) if inner is not node)


@cache
def sentences() -> list[str]:
    """Each sentence once, without what joins it to the one before."""
    files = sorted(path for area in REFUSING for path in (SOURCE / area).rglob("*.py"))
    refusals = [text for path in files if module(path).name not in COMMAND_LINE_ONLY for text in refused(path)]
    telling = sorted(path for pattern in TELLING for path in SOURCE.glob(pattern))
    told = [text for path in telling for text in said(path)]
    found = dict.fromkeys(text.lstrip(";,: ").rstrip(": ") for text in (*refusals, *told))
    return [text for text in found if is_sentence(text)]


def is_sentence(text: str) -> bool:
    """Whether it is English rather than a name, a command or what only joins gaps."""
    words = WORDS.findall(COMMANDS.sub("", text))
    return " " in text.strip() and len(words) > 1 and text not in NOT_SENTENCES


def quoting() -> list[str]:
    """The codes of refusals that have no words of their own, only those of a system, a driver or a server."""
    codes: dict[str, set[str]] = {}
    for refusal in every_refusal():
        codes.setdefault(refusal.__name__, set()).add(refusal.code)
    files = sorted(path for area in REFUSING for path in (SOURCE / area).rglob("*.py"))
    found: set[str] = set()
    for path in files:
        for name, text in calls(path) if module(path).name not in COMMAND_LINE_ONLY else ():
            found |= codes[name] if not is_sentence(text) else set()
    return sorted(found - {Refusal.code})  # what a job was refused is told again by its own code


def test_there_are_many_sentences() -> None:
    assert len(sentences()) > 350


def test_files_that_are_left_out_exist() -> None:
    assert [name for name in COMMAND_LINE_ONLY if not (SOURCE / name).is_file()] == []


@pytest.mark.parametrize("sentence", sentences())
def test_every_sentence_is_told_in_japanese(sentence: str) -> None:
    told = tell(sentence, "ja")
    assert JAPANESE.search(told)
    assert not UNTOLD.search(COMMANDS.sub("", told))
    assert tell(sentence, "en") == sentence


@pytest.mark.parametrize("code", quoting())
def test_what_only_quotes_has_a_japanese_sentence_around_it(code: str) -> None:
    refusal = Refusal("something:7: [SSL: UNKNOWN] unheard of (_ssl.c:1)")
    told = Told.of(refusal, "ja", code)
    assert JAPANESE.search(told.sentence)
    assert told.sentence.endswith(refusal.sentence)
    assert told.sentence != Told.of(refusal, "ja", "no.such-code").sentence
    assert Told.of(refusal, "en", code).sentence == refusal.sentence


def test_a_sentence_that_has_a_translation_stands_alone() -> None:
    told = Told.of(Refusal("192.0.2.7:22: Connection refused"), "ja", "bulk.unreachable")
    assert told.sentence.startswith("192.0.2.7:22: ")
    assert JAPANESE.search(told.sentence)


def test_names_stand_in_the_japanese_sentence_as_they_are() -> None:
    told = tell("192.0.2.7:22 does not let user ferry in", "ja")
    assert "192.0.2.7:22" in told
    assert "ferry" in told


def test_sentences_that_are_joined_are_each_told() -> None:
    told = tell("signed with SHA512; old phones: True", "ja")
    assert told == "SHA512 で署名されています; 古い電話機: True"


def test_a_sentence_within_another_is_told_too() -> None:
    told = tell("ITLFile.tlv was rejected: its signer is in no current list", "ja")
    assert told == "ITLFile.tlv は拒否されました: 署名者が現在のどのリストにもありません"


def test_what_stands_behind_a_name_is_told() -> None:
    assert tell("/etc/known_hosts: Permission denied", "ja") == "/etc/known_hosts: アクセスが拒否されました"


def test_a_state_is_called_what_the_pages_call_it() -> None:
    assert tell("migration 7 is paused", "ja") == "移行 7 は一時停止です"


def test_a_text_of_a_stranger_in_a_gap_is_no_template() -> None:
    assert "{name}" in tell("refused {name}: error 0, {0}", "ja")


def test_a_long_or_hostile_text_is_told_as_it_is() -> None:
    assert tell("no answer for " * 1000, "ja") == "no answer for " * 1000


@given(st.lists(st.sampled_from([*sentences(), "; ", ", ", ": ", "{", "}", "{name}", "\n", " of ", "X"]), max_size=12))
def test_whatever_is_asked_it_is_told_without_an_error(pieces: list[str]) -> None:
    assert tell("".join(pieces), "ja") or not "".join(pieces)
