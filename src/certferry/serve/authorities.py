"""Whose certificates a service lets in: a few in memory, thousands in a folder in which OpenSSL looks when asked.

OpenSSL sorts all it holds anew for each certificate that is added: 1,000 take 0.2 s, 10,000 take 10 s, 50,000 minutes,
and nobody is served meanwhile. From a folder it reads only what a client's certificate leads to, by the hash of the
subject. All certificates with one hash are found under one name, ``HASH.0``; there are never gaps, whatever goes.

A folder is this process's own and is removed when it ends. While it is in use it is locked (flock), by which
systemd-tmpfiles leaves it alone however old it gets, and the next process knows one whose owner was killed.
"""

import fcntl
import os
import shutil
import ssl
import tempfile
import time
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from certferry.errors import Refusal
from certferry.wire.subject_hash import SubjectMalformedError, subject_hash

FEW = 100
"""As many are loaded into memory, which takes 10 ms."""
TOGETHER = 16
"""Hashes whose certificates lie in one file."""
PREFIX = "certferry-authorities-"
_JUST_MADE_SECONDS = 60


class AuthoritiesUnwritableError(Refusal):
    """The folder in which TLS finds the CAs of phones cannot be written."""

    code = "serve.authorities"
    remedy = "Give TMPDIR a folder with 2 KB of room for each CallManager-trust certificate, or remove those of no use."


class Authorities:
    """The certificates to which a client's must lead, in the form in which TLS takes them. One for a process.

    A context remembers what it found, so another one is due when ``generation`` has changed. What comes with a name
    that nobody had is found by those made before, which connections hold for days.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._few: frozenset[bytes] | None = None
        self._folder: _Folder | None = None

    def of(self, trust: frozenset[bytes]) -> frozenset[bytes] | Path:
        """Return ``trust`` itself or the folder that holds it now, both for ``server_context``.

        Raises ``AuthoritiesUnwritableError``, and the folder then still holds what did not change.
        """
        if len(trust) <= FEW:
            self.close()
            self.generation += trust != self._few
            self._few = trust
            return trust
        self._few = None
        with _told():
            if self._folder is None:
                self.generation += 1
                self._folder = _Folder()
            self.generation += not self._folder.hold(trust)
        return self._folder.path

    def close(self) -> None:
        """Remove the folder."""
        if self._folder is not None:
            self._folder.close()
            self._folder = None


class _Folder:
    """Certificates in files of this user's only.

    A link costs a tenth of what a file does, so one file has the certificates of sixteen hashes, and as many names.
    OpenSSL reads all of them when it looks for one.
    """

    def __init__(self) -> None:
        _remove_left_behind()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))  # mode 0700
        lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        self._remove = weakref.finalize(self, _remove, self.path, lock)  # at the latest when Python ends
        self._held: frozenset[bytes] = frozenset()
        self._files: defaultdict[int, dict[str, frozenset[bytes]]] = defaultdict(dict)
        self._file_of: dict[str, int] = {}
        self._numbers = (number // TOGETHER for number in count())

    def hold(self, trust: frozenset[bytes]) -> bool:
        """Write what came and take away what went; what stayed can be found all the time.

        Return whether that is nothing but certificates with names that nobody had.
        """
        is_all_new = True
        touched: defaultdict[int, list[str]] = defaultdict(list)
        for name, changed in _hashed(trust ^ self._held).items():
            is_all_new &= name not in self._file_of and changed <= trust
            if name not in self._file_of:
                self._file_of[name] = next(self._numbers)
            number = self._file_of[name]
            held = self._files[number].get(name, frozenset())
            self._files[number][name] = (held - changed) | (changed & trust)
            touched[number].append(name)
        for number, names in touched.items():
            self._write(number, names)
        self._held = trust
        return is_all_new

    def _write(self, number: int, names: Iterable[str]) -> None:
        """Write a file under all its names, less those that went; can be done again when it was cut short."""
        kept = {name: held for name, held in self._files[number].items() if held}
        fresh = self.path / "fresh"
        with open(fresh, "w", encoding="ascii", opener=_for_owner) as written:
            written.writelines(ssl.DER_cert_to_PEM_cert(der) for held in kept.values() for der in held)
        for name in kept:
            self._link(fresh, f"{name}.0")
        fresh.unlink()
        for name in set(names) - kept.keys():
            (self.path / f"{name}.0").unlink(missing_ok=True)
            self._file_of.pop(name, None)
        self._files[number] = kept

    def _link(self, file: Path, name: str) -> None:
        place, aside = f"{self.path}/{name}", f"{self.path}/aside"
        try:
            os.link(file, place)
        except FileExistsError:  # the name is given from one file to the other at once: a handshake may be looking
            Path(aside).unlink(missing_ok=True)
            os.link(file, aside)
            Path(aside).rename(place)

    def close(self) -> None:
        """Remove it."""
        self._remove()


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _hashed(certificates: frozenset[bytes]) -> dict[str, frozenset[bytes]]:
    named: defaultdict[str, set[bytes]] = defaultdict(set)
    for der in certificates:
        with suppress(SubjectMalformedError):  # OpenSSL cannot read it either, and nothing leads to it
            named[subject_hash(der)].add(der)
    return {name: frozenset(ders) for name, ders in named.items()}


def _remove(path: Path, lock: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(lock)


def _remove_left_behind() -> None:
    """Remove folders of processes of this user that were killed: nobody holds their lock."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                status = os.fstat(found)
                if status.st_uid == os.geteuid() and time.time() - status.st_mtime > _JUST_MADE_SECONDS:
                    fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(found)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        told = f"cannot keep the CAs of phones in {tempfile.gettempdir()}: {error}"
        raise AuthoritiesUnwritableError(told) from error
