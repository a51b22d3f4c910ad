"""*Phones > Reset*: of one phone, of those selected, of all found; what follows first, then what became of it."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from certferry.cluster.web_jobs import Job
from certferry.errors import Refusal
from certferry.web.context import WebContext, context_of
from certferry.web.jobs import Jobs
from certferry.web.pages.certificate_list import SIZES, page_found, page_of, part_of
from certferry.web.pages.drawing import draw, go, told
from certferry.web.pages.forms import read_form
from certferry.web.pages.once import new_key
from certferry.web.pages.phone_filter import chosen_phones, filter_of, found_phones, phone_query
from certferry.web.pages.sentences import Told
from certferry.web.phone_resets import KIND, start_resets
from certferry.web.security import User, current_user, require_operator

PHONES = "/show/phones"
router = APIRouter(prefix=PHONES, dependencies=[Depends(current_user)])
Context = Annotated[WebContext, Depends(context_of)]
Operator = Annotated[User, Depends(require_operator)]
LISTED = 20
"""Phones that are named before they are reset; the others are counted."""


@router.get("/reset")
def ask_reset(request: Request, context: Context, _user: Operator) -> Response:
    """Show which phones, and what follows, and ask; refused as the reset itself would be."""
    query = request.query_params
    if "found" in query:
        wanted = found_phones(context.cluster, phone_query(query))
    else:
        wanted = chosen_phones(context.cluster, query.getlist("device"))
    return draw(request, "phones_reset.html", wanted=wanted, listed=LISTED, back=filter_of(query), key=new_key())


@router.post("/reset")
async def reset(request: Request, context: Context, user: Operator) -> Response:
    """Start the job once, and show how it goes."""
    form = await read_form(request)
    devices = form["devices"].split()
    if not devices:
        return go(f"{PHONES}/reset")
    job = await start_resets(request.app.state.jobs, context.cluster, user, devices, f"reset:{form.key}")
    return go(f"{PHONES}/resets/{job.id}")


@router.get("/resets")
async def resets(request: Request) -> Response:
    """List the resets that were asked for by hand, the latest first."""
    query, jobs = request.query_params, _jobs(request)
    found = await jobs.latest(part_of(query), KIND)
    return await run_in_threadpool(
        draw, request, "phones_resets.html", page=page_found(found.items, found.total, query), sizes=SIZES
    )


@router.get("/resets/{identifier}")
async def show(request: Request, identifier: str) -> Response:
    """Show how a reset goes, or what became of each phone."""
    job = await _jobs(request).find(identifier)
    phones = _phones(job)
    return draw(
        request,
        "phones_reset_job.html",
        job=job,
        error=_error(request, job),
        asked=len(job.asked.get("devices", ("",))),
        done=sum(each["outcome"] == "done" for each in phones),
        phones=page_of(phones, request.query_params),
        sizes=SIZES,
    )


def _phones(job: Job) -> Sequence[Any]:
    """What became of each phone: of several, or of the one that the API was asked to reset."""
    result = job.result or {}
    phones: Sequence[Any] = result.get("phones", [result] if "device" in result else ())
    return phones


def _error(request: Request, job: Job) -> Told | None:
    if job.error is None:
        return None
    return told(request, Refusal(job.error["sentence"], remedy=job.error["remedy"]), job.error["code"])


def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs
