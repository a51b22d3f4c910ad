"""SQL that SQLite and PostgreSQL spell differently."""

import re
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Integer, MetaData, String
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class JsonLength(FunctionElement[int]):
    """How many elements the JSON array in a column of text has."""

    type = Integer()
    inherit_cache = True

    def __init__(self, column: ColumnElement[str]) -> None:
        super().__init__(column)


class LikeAnyCase(FunctionElement[bool]):
    """Whether a text is LIKE a pattern in any letter case of A to Z; a slash escapes."""

    type = Boolean()
    inherit_cache = True

    def __init__(self, column: ColumnElement[str], pattern: str) -> None:
        super().__init__(column, pattern)


def like(text: str) -> str:
    """Return the pattern that matches just ``text``."""
    return re.sub(r"([%_/])", r"/\1", text)


@compiles(JsonLength)
def _length(element: JsonLength, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_array_length({compiler.process(element.clauses, **options)})"


@compiles(JsonLength, "postgresql")
def _length_in_postgresql(element: JsonLength, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_array_length(CAST({compiler.process(element.clauses, **options)} AS json))"


@compiles(LikeAnyCase)
def _like(element: LikeAnyCase, compiler: SQLCompiler, **options: Any) -> str:
    # SQLite's LIKE knows no letter case.
    return _compared("LIKE", element, compiler, **options)


@compiles(LikeAnyCase, "postgresql")
def _like_in_postgresql(element: LikeAnyCase, compiler: SQLCompiler, **options: Any) -> str:
    return _compared("ILIKE", element, compiler, **options)


def _compared(operator: str, element: LikeAnyCase, compiler: SQLCompiler, **options: Any) -> str:
    column, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({column} {operator} {pattern} ESCAPE '/')"


def order_by_bytes(metadata: MetaData) -> None:
    """Let PostgreSQL order and compare texts as SQLite does, whatever the language its database was made for."""
    for table in metadata.tables.values():
        for column in table.columns:
            if isinstance(kind := column.type, String):
                column.type = kind.with_variant(type(kind)(kind.length, collation="C"), "postgresql")
