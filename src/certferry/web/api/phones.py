"""/phones: what the cluster knows of them; searched and paged in the database."""

from typing import Annotated, Literal

from fastapi import Body, Path, Query

from certferry.cluster.phone_search import PhoneQuery
from certferry.cluster.phones import parse_csv
from certferry.cluster.values import Phone
from certferry.web.api.shared import ChosenCluster, Part, SearchText, protected
from certferry.web.models import CountAnswer, ListStatusText, Page, PhoneAnswer, PhoneCounts, PhoneShape
from certferry.web.security import Operator
from certferry.web.views import page, phone_view, served_digests

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


@router.delete("/{device}")
def remove(device: Annotated[str, Path(max_length=32)], cluster: ChosenCluster, _user: Operator) -> CountAnswer:
    """Forget a phone."""
    cluster.remove_phones([device])
    return CountAnswer(count=1)
