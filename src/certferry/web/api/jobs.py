"""/jobs: long work, its progress as server-sent events, its result."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Annotated, Any

from fastapi import Path
from starlette.responses import StreamingResponse

from certferry.cluster.web_jobs import Job
from certferry.web.api.shared import Part, Stream, TheJobs, protected
from certferry.web.jobs import Jobs
from certferry.web.models import Page
from certferry.web.views import job_view, page
from certferry.web.work_models import JobAnswer

router = protected("jobs", "/jobs")
HEARTBEAT_SECONDS = 15.0
JobId = Annotated[str, Path(max_length=64)]


@router.get("")
async def jobs(jobs: TheJobs, part: Part) -> Page[JobAnswer]:
    """List the jobs that are remembered, latest first, without their results."""
    return Page[JobAnswer](**page(await jobs.latest(part), part, job_view))


@router.get("/{job}")
async def show(job: JobId, jobs: TheJobs) -> JobAnswer:
    """Give a job."""
    return job_view(await jobs.find(job))


@router.get(
    "/{job}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
    dependencies=[Stream],
)
async def events(job: JobId, jobs: TheJobs) -> StreamingResponse:
    """Follow a job: events ``progress`` with its step, then one ``end`` with the whole job."""
    return StreamingResponse(_events(jobs, await jobs.find(job)), media_type="text/event-stream")


async def _events(jobs: Jobs, job: Job) -> AsyncIterator[str]:
    progress = aiter(jobs.events(job.id))
    following = asyncio.ensure_future(anext(progress, None))
    try:
        while True:
            done, _ = await asyncio.wait([following], timeout=HEARTBEAT_SECONDS)
            if not done:
                yield ": still running\n\n"  # so that nothing in between takes the connection for dead
                continue
            step = following.result()
            if step is None:
                break
            yield _event("progress", step)
            following = asyncio.ensure_future(anext(progress, None))
        yield _event("end", (await jobs.find(job.id)).to_json())
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


def _event(name: str, value: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"
