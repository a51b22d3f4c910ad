"""Who may use a cluster's pages and API: users with the hash of their password, tokens with the hash of their secret.

Hashes are made elsewhere; here they are kept, and each change is one line of the audit log.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select

from certferry.cluster import audit, schema
from certferry.cluster.acting import actor
from certferry.cluster.database import Database
from certferry.cluster.upserting import upsert
from certferry.errors import UsageError


class Role(StrEnum):
    """What a user may do: look, or look and change."""

    READ_ONLY = "read-only"
    OPERATOR = "operator"


class UserUnknownError(UsageError):
    """There is no user of that name."""

    code = "web.user-unknown"
    remedy = "See the users with 'certferry web user list'."


class LastOperatorError(UsageError):
    """The only user who may change anything was to be removed, or to be made one who may only look."""

    code = "web.last-operator"
    remedy = "Make another user an operator first."


class TokenUnknownError(UsageError):
    """There is no API token of that id."""

    code = "web.token-unknown"
    remedy = "List the tokens; one may have been taken back already."


@dataclass(frozen=True, slots=True)
class Account:
    """A user, with the hash of the password."""

    name: str
    role: Role
    password_hash: str = field(repr=False)
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Token:
    """An API token, with the SHA-256 of its secret; ``expires_at`` None: until it is taken back."""

    id: str
    name: str
    role: Role
    secret_hash: str = field(repr=False)
    created_by: str
    created_at: datetime
    expires_at: datetime | None


class Accounts:
    """The users and tokens of one cluster."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def users(self) -> tuple[Account, ...]:
        """All users by name."""
        return tuple(_account(row) for row in self._rows(select(schema.web_user).order_by(schema.web_user.c.name)))

    def find_user(self, name: str) -> Account | None:
        """The user of that name, if there is one."""
        rows = self._rows(select(schema.web_user).where(schema.web_user.c.name == name))
        return _account(rows[0]) if rows else None

    def user(self, name: str) -> Account:
        """The user of that name; raises ``UserUnknownError``."""
        if (found := self.find_user(name)) is None:
            raise UserUnknownError(f"there is no user {name!r}")
        return found

    def is_last_operator(self, name: str) -> bool:
        """Whether nobody but that user may change anything."""
        return [each.name for each in self.users() if each.role is Role.OPERATOR] == [name]

    def put_user(self, name: str, role: Role, password_hash: str, *, keep_operator: bool = False) -> None:
        """Add a user, or give a known one another password and role.

        With ``keep_operator``, raises ``LastOperatorError`` rather than leave nobody who may change anything.
        """
        row = {"name": name, "role": role.value, "password_hash": password_hash}
        row["created_at"] = self._clock().isoformat()
        with self._change("put-user", {"user": name, "role": role.value}) as connection:
            before = _operators(connection)
            upsert(connection, schema.web_user, [row], keys=["name"], update=["role", "password_hash"])
            _check_operator_left(connection, before, keep_operator=keep_operator)

    def remove_user(self, name: str, *, keep_operator: bool = False) -> None:
        """Forget a user with the tokens they made; raises ``UserUnknownError``, and ``LastOperatorError`` likewise."""
        with self._change("remove-user", {"user": name}) as connection:
            connection.execute(delete(schema.web_token).where(schema.web_token.c.created_by == name))
            before = _operators(connection)
            gone = connection.execute(delete(schema.web_user).where(schema.web_user.c.name == name))
            if gone.rowcount == 0:
                raise UserUnknownError(f"there is no user {name!r}")
            _check_operator_left(connection, before, keep_operator=keep_operator)

    def tokens(self) -> tuple[Token, ...]:
        """All tokens, oldest first."""
        table = schema.web_token
        return tuple(_token(row) for row in self._rows(select(table).order_by(table.c.created_at, table.c.id)))

    def find_token(self, identifier: str) -> Token | None:
        """The token of that id, if there is one."""
        rows = self._rows(select(schema.web_token).where(schema.web_token.c.id == identifier))
        return _token(rows[0]) if rows else None

    def put_token(self, token: Token) -> None:
        """Add a token."""
        row = {
            "id": token.id,
            "name": token.name,
            "role": token.role.value,
            "secret_hash": token.secret_hash,
            "created_by": token.created_by,
            "created_at": token.created_at.isoformat(),
            "expires_at": token.expires_at.isoformat() if token.expires_at else None,
        }
        details = {"token": token.id, "name": token.name, "role": token.role.value}
        with self._change("create-token", details) as connection:
            connection.execute(insert(schema.web_token), row)

    def remove_token(self, identifier: str) -> None:
        """Take a token back; raises ``TokenUnknownError``."""
        with self._change("remove-token", {"token": identifier}) as connection:
            gone = connection.execute(delete(schema.web_token).where(schema.web_token.c.id == identifier))
            if gone.rowcount == 0:
                raise TokenUnknownError(f"there is no token {identifier!r}")

    def note(self, action: str, details: Mapping[str, object]) -> None:
        """Write a line of the audit log about something that changes nothing, such as a login."""
        with self._change(action, details):
            pass

    def _rows(self, query: Any) -> list[Row[Any]]:
        with self._database.read() as connection:
            return list(connection.execute(query))

    @contextmanager
    def _change(self, action: str, details: Mapping[str, object]) -> Iterator[Connection]:
        with self._database.write() as connection:
            yield connection
            audit.append(connection, actor=actor(), action=action, details=details, now=self._clock())


def _operators(connection: Connection) -> int:
    table = schema.web_user
    count = select(func.count()).select_from(table).where(table.c.role == Role.OPERATOR.value)
    return int(connection.execute(count).scalar_one())


def _check_operator_left(connection: Connection, before: int, *, keep_operator: bool) -> None:
    if keep_operator and before and not _operators(connection):
        raise LastOperatorError("that is the last operator: nobody could change anything any more")


def _account(row: Row[Any]) -> Account:
    return Account(row.name, Role(row.role), row.password_hash, datetime.fromisoformat(row.created_at))


def _token(row: Row[Any]) -> Token:
    expires_at = datetime.fromisoformat(row.expires_at) if row.expires_at else None
    created_at = datetime.fromisoformat(row.created_at)
    return Token(row.id, row.name, Role(row.role), row.secret_hash, row.created_by, created_at, expires_at)
