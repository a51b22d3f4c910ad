"""What the product consists of, as far as its documentation has to tell: commands and refusals."""

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import typer

import certferry
from certferry.cli.main import app
from certferry.errors import Refusal

ROOT = Path(__file__).resolve().parents[1]


@cache
def every_refusal() -> tuple[type[Refusal], ...]:
    for module in pkgutil.walk_packages(certferry.__path__, "certferry."):
        if not module.name.endswith("__main__") and ".alembic." not in module.name:  # Alembic runs those
            importlib.import_module(module.name)
    refusals: set[type[Refusal]] = {Refusal, *_below(Refusal)}
    return tuple(sorted(refusals, key=lambda refusal: (refusal.code, refusal.__qualname__)))


def _below(refusal: type[Refusal]) -> Iterator[type[Refusal]]:
    for child in refusal.__subclasses__():
        if child.__module__.startswith("certferry."):
            yield child
            yield from _below(child)


@cache
def every_command() -> dict[str, Any]:
    """Commands by what is typed: ``certferry bulk import``."""
    return dict(_commands("certferry", typer.main.get_command(app)))


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None or command.invoke_without_command:
        yield name, command
    for word, child in (children or {}).items():
        yield from _commands(f"{name} {word}", child)


def options_of(command: str) -> set[str]:
    """Every option a command takes, those of ``certferry`` itself and ``--help`` with it."""
    parameters = [*every_command()[command].params, *typer.main.get_command(app).params]
    return {"--help", *(word for each in parameters if not each.hidden for word in (*each.opts, *each.secondary_opts))}
