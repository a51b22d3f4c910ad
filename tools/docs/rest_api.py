"""Every address of the REST API, from the OpenAPI description that the server gives out."""

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import groupby
from typing import Any

from markdown import code, plain, table

from certferry.web.app import api_description

Operation = tuple[str, str, Mapping[str, Any]]
_REFUSED = "4XX"


@cache
def _description() -> Mapping[str, Any]:
    return api_description()


def _operations() -> Iterator[Operation]:
    for path, methods in _description()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _routes() -> str:
    by_tag = groupby(_operations(), key=lambda found: str(found[2]["tags"][0]))
    return "\n\n".join(_section(tag, list(operations)) for tag, operations in by_tag)


def _section(tag: str, operations: list[Operation]) -> str:
    rows = [
        (code(f"{method} {path}"), _does(operation), _takes(operation), _gives(operation))
        for method, path, operation in operations
    ]
    return f"## {tag.capitalize()}\n\n{table(('address', 'does', 'takes', 'gives'), rows)}"


def _does(operation: Mapping[str, Any]) -> str:
    return plain(operation["description"])


def _takes(operation: Mapping[str, Any]) -> str:
    named = [code(each["name"]) for each in operation.get("parameters", ()) if each["in"] == "query"]
    bodies = operation.get("requestBody", {}).get("content", {})
    return ", ".join([*(_content(kind, body["schema"]) for kind, body in bodies.items()), *named])


def _gives(operation: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{status}: {_answer(answer)}" for status, answer in operation["responses"].items() if status != _REFUSED
    )


def _answer(answer: Mapping[str, Any]) -> str:
    return ", ".join(_content(kind, body.get("schema", {})) for kind, body in answer.get("content", {}).items()) or "-"


def _content(kind: str, schema: Mapping[str, Any]) -> str:
    return _type(schema) if kind == "application/json" else code(kind)


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{_title(name)}](#{_title(name).lower()})" if _is_object(name) else _type(_shapes()[name])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(each) for each in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(map(code, schema["enum"]))
    if "const" in schema:
        return code(schema["const"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "anything")


def _shapes() -> Mapping[str, Any]:
    shapes: Mapping[str, Any] = _description()["components"]["schemas"]
    return shapes


def _is_object(name: str) -> bool:
    return "properties" in _shapes()[name]


def _title(name: str) -> str:
    return name.replace("_", "").strip()


def _models() -> str:
    return "\n\n".join(_model(name, shape) for name, shape in sorted(_shapes().items()) if _is_object(name))


def _model(name: str, shape: Mapping[str, Any]) -> str:
    rows = [
        (code(field), _type(value), "" if field in shape.get("required", ()) else _default(value))
        for field, value in shape["properties"].items()
    ]
    meaning = plain(shape.get("description", ""))
    return f"### {_title(name)}\n\n{meaning}\n\n{table(('field', 'value', 'when left out'), rows)}"


def _default(value: Mapping[str, Any]) -> str:
    default = value.get("default")
    return "-" if default in (None, "", [], {}) else code(str(default).lower() if default is False else default)


BLOCKS = {"rest-routes": _routes, "rest-shapes": _models}
