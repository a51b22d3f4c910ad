"""/verify, /rehearse, /report: prove a migration before the change; nothing changes anywhere."""

from typing import Annotated, Literal

from fastapi import Path, Query
from starlette.responses import Response

from certferry.migrate.report import render_html
from certferry.migrate.result import Verification
from certferry.web.api.shared import Context, IdempotencyKey, TheJobs, protected
from certferry.web.context import WebContext
from certferry.web.jobs import JobUnknownError
from certferry.web.security import CurrentUser, NotAllowedError, User
from certferry.web.views import job_view
from certferry.web.work import LookWish, shows, start_look
from certferry.web.work_models import JobAnswer, LookRequest

router = protected("migration")
LOOKS = ("verify", "rehearse")


@router.post("/verify", status_code=202)
async def verify(
    wanted: LookRequest, context: Context, jobs: TheJobs, user: CurrentUser, key: IdempotencyKey = None
) -> JobAnswer:
    """Start checking everything that decides whether phones will migrate."""
    return job_view(await start_look("verify", context, jobs, user, _wish(context, user, wanted), key))


@router.post("/rehearse", status_code=202)
async def rehearse(
    wanted: LookRequest, context: Context, jobs: TheJobs, user: CurrentUser, key: IdempotencyKey = None
) -> JobAnswer:
    """Start virtual phones that try the migration."""
    return job_view(await start_look("rehearse", context, jobs, user, _wish(context, user, wanted), key))


@router.get("/report/{job}", response_class=Response, responses={200: {"content": {"text/html": {}}}})
async def report(
    job: Annotated[str, Path(max_length=64)],
    jobs: TheJobs,
    title: Annotated[str, Query(max_length=200)] = "",
    language: Literal["en", "ja"] = "en",
) -> Response:
    """Give what a verify or rehearse job found as one self-contained HTML file."""
    done = await jobs.find(job)
    if done.kind not in LOOKS or done.result is None:
        raise JobUnknownError(f"job {job} has no result that a report is made of")
    page = render_html(Verification.of_json(done.result), title, language)
    return Response(page, media_type="text/html", headers={"content-disposition": 'attachment; filename="report.html"'})


def _wish(context: WebContext, user: User, wanted: LookRequest) -> LookWish:
    """Read the wish. Who may only look does so at this server's clusters, and lets it dial nobody else."""
    if not user.is_operator and not (shows(context, wanted.source) and shows(context, wanted.destination)):
        raise NotAllowedError(f"{user.name} may look at this server's clusters, not at other addresses")
    return LookWish(
        tuple(wanted.source),
        tuple(wanted.destination),
        tuple(wanted.devices),
        wanted.phones,
        wanted.model,
        wanted.timeout,
        None if wanted.option150 is None else tuple(map(str, wanted.option150)),
    )
