"""Verification as part of the start: the canaries and some phones of every kind, against the live servers."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain

from certferry.cluster.values import Phone
from certferry.errors import Refusal
from certferry.migrate.gather import Looking, Reach
from certferry.migrate.rehearse import Rehearsed
from certferry.migrate.result import Verification
from certferry.migrate.settling import settle
from certferry.migrate.verify import verify
from certferry.migrate.waves.planning import choose_canaries
from certferry.migrate.waves.sides import Sides

REHEARSED = 40
"""Phones rehearsed before a start, the canaries first."""


class PreflightFailedError(Refusal):
    """Checks fail, so phones would not migrate; none was reset."""

    code = "waves.preflight-failed"
    remedy = "Mend what fails and start again, or go on with --override REASON, which goes to the audit log."


def sample(phones: Sequence[Phone], canaries: Iterable[str], count: int = REHEARSED) -> list[Rehearsed]:
    """Choose the phones to rehearse: canaries, then phones of every kind."""
    models = {phone.device: phone.model for phone in phones}
    chosen = list(dict.fromkeys(chain(canaries, choose_canaries(phones, count))))[:count]
    return [Rehearsed(device, models[device]) for device in chosen]


async def preflight(
    sides: Sides, phones: Sequence[Rehearsed], now: datetime, reach: Reach | None = None
) -> Verification:
    """Verify the migration of ``phones`` as ``certferry verify`` does, once the nodes have settled."""
    await asyncio.gather(*(asyncio.to_thread(settle, cluster) for cluster in (sides.source, sides.destination)))
    looking = Looking.with_reach(reach or Reach())
    return await verify(*sides.places(), phones, looking, now=now.replace(microsecond=0))


def failing(verification: Verification) -> tuple[str, ...]:
    """Name what fails: checks by id, phones by device."""
    checks = dict.fromkeys(check.id for check in verification.checks if check.verdict == "fail")
    return (*checks, *(phone.device for phone in verification.phones if phone.outcome == "would-fail"))
