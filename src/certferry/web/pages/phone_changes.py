"""*Show > Phones*: add a phone or those of a CSV, change known ones, remove those selected once it is shown which."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from certferry.cluster.cluster import Cluster
from certferry.cluster.phones import DEFAULT_GROUP, device_name, parse_csv
from certferry.cluster.values import DEFAULT_MODEL, Phone
from certferry.errors import Refusal
from certferry.web.armour import LARGEST_BODY
from certferry.web.context import WebContext, context_of
from certferry.web.pages.drawing import draw, go, told, words_of
from certferry.web.pages.forms import Form, read_form
from certferry.web.pages.once import Outcome, new_key, outcomes_of
from certferry.web.pages.phone_filter import chosen_phones, filter_of
from certferry.web.security import User, require_operator

PHONES = "/show/phones"
router = APIRouter(prefix=PHONES, dependencies=[Depends(require_operator)])
Context = Annotated[WebContext, Depends(context_of)]
Operator = Annotated[User, Depends(require_operator)]


# --- add


@router.get("/add")
def ask_add(request: Request, context: Context) -> Response:
    """Draw the forms for one phone and for many."""
    return _add_page(request, context.cluster)


@router.post("/add")
async def add(request: Request, context: Context, user: Operator) -> Response:
    """Add a phone once, or change a known one; what is wrong is told beside its field."""
    form = await read_form(request)
    await run_in_threadpool(_check_phone, request, context.cluster, form)
    phone = Phone(form["device"], form["model"], form["group"], form.has("secure"), form["description"])
    if form.ok and await _done(request, context, user, form, "model", lambda: [phone]):
        return go(PHONES, done=form.key)
    return await run_in_threadpool(_add_page, request, context.cluster, form, None, 422)


def _check_phone(request: Request, cluster: Cluster, form: Form) -> None:
    try:
        device_name(form["device"])
    except Refusal as refusal:
        form.refuse("device", told(request, refusal).sentence)
    if form["group"] not in {group.name for group in cluster.groups()}:
        form.refuse("group", words_of(request)("error.choose"))


@router.post("/import")
async def import_csv(request: Request, context: Context, user: Operator) -> Response:
    """Add the phones of a CSV once, all or none."""
    form = await read_form(request, LARGEST_BODY)
    data = form.files.get("file", b"")
    if not data:
        form.refuse("file", words_of(request)("phones-add.choose-file"))
    try:
        text = data.decode()
    except UnicodeDecodeError:
        form.refuse("file", words_of(request)("phones-add.no-text"))
    if form.ok and await _done(request, context, user, form, "file", lambda: parse_csv(text)):
        return go(PHONES, done=form.key)
    return await run_in_threadpool(_add_page, request, context.cluster, None, form, 422)


@router.get("/import")
def no_import_page() -> Response:
    """Lead a reader who comes back here to the page with the form."""
    return go(f"{PHONES}/add")


async def _done(
    request: Request, context: WebContext, user: User, form: Form, field: str, read: Callable[[], list[Phone]]
) -> bool:
    """Add what is read, once; else tell beside ``field`` why not."""

    def act() -> Outcome:
        phones = read()
        context.cluster.add_phones(phones)
        return Outcome("done.phones-added", {"count": len(phones)})

    try:
        await run_in_threadpool(outcomes_of(request).once, user.name, form.key, act)
    except Refusal as refusal:
        form.refuse(field, told(request, refusal).sentence)
    return form.ok


def _add_page(
    request: Request, cluster: Cluster, form: Form | None = None, many: Form | None = None, status: int = 200
) -> Response:
    return draw(
        request,
        "phones_add.html",
        status,
        form=form or Form({"model": DEFAULT_MODEL, "group": DEFAULT_GROUP}),
        many=many or Form(),
        groups=[group.name for group in cluster.groups()],
    )


# --- remove


@router.get("/remove")
def ask_remove(request: Request, context: Context) -> Response:
    """Show which phones, and what follows, and ask."""
    query = request.query_params
    wanted = chosen_phones(context.cluster, query.getlist("device"))
    return draw(request, "phones_remove.html", wanted=wanted, back=filter_of(query), key=new_key())


@router.post("/remove")
async def remove(request: Request, context: Context, user: Operator) -> Response:
    """Remove the phones that were shown, once; when one of them is gone already, none is removed."""
    form = await read_form(request)
    devices = form["devices"].split()

    def act() -> Outcome:
        context.cluster.remove_phones(devices)
        return Outcome("done.phones-removed", {"count": len(devices)})

    if not devices:
        return go(f"{PHONES}/remove")
    await run_in_threadpool(outcomes_of(request).once, user.name, form.key, act)
    return go(PHONES, done=form.key)
