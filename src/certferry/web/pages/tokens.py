"""*Settings > API Tokens*: what programs log in with; a token's text is shown once, when it is made."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from certferry.cluster.accounts import Role, TokenUnknownError
from certferry.web.context import WebContext, context_of
from certferry.web.models import LONGEST_TOKEN_LIFE
from certferry.web.pages.drawing import draw, go, words_of
from certferry.web.pages.forms import Form, read_form
from certferry.web.pages.once import Outcome, new_key, outcomes_of
from certferry.web.passwords import make_token
from certferry.web.security import Operator, require_operator

router = APIRouter(prefix="/settings/tokens", dependencies=[Depends(require_operator)])
TOKENS = "/settings/tokens"
LONGEST_NAME = 64
Context = Annotated[WebContext, Depends(context_of)]


@router.get("")
def tokens(request: Request, context: Context, user: Operator) -> Response:
    """Draw the tokens and the form for a new one; after it was made, its text, this once."""
    outcomes, key = outcomes_of(request), request.query_params.get("done", "")
    text = outcomes.secret(user.name, key)
    if text:
        outcomes.forget_secret(user.name, key)
    return _page(request, context, Form({"role": Role.READ_ONLY, "days": "90"}), text=text)


@router.post("")
async def create(request: Request, context: Context, user: Operator) -> Response:
    """Make a token, once."""
    form, say = await read_form(request), words_of(request)
    if not form["name"]:
        form.refuse("name", say("error.empty"))
    elif len(form["name"]) > LONGEST_NAME or not form["name"].isprintable():
        form.refuse("name", say("tokens.name-wrong", most=LONGEST_NAME))
    if form["role"] not in tuple(Role):
        form.refuse("role", say("error.choose"))
    if form["days"] and not _is_life(form["days"]):
        form.refuse("days", say("error.port", last=LONGEST_TOKEN_LIFE))
    if not form.ok:
        return await run_in_threadpool(_page, request, context, form, 422)

    def act() -> Outcome:
        life = timedelta(days=int(form["days"])) if form["days"] else None
        token, text = make_token(form["name"], Role(form["role"]), user.account, context.clock(), life)
        outcomes_of(request).keep_secret(user.name, form.key, text)
        context.cluster.accounts.put_token(token)
        return Outcome("done.token", {"name": token.name})

    await run_in_threadpool(outcomes_of(request).once, user.name, form.key, act)
    return go(TOKENS, done=form.key)


@router.get("/{identifier}/delete")
def ask_remove(request: Request, context: Context, identifier: str) -> Response:
    """Ask before a token is taken back."""
    token = context.cluster.accounts.find_token(identifier)
    if token is None:
        raise TokenUnknownError(f"there is no token {identifier!r}")
    return draw(request, "token_delete.html", token=token, key=new_key())


@router.post("/{identifier}/delete")
async def remove(request: Request, context: Context, user: Operator, identifier: str) -> Response:
    """Take a token back, once."""
    form = await read_form(request)

    def act() -> Outcome:
        token = context.cluster.accounts.find_token(identifier)
        context.cluster.accounts.remove_token(identifier)
        return Outcome("done.token-removed", {"name": token.name if token else identifier})

    await run_in_threadpool(outcomes_of(request).once, user.name, form.key, act)
    return go(TOKENS, done=form.key)


def _is_life(text: str) -> bool:
    digits = text.isascii() and text.isdecimal() and len(text) <= len(str(LONGEST_TOKEN_LIFE))
    return digits and 1 <= int(text) <= LONGEST_TOKEN_LIFE


def _page(request: Request, context: WebContext, form: Form, status: int = 200, text: str = "") -> Response:
    known, now = context.cluster.accounts.tokens(), context.clock()
    return draw(
        request, "tokens.html", status, form=form, tokens=known, roles=list(Role), text=text, moment=now,
    )  # fmt: skip
