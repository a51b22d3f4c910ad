"""/trust-lists: the CTL and the ITLs, decoded or as they are served."""

from typing import Annotated, Literal

from fastapi import Query
from starlette.responses import Response

from certferry.errors import UsageError
from certferry.web.api.shared import ChosenCluster, protected
from certferry.web.certificate_models import DeletedAnswer, ListsAnswer
from certferry.web.security import Operator
from certferry.web.views import lists_view

router = protected("trust lists", "/trust-lists")


class ListUnknownError(UsageError):
    """The cluster has no such trust list."""

    code = "web.list-unknown"
    remedy = "A cluster has one ITL for each TFTP node, and a CTL in mixed mode or after it; see /api/v1/trust-lists."


@router.get("")
def lists(cluster: ChosenCluster) -> ListsAnswer:
    """Decode every trust list of the cluster."""
    return ListsAnswer(items=lists_view(cluster))


@router.get("/{kind}/file", response_class=Response, responses={200: {"content": {"application/octet-stream": {}}}})
def file(
    kind: Literal["CTL", "ITL"],
    cluster: ChosenCluster,
    node: Annotated[str | None, Query(max_length=255, description="For an ITL: whose.")] = None,
) -> Response:
    """Download a trust list as phones get it."""
    data = cluster.trust_list(kind, node)
    if data is None:
        raise ListUnknownError(f"there is no {kind}" + (f" of {node}" if node else ""))
    return Response(data, media_type="application/octet-stream")


@router.delete("/CTL")
def delete_ctl(
    cluster: ChosenCluster,
    _user: Operator,
    sha256: Annotated[
        str | None, Query(pattern="^[0-9a-f]{64}$", description="Of the CTL that was looked at; no other is deleted.")
    ] = None,
) -> DeletedAnswer:
    """Delete the emptied CTL that is left when a cluster leaves mixed mode; phones are told that there is none.

    Wait until the phones have taken it: what a phone holds stays on it, and one that still has the whole CTL keeps it.
    """
    cluster.delete_ctl(sha256)
    return DeletedAnswer(deleted="CTL")
