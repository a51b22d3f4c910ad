"""Passwords and tokens of the pages' users: made, hashed, checked. A password is hashed with argon2id.

A token is ``certferry_<id>_<secret>``; its secret has 256 random bits, so a plain SHA-256 keeps it.
"""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from certferry.cluster.accounts import Accounts, Role, Token
from certferry.errors import UsageError

SHORTEST = 10
LONGEST = 1024
LONGEST_NAME = 64
_AT_ONCE = 4
_PREFIX = "certferry"
_PARTS = 3


class PasswordWeakError(UsageError):
    """A password is too short to be one."""

    code = "web.password-weak"
    remedy = f"Choose a password of {SHORTEST} to {LONGEST} characters; a few words make a good one."


class UserNameError(UsageError):
    """A user name that cannot be."""

    code = "web.user-name"
    remedy = f"Give a name of 1 to {LONGEST_NAME} printable characters without spaces at its ends."


@dataclass(slots=True)
class Passwords:
    """Checks and changes passwords of one cluster's users. Four at a time: each takes 64 MiB while it is hashed."""

    accounts: Accounts
    hasher: PasswordHasher = field(default_factory=PasswordHasher)
    _turns: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(_AT_ONCE))
    _decoy: str = ""

    def put_user(self, name: str, role: Role, password: str, *, keep_operator: bool = False) -> None:
        """Add a user, or change one; raises ``UserNameError``, ``PasswordWeakError`` and ``LastOperatorError``."""
        if not (0 < len(name) <= LONGEST_NAME and name.isprintable() and name == name.strip()):
            raise UserNameError(f"{name!r} is not a user name")
        if not SHORTEST <= len(password) <= LONGEST:
            raise PasswordWeakError(f"the password has {len(password)} characters")
        self.accounts.put_user(name, role, self.hasher.hash(password), keep_operator=keep_operator)

    def holds(self, name: str, password: str) -> bool:
        """Whether that is the user's password. An unknown user takes as long to be refused as a known one."""
        account = self.accounts.find_user(name)
        with self._turns:
            self._decoy = self._decoy or self.hasher.hash(secrets.token_urlsafe(16))
            matches = self._matches(account.password_hash if account else self._decoy, password)
        return matches and account is not None

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return len(password) <= LONGEST and self.hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False


def make_token(name: str, role: Role, creator: str, now: datetime, life: timedelta | None) -> tuple[Token, str]:
    """Make a token; return it and the text that is shown once and kept nowhere."""
    identifier, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    token = Token(identifier, name, role, _hash(secret), creator, now, now + life if life else None)
    return token, f"{_PREFIX}_{identifier}_{secret}"


def check_token(accounts: Accounts, text: str, now: datetime) -> Token | None:
    """Return the token that ``text`` is; None when it is none, was taken back or is over."""
    parts = text.split("_", _PARTS - 1)
    if len(parts) != _PARTS or parts[0] != _PREFIX:
        return None
    token = accounts.find_token(parts[1])
    if token is None or not secrets.compare_digest(token.secret_hash, _hash(parts[2])):
        return None
    return token if token.expires_at is None or now < token.expires_at else None


def _hash(secret: str) -> str:
    return sha256(secret.encode(errors="surrogateescape")).hexdigest()
