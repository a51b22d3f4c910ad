"""Resetting phones by hand: ask, follow what becomes of it, withdraw what nobody took, so that nothing comes late."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Self

from certferry.cluster.resets import ResetOutcome, ResetRequest, Resets

WAIT_SECONDS = 10.0
"""After how long without news a phone that no node has counts as absent; nodes look several times as often."""
POLL_SECONDS = 0.2
TAKEN_SECONDS = 15.0
"""How long a node that took a request has to say how it ended: longer than a phone has to answer."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class HandReset:
    """What became of resetting ``device``; ``outcome`` is None where a node took the request and never said more."""

    device: str
    outcome: ResetOutcome | None
    node: str

    @classmethod
    def of(cls, request: ResetRequest) -> Self:
        """Read it from the request."""
        return cls(request.device, request.outcome, request.node)

    @property
    def done(self) -> bool:
        """Whether the phone said that it resets."""
        return self.outcome is ResetOutcome.DONE

    @property
    def word(self) -> str:
        """Name the outcome for programs."""
        return self.outcome.value if self.outcome else "in-doubt"

    @property
    def sentence(self) -> str:
        """Say it to people."""
        return _SENTENCES[self.outcome].format(node=self.node)


_SENTENCES: Mapping[ResetOutcome | None, str] = {
    ResetOutcome.DONE: "resets, told by {node}",
    ResetOutcome.UNANSWERED: "was told by {node} and did not answer",
    ResetOutcome.ABSENT: "is registered at no node that runs; withdrawn",
    None: "{node} took it and did not say whether the phone was told",
}


async def reset_by_hand(
    resets: Resets, identifier: str, devices: Sequence[str], by: str, *, wait: float, progress: Progress
) -> tuple[HandReset, ...]:
    """Reset ``devices`` and wait until each ended; the same ``identifier`` never resets a phone twice.

    What no node takes is withdrawn once nothing has happened for ``wait`` seconds, and also when the waiting is broken
    off. Raises ``PhoneUnknownError``, and asks for none then.
    """
    asked = resets.ask_by_hand(identifier, devices, by)
    try:
        found = await _followed(resets, asked, wait, progress)
    finally:
        resets.withdraw(asked)
    if any(request.outcome is None for request in found.values()):
        found = await _followed(resets, asked, TAKEN_SECONDS, progress)
    return tuple(HandReset.of(found[each]) for each in asked)


async def _followed(
    resets: Resets, asked: Sequence[str], patience: float, progress: Progress
) -> Mapping[str, ResetRequest]:
    """Look until all ended, or nothing changed for so many seconds."""
    before, changed_at = None, monotonic()
    while True:
        found = resets.find(asked)
        ended = sum(request.outcome is not None for request in found.values())
        progress(ended, len(asked))
        state = ended, sum(bool(request.node) for request in found.values())
        if state != before:
            before, changed_at = state, monotonic()
        if ended == len(asked) or not monotonic() - changed_at < patience:  # also where patience is not a number
            return found
        await asyncio.sleep(POLL_SECONDS)
