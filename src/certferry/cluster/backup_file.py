r"""The file that holds a whole cluster: rows as JSON, their keys still sealed, and the key that seals them if wanted.

Layout, numbers big-endian::

    +-- 0 ----------------+- 17 -----+- 19 -----------+- 23 ---------------+
    | "certferry backup\n" | format 2 | header length 4 | header, JSON        |
    +---------------------+----------+----------------+--------------------+
    | lines of JSON, zlib: a table, its rows, ..., the digests of all      |
    +----------------------------------+-----------------------------------+
    | HMAC-SHA256 of all before 32     | SHA-256 of all before 32          |
    +----------------------------------+-----------------------------------+

SHA-256 tells a torn file from a whole one. The HMAC's key follows from the seal key: nobody else can make a file that
is taken for a backup of this cluster. The seal key itself is in the header only when there was a passphrase to encrypt
it with: scrypt (N 2^17, r 8, p 1), then AES-256-GCM.
"""

import hashlib
import hmac
import json
import os
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from certferry.errors import Refusal

MAGIC = b"certferry backup\n"
FORMAT = 1
LARGEST_HEADER = 64 * 1024
LEAST_PASSPHRASE = 12
_DIGEST = 32
_CHUNK = 1024 * 1024
_SCRYPT: Mapping[str, int] = {"n": 2**17, "r": 8, "p": 1, "maxmem": 256 * 1024 * 1024, "dklen": 32}


class BackupError(Refusal):
    """A backup that cannot be made or used."""

    code = "cluster.backup"
    remedy = "Name another file."


class BackupExistsError(BackupError):
    """The file to back up into is there already."""

    code = "cluster.backup-exists"
    remedy = "Name a new file, or add --replace."


class BackupForeignError(BackupError):
    """The file is no backup, or one that a later certferry made."""

    code = "cluster.backup-foreign"
    remedy = "Name a file that 'certferry cluster backup' made, and use no earlier certferry than the one that made it."


class BackupDamagedError(BackupError):
    """The file is cut short, or not what was written."""

    code = "cluster.backup-damaged"
    remedy = "Nothing was restored. Copy the file anew from where it was kept, or take another backup."


class BackupPassphraseError(BackupError):
    """The passphrase does not open the key in the backup, or is too short to keep it."""

    code = "cluster.backup-passphrase"
    remedy = "Give the passphrase that the backup was made with, or the key file itself: --seal-key FILE"


class BackupKeyError(BackupError):
    """The key that opens the cluster's private keys is not in the backup, and another one was given or none."""

    code = "cluster.backup-key"
    remedy = "Bring the cluster's seal.key and name it: --seal-key FILE"


@dataclass(frozen=True, slots=True)
class BackupHeader:
    """What a backup says of itself. ``fingerprint`` names the seal key, ``wrapped`` is that key encrypted, or empty.

    ``key_file`` is where the key was on ``host``.
    """

    name: str
    release: str
    schema: int
    made_at: str
    certferry: str
    host: str
    key_file: str
    fingerprint: str
    wrapped: str = ""

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Read a header; raises ``BackupForeignError``."""
        try:
            header = cls(**json.loads(text))
        except (ValueError, TypeError, RecursionError) as error:
            raise BackupForeignError(f"its header cannot be read: {error}") from error
        if not isinstance(header.schema, int):
            raise BackupForeignError("its header does not tell which tables it holds")
        return header


def fingerprint(key: bytes) -> str:
    """Name a seal key without telling it."""
    return _derived(key, b"certferry backup: name of the key").hex()[:32]


def wrap(key: bytes, passphrase: str) -> str:
    """Encrypt the seal key; raises ``BackupPassphraseError`` when the passphrase is too short."""
    if len(passphrase) < LEAST_PASSPHRASE:
        sentence = f"the passphrase has fewer than {LEAST_PASSPHRASE} characters"
        raise BackupPassphraseError(sentence, remedy="Choose a longer one: several words, for example.")
    salt, nonce = os.urandom(16), os.urandom(12)
    return (salt + nonce + _cipher(passphrase, salt).encrypt(nonce, key, MAGIC)).hex()


def unwrap(wrapped: str, passphrase: str) -> bytes:
    """Decrypt the seal key; raises ``BackupPassphraseError``."""
    try:
        data = bytes.fromhex(wrapped)
        return _cipher(passphrase, data[:16]).decrypt(data[16:28], data[28:], MAGIC)
    except (InvalidTag, ValueError) as error:
        raise BackupPassphraseError("the passphrase does not open the key in this backup") from error


def _cipher(passphrase: str, salt: bytes) -> AESGCM:
    return AESGCM(hashlib.scrypt(passphrase.encode(), salt=salt, **_SCRYPT))


def _derived(key: bytes, what: bytes) -> bytes:
    return hmac.digest(key, what, "sha256")


def _authenticator(key: bytes) -> "hmac.HMAC":
    return hmac.new(_derived(key, b"certferry backup: authenticity"), digestmod="sha256")


class BackupWriter:
    """Writes a backup's lines into a file opened for it."""

    def __init__(self, file: IO[bytes], header: BackupHeader, key: bytes) -> None:
        self._file = file
        self._whole = hashlib.sha256()
        self._authentic = _authenticator(key)
        self._packed = zlib.compressobj()
        text = json.dumps(asdict(header)).encode()
        self._write(MAGIC + FORMAT.to_bytes(2) + len(text).to_bytes(4) + text)

    def line(self, value: object) -> None:
        """Write one line."""
        text = json.dumps(value, default=_bytes_as_json, separators=(",", ":")) + "\n"
        self._write(self._packed.compress(text.encode()))

    def end(self) -> None:
        """Write what tells that this is the end."""
        self._write(self._packed.flush())
        self._write(self._authentic.digest())
        self._file.write(self._whole.digest())

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._whole.update(data)
        self._authentic.update(data)


class BackupReader:
    """Reads a backup: looked through whole, before anything in it is used."""

    def __init__(self, file: IO[bytes], place: str) -> None:
        self._file = file
        self._place = place
        self._size = os.fstat(file.fileno()).st_size
        beginning = file.read(len(MAGIC) + 6)
        if not beginning.startswith(MAGIC):
            raise BackupForeignError(f"{place} is no backup of a cluster")
        self._check_whole()
        number, length = int.from_bytes(beginning[-6:-4]), int.from_bytes(beginning[-4:])
        if number != FORMAT or length > LARGEST_HEADER:
            raise BackupForeignError(f"{place} has format {number}, this certferry reads {FORMAT}")
        file.seek(len(beginning))
        self.header = BackupHeader.parse(file.read(length))
        self._content = file.tell()

    def check_authentic(self, key: bytes) -> None:
        """Raise ``BackupDamagedError`` unless it was written by who has ``key``."""
        authentic = _authenticator(key)
        for chunk in self._read(0, self._size - 2 * _DIGEST):
            authentic.update(chunk)
        if not hmac.compare_digest(authentic.digest(), self._file.read(_DIGEST)):
            raise BackupDamagedError(f"{self._place} was altered after it was made")

    def lines(self) -> Iterator[Any]:
        """Read the lines; the file has to be authentic."""
        unpacked, rest = zlib.decompressobj(), b""
        for chunk in self._read(self._content, self._size - 2 * _DIGEST):
            *whole, rest = (rest + unpacked.decompress(chunk)).split(b"\n")
            for line in whole:
                yield json.loads(line, object_hook=_bytes_of_json)

    def _check_whole(self) -> None:
        whole = hashlib.sha256()
        for chunk in self._read(0, max(self._size - _DIGEST, 0)):
            whole.update(chunk)
        if self._file.read(_DIGEST) != whole.digest():
            raise BackupDamagedError(f"{self._place} is cut short or was altered")

    def _read(self, start: int, end: int) -> Iterator[bytes]:
        self._file.seek(start)
        while chunk := self._file.read(max(min(_CHUNK, end - self._file.tell()), 0)):
            yield chunk


def _bytes_as_json(value: object) -> Mapping[str, str]:
    if not isinstance(value, (bytes, memoryview)):
        raise TypeError(f"{type(value).__name__} cannot be backed up")
    return {"base64": b64encode(value).decode()}


def _bytes_of_json(value: dict[str, Any]) -> object:
    return b64decode(value["base64"]) if value.keys() == {"base64"} else value


@contextmanager
def new_file(path: Path, *, replace: bool) -> Iterator[IO[bytes]]:
    """Write a file for its owner alone; it has its name once it is whole and on the disk.

    Raises ``BackupExistsError``, and ``BackupError`` when the file cannot be written.
    """
    if path.exists() and not replace:
        raise BackupExistsError(f"{path} is there already")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        _settle(path.parent)
    except OSError as error:
        raise BackupError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _settle(folder: Path) -> None:
    """Let the new name in a folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
