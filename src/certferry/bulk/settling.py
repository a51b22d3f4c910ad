"""Read the directory at a moment when nobody is half done with it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from certferry.bulk.exchange import Exchange, Progress
from certferry.bulk.lock import POLL_SECONDS, Lock, LockHeldError, holder
from certferry.bulk.snapshot import Snapshot, take_snapshot
from certferry.errors import Refusal

_LOOKS_WITHOUT_WRITER = 2


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a snapshot cannot be used, and whose writing may be to blame: clusters, or consolidation (None)."""

    refusal: Refusal
    blamed: tuple[str | None, ...] = ()


Judge = Callable[[Snapshot], Unfit | None]


async def settled(exchange: Exchange, judge: Judge, progress: Progress, wait: float) -> Snapshot:
    """Take a snapshot that ``judge`` finds fit.

    While whoever is to blame holds the lock, files and manifest may differ for a moment: wait up to ``wait``
    seconds, then raise ``LockHeldError``. A directory at rest is looked at twice, since a writer may have finished
    between the look and the question; then the judge's refusal is raised.
    """
    deadline = asyncio.get_running_loop().time() + wait
    quiet = 0
    while True:
        snapshot = await take_snapshot(exchange, progress)
        unfit = judge(snapshot)
        if unfit is None:
            return snapshot
        writer = await _writer(exchange, unfit)
        quiet += writer is None
        if not unfit.blamed or quiet >= _LOOKS_WITHOUT_WRITER:
            raise unfit.refusal
        if writer and asyncio.get_running_loop().time() >= deadline:
            raise LockHeldError(f"the exchange directory is being written: {writer}")
        await asyncio.sleep(POLL_SECONDS if writer else 0)


async def _writer(exchange: Exchange, unfit: Unfit) -> Lock | None:
    for scope in unfit.blamed:
        if lock := await holder(exchange, scope):
            return lock
    return None
