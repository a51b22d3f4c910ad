"""*Option 150 in Kea* at the start of a migration: which subnet, then what would change, then verify and start."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from certferry.cluster.cluster import Cluster
from certferry.cluster.migrations import Migration
from certferry.dhcp.kea import Plan
from certferry.errors import Refusal
from certferry.lab.lab import tftp_servers
from certferry.migrate.waves.sides import Sides
from certferry.web import waves
from certferry.web.context import WebContext, context_of
from certferry.web.option150 import KeaWish, in_kea
from certferry.web.pages.drawing import draw, go, told, words_of
from certferry.web.pages.forms import Form, read_form
from certferry.web.pages.waves import WAVES
from certferry.web.security import Operator, require_operator

router = APIRouter(prefix=WAVES + "/{cluster}/{identifier}/option150", dependencies=[Depends(require_operator)])
_FIELD_OF = {"dhcp.kea-subnet": "subnet", "dhcp.tftp-servers": "tftp"}


@dataclass(frozen=True, slots=True)
class Moving:
    """The migration that is about to start, and its clusters."""

    found: Migration
    sides: Sides

    @property
    def path(self) -> str:
        """The migration's own page."""
        return f"{WAVES}/{self.sides.source.name}/{self.found.id}"


def moving_of(request: Request, cluster: str, identifier: str) -> Moving:
    """Find the migration of the address; raises ``MigrationUnknownError``, ``DestinationNotShownError``."""
    context = context_of(request)
    source: Cluster = context.named(cluster)
    found = source.migrations.find(identifier)
    return Moving(found, waves.sides_of(context, source, found))


Context = Annotated[WebContext, Depends(context_of)]
TheMoving = Annotated[Moving, Depends(moving_of)]


@router.get("")
def ask(request: Request, context: Context, moving: TheMoving) -> Response:
    """Ask for the subnet."""
    return _page(request, context, moving, Form())


@router.post("")
async def look(request: Request, context: Context, moving: TheMoving) -> Response:
    """Show what would change in Kea; nothing does yet."""
    form = await read_form(request)
    plan, refusal = await run_in_threadpool(_look, request, context, moving, form)
    # The button beside it is another form, which counts once by a key of its own.
    shown = Form(form.values, form.errors)
    return _page(request, context, moving, shown, 200 if plan else 422, plan=plan, refusal=refusal)


@router.get("/start")
def no_start_page(moving: TheMoving) -> Response:
    """Lead a reader who logs in again here back to the form."""
    return go(f"{moving.path}/option150")


@router.post("/start")
async def start(request: Request, context: Context, user: Operator, moving: TheMoving) -> Response:
    """Verify, change Kea as it was shown, and start; once."""
    form = await read_form(request)
    if form.has("go-on") and not form["override"]:
        form.refuse("override", words_of(request)("error.empty"))
    refusal = None
    if form.ok:
        kea = KeaWish(form["subnet"], form["tftp"], form["before"], form["after"])
        wish = waves.StartWish(kea=kea, override=form["override"] if form.has("go-on") else None)
        jobs, source, identifier = request.app.state.jobs, moving.sides.source, moving.found.id
        try:
            await waves.start(jobs, context, source, user, identifier, wish, form.key)
            return go(moving.path)
        except Refusal as refused:
            refusal = refused
    plan, _ = await run_in_threadpool(_look, request, context, moving, form)
    return _page(request, context, moving, Form(form.values, form.errors), 422, plan=plan, refusal=refusal)


def _look(request: Request, context: WebContext, moving: Moving, form: Form) -> tuple[Plan | None, Refusal | None]:
    if not form["subnet"]:
        form.refuse("subnet", words_of(request)("error.empty"))
        return None, None
    try:
        return in_kea(context.kea, moving.sides, moving.found, KeaWish(form["subnet"], form["tftp"])).plan(), None
    except Refusal as refusal:
        if refusal.code not in _FIELD_OF:
            return None, refusal
        form.refuse(_FIELD_OF[refusal.code], told(request, refusal).beside_field)
        return None, None


def _page(
    request: Request, context: WebContext, moving: Moving, form: Form, status: int = 200, **shown: Any
) -> Response:
    refusal: Refusal | None = shown.get("refusal")
    return draw(
        request,
        "waves_option150.html",
        status,
        form=form,
        here=moving.path,
        migration=moving.found,
        kea=context.kea.channel.name if context.kea else "",
        servers=", ".join(address for address, _ in tftp_servers(moving.sides.destination)),
        source=moving.sides.source,
        destination=moving.sides.destination,
        is_way_back="back_from" in moving.found.plan,
        plan=shown.get("plan"),
        refusal=told(request, refusal) if refusal else None,
    )
