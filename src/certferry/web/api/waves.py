"""/migrations: phones that move in waves; plan, start, follow, pause, resume, and the way back."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from certferry.cluster.cluster import Cluster
from certferry.cluster.migration_search import MigrationPhoneQuery
from certferry.cluster.migrations import PhoneState
from certferry.migrate.waves import cancelling
from certferry.migrate.waves.choosing import Choice
from certferry.migrate.waves.planning import Rules, Threshold
from certferry.web import waves
from certferry.web.api.jobs import HEARTBEAT_SECONDS
from certferry.web.api.shared import (
    ChosenCluster,
    Context,
    IdempotencyKey,
    Part,
    SearchText,
    Stream,
    TheJobs,
    protected,
)
from certferry.web.context import WebContext
from certferry.web.jobs import Jobs
from certferry.web.models import Page
from certferry.web.option150 import KeaWish, described, in_kea
from certferry.web.security import Operator
from certferry.web.views import job_view, page
from certferry.web.wave_models import (
    CancelRequest,
    Option150Answer,
    PhoneStateText,
    PlannedWavesAnswer,
    PlanWavesRequest,
    StartRequest,
    WaveEventAnswer,
    WavePhoneAnswer,
    WavesAnswer,
    WavesLine,
)
from certferry.web.wave_standing import FRESH_SECONDS, Standing, Standings, report_of
from certferry.web.wave_views import LOGGED, phone_lines, wave_event, waves_line, waves_view
from certferry.web.work_models import JobAnswer

router = protected("migrations", "/migrations")
MigrationId = Annotated[str, Path(max_length=64)]
_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
_REPORT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {}, "text/csv": {}}}}


@router.get("")
def migrations(cluster: ChosenCluster, part: Part) -> Page[WavesLine]:
    """List the migrations of the cluster's phones, latest first."""
    counts = cluster.migration_search.counts()
    found = cluster.migration_search.latest(part)
    return Page[WavesLine](**page(found, part, lambda each: waves_line(each, counts)))


@router.post("", status_code=201)
async def plan(
    wanted: PlanWavesRequest, cluster: ChosenCluster, context: Context, jobs: TheJobs, _user: Operator
) -> PlannedWavesAnswer:
    """Plan a migration of the cluster's phones; no phone is touched before it is started."""
    sides = waves.pair_of(context, cluster.name, wanted.destination)
    devices = waves.device_names(wanted.devices)
    choice = Choice(wanted.everything, wanted.groups, devices, wanted.percent, wanted.skip_unknown)
    rules = Rules(wanted.pace, wanted.between, wanted.patience, Threshold.parse(wanted.stop_at))
    wish = waves.PlanWish(choice, rules, wanted.canary, wanted.wave_size)
    made = await asyncio.to_thread(waves.plan, sides, wish, context.clock())
    answer = await _answer(context, jobs, cluster, made.migration.id)
    return PlannedWavesAnswer(**answer.model_dump(), left_out=list(made.left_out))


@router.get("/{migration}")
async def show(migration: MigrationId, cluster: ChosenCluster, context: Context, jobs: TheJobs) -> WavesAnswer:
    """Tell how a migration stands."""
    return await _answer(context, jobs, cluster, migration)


@router.get("/{migration}/phones")
def phones(
    migration: MigrationId,
    cluster: ChosenCluster,
    context: Context,
    part: Part,
    state: PhoneStateText | None = None,
    wave: Annotated[int | None, Query(ge=0, le=1_000_000)] = None,
    text: SearchText = "",
) -> Page[WavePhoneAnswer]:
    """Find phones of a migration: how far each is, and why one failed."""
    found = cluster.migrations.find(migration)
    query = MigrationPhoneQuery(text, PhoneState(state) if state else None, wave)
    answer = cluster.migration_search.phones(migration, query, part)
    lines = phone_lines(cluster, waves.destination_of(context, found), answer.items)
    return Page[WavePhoneAnswer](**page(answer, part, lambda phone: lines[phone.device]))


@router.get("/{migration}/log")
def log(migration: MigrationId, cluster: ChosenCluster, part: Part) -> Page[WaveEventAnswer]:
    """List what happened, latest first; single phones are under /phones."""
    cluster.migrations.find(migration)
    return Page[WaveEventAnswer](**page(cluster.migration_search.log(migration, LOGGED, part), part, wave_event))


@router.get("/{migration}/events", response_class=StreamingResponse, responses=_STREAM, dependencies=[Stream])
async def events(migration: MigrationId, cluster: ChosenCluster, request: Request) -> StreamingResponse:
    """Follow a migration: events ``status`` when something changed, one ``end`` when its state did."""
    standings: Standings = request.app.state.standings
    await standings.of(cluster, migration)
    return StreamingResponse(_events(standings, cluster, migration), media_type="text/event-stream")


@router.get("/{migration}/option150")
async def option150(
    migration: MigrationId,
    cluster: ChosenCluster,
    context: Context,
    _user: Operator,
    subnet: Annotated[str, Query(min_length=1, max_length=64)],
    tftp: Annotated[str, Query(max_length=64)] = "",
) -> Option150Answer:
    """Look at what a start with ``kea`` would change in this server's Kea; nothing is changed yet."""
    found = await asyncio.to_thread(cluster.migrations.find, migration)
    sides = await asyncio.to_thread(waves.sides_of, context, cluster, found)
    step = in_kea(context.kea, sides, found, KeaWish(subnet, tftp))
    plan = await asyncio.to_thread(step.plan)
    told = described(step.step.kea, plan)
    return Option150Answer(**told, defines_option=plan.defines, warnings=list(plan.warnings))


@router.post("/{migration}/start", status_code=202)
async def start(
    migration: MigrationId,
    wanted: StartRequest,
    cluster: ChosenCluster,
    context: Context,
    jobs: TheJobs,
    user: Operator,
    key: IdempotencyKey = None,
) -> JobAnswer:
    """Start a migration: verify, then reset phones wave by wave; the job lasts until it ends or pauses."""
    wish = waves.StartWish(wanted.option150_confirmed, wanted.override, _kea_wish(wanted))
    return job_view(await waves.start(jobs, context, cluster, user, migration, wish, key))


@router.post("/{migration}/resume", status_code=202)
async def resume(
    migration: MigrationId,
    cluster: ChosenCluster,
    context: Context,
    jobs: TheJobs,
    user: Operator,
    key: IdempotencyKey = None,
) -> JobAnswer:
    """Go on with a migration that paused or was broken off; no phone is reset twice."""
    return job_view(await waves.resume(jobs, context, cluster, user, migration, key))


@router.post("/{migration}/pause")
async def pause(
    migration: MigrationId, cluster: ChosenCluster, context: Context, jobs: TheJobs, _user: Operator
) -> WavesAnswer:
    """Let no more phones be reset; those under way are followed to their end."""
    await asyncio.to_thread(waves.pause, cluster, migration)
    return await _answer(context, jobs, cluster, migration)


@router.post("/{migration}/cancel")
async def cancel(
    migration: MigrationId,
    wanted: CancelRequest,
    cluster: ChosenCluster,
    context: Context,
    jobs: TheJobs,
    _user: Operator,
) -> WavesAnswer:
    """Give a migration up that nobody steers: no phone of it is reset any more. What moved stays where it is."""
    await asyncio.to_thread(cancelling.cancel, cluster, migration, wanted.reason, context.clock())
    return await _answer(context, jobs, cluster, migration)


@router.post("/{migration}/back", status_code=201)
async def back(
    migration: MigrationId, cluster: ChosenCluster, context: Context, jobs: TheJobs, _user: Operator
) -> PlannedWavesAnswer:
    """Plan the way back of the phones that moved: a migration of the destination's phones."""
    found = await asyncio.to_thread(cluster.migrations.find, migration)
    sides = await asyncio.to_thread(waves.sides_of, context, cluster, found)
    made = await asyncio.to_thread(waves.plan_back, sides, found, context.clock())
    answer = await _answer(context, jobs, sides.destination, made.migration.id)
    return PlannedWavesAnswer(**answer.model_dump(), left_out=list(made.left_out))


@router.get("/{migration}/report", response_class=Response, responses=_REPORT)
def report(
    migration: MigrationId,
    cluster: ChosenCluster,
    context: Context,
    language: Literal["en", "ja"] = "en",
    form: Literal["html", "csv"] = "html",
) -> Response:
    """Give the report of a migration, ended or not: a page that needs nothing else, or a line for each phone."""
    made = report_of(cluster, migration, context.clock())
    body = made.to_html(language) if form == "html" else made.to_csv()
    headers = {"content-disposition": f'attachment; filename="migration.{form}"'}
    return Response(body, media_type=f"text/{form}", headers=headers)


def _kea_wish(wanted: StartRequest) -> KeaWish | None:
    return KeaWish(**wanted.kea.model_dump()) if wanted.kea else None


async def _answer(context: WebContext, jobs: Jobs, cluster: Cluster, identifier: str) -> WavesAnswer:
    standing = await asyncio.to_thread(Standing.of, cluster, identifier, context.clock())
    job = await waves.running_job(jobs, cluster, identifier)
    return await asyncio.to_thread(waves_view, context, cluster, standing, job.id if job else None)


async def _events(standings: Standings, cluster: Cluster, identifier: str) -> AsyncIterator[str]:
    first = standing = await standings.of(cluster, identifier)
    told, silent = "", 0.0
    while standing.is_running and standing.is_steered == first.is_steered:
        text = json.dumps(standing.to_json())
        if text != told:
            told, silent = text, 0.0
            yield f"event: status\ndata: {text}\n\n"
        elif silent >= HEARTBEAT_SECONDS:
            silent = 0.0
            yield ": still so\n\n"  # so that nothing in between takes the connection for dead
        await asyncio.sleep(FRESH_SECONDS)
        silent += FRESH_SECONDS
        standing = await standings.of(cluster, identifier)
    yield f"event: end\ndata: {json.dumps(standing.to_json())}\n\n"
