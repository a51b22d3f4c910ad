"""Insert or update in one statement: what stands stays, or is written anew where it is asked."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, create_engine, select

from certferry.cluster import schema
from certferry.cluster.upserting import upsert


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        schema.metadata.create_all(connection, [schema.served, schema.fact])
        yield connection
    engine.dispose()


def served(connection: Connection) -> dict[str, int]:
    return {row.node: row.version for row in connection.execute(select(schema.served))}


def put(connection: Connection, *rows: tuple[str, int], update: tuple[str, ...] = ("version",)) -> None:
    forms = [{"node": node, "version": version} for node, version in rows]
    upsert(connection, schema.served, forms, keys=["node"], update=update)


def test_new_rows_are_written(connection: Connection) -> None:
    put(connection, ("pub", 1), ("sub", 2))
    assert served(connection) == {"pub": 1, "sub": 2}


def test_a_row_that_stands_is_written_anew(connection: Connection) -> None:
    put(connection, ("pub", 1), ("sub", 2))
    put(connection, ("pub", 7))
    assert served(connection) == {"pub": 7, "sub": 2}


def test_without_columns_to_update_a_row_that_stands_stays(connection: Connection) -> None:
    put(connection, ("pub", 1))
    put(connection, ("pub", 7), ("sub", 2), update=())
    assert served(connection) == {"pub": 1, "sub": 2}


def test_the_last_of_several_rows_with_the_same_key_wins(connection: Connection) -> None:
    put(connection, ("pub", 1), ("pub", 2))
    assert served(connection) == {"pub": 2}


def test_no_rows_are_no_statement(connection: Connection) -> None:
    put(connection)
    assert served(connection) == {}


def put_later(connection: Connection, key: str, value: str, soon: str | None = None) -> str | None:
    row = {"key": key, "value": value}
    upsert(connection, schema.fact, [row], keys=["key"], update=["value"], later="value", soon=soon)
    return connection.scalar(select(schema.fact.c.value).where(schema.fact.c.key == key))


def test_only_what_is_later_or_as_late_is_written_over_what_stands(connection: Connection) -> None:
    assert [put_later(connection, "at", value) for value in ("5", "4", "5", "6")] == ["5", "5", "5", "6"]


def test_what_is_ahead_is_written_over_whatever_comes(connection: Connection) -> None:
    assert [put_later(connection, "at", value) for value in ("2", "8")] == ["2", "8"]
    assert [put_later(connection, "at", value, "3") for value in ("2", "1", "3")] == ["2", "2", "3"]
