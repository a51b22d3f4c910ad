"""/session: log in and out, and see who is logged in."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from certferry.web.api.shared import CREDENTIALS
from certferry.web.models import LoginRequest, SessionAnswer
from certferry.web.security import (
    CurrentUser,
    bearer,
    check_csrf,
    check_origin,
    csrf_token,
    log_in,
    log_out,
)

router = APIRouter(prefix="/session", tags=["session"])


@router.get("", dependencies=CREDENTIALS)
async def who(request: Request, user: CurrentUser) -> SessionAnswer:
    """Say who is logged in, with the CSRF token of the session."""
    token = None if bearer(request) is not None else csrf_token(request)
    return SessionAnswer(name=user.name, role=user.role, csrf_token=token)


@router.post("")
async def begin(request: Request, response: Response, wanted: LoginRequest) -> SessionAnswer:
    """Log in: sets the session's cookie."""
    check_origin(request)
    user = await log_in(request, response, wanted.name, wanted.password.get_secret_value())
    return SessionAnswer(name=user.name, role=user.role, csrf_token=csrf_token(request))


@router.delete("", status_code=204, dependencies=CREDENTIALS)
async def end(request: Request, response: Response) -> None:
    """Log out; without a session nothing happens."""
    await check_csrf(request)
    log_out(request, response)
