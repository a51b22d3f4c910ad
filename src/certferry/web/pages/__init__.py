"""Pages for people, drawn by the server: the places and names of Unified CM's OS Administration, and a console."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from certferry.errors import Refusal
from certferry.web.context import context_of
from certferry.web.pages import (
    bulk,
    certificate_changes,
    certificates,
    ctl_deletion,
    login,
    migration,
    parameters,
    phone_changes,
    phone_resets,
    shown,
    tokens,
    trust_lists,
    users,
    waves,
    waves_option150,
)
from certferry.web.pages.drawing import draw, told
from certferry.web.pages.warming import warm
from certferry.web.refusals import PageUnknownError
from certferry.web.security import User, session_of

__all__ = ["refusal_page", "router", "warm"]

router = APIRouter()
for _each in (
    login.router,
    shown.home,
    shown.router,
    phone_resets.router,
    phone_changes.router,
    certificates.router,
    certificate_changes.router,
    bulk.histories,
    bulk.router,
    trust_lists.router,
    ctl_deletion.router,
    parameters.router,
    users.router,
    tokens.router,
    waves_option150.router,
    waves.router,
    migration.router,
):
    router.include_router(_each)

_SESSION_OVER = ("web.not-logged-in", "web.csrf")


def refusal_page(request: Request, refusal: Refusal, status: int) -> Response:
    """Tell a refusal as a page; who has no session any more logs in first and comes back."""
    if refusal.code in _SESSION_OVER and session_of(request) is None and request.url.path != "/login":
        return login.login_first(request)
    if refusal.code == PageUnknownError.code:
        _know_reader(request)
    back = request.url.path if request.method == "POST" else "/"
    return draw(request, "refusal.html", status, told=told(request, refusal), back=back)


def _know_reader(request: Request) -> None:
    """Find out who reads, for the menu, where nothing is and so no page asked."""
    session = session_of(request)
    account = context_of(request).cluster.accounts.find_user(session.user) if session else None
    if session and account and account.password_hash == session.credential:
        request.state.user = User(account.name, account.role, account.name)
