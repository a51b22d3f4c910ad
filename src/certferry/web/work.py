"""What jobs do: the buttons of bulk certificate management, verification and rehearsal, each as work with progress."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar

from certferry.bulk import consolidating, exporting, importing
from certferry.bulk.lock import break_lock
from certferry.bulk.settings import SftpSettings
from certferry.bulk.telling import plan_json
from certferry.bulk.transport import SftpExchange
from certferry.bulk.trying import try_settings
from certferry.bulk.wrapping import Wrapping
from certferry.cluster.cluster import Cluster
from certferry.cluster.web_jobs import Job, JobState
from certferry.migrate.gather import Looking, Reach
from certferry.migrate.place import HTTP_PORT, TVS_PORT, Place
from certferry.migrate.rehearse import Rehearsed, choose_phones
from certferry.migrate.rehearse import rehearse as run_rehearsal
from certferry.migrate.settling import settle
from certferry.migrate.verify import Wish
from certferry.migrate.verify import verify as run_verification
from certferry.trust.purpose import BulkType
from certferry.web import plans
from certferry.web.context import WebContext
from certferry.web.jobs import Jobs, Progress
from certferry.web.security import User

T = TypeVar("T")
MOST_PHONES = 10_000


@dataclass(frozen=True, slots=True)
class ExchangeWish:
    """What export, consolidate and plan are asked for; ``types`` empty means all."""

    types: tuple[BulkType, ...] = ()
    accept_unsigned: bool = False
    break_lock: bool = False
    expect: Mapping[str, str] = field(default_factory=dict)

    def asked(self) -> dict[str, Any]:
        """Describe it for the job."""
        return {
            "types": [kind.value for kind in self.types],
            "accept_unsigned": self.accept_unsigned,
            "break_lock": self.break_lock,
            "expect": dict(self.expect),
        }


@dataclass(frozen=True, slots=True)
class LookWish:
    """What verify and rehearse are asked for: places are names of this server's clusters, or ``HOST[:PORT]``."""

    source: tuple[str, ...]
    destination: tuple[str, ...]
    devices: tuple[str, ...] = ()
    phones: int | None = None
    model: str = "8861"
    timeout: float = 5.0
    option150: tuple[str, ...] | None = None

    def asked(self) -> dict[str, Any]:
        """Describe it for the job."""
        return {
            "source": list(self.source),
            "destination": list(self.destination),
            "devices": list(self.devices),
            "phones": self.phones,
            "model": self.model,
            "timeout": self.timeout,
            "option150": None if self.option150 is None else list(self.option150),
        }


async def start_export(
    jobs: Jobs, cluster: Cluster, user: User, wish: ExchangeWish, key: str | None, clock: Any
) -> Job:
    """Start *Export*."""

    async def work(progress: Progress) -> Mapping[str, Any]:
        async def export(exchange: SftpExchange, wrapping: Wrapping) -> exporting.Exported:
            if wish.break_lock:
                await break_lock(exchange, cluster.name)
            return await exporting.export(
                cluster, exchange, wish.types or None, now=clock(), wrapping=wrapping, progress=progress
            )

        done = await in_directory(cluster, export)
        files = [{"name": name, "certificates": len(bundle)} for name, bundle in done.files.items()]
        cluster.accounts.note("bulk export", {**wish.asked(), "files": len(files)})
        return {"files": files, "certificates": done.certificates, "signer_sha256": done.fingerprint}

    return await jobs.start("export", cluster.name, user.name, work, asked=wish.asked(), key=key)


async def start_consolidate(
    jobs: Jobs, cluster: Cluster, user: User, wish: ExchangeWish, key: str | None, clock: Any
) -> Job:
    """Start *Consolidate*."""

    async def work(progress: Progress) -> Mapping[str, Any]:
        async def consolidate(exchange: SftpExchange, wrapping: Wrapping) -> consolidating.Consolidated:
            if wish.break_lock:
                await break_lock(exchange, None)
            return await consolidating.consolidate(
                cluster, exchange, wish.types or None, now=clock(), wrapping=wrapping,
                accept_unsigned=wish.accept_unsigned, progress=progress,
            )  # fmt: skip

        done = await in_directory(cluster, consolidate)
        files = [{"type": kind.value, "certificates": len(bundle)} for kind, bundle in done.files.items()]
        cluster.accounts.note("bulk consolidate", {**wish.asked(), "clusters": list(done.clusters)})
        clusters, unsigned, ignored = list(done.clusters), list(done.unsigned), list(done.keys_ignored)
        return {"files": files, "clusters": clusters, "unsigned": unsigned, "keys_ignored": ignored}

    return await jobs.start("consolidate", cluster.name, user.name, work, asked=wish.asked(), key=key)


async def start_plan(jobs: Jobs, cluster: Cluster, user: User, wish: ExchangeWish, key: str | None, clock: Any) -> Job:
    """Start planning an import; its result has the changes and the plan's id."""

    async def work(progress: Progress) -> Mapping[str, Any]:
        async def plan(exchange: SftpExchange, wrapping: Wrapping) -> importing.ImportPlan:
            return await importing.plan(
                cluster, exchange, wish.types or None, now=clock(), wrapping=wrapping, expect=wish.expect,
                accept_unsigned=wish.accept_unsigned, progress=progress,
            )  # fmt: skip

        made = await in_directory(cluster, plan)
        return {"plan": plans.keep(cluster, made, clock()), **plan_json(made)}

    return await jobs.start("plan", cluster.name, user.name, work, asked=wish.asked(), key=key, writes=False)


async def start_import(jobs: Jobs, cluster: Cluster, user: User, plan_id: str, key: str | None, clock: Any) -> Job:
    """Start carrying out a plan, or return the job that did; raises ``PlanUnknownError``."""
    asked = {"plan": plan_id}
    key = key or await _key_of_plan(jobs, plan_id)
    if (known := await jobs.find_key(key)) is not None and known.asked == asked:
        return known  # a plan that was carried out is gone, its job is not
    made = await asyncio.to_thread(plans.find, cluster, plan_id, clock())

    async def work(progress: Progress) -> Mapping[str, Any]:
        progress("import", 0, len(made.pending))
        done = importing.apply(cluster, made)
        cluster.web_plans.forget(plan_id)
        progress("import", len(made.pending), len(made.pending))
        return {**plan_json(made), "undo": done.undo_id}

    return await jobs.start("import", cluster.name, user.name, work, asked=asked, key=key)


async def _key_of_plan(jobs: Jobs, plan_id: str) -> str:
    """Name the one job of a plan, on whichever server it is clicked; after one that broke off, the next one."""
    key = f"plan:{plan_id}"
    while (known := await jobs.find_key(key)) is not None and known.state is JobState.INTERRUPTED:
        key = f"plan:{plan_id}:{known.id}"
    return key


async def start_test(jobs: Jobs, cluster: Cluster, user: User, key: str | None, *, accept_new_host_key: bool) -> Job:
    """Start testing the saved SFTP settings; a host key that is taken over is saved."""

    async def work(_progress: Progress) -> Mapping[str, Any]:
        tried = await try_settings(SftpSettings.load(cluster), accept_new_host_key=accept_new_host_key)
        if tried.accepted_new_host_key:
            tried.settings.save(cluster)
            cluster.accounts.note("accept-host-key", {"host": tried.settings.host, "host_key": tried.fingerprint})
        taken = tried.accepted_new_host_key
        return {"url": tried.settings.url, "host_key": tried.fingerprint, "accepted_new_host_key": taken}

    asked = {"accept_new_host_key": accept_new_host_key}
    return await jobs.start("test", cluster.name, user.name, work, asked=asked, key=key, writes=accept_new_host_key)


async def start_look(kind: str, context: WebContext, jobs: Jobs, user: User, wish: LookWish, key: str | None) -> Job:
    """Start ``verify`` or ``rehearse``; nothing changes anywhere."""

    async def work(progress: Progress) -> Mapping[str, Any]:
        progress(kind, 0, 1)
        source, destination = (place_of(context, texts) for texts in (wish.source, wish.destination))
        phones = choose_phones(source, wish.devices, wish.phones, wish.model)[:MOST_PHONES]
        look = _verify if kind == "verify" else _rehearse
        result = await look(context, source, destination, phones, wish)
        progress(kind, 1, 1)
        return result

    return await jobs.start(kind, context.cluster.name, user.name, work, asked=wish.asked(), key=key, writes=False)


async def _verify(
    context: WebContext, source: Place, destination: Place, phones: Sequence[Rehearsed], wish: LookWish
) -> Mapping[str, Any]:
    looking = Looking.with_reach(replace(Reach(), tvs=wish.timeout, http=wish.timeout))
    now = context.clock().replace(microsecond=0)
    told = Wish(timedelta(days=60), option150=wish.option150)
    done = await run_verification(source, destination, phones, looking, now=now, wish=told)
    return done.to_json()


async def _rehearse(
    context: WebContext, source: Place, destination: Place, phones: Sequence[Rehearsed], wish: LookWish
) -> Mapping[str, Any]:
    looking = Looking.with_reach(replace(Reach(), tvs=wish.timeout, http=wish.timeout, discover=False))
    now = context.clock().replace(microsecond=0)
    return (await run_rehearsal(source, destination, phones, looking, now)).to_json()


def place_of(context: WebContext, texts: Sequence[str]) -> Place:
    """Read a place: the name of one of this server's clusters, which may settle, else addresses; never a folder."""
    if shows(context, texts):
        cluster = context.named(texts[0])
        settle(cluster)
        return Place.of_cluster(cluster)
    return Place.of_addresses(texts, http_port=HTTP_PORT, tvs_port=TVS_PORT)


def shows(context: WebContext, texts: Sequence[str]) -> bool:
    """Whether a place is one of this server's clusters."""
    return len(texts) == 1 and texts[0] in {cluster.name for cluster in context.clusters}


async def in_directory(cluster: Cluster, work: Callable[[SftpExchange, Wrapping], Awaitable[T]]) -> T:
    """Do something in the exchange directory of ``cluster``'s settings."""
    settings = SftpSettings.load(cluster)
    async with SftpExchange.opened(settings) as exchange:
        return await work(exchange, Wrapping.of(settings))
