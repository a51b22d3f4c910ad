"""Sessions of people who logged in: kept by the cluster under the hash of a random id that only their browser knows.

A session ends when it was idle too long, when it is old, and when its user logs out; a server that starts anew goes
on with it. What was read stays in memory for seconds, and use is noted once a minute, so that pages stay fast.
"""

import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256

from certferry.cluster.web_sessions import WebSession, WebSessions
from certferry.errors import Refusal

IDLE = timedelta(minutes=30)
LONGEST = timedelta(hours=12)
MOST_OF_ONE_USER = 20
FRESH = timedelta(seconds=5)
"""How long a server goes on with what it read: so late it learns of a logout at another server of the cluster."""
NOTED = timedelta(minutes=1)
"""How often use of a session is written down."""
MOST_IN_MEMORY = 1000


@dataclass(frozen=True, slots=True)
class _Read:
    """A session with its latest use, when it was read, and the use that is written down."""

    session: WebSession
    at: datetime
    noted: datetime


class Sessions:
    """All sessions of a server. Time is a parameter."""

    def __init__(self, ledger: WebSessions, idle: timedelta = IDLE, longest: timedelta = LONGEST) -> None:
        self._ledger = ledger
        self._idle = idle
        self._longest = longest
        self._read: dict[str, _Read] = {}

    def open(self, user: str, now: datetime, credential: str = "") -> tuple[str, WebSession]:
        """Begin a session; return its id for the cookie, and the session."""
        identifier = secrets.token_urlsafe(32)
        session = WebSession(_key(identifier), user, credential, secrets.token_urlsafe(32), now, now)
        self._ledger.open(session, now - self._idle, now - self._longest, MOST_OF_ONE_USER)
        self._read.clear()
        return identifier, session

    def find(self, identifier: str | None, now: datetime) -> WebSession | None:
        """Return the session of that id, which counts as use of it; None when there is none or it ended."""
        read = self._known(_key(identifier), now) if identifier else None
        if read is None or self._has_ended(read.session, now):
            return None
        read = replace(read, session=replace(read.session, seen=max(read.session.seen, now)))
        if now - read.noted >= NOTED:
            with suppress(Refusal):  # a full disk keeps nobody from looking
                self._ledger.touch(read.session.key, now)
            read = replace(read, noted=now)
        self._remember(read)
        return read.session

    def close(self, identifier: str | None) -> None:
        """End a session."""
        if identifier:
            self._read.pop(_key(identifier), None)
            self._ledger.close(_key(identifier))

    def _known(self, key: str, now: datetime) -> _Read | None:
        read = self._read.get(key)
        if read is not None and timedelta() <= now - read.at < FRESH:
            return read
        kept = self._ledger.find(key)
        if kept is None:
            self._read.pop(key, None)
            return None
        used = read.session.seen if read else kept.seen
        return _Read(replace(kept, seen=max(kept.seen, used)), now, kept.seen)

    def _remember(self, read: _Read) -> None:
        if len(self._read) >= MOST_IN_MEMORY:
            self._read.clear()
        self._read[read.session.key] = read

    def _has_ended(self, session: WebSession, now: datetime) -> bool:
        return now - session.seen >= self._idle or now - session.begun >= self._longest


def _key(identifier: str) -> str:
    return sha256(identifier.encode(errors="surrogateescape")).hexdigest()
