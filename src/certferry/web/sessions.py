"""Sessions of people who logged in: kept in memory under the hash of a random id that only their browser knows.

A session ends when it was idle too long, when it is old, when its user logs out, and when the server stops.
"""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256

IDLE = timedelta(minutes=30)
LONGEST = timedelta(hours=12)
MOST_OF_ONE_USER = 20


@dataclass(slots=True)
class Session:
    """One login. ``csrf`` is the token that every change asked for by its pages has to carry.

    ``credential`` is what the user logged in with, as it is kept; when that is replaced, the session is over.
    """

    user: str
    credential: str = field(repr=False)
    csrf: str
    begun: datetime
    seen: datetime


class Sessions:
    """All sessions of a server. Time is a parameter."""

    def __init__(self, idle: timedelta = IDLE, longest: timedelta = LONGEST) -> None:
        self._idle = idle
        self._longest = longest
        self._sessions: dict[str, Session] = {}

    def open(self, user: str, now: datetime, credential: str = "") -> tuple[str, Session]:
        """Begin a session; return its id for the cookie, and the session."""
        self._drop_ended(now)
        own = [key for key, session in self._sessions.items() if session.user == user]
        for key in own[: max(0, len(own) + 1 - MOST_OF_ONE_USER)]:
            del self._sessions[key]
        identifier = secrets.token_urlsafe(32)
        session = Session(user, credential, secrets.token_urlsafe(32), now, now)
        self._sessions[_key(identifier)] = session
        return identifier, session

    def find(self, identifier: str | None, now: datetime) -> Session | None:
        """Return the session of that id, which counts as use of it; None when there is none or it ended."""
        session = self._sessions.get(_key(identifier)) if identifier else None
        if session is None or self._has_ended(session, now):
            return None
        session.seen = now
        return session

    def close(self, identifier: str | None) -> None:
        """End a session."""
        if identifier:
            self._sessions.pop(_key(identifier), None)

    def _has_ended(self, session: Session, now: datetime) -> bool:
        return now - session.seen >= self._idle or now - session.begun >= self._longest

    def _drop_ended(self, now: datetime) -> None:
        self._sessions = {key: each for key, each in self._sessions.items() if not self._has_ended(each, now)}


def _key(identifier: str) -> str:
    return sha256(identifier.encode(errors="surrogateescape")).hexdigest()
