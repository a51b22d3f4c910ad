"""The migration console: both clusters side by side, what is done, what comes next, and the verification."""

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from certferry.cluster.cluster import Cluster
from certferry.cluster.web_jobs import Job
from certferry.errors import Refusal
from certferry.migrate.causes import find_cause
from certferry.migrate.matrix import Matrix, build_matrix
from certferry.migrate.record import code_of_check
from certferry.migrate.report import render_html
from certferry.migrate.result import Verification
from certferry.trust.list_check import Check
from certferry.web.context import WebContext, context_of
from certferry.web.jobs import Jobs
from certferry.web.pages.checklist import Side, checklist
from certferry.web.pages.drawing import draw, go, told, words_of
from certferry.web.pages.forms import Form, read_form
from certferry.web.pages.language import language_of
from certferry.web.pages.sentences import Told, tell, tell_side
from certferry.web.security import CurrentUser, current_user
from certferry.web.work import LookWish, start_look

router = APIRouter(prefix="/migration", dependencies=[Depends(current_user)])
Context = Annotated[WebContext, Depends(context_of)]
MATRICES = ("tvs", "nodes")
LISTED = 200
MOST_ADDRESSES = 16


@router.get("")
async def console(request: Request, context: Context) -> Response:
    """Draw the console; without another cluster, say how to give one."""
    return await _console(request, context, Form(request.query_params))


async def _console(request: Request, context: WebContext, form: Form, status: int = 200) -> Response:
    if not context.others:
        return draw(request, "migration_alone.html")
    source, destination = _pair(context, form.values)
    sides = await _sides(request, (source, destination))
    last = await _last_verification(request, source, destination)
    verified = last.result if last and last.result else None
    return draw(
        request,
        "migration.html",
        status,
        form=form,
        sides=sides,
        steps=await run_in_threadpool(checklist, sides[0], sides[1], verified),
        names=[cluster.name for cluster in context.clusters],
        last=last,
    )


def _pair(context: WebContext, query: Mapping[str, str]) -> tuple[Cluster, Cluster]:
    """Choose from where to where; what cannot be meant is from here to the first other cluster."""
    names = [cluster.name for cluster in context.clusters]
    source = query.get("source", "")
    source = source if source in names else names[0]
    destination = query.get("destination", "")
    if destination not in names or destination == source:
        destination = next(name for name in names if name != source)
    return context.named(source), context.named(destination)


async def _sides(request: Request, clusters: Sequence[Cluster]) -> list[Side]:
    """Read the exchange directories, each once where both clusters use the same."""
    listings = await context_of(request).exchanges.describe_all(clusters)
    return [_side(request, cluster, listing) for cluster, listing in zip(clusters, listings, strict=True)]


def _side(request: Request, cluster: Cluster, listing: Mapping[str, Any] | Refusal) -> Side:
    if not isinstance(listing, Refusal):
        return Side(cluster, listing)
    return Side(cluster, None, "" if listing.code == "bulk.settings-missing" else told(request, listing).sentence)


async def _last_verification(request: Request, source: Cluster, destination: Cluster) -> Job | None:
    jobs: Jobs = request.app.state.jobs
    for job in (await jobs.latest(kind="verify")).items:
        if job.asked["source"] == [source.name] and job.asked["destination"] == [destination.name]:
            return await jobs.whole(job)
    return None


@router.post("/verify")
async def verify(request: Request, context: Context, user: CurrentUser) -> Response:
    """Start a verification once, and show how it goes."""
    form = await read_form(request)
    if not context.others:  # the console says how to give another cluster
        return go("/migration")
    addresses = _addresses(form["option150"])
    if addresses is None:
        form.refuse("option150", words_of(request)("error.addresses", most=MOST_ADDRESSES))
        return await _console(request, context, form, 422)
    source, destination = _pair(context, form.values)
    wish = LookWish((source.name,), (destination.name,), phones=LISTED, option150=addresses or None)
    job = await start_look("verify", context, request.app.state.jobs, user, wish, form.key)
    return go(f"/migration/jobs/{job.id}")


def _addresses(text: str) -> tuple[str, ...] | None:
    """Read what DHCP will name, as an administrator lists addresses; None when it is none."""
    parts = [part for part in re.split(r"[\s,;]+", text) if part]
    try:
        addresses = tuple(str(IPv4Address(part)) for part in parts)
    except ValueError:
        return None
    return addresses if len(addresses) <= MOST_ADDRESSES else None


@router.get("/verify")
def no_verify_page() -> Response:
    """Lead a reader who logs in again here to the console."""
    return go("/migration")


@router.get("/jobs/{identifier}")
async def show_job(request: Request, identifier: str) -> Response:
    """Show how a verification goes, or what it came to."""
    job: Job = await request.app.state.jobs.find(identifier)
    verification = Verification.of_json(job.result) if job.result else None
    matrices = _matrices(verification) if verification else []
    return draw(
        request,
        "verification.html",
        job=job,
        error=_told(request, job),
        verification=verification,
        matrices=matrices,
        limit=LISTED,
        column=lambda text: _column(request, text),
        side=lambda text: tell_side(text, language_of(request)),
        cause=lambda check: _cause(request, check),
    )


@router.get("/jobs/{identifier}/report")
async def report(request: Request, identifier: str) -> Response:
    """Send the report for the change board: one file that needs nothing else."""
    job: Job = await request.app.state.jobs.find(identifier)
    if not job.result:
        return go(f"/migration/jobs/{identifier}")
    page = render_html(Verification.of_json(job.result), language=language_of(request))
    headers = {"Content-Disposition": 'attachment; filename="verification.html"'}
    return Response(page, media_type="text/html", headers=headers)


def _matrices(verification: Verification) -> list[tuple[str, Matrix]]:
    found = ((name, build_matrix(name, verification.checks)) for name in MATRICES)
    return [(name, matrix) for name, matrix in found if matrix]


def _column(request: Request, text: str) -> str:
    say = words_of(request)
    return say(f"matrix.{text}") if say.has(f"matrix.{text}") else tell(text, say.language)


def _cause(request: Request, check: Check) -> str:
    """Tell the cause in Japanese: titles and remedies of checks are told in English only."""
    if language_of(request) == "en" or check.verdict not in ("fail", "warn"):
        return ""
    cause = find_cause(code_of_check(check.id, check.title))
    return cause.cause.of("ja") if cause else ""


def _told(request: Request, job: Job) -> Told | None:
    if job.error is None:
        return None
    return told(request, Refusal(job.error["sentence"], remedy=job.error["remedy"]), job.error["code"])
