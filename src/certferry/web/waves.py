"""Waves of phones, as pages and API steer them: plan, start with the verification as part of it, pause, resume, back.

The migration is kept by the cluster whose phones move; the server runs its runner as a job. Anybody may pause or
resume it elsewhere, with ``certferry migrate`` as well: the ledger's lease decides who steers.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from certferry.cluster.cluster import Cluster
from certferry.cluster.migrations import (
    Event,
    Migration,
    MigrationLockedError,
    MigrationOverlapError,
    MigrationPhone,
    MigrationStateError,
    PhoneState,
    State,
    Wanted,
)
from certferry.cluster.phones import device_name
from certferry.cluster.web_jobs import Job
from certferry.errors import UsageError
from certferry.lab.lab import tftp_servers
from certferry.migrate.result import Verification
from certferry.migrate.waves.choosing import Choice, choose
from certferry.migrate.waves.option150 import ByHand, Option150UnconfirmedError
from certferry.migrate.waves.planning import WAVE, Rules, plan_waves
from certferry.migrate.waves.preflight import PreflightFailedError, failing, preflight, sample
from certferry.migrate.waves.running import Runner, Running
from certferry.migrate.waves.sides import Sides
from certferry.migrate.waves.status import Status
from certferry.web import option150
from certferry.web.context import WebContext
from certferry.web.jobs import Jobs, Progress, StoppedError
from certferry.web.option150 import KeaWish
from certferry.web.security import User
from certferry.web.wave_standing import FRESH_SECONDS

KIND = "migrate"
BEGUN = (State.RUNNING, State.PAUSED)


class DestinationNotShownError(UsageError):
    """The destination of a migration is no cluster of this server."""

    code = "web.destination-not-shown"
    remedy = "Start 'certferry web' with --other-cluster for the destination, or go on with 'certferry migrate'."


class SameClusterError(UsageError):
    """Phones cannot move to the cluster that they are at."""

    code = "web.same-cluster"
    remedy = "Choose another cluster as the destination."


class OverrideReasonError(UsageError):
    """Failing checks were overridden without a reason."""

    code = "web.override-reason"
    remedy = "Say why, such as: change 4711, phones of building 7 are not in use. It goes to the audit log."


@dataclass(frozen=True, slots=True)
class PlanWish:
    """Which phones, and how they move; ``canary`` None: by their number."""

    choice: Choice
    rules: Rules = field(default_factory=Rules)
    canary: int | None = None
    wave_size: int = WAVE


@dataclass(frozen=True, slots=True)
class StartWish:
    """That option 150 is set, or how Kea is to set it; for what reason failing checks are passed over, if they are."""

    option150_confirmed: bool = False
    override: str | None = None
    kea: KeaWish | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """A migration that was planned, and the phones left out as the destination does not know them."""

    migration: Migration
    left_out: tuple[str, ...]


def plan(sides: Sides, wish: PlanWish, now: datetime, more: Mapping[str, Any] | None = None) -> Planned:
    """Plan a migration; no phone is touched. Raises what ``choose`` raises."""
    chosen = choose(wish.choice, sides.source.phones(), sides.destination.phones())
    registered = sides.source.phone_search.registered_devices()
    waves = plan_waves(chosen.phones, canary=wish.canary, size=wish.wave_size, registered=registered)
    phones = [MigrationPhone(device, wave) for device, wave in waves.items()]
    settings = {**wish.rules.to_json(), "wave_size": wish.wave_size, **(more or {})}
    identifier = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    made = sides.source.migrations.create(identifier, place_of(sides.destination), settings, phones)
    return Planned(made, chosen.left_out)


def plan_back(sides: Sides, first: Migration, now: datetime) -> Planned:
    """Plan the way back of the phones that moved: a migration of the destination's phones."""
    moved = {p.device for p in sides.source.migrations.phones(first.id) if p.state is PhoneState.MOVED}
    returning = Sides(sides.destination, sides.source)
    known = [phone.device for phone in returning.source.phones() if phone.device in moved]
    wish = PlanWish(Choice(devices=known), Rules.of_json(first.plan), wave_size=first.plan.get("wave_size", WAVE))
    return plan(returning, wish, now, {"back_from": first.id})


def device_names(texts: Sequence[str]) -> list[str]:
    """Read names of devices or MAC addresses."""
    return [device_name(text) for text in texts]


def place_of(cluster: Cluster) -> str:
    """Write where a cluster is so that it is found from every directory."""
    text = cluster.location.text
    return text if "://" in text else str(Path(text).expanduser().resolve())


def pair_of(context: WebContext, source: str, destination: str) -> Sides:
    """Take two of this server's clusters; raises ``ClusterUnknownError``, ``SameClusterError``."""
    if source == destination:
        raise SameClusterError(f"{source} is source and destination")
    return Sides(context.named(source), context.named(destination))


def destination_of(context: WebContext, migration: Migration) -> Cluster | None:
    """Find the destination among this server's clusters."""
    return next((each for each in context.clusters if place_of(each) == migration.destination), None)


def sides_of(context: WebContext, source: Cluster, migration: Migration) -> Sides:
    """Both clusters of a migration; raises ``DestinationNotShownError``."""
    destination = destination_of(context, migration)
    if destination is None:
        raise DestinationNotShownError(f"{migration.destination} is none of this server's clusters")
    return Sides(source, destination)


async def start(
    jobs: Jobs, context: WebContext, source: Cluster, user: User, identifier: str, wish: StartWish, key: str | None
) -> Job:
    """Verify, let DHCP name the destination, then run.

    Raises ``MigrationStateError``, ``Option150UnconfirmedError``, ``OverrideReasonError``, and what Kea is refused for.
    """
    if (known := await _known(jobs, identifier, key)) is not None:
        return known
    found = await asyncio.to_thread(source.migrations.find, identifier)
    sides = await asyncio.to_thread(sides_of, context, source, found)
    if not await running_job(jobs, source, identifier):
        _must_be_planned(found)
    if wish.override is not None and not wish.override.strip():
        raise OverrideReasonError("the reason is empty")
    step = _option150(context, sides, found, user, wish)
    await asyncio.to_thread(step.look)

    async def work(progress: Progress) -> Mapping[str, Any]:
        progress("verify", 0, 1)
        await _verify(sides, found, wish.override, context.clock())
        _must_be_planned(source.migrations.find(identifier))  # verifying takes a while, and DHCP is changed next
        told = await asyncio.to_thread(step.take)
        runner = _runner(sides, identifier, progress, context.clock, (State.PLANNED,))
        try:
            return (await runner.run([Event("option150", context.clock(), told)])).summary()
        except (MigrationLockedError, MigrationOverlapError, MigrationStateError) as refusal:
            raise StoppedError(refusal, {"option150": told["done"]} if told.get("changed") else {}) from refusal

    return await _start(jobs, source, user, identifier, work, key)


def _option150(context: WebContext, sides: Sides, found: Migration, user: User, wish: StartWish) -> option150.Step:
    if wish.kea is not None:
        if wish.option150_confirmed:
            raise option150.Option150BothError("option 150 cannot be set already and be set now")
        return option150.in_kea(context.kea, sides, found, wish.kea)
    by_hand = ByHand(tuple(address for address, _ in tftp_servers(sides.destination)), user.name)
    if not wish.option150_confirmed:
        raise Option150UnconfirmedError(f"nobody said so yet: {by_hand.describe()}")
    return option150.Confirmed(by_hand)


def _must_be_planned(found: Migration) -> None:
    if found.state is not State.PLANNED:
        raise MigrationStateError(f"migration {found.id} is {found.state}, so it cannot be started")


async def resume(jobs: Jobs, context: WebContext, source: Cluster, user: User, identifier: str, key: str | None) -> Job:
    """Go on with a migration that paused or was broken off; raises ``MigrationStateError``."""
    if (known := await _known(jobs, identifier, key)) is not None:
        return known
    found = await asyncio.to_thread(source.migrations.find, identifier)
    sides = await asyncio.to_thread(sides_of, context, source, found)
    if found.state not in BEGUN:
        raise MigrationStateError(f"migration {found.id} is {found.state}, so there is nothing to resume")

    async def work(progress: Progress) -> Mapping[str, Any]:
        return (await _runner(sides, identifier, progress, context.clock, BEGUN).run()).summary()

    return await _start(jobs, source, user, identifier, work, key)


def pause(source: Cluster, identifier: str) -> Migration:
    """Let the runner reset no more phones; raises ``MigrationStateError`` when nothing runs."""
    found = source.migrations.find(identifier)
    if found.state is not State.RUNNING:
        raise MigrationStateError(f"migration {found.id} is {found.state}, so there is nothing to pause")
    return source.migrations.want(identifier, Wanted.PAUSE)


async def running_job(jobs: Jobs, source: Cluster, identifier: str) -> Job | None:
    """The job that runs a migration now, if a web server does."""
    asked = {"migration": identifier}
    return next((job for job in await jobs.running(source.name) if job.kind == KIND and job.asked == asked), None)


async def _known(jobs: Jobs, identifier: str, key: str | None) -> Job | None:
    """The job that this key started for this migration before."""
    known = await jobs.find_key(key) if key is not None else None
    return known if known is not None and known.asked == {"migration": identifier} else None


async def _start(jobs: Jobs, source: Cluster, user: User, identifier: str, work: Any, key: str | None) -> Job:
    # It writes, but under a lease of its own: the certificates of the cluster may change meanwhile.
    asked = {"migration": identifier}
    return await jobs.start(KIND, source.name, user.name, work, asked=asked, key=key, writes=False, lasting=True)


async def _verify(sides: Sides, found: Migration, override: str | None, now: datetime) -> None:
    rows = sides.source.migrations.phones(found.id)
    mine = {row.device for row in rows}
    phones = [phone for phone in sides.source.phones() if phone.device in mine]
    chosen = sample(phones, [row.device for row in rows if row.wave == 0 and row.device in mine])
    verification = await preflight(sides, chosen, now)
    if verification.ok:
        return
    names = failing(verification)
    if override is None:
        refusal = PreflightFailedError(f"{', '.join(names)}: these fail, and no phone was reset")
        raise StoppedError(refusal, _failing_json(verification))
    sides.source.migrations.note_override(found.id, override, names)


def _failing_json(verification: Verification) -> dict[str, Any]:
    told = verification.to_json()
    return {
        "checks": [check for check in told["checks"] if check["verdict"] == "fail"],
        "phones": [phone for phone in told["phones"] if phone["outcome"] == "would-fail"],
    }


def _runner(
    sides: Sides, identifier: str, progress: Progress, clock: Callable[[], datetime], states: Collection[State]
) -> Runner:
    """Make a runner that takes the migration in ``states`` only: who starts one does not resume it unseen."""
    return Runner(sides, identifier, _Telling(progress), Running(clock=clock), states=states)


class _Telling:
    """Tells a job's watchers how many phones have ended, each second."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._next = 0.0

    def happened(self, event: Event) -> None:
        """Do nothing: what happened is in the ledger."""

    def stands(self, status: Callable[[], Status]) -> None:
        """Tell how many phones have ended."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + FRESH_SECONDS
            totals = status().totals
            self._progress("phones", totals.moved + totals.failed, totals.phones)
