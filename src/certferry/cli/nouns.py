"""The commands by name, each imported when it is asked for: together they take as long as a short command itself."""

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

NOUNS = {
    "demo": "demo:demo",
    "serve": "serve:serve",
    "sign": "sign:sign",
    "unsign": "sign:unsign",
    "encrypt": "encrypt:encrypt",
    "rehearse": "rehearse:rehearse",
    "verify": "verify:verify",
    "diagnose": "diagnose:diagnose_command",
    "report": "report:report",
    "cluster": "cluster:app",
    "config": "config:app",
    "cert": "cert:app",
    "phone": "phone:app",
    "fleet": "fleet:app",
    "bulk": "bulk:app",
    "trustlist": "trustlist:app",
    "tvs": "tvs:app",
    "migrate": "migrate:app",
    "audit": "audit:app",
    "dhcp": "dhcp_kea:app",
    "web": "web:app",
}
"""Module of this package and its function or application, in the order in which ``--help`` lists them."""


class Commands(MutableMapping[str, Any]):
    """Every command, imported as it is looked up; the names are known at once."""

    def __init__(self) -> None:
        self._imported: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._imported:
            self._imported[name] = _imported(name)
        return self._imported[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._imported[name] = command

    def __delitem__(self, name: str) -> None:
        del self._imported[name]

    def __iter__(self) -> Iterator[str]:
        return iter(NOUNS)

    def __len__(self) -> int:
        return len(NOUNS)

    def __contains__(self, name: object) -> bool:
        return name in NOUNS


class Nouns(TyperGroup):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = Commands()

    def list_commands(self, _ctx: Any) -> list[str]:
        """Tell the names in the order in which they are listed."""
        return list(self.commands)


def _imported(name: str) -> Any:
    module, _, attribute = NOUNS[name].partition(":")
    found = getattr(import_module(f"certferry.cli.{module}"), attribute)
    alone = typer.Typer(add_completion=False)
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=name)
    else:
        alone.command(name)(found)
    return typer.main.get_group(alone).commands[name]
