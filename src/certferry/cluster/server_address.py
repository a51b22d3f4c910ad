"""A cluster's place on a PostgreSQL server: ``postgresql://USER@HOST:PORT/DATABASE?OPTION=VALUE``.

A URL never holds a password: it stands in process lists, logs and unit files. The password comes from
``CERTFERRY_DATABASE_PASSWORD_FILE``, ``CERTFERRY_DATABASE_PASSWORD``, or as for every PostgreSQL client: ``PGPASSWORD``
and ``~/.pgpass``.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from certferry.errors import Refusal

SCHEMES = ("postgresql", "postgres")
PASSWORD_VARIABLE = "CERTFERRY_DATABASE_PASSWORD"  # noqa: S105 -- the name of a variable
PASSWORD_FILE_VARIABLE = "CERTFERRY_DATABASE_PASSWORD_FILE"  # noqa: S105 -- the name of a variable
SCHEMA_OPTION, KEY_OPTION = "schema", "seal_key"
LIBPQ_OPTIONS = (
    "connect_timeout",
    "host",
    "passfile",
    "port",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
)
"""What a URL may hand on to libpq; each is described in PostgreSQL's documentation."""
_SCHEMA = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,39}")


class ServerAddressError(Refusal):
    """The URL of a cluster in PostgreSQL is not one that can be used."""

    code = "cluster.server-address"
    remedy = "Write it as postgresql://USER@HOST/DATABASE; see 'Share a cluster over PostgreSQL' for its options."


class PasswordInUrlError(ServerAddressError):
    """The URL of a cluster holds a password, which everybody on the machine could read there."""

    code = "cluster.password-in-url"
    remedy = f"Take the password out of the URL, into ~/.pgpass or a file that {PASSWORD_FILE_VARIABLE} names."


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The ``url`` as libpq takes it, the ``schema`` of the tables, and the key file where the URL names one."""

    url: URL
    schema: str = "public"
    key_file: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URL; raises ``ServerAddressError`` and ``PasswordInUrlError``, which never repeat it."""
        try:
            url = make_url(text)
        except (ArgumentError, ValueError):
            raise ServerAddressError("the cluster's PostgreSQL URL cannot be read") from None
        if url.password is not None or "password" in url.query:
            raise PasswordInUrlError("there is a password in the cluster's PostgreSQL URL")
        if not url.database:
            raise ServerAddressError("the cluster's PostgreSQL URL names no database")
        options = {name: value for name, value in url.query.items() if name not in (SCHEMA_OPTION, KEY_OPTION)}
        if strange := sorted(set(options) - set(LIBPQ_OPTIONS)):
            raise ServerAddressError(f"the cluster's PostgreSQL URL has an option {strange[0]!r}")
        schema, key_file = _single(url, SCHEMA_OPTION) or "public", _single(url, KEY_OPTION)
        if not _SCHEMA.fullmatch(schema):
            raise ServerAddressError(f"{schema!r} is no schema for a cluster: use a-z, 0-9 and _, 40 at most")
        plain = url.set(drivername="postgresql+psycopg", query=options)
        return cls(plain, schema, Path(key_file).expanduser() if key_file else None)

    @property
    def name(self) -> str:
        """A name for the cluster's files on this host: its database, and its schema where that is not the usual one."""
        parts = [self.url.database or "", *([self.schema] if self.schema != "public" else [])]
        return ".".join(re.sub(r"[^A-Za-z0-9_-]", "_", part) for part in parts)


def password() -> str | None:
    """Read the password that is certferry's own to read; None leaves it to libpq. Raises ``ServerAddressError``."""
    if file := os.environ.get(PASSWORD_FILE_VARIABLE):
        try:
            return Path(file).read_text("utf-8").partition("\n")[0]
        except (OSError, ValueError) as error:
            raise ServerAddressError(
                f"cannot read the password file {file}", remedy=f"Mend {PASSWORD_FILE_VARIABLE} or the file."
            ) from error
    return os.environ.get(PASSWORD_VARIABLE)


def password_source(server: ServerAddress, told: str) -> str:
    """Say where the password that was tried came from, and where none came from, in the order in which they count.

    ``told`` is what libpq said: it names the file in which it found one.
    """
    if password():
        file = os.environ.get(PASSWORD_FILE_VARIABLE)
        return f"the file {file}, which {PASSWORD_FILE_VARIABLE} names" if file else f"the variable {PASSWORD_VARIABLE}"
    if os.environ.get("PGPASSWORD"):
        return "the variable PGPASSWORD"
    place = Path(_single(server.url, "passfile") or os.environ.get("PGPASSFILE") or "~/.pgpass")
    with suppress(RuntimeError):  # a user without a home
        place = place.expanduser()
    return f"the file {place}" if "password authentication failed" in told else _without_password(server, place)


def _without_password(server: ServerAddress, file: Path) -> str:
    unset = f"neither {PASSWORD_FILE_VARIABLE}, {PASSWORD_VARIABLE} nor PGPASSWORD is set"
    try:
        mode = file.stat().st_mode
    except OSError:
        return f"{unset}, and there is no file {file}"
    if mode & 0o077:
        return f"{unset}, and {file} is passed over because others may read it (chmod 600)"
    url = server.url
    line = f"{url.host or 'localhost'}:{url.port or 5432}:{url.database}:{url.username or ''}"
    return f"{unset}, and {file} has no line for {line}"


def _single(url: URL, option: str) -> str | None:
    value = url.query.get(option)
    return value if isinstance(value, str) or value is None else value[-1]
