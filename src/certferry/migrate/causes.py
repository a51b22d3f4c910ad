"""Why a migration fails: one table of causes for the diagnosis, the troubleshooting pages and their tests.

The table is data, in ``tables/*.toml``: what is seen, why, what would settle it, what mends it, in English and in
Japanese, each with the section of the facts it comes from. Every ``phone.outcome.Code`` is a cause. So is every
``Refusal`` of the packages a migration runs through; those are read off the classes, which carry their remedy.
"""

import importlib
import pkgutil
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Self

import certferry
from certferry.errors import Refusal

Language = Literal["en", "ja"]
TABLES = ("exchange", "lists", "tvs", "files", "waves")
MIGRATION_PATH = ("wire", "trust", "phone", "cluster", "serve", "fleet", "bulk", "migrate")
"""The packages whose refusals somebody may meet while phones move."""
_SCRIPTS = ".alembic."
"""Modules that Alembic runs, which cannot be imported."""


class Stage(StrEnum):
    """Where in a migration something happens, in its order: the exchange of certificates, then the steps of a boot."""

    EXCHANGE = "exchange"
    CTL = "ctl"
    ITL = "itl"
    TVS = "tvs"
    CONFIGURATION = "configuration"
    REGISTRATION = "registration"


@dataclass(frozen=True, slots=True)
class Text:
    """One sentence in both languages."""

    en: str
    ja: str

    def of(self, language: Language) -> str:
        """Return it in one of them."""
        return self.ja if language == "ja" else self.en


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause: how it shows, why it is so, the check that would settle it, and the exact next step.

    ``fine`` marks what is no failure: a phone that did move, a message that is harmless. ``origin`` names the facts.
    """

    code: str
    step: Stage
    symptom: Text
    cause: Text
    settle: Text
    fix: Text
    origin: str
    fine: bool = False

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of the table."""
        texts = {key: Text(**row[key]) for key in ("symptom", "cause", "settle", "fix")}
        return cls(row["code"], Stage(row["step"]), origin=row["origin"], fine=row.get("fine", False), **texts)


def read_table(name: str) -> dict[str, Any]:
    """Read one table that comes with the package."""
    return tomllib.loads((files("certferry.migrate") / "tables" / f"{name}.toml").read_text(encoding="utf-8"))


@cache
def causes() -> Mapping[str, Cause]:
    """Return every cause of the table by its code, in the order of the steps."""
    found = [Cause.of(row) for name in TABLES for row in read_table(name)["cause"]]
    order = list(Stage)
    return {cause.code: cause for cause in sorted(found, key=lambda cause: order.index(cause.step))}


@cache
def refusals() -> Mapping[str, type[Refusal]]:
    """Return every refusal of the migration path by its code."""
    for package in MIGRATION_PATH:
        roots = [f"{root}/{package}" for root in certferry.__path__]
        for module in pkgutil.walk_packages(roots, f"certferry.{package}."):
            if _SCRIPTS not in module.name:
                importlib.import_module(module.name)
    ours = tuple(f"certferry.{package}." for package in MIGRATION_PATH)
    found = {kind.code: kind for kind in _below(Refusal) if kind.__module__.startswith(ours)}
    return dict(sorted(found.items()))


def find_cause(code: str) -> Cause | None:
    """Return the cause with this code; a refusal's class is turned into one."""
    found = causes().get(code)
    if found is None and code in refusals():
        return _of_refusal(refusals()[code])
    return found


def meaning(kind: type[Refusal]) -> str:
    """Return the first sentence of a refusal's docstring, on one line."""
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


_STAGES = {"bulk": Stage.EXCHANGE, "cluster": Stage.EXCHANGE, "trust": Stage.EXCHANGE, "wire": Stage.ITL}


def _of_refusal(kind: type[Refusal]) -> Cause:
    package = kind.__module__.split(".")[1]
    told, remedy = meaning(kind), kind.remedy
    settle = Text(
        "Run the refused command again: its sentence names the file or peer.",
        "拒否されたコマンドを再実行すると、対象のファイルや相手が示されます。",
    )
    step = _STAGES.get(package, Stage.TVS)
    return Cause(
        kind.code, step, Text(kind.code, kind.code), Text(told, told), settle, Text(remedy, remedy), "certferry"
    )


def _below(kind: type[Refusal]) -> Iterator[type[Refusal]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)
