"""How often logins may be tried: for one user from one address, from one address, and for one name from anywhere.

The cluster counts, for all its web servers. Who has to wait is remembered here for seconds, so that whoever goes on
trying costs the database nothing. Each try that is counted is followed by the hashing of a password, of which a server
does few at once, so that no flood of new names and addresses writes faster than that.
Time is a parameter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from certferry.cluster.web_tries import Rate, WebTries

WINDOW = timedelta(minutes=5)
BY_USER, BY_ADDRESS, BY_NAME = Rate(5, WINDOW), Rate(30, WINDOW), Rate(60, WINDOW)
FRESH = timedelta(seconds=5)
"""How long a server goes on with what it read: another one may have let a user begin anew meanwhile."""
MOST_IN_MEMORY = 10_000
MOST_LINES = 100
"""Lines about refused logins in the audit log, which keeps them for ever: so many of one server in one window."""


@dataclass(frozen=True, slots=True)
class Login:
    """A login that is tried."""

    name: str
    address: str

    @property
    def user(self) -> str:
        """The key for one user at one address: who tries a name from elsewhere does not lock its user out at once."""
        return f"user {self.name} from {self.address}"

    @property
    def rates(self) -> Mapping[str, Rate]:
        """How often what may be tried."""
        return {f"address {self.address}": BY_ADDRESS, self.user: BY_USER, f"name {self.name}": BY_NAME}


class Throttle:
    """Counts the tries at one server."""

    def __init__(self, ledger: WebTries) -> None:
        self._ledger = ledger
        self._shut: dict[str, tuple[datetime, datetime]] = {}
        """When it was read that a key has to wait, and until when."""

    def known_wait(self, login: Login, now: datetime) -> timedelta:
        """Tell how long to wait as far as memory knows, without the database."""
        return max((self._remembered(key, now) for key in login.rates), default=timedelta())

    def take(self, login: Login, now: datetime) -> timedelta:
        """Count a try and return zero; or count nothing and return how long to wait."""
        if wait := self.known_wait(login, now):
            return wait
        waits = self._ledger.take(login.rates, now)
        if len(self._shut) > MOST_IN_MEMORY:
            self._shut.clear()
        self._shut.update({key: (now, now + wait) for key, wait in waits.items()})
        return max(waits.values(), default=timedelta())

    def forget(self, login: Login) -> None:
        """Let a user begin anew at this address, as after a success."""
        self._ledger.forget(login.user)
        self._shut.pop(login.user, None)

    def _remembered(self, key: str, now: datetime) -> timedelta:
        read, until = self._shut.get(key, (now, now))
        return max(until - now, timedelta()) if timedelta() <= now - read < FRESH else timedelta()


@dataclass(slots=True)
class Lines:
    """Bounds what refused logins add to the audit log: those beyond are counted, and told by the next line."""

    _begun: datetime | None = field(default=None, init=False)
    _written: int = field(default=0, init=False)
    _left_out: int = field(default=0, init=False)

    def take(self, now: datetime) -> int | None:
        """Return how many lines were left out since the last one; None when this one is to be left out."""
        if self._begun is None or not timedelta() <= now - self._begun < WINDOW:
            self._begun, self._written = now, 0
        if self._written >= MOST_LINES:
            self._left_out += 1
            return None
        self._written += 1
        left_out, self._left_out = self._left_out, 0
        return left_out
