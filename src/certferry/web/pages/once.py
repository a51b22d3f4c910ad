"""Each change once: a form carries a random key, and a second post with it gets the first one's outcome.

So a double click, a reload or the back button change nothing twice, and the page after a change can tell what was
done. Outcomes are kept in memory, the latest of them; what a form may not show again, such as a password just typed,
is kept the same way until the form is through.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from secrets import token_urlsafe
from threading import Lock
from typing import Any

from fastapi import Request

KEPT = 1000
"""Outcomes in memory; the oldest go first."""
LONGEST_KEY = 64


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a change came to: ``message`` is a key of the words with ``values``; ``data`` is for the page after it."""

    message: str
    values: Mapping[str, object] = field(default_factory=dict)
    data: Any = None
    path: str = ""


class Outcomes:
    """The outcomes of one server, each seen only by the user who made the change."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._lock = Lock()
        self._doing: OrderedDict[tuple[str, str], Lock] = OrderedDict()
        self._done: OrderedDict[tuple[str, str], Outcome] = OrderedDict()
        self._secrets: OrderedDict[tuple[str, str], str] = OrderedDict()

    def once(self, user: str, key: str, act: Callable[[], Outcome]) -> Outcome:
        """Do ``act`` unless it was done with this key; of two at once, one waits. A refusal counts as not done."""
        place = (user, key[:LONGEST_KEY])
        with self._turn(place):
            if place not in self._done:
                outcome = act()
                with self._lock:
                    _put(self._done, place, outcome, self._kept)
            return self._done[place]

    def _turn(self, place: tuple[str, str]) -> Lock:
        with self._lock:
            turn = self._doing.get(place) or Lock()
            _put(self._doing, place, turn, self._kept)
            return turn

    def find(self, user: str, key: str | None) -> Outcome | None:
        """Return what the change ``key`` of this user came to."""
        return self._done.get((user, key or ""))

    def keep_secret(self, user: str, key: str, secret: str) -> None:
        """Remember what was typed into the form ``key`` without showing it again."""
        with self._lock:
            _put(self._secrets, (user, key[:LONGEST_KEY]), secret, self._kept)

    def secret(self, user: str, key: str) -> str:
        """Return what was typed into the form ``key`` before; empty when nothing was."""
        return self._secrets.get((user, key[:LONGEST_KEY]), "")

    def forget_secret(self, user: str, key: str) -> None:
        """Forget what was typed into the form ``key``."""
        self._secrets.pop((user, key[:LONGEST_KEY]), None)


def new_key() -> str:
    """Make the key of a form that is drawn now."""
    return token_urlsafe(12)


def outcomes_of(request: Request) -> Outcomes:
    """Return the outcomes of the server that answers ``request``."""
    state = request.app.state
    if not hasattr(state, "outcomes"):
        state.outcomes = Outcomes()
    outcomes: Outcomes = state.outcomes
    return outcomes


def _put(kept: OrderedDict[tuple[str, str], Any], place: tuple[str, str], value: Any, limit: int) -> None:
    kept[place] = value
    kept.move_to_end(place)
    while len(kept) > limit:
        kept.popitem(last=False)
