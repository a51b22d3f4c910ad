"""/phones: what the cluster knows of them; searched and paged in the database."""

import asyncio
from collections.abc import Mapping
from functools import partial
from secrets import token_hex
from typing import Annotated, Any, Literal

from fastapi import Body, Path, Query

from certferry.cluster.acting import actor
from certferry.cluster.hand_resets import WAIT_SECONDS, reset_by_hand
from certferry.cluster.phone_search import PhoneQuery
from certferry.cluster.phones import device_name, parse_csv
from certferry.cluster.values import Phone
from certferry.web.api.shared import ChosenCluster, IdempotencyKey, Part, SearchText, TheJobs, protected
from certferry.web.jobs import Progress
from certferry.web.models import CountAnswer, ListStatusText, Page, PhoneAnswer, PhoneCounts, PhoneShape
from certferry.web.security import Operator
from certferry.web.views import job_view, page, phone_view, served_digests
from certferry.web.work_models import JobAnswer

MOST_SECONDS = 60

router = protected("phones", "/phones")


@router.get("")
def phones(
    cluster: ChosenCluster,
    part: Part,
    text: SearchText = "",
    group: Annotated[str | None, Query(max_length=255)] = None,
    list_status: Annotated[ListStatusText | None, Query(description="Of both trust lists together.")] = None,
    sort: Literal["device", "model", "group", "status", "registered"] = "device",
    descending: bool = False,
) -> Page[PhoneAnswer]:
    """Find phones, with the status of their trust lists and where they registered last."""
    query = PhoneQuery(text, group, list_status, sort, descending)
    found = cluster.phone_search.find(query, served_digests(cluster), part)
    return Page[PhoneAnswer](**page(found, part, phone_view))


@router.get("/counts")
def counts(cluster: ChosenCluster) -> PhoneCounts:
    """Count phones by the status of their trust lists, and by the lists they said they hold."""
    holders = cluster.phone_search.holders()
    by_kind = {kind: {sha1: n for (each, sha1), n in holders.items() if each == kind} for kind in ("CTL", "ITL")}
    statuses = cluster.phone_search.count(served_digests(cluster))
    return PhoneCounts(statuses=dict(statuses), ctl=by_kind["CTL"], itl=by_kind["ITL"])


@router.post("", status_code=201)
def add(wanted: PhoneShape, cluster: ChosenCluster, _user: Operator) -> CountAnswer:
    """Add a phone, or change a known one."""
    cluster.add_phones([Phone(wanted.device, wanted.model, wanted.group, wanted.secure, wanted.description)])
    return CountAnswer(count=1)


@router.post("/import", status_code=201)
def import_csv(
    csv: Annotated[str, Body(media_type="text/csv", description="Columns device, model, group, secure, description.")],
    cluster: ChosenCluster,
    _user: Operator,
) -> CountAnswer:
    """Add the phones of a CSV with a heading line, all or none."""
    new = parse_csv(csv)
    cluster.add_phones(new)
    return CountAnswer(count=len(new))


@router.post("/{device}/reset", status_code=202)
async def reset(
    device: Annotated[str, Path(max_length=32)],
    cluster: ChosenCluster,
    jobs: TheJobs,
    user: Operator,
    key: IdempotencyKey = None,
    wait: Annotated[
        float, Query(ge=0, le=MOST_SECONDS, description="Seconds after which a phone at no node counts as absent.")
    ] = WAIT_SECONDS,
) -> JobAnswer:
    """Start resetting a registered phone, once; the job's result has its outcome.

    ``done``: it answered that it resets. ``unanswered``: it was told and did not answer. ``absent``: no node has it,
    and the request was withdrawn. ``in-doubt``: a node took the request and never said how it ended.
    """
    await asyncio.to_thread(cluster.resets.must_know, [device])
    name = device_name(device)

    async def work(progress: Progress) -> Mapping[str, Any]:
        (ended,) = await reset_by_hand(
            cluster.resets, f"hand-{token_hex(8)}", [name], actor(), wait=wait, progress=partial(progress, "reset")
        )
        return {"device": ended.device, "outcome": ended.word, "node": ended.node, "sentence": ended.sentence}

    asked = {"device": name}
    return job_view(await jobs.start("reset", cluster.name, user.name, work, asked=asked, key=key, writes=False))


@router.delete("/{device}")
def remove(device: Annotated[str, Path(max_length=32)], cluster: ChosenCluster, _user: Operator) -> CountAnswer:
    """Forget a phone."""
    cluster.remove_phones([device])
    return CountAnswer(count=1)
