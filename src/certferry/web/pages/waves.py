"""*Migration > Waves*: plan, start, follow and stop migrations in waves; each phone, and why one stopped."""

import asyncio
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from certferry.cluster.cluster import Cluster
from certferry.cluster.migration_search import MigrationPhoneQuery
from certferry.cluster.migrations import Migration, PhoneState
from certferry.cluster.searching import Slice
from certferry.cluster.web_jobs import Job
from certferry.errors import Refusal
from certferry.lab.lab import tftp_servers
from certferry.migrate.causes import find_cause
from certferry.migrate.waves import cancelling
from certferry.web import waves
from certferry.web.context import WebContext, context_of
from certferry.web.jobs import Jobs
from certferry.web.pages.certificate_list import SIZES, page_found, part_of, whole_number
from certferry.web.pages.drawing import draw, go, told, words_of
from certferry.web.pages.forms import Form, read_form
from certferry.web.pages.language import language_of
from certferry.web.pages.once import Outcome, outcomes_of
from certferry.web.pages.sentences import Told
from certferry.web.pages.waves_form import empty_form, read_plan
from certferry.web.security import Operator, current_user
from certferry.web.wave_standing import Standing, report_of
from certferry.web.wave_views import LOGGED, phone_lines

router = APIRouter(prefix="/migration/waves", dependencies=[Depends(current_user)])
WAVES = "/migration/waves"
Context = Annotated[WebContext, Depends(context_of)]
_LOG_SHOWN = 30
_FIELD_OF = {
    "waves.nothing-chosen": "everything",
    "waves.not-at-source": "devices",
    "waves.not-at-destination": "skip-unknown",
    "cluster.phone-invalid": "devices",
    "web.same-cluster": "destination",
    "web.cluster-unknown": "destination",
}
"""Beside which field of the plan a refusal is told."""


@router.get("")
def overview(request: Request, context: Context) -> Response:
    """Draw the migrations of every cluster's phones, the latest first."""
    counts = {cluster.name: cluster.migration_search.counts() for cluster in context.clusters}
    found = [
        (cluster, migration)
        for cluster in context.clusters
        for migration in cluster.migration_search.latest(Slice(0, 100)).items
    ]
    found.sort(key=lambda each: each[1].created_at, reverse=True)
    lines = [
        (cluster, migration, _destination_name(context, migration), _counts_of(counts[cluster.name], migration.id))
        for cluster, migration in found
    ]
    return draw(request, "waves.html", lines=lines, can_plan=bool(context.others))


@router.get("/new")
def new(request: Request, context: Context, _user: Operator) -> Response:
    """Draw the form of a plan."""
    return _plan_page(request, context, empty_form(context, request.query_params))


@router.post("/new")
async def plan(request: Request, context: Context, user: Operator) -> Response:
    """Plan a migration, once; no phone is touched."""
    form, say = await read_form(request), words_of(request)
    wish = read_plan(form, say)

    def act() -> Outcome:
        sides = waves.pair_of(context, form["source"], form["destination"])
        made = waves.plan(sides, wish, context.clock())
        values = {"count": len(sides.source.migrations.phones(made.migration.id)), "left": len(made.left_out)}
        return Outcome("done.planned", values, path=_path(sides.source, made.migration.id))

    if form.ok:
        try:
            done = await run_in_threadpool(outcomes_of(request).once, user.name, form.key, act)
            return go(done.path, done=form.key)
        except Refusal as refusal:
            sentence = told(request, refusal).beside_field
            form.refuse(_FIELD_OF.get(refusal.code, "everything"), sentence)
    return await run_in_threadpool(_plan_page, request, context, form, 422)


@router.get("/{cluster}/{identifier}")
async def show(request: Request, context: Context, cluster: str, identifier: str) -> Response:
    """Draw how a migration stands."""
    return await _show(request, context, context.named(cluster), identifier, Form())


async def _show(
    request: Request, context: WebContext, source: Cluster, identifier: str, form: Form, status: int = 200
) -> Response:
    jobs: Jobs = request.app.state.jobs
    standing = await asyncio.to_thread(Standing.of, source, identifier, context.clock())
    job = await _job(jobs, source, identifier)
    return await run_in_threadpool(_draw, request, context, source, standing, job, form, status)


def _draw(
    request: Request,
    context: WebContext,
    source: Cluster,
    standing: Standing,
    job: Job | None,
    form: Form,
    status: int,
) -> Response:
    migration = standing.migration
    destination = waves.destination_of(context, migration)
    failures = source.migration_search.failures(migration.id)
    return draw(
        request,
        "waves_show.html",
        status,
        source=source,
        destination=_destination_name(context, migration),
        standing=standing,
        migration=migration,
        here=_path(source, migration.id),
        job=job,
        error=_error(request, job) if not standing.is_steered else None,
        is_shown=destination is not None,
        kea=context.kea is not None,
        servers=", ".join(address for address, _ in tftp_servers(destination)) if destination else "",
        failures=[(code, count, _cause(request, code)) for code, count in failures.items()],
        log=source.migration_search.log(migration.id, LOGGED, Slice(0, _LOG_SHOWN)).items,
        form=form,
    )


async def _job(jobs: Jobs, source: Cluster, identifier: str) -> Job | None:
    """The latest job that a server ran for a migration, with what it came to."""
    asked = {"migration": identifier}
    found = (await jobs.latest(kind=waves.KIND)).items
    latest = next((job for job in found if job.cluster == source.name and job.asked == asked), None)
    return await jobs.find(latest.id) if latest else None


@router.post("/{cluster}/{identifier}/start")
async def start(request: Request, context: Context, user: Operator, cluster: str, identifier: str) -> Response:
    """Verify and start, once."""
    form, say, source = await read_form(request), words_of(request), context.named(cluster)
    if not form.has("option150"):
        form.refuse("option150", say("waves.confirm-option150"))
    if form.has("go-on") and not form["override"]:
        form.refuse("override", say("error.empty"))
    if not form.ok:
        return await _show(request, context, source, identifier, form, 422)
    wish = waves.StartWish(option150_confirmed=True, override=form["override"] if form.has("go-on") else None)
    await waves.start(request.app.state.jobs, context, source, user, identifier, wish, form.key)
    return go(_path(source, identifier))


@router.post("/{cluster}/{identifier}/resume")
async def resume(request: Request, context: Context, user: Operator, cluster: str, identifier: str) -> Response:
    """Go on, once."""
    form, source = await read_form(request), context.named(cluster)
    await waves.resume(request.app.state.jobs, context, source, user, identifier, form.key)
    return go(_path(source, identifier))


@router.post("/{cluster}/{identifier}/pause")
async def pause(request: Request, context: Context, user: Operator, cluster: str, identifier: str) -> Response:
    """Let no more phones be reset, once."""
    form, source = await read_form(request), context.named(cluster)

    def act() -> Outcome:
        waves.pause(source, identifier)
        return Outcome("done.pause-asked")

    await run_in_threadpool(outcomes_of(request).once, user.name, form.key, act)
    return go(_path(source, identifier), done=form.key)


@router.post("/{cluster}/{identifier}/cancel")
async def cancel(request: Request, context: Context, user: Operator, cluster: str, identifier: str) -> Response:
    """Give a migration up, once."""
    form, source = await read_form(request), context.named(cluster)

    def act() -> Outcome:
        cancelling.cancel(source, identifier, form["reason"][:200], context.clock())
        return Outcome("done.cancelled")

    await run_in_threadpool(outcomes_of(request).once, user.name, form.key, act)
    return go(_path(source, identifier), done=form.key)


@router.post("/{cluster}/{identifier}/back")
async def back(request: Request, context: Context, user: Operator, cluster: str, identifier: str) -> Response:
    """Plan the way back, once, and show it."""
    form, source = await read_form(request), context.named(cluster)

    def act() -> Outcome:
        found = source.migrations.find(identifier)
        sides = waves.sides_of(context, source, found)
        made = waves.plan_back(sides, found, context.clock())
        values = {"count": len(sides.destination.migrations.phones(made.migration.id)), "left": len(made.left_out)}
        return Outcome("done.planned", values, path=_path(sides.destination, made.migration.id))

    done = await run_in_threadpool(outcomes_of(request).once, user.name, form.key, act)
    return go(done.path, done=form.key)


@router.get("/{cluster}/{identifier}/{step}")
def other(request: Request, context: Context, cluster: str, identifier: str, step: str) -> Response:
    """Draw the phones, send the report; lead a reader who logs in again at a button back to the migration."""
    source = context.named(cluster)
    if step == "phones":
        return _phones(request, context, source, identifier)
    if step in ("report", "csv"):
        return _report(request, context, source, identifier, step)
    return go(_path(source, identifier))


def _phones(request: Request, context: WebContext, source: Cluster, identifier: str) -> Response:
    query = request.query_params
    found = source.migrations.find(identifier)
    state = query.get("state", "")
    wanted = MigrationPhoneQuery(
        query.get("text", "").strip()[:200],
        PhoneState(state) if state in tuple(PhoneState) else None,
        whole_number(query.get("wave", ""), None),
    )
    answer = source.migration_search.phones(identifier, wanted, part_of(query))
    lines = phone_lines(source, waves.destination_of(context, found), answer.items)
    page = page_found([lines[p.device] for p in answer.items], answer.total, query)
    return draw(
        request,
        "waves_phones.html",
        source=source,
        destination=_destination_name(context, found),
        migration=found,
        here=_path(source, identifier),
        page=page,
        wanted=wanted,
        states=list(PhoneState),
        sizes=SIZES,
        cause=lambda code: _cause(request, code),
    )


def _report(request: Request, context: WebContext, source: Cluster, identifier: str, form: str) -> Response:
    made = report_of(source, identifier, context.clock())
    is_page = form == "report"
    body = made.to_html(language_of(request)) if is_page else made.to_csv()
    ending = "html" if is_page else "csv"
    headers = {"Content-Disposition": f'attachment; filename="migration.{ending}"'}
    return Response(body, media_type=f"text/{ending}", headers=headers)


def _plan_page(request: Request, context: WebContext, form: Form, status: int = 200) -> Response:
    names = [cluster.name for cluster in context.clusters]
    groups = [
        group.name for cluster in context.clusters for group in cluster.groups() if cluster.name == form["source"]
    ]
    return draw(request, "waves_plan.html", status, form=form, names=names, groups=groups)


def _path(source: Cluster, identifier: str) -> str:
    return f"{WAVES}/{source.name}/{identifier}"


def _destination_name(context: WebContext, migration: Migration) -> str:
    found = waves.destination_of(context, migration)
    return found.name if found else migration.destination


def _counts_of(counts: Mapping[tuple[str, str], int], identifier: str) -> dict[str, int]:
    return {state.value: counts.get((identifier, state.value), 0) for state in PhoneState}


def _cause(request: Request, code: str) -> tuple[str, str] | None:
    """What a code means and what to do about it."""
    found = find_cause(code) if code else None
    language = language_of(request)
    return (found.cause.of(language), found.fix.of(language)) if found else None


def _error(request: Request, job: Job | None) -> Told | None:
    if job is None or job.error is None:
        return None
    return told(request, Refusal(job.error["sentence"], remedy=job.error["remedy"]), job.error["code"])
