"""Every refusal: its code, what it means, what to do next."""

import importlib
import pkgutil
from collections.abc import Iterator
from itertools import groupby

from markdown import plain, table

import certferry
from certferry.cli.ending import code_of
from certferry.errors import Refusal

_AREAS = {
    "bulk": "the exchange",
    "cert": "certificates signed by a CA, uploads",
    "cli": "the command line",
    "cluster": "a cluster",
    "dhcp": "option 150",
    "fleet": "asking a server as a phone does",
    "lab": "the demonstration",
    "migrate": "checks and migrations",
    "refused": "everything",
    "serve": "running services",
    "trust": "releases and trust lists",
    "usage": "usage",
    "waves": "phones that move in waves",
    "web": "pages and API",
    "wire": "files and messages that are not what they claim to be",
}


def every_refusal() -> list[type[Refusal]]:
    """Return all refusals of the product, sorted by code."""
    for module in pkgutil.walk_packages(certferry.__path__, "certferry."):
        if not module.name.endswith("__main__") and ".alembic." not in module.name:  # Alembic runs those
            importlib.import_module(module.name)
    return sorted({Refusal, *_below(Refusal)}, key=lambda refusal: refusal.code)


def _below(refusal: type[Refusal]) -> Iterator[type[Refusal]]:
    for child in refusal.__subclasses__():
        if child.__module__.startswith("certferry."):
            yield child
        yield from _below(child)


def _sections() -> str:
    areas = groupby(every_refusal(), key=_area)
    return "\n\n".join(_section(area, list(refusals)) for area, refusals in areas)


def _area(refusal: type[Refusal]) -> str:
    return refusal.code.split(".", maxsplit=1)[0]


def _section(area: str, refusals: list[type[Refusal]]) -> str:
    title = f"{area}: {_AREAS[area]}" if area in _AREAS else area
    rows = [
        (f'<a id="{refusal.code}"></a>`{refusal.code}`', plain(refusal.__doc__ or ""), _exit(refusal), refusal.remedy)
        for refusal in refusals
    ]
    return f"## {title}\n\n{table(('code', 'meaning', 'exit', 'remedy'), rows)}"


def _exit(refusal: type[Refusal]) -> int:
    return int(code_of(refusal.__new__(refusal)))  # by its class alone: constructors differ


BLOCKS = {"refusals": _sections}
