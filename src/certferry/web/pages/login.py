"""Logging in and out."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from certferry.web.pages.drawing import draw, go, words_of
from certferry.web.pages.forms import Form, read_form
from certferry.web.security import LoginRefusedError, TooManyLoginsError, log_in, log_out, session_of

router = APIRouter()
START = "/show/cluster"


@router.get("/login")
def ask(request: Request) -> Response:
    """Draw the form, unless somebody is logged in."""
    wanted = own_path(request.query_params.get("next", ""))
    if session_of(request) is not None:
        return go(wanted)
    return draw(request, "login.html", form=Form({"next": wanted}), expired=wanted != START)


@router.post("/login")
async def login(request: Request) -> Response:
    """Log in and go to where the reader wanted to be."""
    form, say = await read_form(request), words_of(request)
    for name in ("name", "password"):
        if not form[name]:
            form.refuse(name, say("error.empty"))
    if form.ok:
        response = go(own_path(form["next"]))
        try:
            await log_in(request, response, form["name"], form["password"])
        except LoginRefusedError:
            form.refuse("password", say("login.refused"))
        except TooManyLoginsError as refusal:
            form.refuse("password", say("login.too-many", seconds=refusal.seconds))
        else:
            return response
    return draw(request, "login.html", 422, form=form, expired=False)


@router.post("/logout")
def logout(request: Request) -> Response:
    """Log out."""
    response = go("/login")
    log_out(request, response)
    return response


def own_path(text: str) -> str:
    """Return a path of this server; anything else, such as another server's address, becomes the first page."""
    if text.startswith("/") and not text.startswith(("//", "/\\", "/login", "/logout")):
        return text
    return START


def login_first(request: Request) -> Response:
    """Send a reader without a session to the login, and back here afterwards."""
    here = request.url.path
    if request.method == "GET" and request.url.query:
        here = f"{here}?{request.url.query}"
    return go("/login", next=own_path(here))
