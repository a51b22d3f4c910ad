"""What verification, trust list checks and refusals say is told in Japanese, all of it: read out of the code itself."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import certferry
from certferry.errors import Refusal
from certferry.web.pages.sentences import remedy_of, tell
from product import every_refusal

SOURCE = Path(certferry.__file__).parent
CHECKS = [*sorted((SOURCE / "migrate").glob("verify_*.py")), SOURCE / "trust" / "list_check.py"]
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
NAMED = ("title", "remedy", "how")
TITLE, REMEDY = 1, 4
"""Where they stand among the arguments of ``judged`` and ``Check``."""


def filled(node: ast.expr) -> Iterator[str]:
    """Every sentence that an expression may be, with X for what varies."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from filled(node.body)
        yield from filled(node.orelse)
    elif isinstance(node, ast.BinOp):
        yield from (left + right for left in filled(node.left) for right in filled(node.right))


def said(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if any(name in NAMED or (name.startswith("_") and name.isupper()) for name in names):
                yield from filled(node.value)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("judged", "Check"):
            for place, argument in enumerate(node.args):
                if place in (TITLE, REMEDY):
                    yield from filled(argument)
            for keyword in node.keywords:
                if keyword.arg in NAMED:
                    yield from filled(keyword.value)


def sentences() -> list[str]:
    found = [sentence for path in CHECKS for sentence in said(path)]
    # Commands of Unified CM stand as they are; names alone are no sentences.
    return [
        each for each in dict.fromkeys(found) if " " in each.replace("X", "").strip() and not each.startswith("utils ")
    ]


def test_there_is_much_to_translate() -> None:
    assert len(sentences()) > 100


@pytest.mark.parametrize("sentence", sentences())
def test_every_title_and_remedy_of_a_check_is_told_in_japanese(sentence: str) -> None:
    assert JAPANESE.search(tell(sentence, "ja"))
    assert tell(sentence, "en") == sentence


@pytest.mark.parametrize("refusal", every_refusal(), ids=lambda refusal: refusal.code)
def test_the_remedy_of_every_refusal_is_told_in_japanese(refusal: type[Refusal]) -> None:
    assert JAPANESE.search(remedy_of(refusal.code, refusal.remedy, "ja"))


def test_the_side_is_told_in_japanese_too() -> None:
    assert tell("source 192.0.2.1: TFTP answers", "ja") == "移行元 192.0.2.1: TFTP が応答する"
    assert tell("destination: all nodes serve the same CTL", "ja") == "移行先: すべてのノードが同じ CTL を提供している"


def test_what_fits_more_closely_is_told() -> None:
    assert tell("The destination knows the phones", "ja") == "移行先に電話機が登録されている"
    assert "SEP001B54000001" in tell("The destination knows the phone SEP001B54000001", "ja")
