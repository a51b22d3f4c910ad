"""Phones reset by hand, as jobs: asked for by the API and by the pages, each phone told once."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from secrets import token_hex
from typing import Any

from certferry.cluster.acting import actor
from certferry.cluster.cluster import Cluster
from certferry.cluster.hand_resets import WAIT_SECONDS, HandReset, reset_by_hand
from certferry.cluster.phones import device_name
from certferry.cluster.web_jobs import Job
from certferry.errors import UsageError
from certferry.web.jobs import Jobs, Progress
from certferry.web.security import User

KIND = "reset"
MOST_PHONES = 1000
"""At once, by hand: more would load a site's servers all at the same time, and are for waves."""


class TooManyPhonesError(UsageError):
    """More phones are to be reset at once than is done by hand."""

    code = "web.too-many-phones"
    remedy = "Choose fewer, such as those of one status or one building; a migration resets any number, in waves."


def must_be_few(count: int) -> None:
    """Raise ``TooManyPhonesError`` for more phones than are reset at once."""
    if count > MOST_PHONES:
        raise TooManyPhonesError(f"{count} phones are more than the {MOST_PHONES} that are reset at once")


async def start_reset(jobs: Jobs, cluster: Cluster, user: User, device: str, key: str | None, wait: float) -> Job:
    """Start resetting one phone; the job's result has its outcome. Raises ``PhoneUnknownError``."""
    name = device_name(device)
    return await _start(jobs, cluster, user, [name], {"device": name}, key, wait, lambda ended: _told(ended[0]))


async def start_resets(
    jobs: Jobs, cluster: Cluster, user: User, devices: Sequence[str], key: str | None, wait: float = WAIT_SECONDS
) -> Job:
    """Start resetting phones; the job's result has the outcome of each, those first that were not reset.

    Raises ``PhoneUnknownError`` and ``TooManyPhonesError``, and asks for none then.
    """
    names = sorted(set(map(device_name, devices)))
    must_be_few(len(names))
    return await _start(jobs, cluster, user, names, {"devices": names}, key, wait, _told_all)


async def _start(
    jobs: Jobs,
    cluster: Cluster,
    user: User,
    names: Sequence[str],
    asked: Mapping[str, Any],
    key: str | None,
    wait: float,
    told: Callable[[Sequence[HandReset]], Mapping[str, Any]],
) -> Job:
    await asyncio.to_thread(cluster.resets.must_know, names)

    async def work(progress: Progress) -> Mapping[str, Any]:
        identifier = f"hand-{token_hex(8)}"
        return told(
            await reset_by_hand(
                cluster.resets, identifier, names, actor(), wait=wait, progress=partial(progress, KIND)
            )
        )  # fmt: skip

    return await jobs.start(KIND, cluster.name, user.name, work, asked=asked, key=key, writes=False)


def _told(ended: HandReset) -> Mapping[str, Any]:
    return {"device": ended.device, "outcome": ended.word, "node": ended.node, "sentence": ended.sentence}


def _told_all(ended: Sequence[HandReset]) -> Mapping[str, Any]:
    phones = [_told(each) for each in sorted(ended, key=lambda each: (each.done, each.device))]
    return {"reset": sum(each.done for each in ended), "phones": phones}
