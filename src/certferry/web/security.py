"""Who asks, and whether they may: sessions by cookie, API tokens, roles, and proof that a change was meant.

A browser sends its cookie with whatever a strange page makes it ask. So a change asked for by cookie has to carry
the session's CSRF token, in the header ``X-CSRF-Token`` or the form field ``csrf_token``, and may not come from
another origin. A request with a bearer token needs neither: no browser adds one by itself.
"""

import asyncio
import hmac
import secrets
from dataclasses import dataclass
from hashlib import sha256
from math import ceil
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from certferry.cluster.accounts import Role
from certferry.cluster.acting import act_as, acting_as
from certferry.cluster.web_sessions import WebSession
from certferry.errors import Refusal
from certferry.web.context import WebContext, context_of
from certferry.web.passwords import check_token
from certferry.web.throttle import Login

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
CSRF_HEADER, CSRF_FIELD = "x-csrf-token", "csrf_token"
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class NotLoggedInError(Refusal):
    """Nobody is logged in, or the session is over."""

    code = "web.not-logged-in"
    remedy = "Log in, or send an API token: Authorization: Bearer TOKEN."


class TokenRefusedError(NotLoggedInError):
    """The API token is unknown, was taken back, or is over."""

    code = "web.token-refused"
    remedy = "Let an operator create a new token."


class NotAllowedError(Refusal):
    """A user who may only look asked for a change."""

    code = "web.read-only"
    remedy = "Ask an operator to do it, or to give you the role 'operator'."


class CsrfError(Refusal):
    """A change did not prove that a page of this server asked for it."""

    code = "web.csrf"
    remedy = "Load the page again and repeat the step; a program sends X-CSRF-Token, or an API token instead."


class LoginRefusedError(Refusal):
    """User name and password do not belong together."""

    code = "web.login"
    remedy = "Check both; an administrator of the publisher sets a new password with 'certferry web user add'."


class TooManyLoginsError(Refusal):
    """Too many logins were tried for one user or from one address."""

    code = "web.too-many-logins"
    remedy = "Wait as long as you are told, five minutes at the most, then log in once."

    def __init__(self, seconds: int) -> None:
        super().__init__("too many logins were tried", remedy=f"Wait {seconds} seconds, then log in once.")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class User:
    """Who asks, and what they may do. ``account`` is the user behind the name: of a token, who made it."""

    name: str
    role: Role
    account: str

    @property
    def is_operator(self) -> bool:
        """Whether they may change anything."""
        return self.role is Role.OPERATOR


async def current_user(request: Request) -> User:
    """Return who asks, whose name stands in the audit log from here on; raises ``NotLoggedInError``."""
    user = await optional_user(request)
    if user is None:
        raise NotLoggedInError("nobody is logged in here")
    act_as(user.name)
    return user


async def optional_user(request: Request) -> User | None:
    """Return who asks, or None; raises ``TokenRefusedError`` for a bearer token that is none."""
    known: User | None = getattr(request.state, "user", None)
    if known is None:
        known = await _identify(request)
        request.state.user = known
    return known


async def _identify(request: Request) -> User | None:
    context = context_of(request)
    if (text := bearer(request)) is not None:
        return await asyncio.to_thread(_user_of_token, context, text)
    session = await known_session(request)
    if session is None:
        return None
    account = await asyncio.to_thread(context.cluster.accounts.find_user, session.user)
    if account is None or account.password_hash != session.credential:
        await asyncio.to_thread(_end_session, request)
        return None
    return User(account.name, account.role, account.name)


def _user_of_token(context: WebContext, text: str) -> User:
    """Return who a token stands for: nobody once its maker is gone, and it may no more than they may now."""
    accounts = context.cluster.accounts
    token = check_token(accounts, text, context.clock())
    maker = accounts.find_user(token.created_by) if token else None
    if token is None or maker is None:
        raise TokenRefusedError("that is no token of this server")
    return User(f"{maker.name} (token {token.name})", min(token.role, maker.role, key=_power), maker.name)


def _power(role: Role) -> int:
    return list(Role).index(role)


def bearer(request: Request) -> str | None:
    """Return the bearer token of a request, if it has one."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else None


def session_of(request: Request) -> WebSession | None:
    """Return the session whose cookie the request carries."""
    if not hasattr(request.state, "session"):
        context = context_of(request)
        request.state.session = context.sessions.find(request.cookies.get(session_cookie(context)), context.clock())
    session: WebSession | None = request.state.session
    return session


async def known_session(request: Request) -> WebSession | None:
    """The same, without holding up others while the database is asked."""
    return await asyncio.to_thread(session_of, request)


CurrentUser = Annotated[User, Depends(current_user)]


async def check_csrf(request: Request) -> None:
    """Raise ``CsrfError`` for a change that no page of this server asked for."""
    if request.method in SAFE_METHODS or bearer(request) is not None:
        return
    check_origin(request)
    await known_session(request)
    given = request.headers.get(CSRF_HEADER)
    if given is None and request.headers.get("content-type", "").startswith(_FORMS):
        field = (await request.form()).get(CSRF_FIELD)
        given = field if isinstance(field, str) else None
    if not given or not hmac.compare_digest(given.encode(), csrf_token(request).encode()):
        raise CsrfError("the request does not carry this session's token")


def check_origin(request: Request) -> None:
    """Raise ``CsrfError`` when a page of another origin made the request."""
    origin = request.headers.get("origin")
    foreign = origin is not None and _place_of(origin) != request.headers.get("host")
    if foreign or request.headers.get("sec-fetch-site") == "cross-site":
        raise CsrfError("the request comes from a page of another server")


def _place_of(origin: str) -> str:
    """Tell an origin's host and port; nothing for what no browser sends."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


async def require_operator(request: Request) -> User:
    """Return who asks, if they may change things; raises ``NotLoggedInError``, ``NotAllowedError``."""
    user = await current_user(request)
    if not user.is_operator:
        raise NotAllowedError(f"{user.name} may look, not change")
    return user


Operator = Annotated[User, Depends(require_operator)]


def csrf_token(request: Request) -> str:
    """Return the token that a form of this page carries: of the session, or before login of a cookie of its own."""
    session = session_of(request)
    if session is not None:
        return session.csrf
    context = context_of(request)
    visitor = request.cookies.get(visitor_cookie(context)) or getattr(request.state, "visitor", None)
    if visitor is None:
        visitor = request.state.visitor = secrets.token_urlsafe(32)
    return sha256(b"visitor:" + visitor.encode(errors="surrogateescape")).hexdigest()


async def log_in(request: Request, response: Response, name: str, password: str) -> User:
    """Begin a session and set its cookie; raises ``LoginRefusedError``, ``TooManyLoginsError``."""
    context = context_of(request)
    address = request.client.host if request.client else ""
    tried = Login(name, address)
    await _take_turn(context, tried)
    accounts = context.cluster.accounts
    if not await asyncio.to_thread(context.passwords.holds, name, password):
        await _note_refused(context, tried)
        raise LoginRefusedError("user name and password do not belong together")
    account = await asyncio.to_thread(accounts.find_user, name)
    if account is None:
        raise LoginRefusedError("user name and password do not belong together")
    await asyncio.to_thread(context.throttle.forget, tried)
    before = request.cookies.get(session_cookie(context))
    await asyncio.to_thread(context.sessions.close, before)
    identifier, request.state.session = await asyncio.to_thread(
        context.sessions.open, name, context.clock(), account.password_hash
    )
    set_cookie(context, response, session_cookie(context), identifier)
    with acting_as(name):
        await asyncio.to_thread(accounts.note, "login", {"from": address})
    return User(account.name, account.role, account.name)


def log_out(request: Request, response: Response) -> None:
    """End the session and take its cookie away."""
    _end_session(request)
    context = context_of(request)
    name = session_cookie(context)
    response.delete_cookie(name, secure=context.https, httponly=True, samesite="strict")


def _end_session(request: Request) -> None:
    context = context_of(request)
    context.sessions.close(request.cookies.get(session_cookie(context)))
    request.state.session = None


async def _take_turn(context: WebContext, login: Login) -> None:
    now = context.clock()
    # Whoever goes on trying is told so without a thread, let alone the database.
    wait = context.throttle.known_wait(login, now) or await asyncio.to_thread(context.throttle.take, login, now)
    if wait:
        raise TooManyLoginsError(ceil(wait.total_seconds()))


async def _note_refused(context: WebContext, login: Login) -> None:
    left_out = context.refused_lines.take(context.clock())
    if left_out is None:
        return
    details = {"from": login.address, **({"left_out": left_out} if left_out else {})}
    with acting_as(login.name[:64]):
        await asyncio.to_thread(context.cluster.accounts.note, "login-refused", details)


def session_cookie(context: WebContext) -> str:
    """Name the session's cookie; browsers hold ``__Host-`` to Secure, this host and path /."""
    return "__Host-certferry" if context.https else "certferry"


def visitor_cookie(context: WebContext) -> str:
    """Name the cookie that stands in for a session before login."""
    return f"{session_cookie(context)}-visitor"


def set_cookie(context: WebContext, response: Response, name: str, value: str) -> None:
    """Set a cookie that scripts cannot read, that goes to this server alone and over TLS only."""
    response.set_cookie(name, value, secure=context.https, httponly=True, samesite="strict", path="/")
