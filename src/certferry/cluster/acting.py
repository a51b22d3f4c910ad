"""Who acts: the user of this process, or the one on whose behalf a server works at the moment.

The history and the audit log name this actor. The name follows the context: a task or thread that was started for
a user goes on in that user's name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from getpass import getuser

_actor: ContextVar[str | None] = ContextVar("actor", default=None)


def actor() -> str:
    """Name who acts."""
    return _actor.get() or getuser()


def act_as(name: str) -> None:
    """Let ``name`` be who acts, for the rest of this context."""
    _actor.set(name)


@contextmanager
def acting_as(name: str) -> Iterator[None]:
    """Let ``name`` be who acts, for the length of a ``with`` block."""
    token = _actor.set(name)
    try:
        yield
    finally:
        _actor.reset(token)
