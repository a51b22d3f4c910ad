"""Secrets at rest: private keys and passwords are sealed with AES-256-GCM under a key file of mode 0600."""

import os
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from certferry.errors import Refusal

_KEY_BYTES = 32
_NONCE_BYTES = 12
_ROOM = "See that the disk has room and that you may write there, then run it again."


class SealError(Refusal):
    """The key file is missing, readable by others, or not the one that sealed this cluster."""

    code = "cluster.seal"
    remedy = "Copy the cluster's key file from a machine that has it, or from its backup; owned by you, with mode 0600."


class Seal:
    """Seals and opens byte strings; each sealed value is bound to a ``context`` so that values cannot be swapped.

    Sealed form: 12 bytes nonce, then ciphertext and 16 bytes tag.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    @classmethod
    def create(cls, path: Path, key: bytes | None = None) -> Self:
        """Make a key file, mode 0600, with ``key`` or a new one; raise ``SealError`` when another one is there."""
        if key is not None and path.exists() and path.read_bytes() == key:
            return cls.load(path)
        key = key or os.urandom(_KEY_BYTES)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise SealError(f"{path} exists already", remedy="Use another place for the new cluster.") from error
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(key)
        except OSError as error:  # a full disk; half a key would stand in the way of the next try
            path.unlink()
            raise SealError(f"cannot write the key file {path}: {error.strerror}", remedy=_ROOM) from error
        return cls(key)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the key file; raise ``SealError`` when it is missing, too open or damaged."""
        try:
            mode = path.stat().st_mode & 0o077
            key = path.read_bytes()
        except OSError as error:
            raise SealError(f"cannot read the key file {path}: {error.strerror}") from error
        if mode:
            raise SealError(f"the key file {path} can be read by others", remedy=f"Run: chmod 600 {path}")
        if len(key) != _KEY_BYTES:
            raise SealError(f"the key file {path} is damaged: {len(key)} bytes instead of {_KEY_BYTES}")
        return cls(key)

    def seal(self, secret: bytes, context: str) -> bytes:
        """Encrypt ``secret`` for ``context``."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Decrypt; raise ``SealError`` when the key or the context is another one."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError) as error:
            raise SealError(f"the key file does not open {context}") from error
