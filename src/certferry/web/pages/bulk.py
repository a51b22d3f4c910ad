"""*Security > Bulk Certificate Management*: the SFTP form, the files of every cluster, the buttons and their jobs."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from certferry.bulk.lock import LockHeldError
from certferry.cluster.web_jobs import Job
from certferry.errors import Refusal
from certferry.trust.purpose import BulkType
from certferry.web.context import WebContext, context_of
from certferry.web.jobs import Jobs
from certferry.web.pages.certificate_list import SIZES, Page, page_found, page_of, part_of
from certferry.web.pages.drawing import draw, go, told, words_of
from certferry.web.pages.forms import Form, read_form
from certferry.web.pages.once import Outcome, new_key, outcomes_of
from certferry.web.pages.sentences import Told
from certferry.web.pages.sftp_form import login_kept, save, saved_form
from certferry.web.security import User, current_user, require_operator
from certferry.web.work import ExchangeWish, start_consolidate, start_export, start_import, start_plan

router = APIRouter(prefix="/security/bulk", dependencies=[Depends(current_user)])
BULK = "/security/bulk"
Context = Annotated[WebContext, Depends(context_of)]
Operator = Annotated[User, Depends(require_operator)]
Button = Literal["export", "consolidate", "import"]
BUTTONS: tuple[Button, ...] = ("export", "consolidate", "import")
ACTIONS = ("replace", "add", "refuse", "skip")
"""What a plan's changes do, those first that an administrator looks at first."""


@dataclass(frozen=True, slots=True)
class Directory:
    """What was read of the exchange directory: its listing, or why there is none."""

    listing: dict[str, Any] | None
    refusal: Told | None
    is_configured: bool


# --- the page


@router.get("")
async def bulk(request: Request, context: Context) -> Response:
    """Draw the page; the directory is read anew each time."""
    form = await run_in_threadpool(saved_form, context.cluster)
    return await _page(request, context, form)


@router.post("/settings")
async def save_settings(request: Request, context: Context, user: Operator) -> Response:
    """Try and save the SFTP settings; what is wrong is told beside its field."""
    form = await read_form(request)
    if await save(request, context.cluster, user, form):
        return go(BULK, done=form.key)
    return await _page(request, context, form, 422)


@router.get("/settings")
def no_settings_page() -> Response:
    """Lead a reader who comes back here to the page with the form."""
    return go(BULK)


async def _page(request: Request, context: Context, form: Form, status: int = 200) -> Response:
    read = await _read(request, context)
    jobs: Jobs = request.app.state.jobs
    running = [job for job in await jobs.running(context.cluster.name) if job.writes]
    return draw(
        request,
        "bulk.html",
        status,
        form=form,
        kept=login_kept(context.cluster),
        typed=outcomes_of(request).secret(request.state.user.name, form.key) != "",
        read=read,
        files=_files(request, read),
        chosen=request.query_params.get("from", ""),
        only_problems="problems" in request.query_params,
        sizes=SIZES,
        buttons=[(button, _why_not(request, read, button), new_key()) for button in BUTTONS],
        types=["all", *BulkType],
        running=running,
        history=context.cluster.find_history().items[:5],
    )


def _files(request: Request, read: Directory) -> Page[dict[str, Any]]:
    """Choose the files that are shown: of one cluster or all, those with a problem or all, a page of them."""
    query, listing = request.query_params, read.listing or {"files": ()}
    chosen = query.get("from", "")
    files = [
        each
        for each in listing["files"]
        if chosen in ("", each["cluster"]) and ("problems" not in query or each["problem"] or not each["signed"])
    ]
    return page_of(files, query)


async def _read(request: Request, context: WebContext) -> Directory:
    try:
        return Directory(await context.exchanges.describe(context.cluster), None, is_configured=True)
    except Refusal as refusal:
        missing = refusal.code == "bulk.settings-missing"
        return Directory(None, None if missing else told(request, refusal), is_configured=not missing)


def _why_not(request: Request, read: Directory, button: Button) -> str:
    """Say why a button is not offered; empty when it is."""
    say, user = words_of(request), request.state.user
    if not user.is_operator:
        return say("bulk.why-read-only")
    if not read.is_configured:
        return say("bulk.why-settings")
    if read.listing is None:
        return say("bulk.why-directory")
    return _why_not_listed(request, read.listing, button) if button != "export" else ""


def _why_not_listed(request: Request, listing: dict[str, Any], button: Button) -> str:
    say = words_of(request)
    if not listing["consolidate_offered"]:
        return say(f"bulk.why-{button}-two", clusters=", ".join(listing["clusters"]) or say("bulk.no-cluster"))
    if button == "consolidate" or listing["import_offered"]:
        return ""
    if listing["stale"]:
        kind, sources = next(iter(listing["stale"].items()))
        return say("bulk.why-stale", kind=kind, source=sources[0].split(" ")[0])
    return say("bulk.why-not-consolidated")


# --- the buttons


@router.get("/{button}")
async def ask(request: Request, context: Context, button: Button) -> Response:
    """Draw a button's dialog as a page of its own, for browsers without scripts."""
    return await _ask(request, context, button, None)


@router.post("/{button}")
async def press(request: Request, context: Context, user: Operator, button: Button) -> Response:
    """Start the job once, and show how it goes."""
    form = await read_form(request)
    kind = form["type"]
    if kind not in ("all", *BulkType):
        return await _ask(request, context, button, None, words_of(request)("error.choose"))
    types = () if kind == "all" else (BulkType(kind),)
    wish = ExchangeWish(types, form.has("accept-unsigned"), form.has("break-lock"))
    try:
        job = await _start(request, context, user, button, wish, f"{form.key}:{kind}")
    except Refusal as refusal:
        return await _ask(request, context, button, told(request, refusal))
    return go(f"{BULK}/jobs/{job.id}")


async def _start(
    request: Request, context: WebContext, user: User, button: Button, wish: ExchangeWish, key: str
) -> Job:  # fmt: skip
    jobs, cluster, clock = request.app.state.jobs, context.cluster, context.clock
    if button == "export":
        return await start_export(jobs, cluster, user, wish, key, clock)
    if button == "consolidate":
        return await start_consolidate(jobs, cluster, user, wish, key, clock)
    return await start_plan(jobs, cluster, user, wish, key, clock)


async def _ask(
    request: Request, context: WebContext, button: Button, refusal: Told | None, wrong: str = ""
) -> Response:
    read = await _read(request, context)
    why = _why_not(request, read, button)
    status = 422 if wrong else 409 if refusal else 200
    return draw(
        request, "bulk_button.html", status, button=button, why=why, refusal=refusal, wrong=wrong, key=new_key(),
        types=["all", *BulkType],
    )  # fmt: skip


# --- jobs


@router.get("/jobs/{identifier}")
async def show_job(request: Request, identifier: str) -> Response:
    """Show how a job goes, or what it came to."""
    job = await request.app.state.jobs.find(identifier)
    changes = (job.result or {}).get("changes", ())
    wanted = request.query_params.get("action", "")
    shown = [change for action in ACTIONS for change in changes if change["action"] == action in (wanted or action,)]
    return draw(
        request,
        "bulk_job.html",
        job=job,
        error=_told(request, job),
        breakable=request.state.user.is_operator and _is_lock_breakable(job),
        key=new_key(),
        total=len(changes),
        changes=page_of(shown, request.query_params),
        counts={action: sum(change["action"] == action for change in changes) for action in ACTIONS},
        action=wanted,
        sizes=SIZES,
    )


def _is_lock_breakable(job: Job) -> bool:
    """Whether the pages can ask for the same again without the lock that stood in its way."""
    is_locked = job.error is not None and job.error["code"] == LockHeldError.code
    return is_locked and job.kind in ("export", "consolidate") and len(job.asked["types"]) <= 1


def _told(request: Request, job: Job) -> Told | None:
    if job.error is None:
        return None
    return told(request, Refusal(job.error["sentence"], remedy=job.error["remedy"]), job.error["code"])


@router.post("/jobs/{identifier}/import")
async def carry_out(request: Request, context: Context, user: Operator, identifier: str) -> Response:
    """Carry out the plan that a job made; a plan is carried out once."""
    await read_form(request)
    jobs = request.app.state.jobs
    plan = ((await jobs.find(identifier)).result or {}).get("plan", "")
    job = await start_import(jobs, context.cluster, user, plan, None, context.clock)
    return go(f"{BULK}/jobs/{job.id}")


@router.get("/jobs/{identifier}/import")
def no_import_page(identifier: str) -> Response:
    """Lead a reader who logs in again here back to the plan."""
    return go(f"{BULK}/jobs/{identifier}")


# --- history and undo


histories = APIRouter(prefix="/security/bulk", dependencies=[Depends(current_user)])


@histories.get("/history")
def history(request: Request, context: Context) -> Response:
    """Draw every change of the trust stores, the latest first."""
    query = request.query_params
    found = context.cluster.find_history(part_of(query))
    page = page_found(found.items, found.total, query)
    return draw(request, "history.html", page=page, sizes=SIZES)


@histories.get("/undo/{identifier}")
def ask_undo(request: Request, context: Context, identifier: str) -> Response:
    """Show what an undo would take back, and ask."""
    query = request.query_params
    entry, steps = context.cluster.find_steps(identifier, part_of(query))
    page = page_found(steps.items, steps.total, query)
    return draw(request, "undo.html", entry=entry, steps=page, key=new_key(), sizes=SIZES)


@histories.post("/undo/{identifier}")
async def undo(request: Request, context: Context, user: Operator, identifier: str) -> Response:
    """Take a change back, once."""
    form = await read_form(request)

    def act() -> Outcome:
        done = context.cluster.undo(identifier)
        return Outcome("done.undone", {"id": identifier, "count": len(done)})

    await run_in_threadpool(outcomes_of(request).once, user.name, form.key, act)
    return go(f"{BULK}/history", done=form.key)
