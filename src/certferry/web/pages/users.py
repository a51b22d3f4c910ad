"""*Settings > Users*: who may see these pages, who may change things."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from certferry.cluster.accounts import LastOperatorError, Role, UserUnknownError
from certferry.errors import Refusal
from certferry.web.context import WebContext, context_of
from certferry.web.pages.drawing import draw, go, told, words_of
from certferry.web.pages.forms import Form, read_form
from certferry.web.pages.once import Outcome, new_key, outcomes_of
from certferry.web.security import User, current_user, require_operator

router = APIRouter(prefix="/settings/users", dependencies=[Depends(current_user)])
USERS = "/settings/users"
Context = Annotated[WebContext, Depends(context_of)]
Operator = Annotated[User, Depends(require_operator)]
_FIELD_OF = {"web.user-name": "name", "web.password-weak": "password"}


@router.get("")
def users(request: Request, context: Context) -> Response:
    """Draw the users and the form for a new one."""
    return _page(request, context, Form({"role": Role.READ_ONLY}))


@router.post("")
async def put(request: Request, context: Context, user: Operator) -> Response:
    """Add a user, or give a known one another password and role."""
    form, say = await read_form(request), words_of(request)
    if form["role"] not in tuple(Role):
        form.refuse("role", say("error.choose"))

    def act() -> Outcome:
        context.passwords.put_user(form["name"], Role(form["role"]), form["password"], keep_operator=True)
        return Outcome("done.user", {"name": form["name"]})

    if form.ok:
        try:
            await run_in_threadpool(outcomes_of(request).once, user.name, form.key, act)
            return go(USERS, done=form.key)
        except LastOperatorError:
            form.refuse("role", say("users.last-operator"))
        except Refusal as refusal:
            sentence = told(request, refusal).beside_field
            form.refuse(_FIELD_OF.get(refusal.code, "name"), sentence)
    return await run_in_threadpool(_page, request, context, form, 422)


@router.get("/{name:path}/delete")
def ask_remove(request: Request, context: Context, name: str) -> Response:
    """Ask before a user is removed."""
    account = context.cluster.accounts.find_user(name)
    if account is None:
        raise UserUnknownError(f"there is no user {name!r}")
    last = context.cluster.accounts.is_last_operator(name)
    return draw(request, "user_delete.html", account=account, last=last, key=new_key())


@router.post("/{name:path}/delete")
async def remove(request: Request, context: Context, user: Operator, name: str) -> Response:
    """Remove a user once; the last operator stays."""
    form = await read_form(request)

    def act() -> Outcome:
        context.cluster.accounts.remove_user(name, keep_operator=True)
        return Outcome("done.user-removed", {"name": name})

    try:
        await run_in_threadpool(outcomes_of(request).once, user.name, form.key, act)
    except LastOperatorError:
        return go(f"{USERS}/{quote(name, safe='')}/delete")
    return go(USERS, done=form.key)


def _page(request: Request, context: WebContext, form: Form, status: int = 200) -> Response:
    return draw(request, "users.html", status, form=form, users=context.cluster.accounts.users(), roles=list(Role))
