"""/phones: what the cluster knows of them; searched and paged in the database."""

from typing import Annotated, Literal

from fastapi import Body, Path, Query

from certferry.cluster.hand_resets import WAIT_SECONDS
from certferry.cluster.phone_search import PhoneQuery
from certferry.cluster.phones import parse_csv
from certferry.cluster.values import Phone
from certferry.web.api.shared import ChosenCluster, IdempotencyKey, Part, SearchText, TheJobs, protected
from certferry.web.models import CountAnswer, ListStatusText, Page, PhoneAnswer, PhoneCounts, PhoneShape, ResetRequest
from certferry.web.phone_resets import start_reset, start_resets
from certferry.web.security import Operator
from certferry.web.views import job_view, page, phone_view, served_digests
from certferry.web.work_models import JobAnswer

MOST_SECONDS = 60
Wait = Annotated[
    float, Query(ge=0, le=MOST_SECONDS, description="Seconds after which a phone at no node counts as absent.")
]

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
    wait: Wait = WAIT_SECONDS,
) -> JobAnswer:
    """Start resetting a registered phone, once; the job's result has its outcome.

    ``done``: it answered that it resets. ``unanswered``: it was told and did not answer. ``absent``: no node has it,
    and the request was withdrawn. ``in-doubt``: a node took the request and never said how it ended.
    """
    return job_view(await start_reset(jobs, cluster, user, device, key, wait))


@router.post("/reset", status_code=202)
async def reset_several(
    wanted: ResetRequest,
    cluster: ChosenCluster,
    jobs: TheJobs,
    user: Operator,
    key: IdempotencyKey = None,
    wait: Wait = WAIT_SECONDS,
) -> JobAnswer:
    """Start resetting registered phones, each once; the job's result has the outcome of each, as for one phone.

    One that is not known refuses all. ``reset`` of the result says how many answered that they reset.
    """
    return job_view(await start_resets(jobs, cluster, user, wanted.devices, key, wait))


@router.delete("/{device}")
def remove(device: Annotated[str, Path(max_length=32)], cluster: ChosenCluster, _user: Operator) -> CountAnswer:
    """Forget a phone."""
    cluster.remove_phones([device])
    return CountAnswer(count=1)
