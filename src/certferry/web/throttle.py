"""How often something may be tried: so many times in a stretch of time, for each key. Time is a parameter."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

MOST_KEYS = 10_000


@dataclass(slots=True)
class Throttle:
    """At most ``tries`` in ``window`` for each key. An attempt counts when it begins, so many at once gain nothing."""

    tries: int
    window: timedelta
    _taken: dict[str, deque[datetime]] = field(default_factory=dict)

    def take(self, key: str, now: datetime) -> timedelta:
        """Count an attempt and return zero; or count nothing and return how long to wait."""
        taken = self._taken.setdefault(key, deque())
        while taken and taken[0] <= now - self.window:
            taken.popleft()
        if len(taken) >= self.tries:
            return taken[0] + self.window - now
        taken.append(now)
        self._bound(now)
        return timedelta()

    def forget(self, key: str) -> None:
        """Let ``key`` begin anew, as after a success."""
        self._taken.pop(key, None)

    def _bound(self, now: datetime) -> None:
        """Keep memory in bounds: first go the keys that are free again, then the oldest."""
        if len(self._taken) <= MOST_KEYS:
            return
        self._taken = {key: taken for key, taken in self._taken.items() if taken and taken[-1] > now - self.window}
        while len(self._taken) > MOST_KEYS:
            del self._taken[next(iter(self._taken))]
