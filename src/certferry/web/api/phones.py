"""/phones: what the cluster knows of them; searched and paged in the database."""

from typing import Annotated

from fastapi import Body, Path, Query

from certferry.cluster.phones import parse_csv
from certferry.cluster.values import Phone
from certferry.web.api.shared import ChosenCluster, Part, SearchText, protected
from certferry.web.models import CountAnswer, Page, PhoneShape
from certferry.web.security import Operator
from certferry.web.views import page, phone_view

router = protected("phones", "/phones")


@router.get("")
def phones(
    cluster: ChosenCluster,
    part: Part,
    text: SearchText = "",
    group: Annotated[str | None, Query(max_length=255)] = None,
) -> Page[PhoneShape]:
    """Find phones, sorted by device."""
    return Page[PhoneShape](**page(cluster.find_phones(text, group, part), part, phone_view))


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
