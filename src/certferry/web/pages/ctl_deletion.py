"""*Trust Lists > Delete CTL*: what is left of mixed mode goes, once it is shown how many phones have taken it."""

from dataclasses import dataclass
from hashlib import sha1, sha256
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from certferry.cluster.cluster import Cluster
from certferry.cluster.phone_search import UNKNOWN
from certferry.web.context import WebContext, context_of
from certferry.web.pages.drawing import draw, go
from certferry.web.pages.forms import read_form
from certferry.web.pages.once import Outcome, new_key, outcomes_of
from certferry.web.security import User, require_operator
from certferry.web.views import served_digests

LISTS = "/security/trust-lists"
router = APIRouter(prefix=f"{LISTS}/CTL/cluster/delete", dependencies=[Depends(require_operator)])
Context = Annotated[WebContext, Depends(context_of)]
Operator = Annotated[User, Depends(require_operator)]


@dataclass(frozen=True, slots=True)
class Standing:
    """How many phones said that they hold the CTL that is to go, how many another one; ``unknown`` never said."""

    taken: int
    other: int
    unknown: int

    @classmethod
    def of(cls, cluster: Cluster, ctl: bytes) -> "Standing":
        """Count the phones of a cluster."""
        digest = sha1(ctl, usedforsecurity=False).hexdigest().upper()
        held = {sha: count for (kind, sha), count in cluster.phone_search.holders().items() if kind == "CTL" and sha}
        unknown = cluster.phone_search.count(served_digests(cluster))[UNKNOWN]
        taken = held.pop(digest, 0)
        return cls(taken, sum(held.values()), unknown)


@router.get("")
def ask_delete(request: Request, context: Context) -> Response:
    """Show what follows from deleting the CTL, and ask; refused as the deletion itself would be."""
    ctl = context.cluster.deletable_ctl()
    phones = Standing.of(context.cluster, ctl)
    return draw(request, "ctl_delete.html", phones=phones, seen=sha256(ctl).hexdigest(), key=new_key())


@router.post("")
async def delete(request: Request, context: Context, user: Operator) -> Response:
    """Delete the CTL once, if it is the one that was shown, then show the lists."""
    form = await read_form(request)

    def act() -> Outcome:
        context.cluster.delete_ctl(form["seen"])
        return Outcome("done.ctl-deleted", {"cluster": context.cluster.name})

    await run_in_threadpool(outcomes_of(request).once, user.name, form.key, act)
    return go(LISTS, done=form.key)
