"""Each change once: a form carries a random key, and a second post with it gets the first one's outcome.

So a double click, a reload or the back button change nothing twice, and the page after a change can tell what was
done, whichever of a cluster's servers answers. What a form may not show again, such as a password just typed, is
sealed until the form is through.
"""

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_urlsafe
from time import sleep
from typing import Any

from fastapi import Request

from certferry.cluster.web_outcomes import FormKey, WebOutcomes
from certferry.errors import Refusal
from certferry.web.context import context_of
from certferry.web.leases import is_gone, own_name

logger = logging.getLogger(__name__)

KEPT = 1000
"""Outcomes that are kept; the oldest go first."""
LIFE = timedelta(days=1)
"""How long a form may lie open in a browser, and still counts once."""
SECRET_LIFE = timedelta(minutes=30)
LEASE = timedelta(seconds=60)
"""How long a server that says nothing is taken to be at work on a change."""
LOOK_SECONDS = 0.05
"""How often who waits for a change looks whether it is done."""
_OWN_NAME = own_name()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a change came to: ``message`` is a key of the words with ``values``; ``data`` is for the page after it.

    Values and data are what JSON can say, and no secrets.
    """

    message: str
    values: Mapping[str, object] = field(default_factory=dict)
    data: Any = None
    path: str = ""


class Outcomes:
    """What changes came to, each seen only by the user who made it; ``name`` is this server's."""

    def __init__(self, ledger: WebOutcomes, clock: Callable[[], datetime], name: str = _OWN_NAME) -> None:
        self._ledger = ledger
        self._clock = clock
        self._name = name

    def once(self, user: str, key: str, act: Callable[[], Outcome]) -> Outcome:
        """Do ``act`` unless it was done with this key; of two at once, one waits. A refusal counts as not done."""
        while True:
            now = self._clock()
            turn = self._ledger.begin(_form(user, key), self._name, now, now + LEASE, is_gone)
            if turn.is_mine:
                return self._act(user, key, act)
            if turn.outcome is not None:
                return _read(turn.outcome)
            self._wait(user, key, now + LEASE)

    def _act(self, user: str, key: str, act: Callable[[], Outcome]) -> Outcome:
        try:
            outcome = act()
        except BaseException:
            with suppress(Refusal):  # what was refused is what to tell
                self._ledger.release(_form(user, key), self._name)
            raise
        try:
            self._ledger.end(_form(user, key), _write(outcome), self._clock() - LIFE, KEPT)
        except Refusal as refusal:
            logger.warning("that a change was made is not kept: %s", refusal)  # it was made all the same
        return outcome

    def _wait(self, user: str, key: str, until: datetime) -> None:
        while self._ledger.is_under_way(_form(user, key)) and self._clock() < until:
            sleep(LOOK_SECONDS)

    def find(self, user: str, key: str | None) -> Outcome | None:
        """Return what the change ``key`` of this user came to."""
        kept = self._ledger.find(_form(user, key)) if key else None
        return _read(kept) if kept is not None else None

    def keep_secret(self, user: str, key: str, secret: str) -> None:
        """Remember, sealed, what was typed into the form ``key`` without showing it again."""
        if not secret:
            return
        now = self._clock()
        self._ledger.keep_secret(_form(user, key), secret, now, now - SECRET_LIFE, KEPT)

    def secret(self, user: str, key: str) -> str:
        """Return what was typed into the form ``key`` before; empty when nothing was."""
        return self._ledger.secret(_form(user, key), self._clock() - SECRET_LIFE) if key else ""

    def forget_secret(self, user: str, key: str) -> None:
        """Forget what was typed into the form ``key``."""
        if key:
            self._ledger.forget_secret(_form(user, key))


def new_key() -> str:
    """Make the key of a form that is drawn now."""
    return token_urlsafe(12)


def outcomes_of(request: Request) -> Outcomes:
    """Return the outcomes of the cluster whose server answers ``request``."""
    context = context_of(request)
    return Outcomes(context.cluster.web_outcomes, context.clock)


def _form(user: str, key: str) -> FormKey:
    """Hash the key, which comes from a browser and may be anything."""
    return FormKey(user, sha256(key.encode(errors="surrogateescape")).hexdigest())


def _write(outcome: Outcome) -> str:
    return json.dumps([outcome.message, dict(outcome.values), outcome.data, outcome.path])


def _read(text: str) -> Outcome:
    return Outcome(*json.loads(text))
