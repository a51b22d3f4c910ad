r"""Signatures of files, each made once: kept in a file that the processes of a host share and that outlives them.

An RSA signature costs as much as serving thirty files, and a cluster has as many configurations as phones. So what
one worker signed the others take over, and after a restart nothing is signed that did not change. Only signatures are
kept, under the SHA-256 of signer and content; the files are put together around them. A record, big-endian::

    | key (32) | timestamp (4) | length (2) | signature | CRC-32 of all before (4) |

Records are only ever added, each with one write, so that several processes may add at once. What does not have its
checksum is not believed; behind a write that was cut short, by a full disk say, reading goes on with the next whole
record. The file lies beside the key that seals the private keys, and is as much to be trusted; losing it loses nothing.
"""

import hashlib
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from struct import Struct
from zlib import crc32

from cryptography.hazmat.primitives.asymmetric import rsa

from certferry.wire.certificate import Certificate
from certferry.wire.signed_file import SUFFIX, SignedFile, sign_file
from certferry.wire.signed_header import Digest, header_of

LARGEST = 256 * 1024 * 1024
"""A file above this many bytes is begun anew: most of it is of configurations long replaced."""
_VERSION = (1, 0)
"""The header version of configuration files (phone-trust 2.1)."""
_HEAD = Struct(">32sIH")
_CHECK = Struct(">I")
_LONGEST = 4096
"""Longest record in bytes; the signature of a key of 16,384 bits has 2,048."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature, and the timestamp in the header that it covers."""

    timestamp: int
    value: bytes


class Signatures:
    """The signatures known so far; without ``path`` only those made by this process."""

    def __init__(self, path: Path | None = None) -> None:
        self._known: dict[bytes, Signature] = {}
        self._path = path
        self._offset = 0
        self._file: int | None = None
        self._reading = threading.Lock()
        self._writing = threading.RLock()

    def find(self, key: bytes) -> Signature | None:
        """Return the signature kept under ``key``, by whichever process, or None."""
        known = self._known.get(key)
        if known is None and self._read_on():
            known = self._known.get(key)
        return known

    def add(self, key: bytes, signature: Signature) -> None:
        """Keep a signature."""
        self._known[key] = signature
        record = _HEAD.pack(key, signature.timestamp, len(signature.value)) + signature.value
        with self._writing:
            if self._file is None:
                return
            try:
                os.write(self._file, record + _CHECK.pack(crc32(record)))
            except OSError as error:
                logger.warning("signatures are kept no longer in %s: %s", self._path, error)
                self._give_up()

    def open(self) -> None:
        """Read what is there already, and keep from now on what is added; again has no effect."""
        if self._path is None or self._file is not None:
            return
        try:
            if self._path.exists() and self._path.stat().st_size > LARGEST:
                self._path.unlink()
            self._file = _open(self._path)
            self._read_on()
            if os.fstat(self._file).st_size - self._offset > _LONGEST:  # nothing but damage, read again and again
                self._path.unlink()
                os.close(self._file)
                self._file, self._offset = _open(self._path), 0
        except OSError as error:
            logger.warning("signatures are not kept in %s: %s", self._path, error)
            self._give_up()

    def close(self) -> None:
        """Keep no more."""
        self._give_up()

    def _give_up(self) -> None:
        with self._writing, self._reading:
            file, self._file, self._path = self._file, None, None
            if file is not None:
                os.close(file)

    def _read_on(self) -> bool:
        """Take over what was added since the last time; return whether there was anything."""
        if self._file is None or not self._reading.acquire(blocking=False):
            return False
        try:
            if os.fstat(self._file).st_size <= self._offset:
                return False
            data = os.pread(self._file, LARGEST, self._offset)
            start = self._offset
            for key, signature, end in _records(data):
                self._known.setdefault(key, signature)
                self._offset = start + end
        except OSError:
            return False
        finally:
            self._reading.release()
        return True


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs files for one node: its certificate and key, the digest, and the time that new signatures tell."""

    certificate: Certificate
    key: rsa.RSAPrivateKey
    digest: Digest
    timestamp: int
    signatures: Signatures

    @property
    def mark(self) -> str:
        """What a signature depends on beside the file."""
        return f"{self.certificate.sha256} {self.digest}"

    def sign(self, name: str, payload: bytes) -> bytes:
        """Return the file ``name`` signed, with the signature that is known for it if there is one."""
        filename = name + SUFFIX
        key = hashlib.sha256(f"{self.mark} {filename}\0".encode() + payload).digest()
        known = self.signatures.find(key)
        if known is not None:
            header = header_of(
                self.certificate, filename, digest=self.digest, timestamp=known.timestamp, version=_VERSION
            )
            return replace(header, signature=known.value).encode() + payload
        data = sign_file(
            name, payload, self.certificate, self.key, digest=self.digest, timestamp=self.timestamp, version=_VERSION
        )
        value = SignedFile.parse(data).header.signature
        self.signatures.add(key, Signature(self.timestamp, value))
        return data


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _records(data: bytes) -> Iterator[tuple[bytes, Signature, int]]:
    """Yield each whole record with where it ends, passing over what a write that was cut short left between them."""
    at: int | None = 0
    while at is not None:
        record = _record(data, at)
        if record is None:
            within = range(at + 1, min(at + _LONGEST, len(data) - _HEAD.size))
            at = next((later for later in within if _record(data, later)), None)
        else:
            yield record
            at = record[2]


def _record(data: bytes, at: int) -> tuple[bytes, Signature, int] | None:
    if at + _HEAD.size > len(data):
        return None
    key, timestamp, length = _HEAD.unpack_from(data, at)
    end = at + _HEAD.size + length
    if length > _LONGEST or end + _CHECK.size > len(data) or _CHECK.unpack_from(data, end)[0] != crc32(data[at:end]):
        return None
    return key, Signature(timestamp, data[at + _HEAD.size : end]), end + _CHECK.size
