"""*System > Enterprise Parameters*: see them all, change them, with what follows told first."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from certferry.cluster.cluster import Cluster
from certferry.cluster.parameters import PARAMETERS
from certferry.errors import Refusal
from certferry.web.context import WebContext, context_of
from certferry.web.pages.drawing import draw, go, told
from certferry.web.pages.forms import Form, read_form
from certferry.web.pages.once import Outcome, outcomes_of
from certferry.web.security import User, current_user, require_operator

router = APIRouter(prefix="/settings/parameters", dependencies=[Depends(current_user)])
Context = Annotated[WebContext, Depends(context_of)]
Operator = Annotated[User, Depends(require_operator)]
CHOICES = {
    "rollback-to-pre-8.0": ("false", "true"),
    "security-mode": ("non-secure", "mixed"),
    "tftp-file-signature-algorithm": ("sha-1", "sha-512"),
}
"""The values of the parameters that have few; the others are typed."""


@router.get("")
def parameters(request: Request, context: Context) -> Response:
    """Draw all parameters."""
    return _page(request, context.cluster, Form(context.cluster.parameters()))


@router.post("")
async def change(request: Request, context: Context, user: Operator) -> Response:
    """Set what differs, once each; what is wrong is told beside its field and nothing typed is lost."""
    form = await read_form(request)

    saved = context.cluster.parameters()
    changed = {key: form[key] for key, value in saved.items() if form.values.get(key, value) != value}
    for key, value in changed.items():
        try:
            PARAMETERS[key].read(value)
        except Refusal as refusal:
            form.refuse(key, told(request, refusal).sentence)
    if not form.ok:
        return _page(request, context.cluster, form, 422)

    def act() -> Outcome:
        rebuilt = [name for key, value in changed.items() for name in context.cluster.set_parameter(key, value)]
        if not changed:
            return Outcome("done.unchanged")
        return Outcome("done.parameters", {"count": len(changed)}, sorted(set(rebuilt)))

    await run_in_threadpool(outcomes_of(request).once, user.name, form.key, act)
    return go("/settings/parameters", done=form.key)


def _page(request: Request, cluster: Cluster, form: Form, status: int = 200) -> Response:
    return draw(
        request, "parameters.html", status, form=form, parameters=list(PARAMETERS.values()), choices=CHOICES,
        saved=cluster.parameters(),
    )  # fmt: skip
