"""What the routes of the API share: errors, paging, the cluster that is meant, the idempotency key."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Security
from fastapi.security import APIKeyCookie, HTTPBearer
from pydantic import AfterValidator, AwareDatetime
from starlette.requests import Request

from certferry.cluster.cluster import Cluster
from certferry.cluster.searching import Slice
from certferry.errors import Refusal
from certferry.web.context import WebContext, context_of
from certferry.web.jobs import Jobs
from certferry.web.models import ErrorAnswer
from certferry.web.refusals import InputError
from certferry.web.security import CurrentUser, check_csrf, current_user


class TooManyStreamsError(Refusal):
    """One user follows more jobs and migrations at once than anybody can watch."""

    code = "web.too-many-streams"
    remedy = "Close what is not looked at any more, or ask now and then instead of following."


ERRORS: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorAnswer, "description": "Refused, and why."}}
CREDENTIALS = (
    Security(HTTPBearer(scheme_name="token", description="An API token.", auto_error=False)),
    Security(
        APIKeyCookie(
            name="__Host-certferry",
            scheme_name="session",
            description="The cookie that POST /api/v1/session sets; every change carries X-CSRF-Token besides.",
            auto_error=False,
        )
    ),
)
"""For the description alone, which names them as alternatives: who asks is found out in ``security``."""
LARGEST_PAGE = 1000
MOST_STREAMS = 50
"""Of one user, from all their windows and programs: each holds a connection for as long as it likes."""
_MOST_DIGITS = 9


def protected(tag: str, prefix: str = "") -> APIRouter:
    """Make a router whose routes are for people logged in and for tokens."""
    return APIRouter(prefix=prefix, tags=[tag], dependencies=[*CREDENTIALS, Depends(current_user), Depends(check_csrf)])


def context(request: Request) -> WebContext:
    """Give the server's world."""
    return context_of(request)


def chosen_cluster(
    request: Request,
    cluster: Annotated[
        str | None, Query(max_length=255, description="A cluster this server shows; the publisher's own otherwise.")
    ] = None,
) -> Cluster:
    """Give the cluster that the request is about; raises ``ClusterUnknownError``."""
    return context_of(request).named(cluster)


def part_of(
    cursor: Annotated[
        str | None, Query(max_length=20, description="What the page before gave as next; none: the first page.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 50,
) -> Slice:
    """Give the part of a list that is asked for; raises ``InputError``."""
    if cursor is None:
        return Slice(0, limit)
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= _MOST_DIGITS):
        raise InputError("cursor: give what the page before gave as next", {"cursor": "no cursor of this API"})
    return Slice(int(cursor), limit)


def in_utc(moment: datetime) -> datetime:
    """Tell a time in UTC; raises ``ValueError`` where the calendar ends."""
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the calendar has no such time") from error


async def one_stream(request: Request, user: CurrentUser) -> AsyncIterator[None]:
    """Take one of a user's places for streams while it lasts; raises ``TooManyStreamsError``."""
    streams = context_of(request).streams
    if streams[user.account] >= MOST_STREAMS:
        raise TooManyStreamsError(f"{user.account} follows {MOST_STREAMS} things already")
    streams[user.account] += 1
    try:
        yield
    finally:
        streams[user.account] -= 1
        if not streams[user.account]:
            del streams[user.account]


def jobs_of(request: Request) -> Jobs:
    """Give the server's jobs."""
    jobs: Jobs = request.app.state.jobs
    return jobs


Context = Annotated[WebContext, Depends(context)]
ChosenCluster = Annotated[Cluster, Depends(chosen_cluster)]
Part = Annotated[Slice, Depends(part_of)]
TheJobs = Annotated[Jobs, Depends(jobs_of)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=128, description="The same key is the same job, started once."
    ),
]
Stream = Depends(one_stream)
Moment = Annotated[AwareDatetime, AfterValidator(in_utc)]
SearchText = Annotated[str, Query(max_length=200, description="Contained in any field, in any letter case.")]
