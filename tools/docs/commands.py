"""Every command with its arguments and options, read from the typer application itself."""

from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal, get_args, get_origin

import typer
from markdown import code, listed, table

from certferry.cli.main import app
from certferry.cluster.parameters import PARAMETERS
from certferry.cluster.values import STANDARD_PORTS, NodeRole

_KINDS = {int: "NUMBER", float: "NUMBER", str: "TEXT"}


def every_command() -> Iterator[tuple[str, Any]]:
    """Yield ``("certferry bulk import", command)``, in the order of the help."""
    yield from _below("certferry", typer.main.get_command(app))


def _below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    for word, child in getattr(command, "commands", {}).items():
        if hasattr(child, "commands"):
            if child.invoke_without_command:
                yield f"{name} {word}", child
            yield from _below(f"{name} {word}", child)
        elif not child.hidden:
            yield f"{name} {word}", child


def _index() -> str:
    rows = [(f"[`{name}`](#{_anchor(name)})", _first_line(command)) for name, command in every_command()]
    return table(("command", "does"), rows)


def _sections() -> str:
    return "\n\n".join(_section(name, command) for name, command in every_command())


def _section(name: str, command: Any) -> str:
    shown = [each for each in command.params if not each.hidden]
    arguments = [each for each in shown if not _is_option(each)]
    options = [each for each in shown if _is_option(each)]
    words = " ".join([name, *map(_argument_word, arguments), *(["[OPTIONS]"] if options else [])])
    parts = [f"## {name}", " ".join(command.help.split()), f"```\n{words}\n```"]
    if arguments:
        parts.append(table(("argument", "meaning", "default"), [_argument_row(each) for each in arguments]))
    if options:
        parts.append(table(("option", "meaning", "default"), [_option_row(each) for each in options]))
    return "\n\n".join(parts)


def _is_option(parameter: Any) -> bool:
    return parameter.opts[0].startswith("-")


def _argument_word(parameter: Any) -> str:
    word = _without_brackets(parameter.metavar) if parameter.metavar else parameter.name.upper()
    word = f"{word}..." if parameter.nargs == -1 else word
    return word if parameter.required else f"[{word}]"


def _without_brackets(word: str) -> str:
    return word[1:-1] if word.startswith("[") and word.endswith("]") else word


def _argument_row(parameter: Any) -> tuple[str, str, str]:
    return code(_without_brackets(_argument_word(parameter))), _meaning(parameter), _default(parameter)


def _option_row(parameter: Any) -> tuple[str, str, str]:
    names = ", ".join(map(code, [*parameter.opts, *parameter.secondary_opts]))
    value = "" if parameter.is_flag else f" {code(parameter.metavar or _kind(parameter))}"
    return names + value, _meaning(parameter), _default(parameter)


def _meaning(parameter: Any) -> str:
    choices = _choices(parameter)
    named = all(f"{choice}" in (parameter.help or "") for choice in choices)
    return (parameter.help or "") + ("" if named else f" One of {listed(choices)}.")


def _kind(parameter: Any) -> str:
    return "CHOICE" if _choices(parameter) else _KINDS.get(_type(parameter), "PATH")


def _choices(parameter: Any) -> list[str]:
    kind = _type(parameter)
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [str(member.value) for member in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []


def _type(parameter: Any) -> Any:
    """Return the type of one value, of an option that may be given several times too."""
    annotation = parameter.type_descriptor.annotation
    return get_args(annotation)[0] if get_origin(annotation) in (list, tuple) else annotation


def _default(parameter: Any) -> str:
    default = parameter.default
    if parameter.required:
        return "required"
    if default in (None, False, "", [], ()):
        return ""
    return code(default.value if isinstance(default, Enum) else default)


def _first_line(command: Any) -> str:
    return str(command.help).strip().split("\n", maxsplit=1)[0]


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def _parameters() -> str:
    rows = [(code(key), parameter.title, code(parameter.default)) for key, parameter in PARAMETERS.items()]
    return table(("key", "enterprise parameter", "default"), rows)


def _ports() -> str:
    rows = [(code(f"port.NODE.{service}"), service.upper(), port) for service, port in STANDARD_PORTS.items()]
    return table(("key", "service", "default"), rows)


def _node_roles() -> str:
    return listed(NodeRole)


BLOCKS = {
    "command-index": _index,
    "commands": _sections,
    "parameters": _parameters,
    "ports": _ports,
    "node-roles": _node_roles,
}
