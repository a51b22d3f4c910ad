"""What wraps the whole application: headers that keep browsers strict, a limit on bodies, the visitor's cookie."""

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from certferry.web.context import WebContext
from certferry.web.refusals import TooLargeError, answer, answer_defect
from certferry.web.security import set_cookie, visitor_cookie

LARGEST_BODY = 8 * 1024 * 1024
"""Bytes; a CSV of 40,000 phones has 3 MB."""
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with none at all a browser sends "Origin: null" with every form
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
TRANSPORT_SECURITY = "max-age=31536000"


class Armour:
    """ASGI middleware around everything, errors included."""

    def __init__(self, app: ASGIApp, context: WebContext) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body counted, and its answer back with the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        dressed = _Started(self._dressed(scope, send))
        request = Request(scope)
        counted = _Counted(receive)
        if _announced(scope) > LARGEST_BODY:
            await _too_large(request)(scope, receive, dressed)
            return
        try:
            await self._app(scope, counted, dressed)
        except ClientDisconnect:
            if counted.is_too_large and not dressed.begun:
                await _too_large(request)(scope, receive, dressed)
        except Exception as error:
            if dressed.begun:
                raise
            await answer_defect(request, error)(scope, receive, dressed)

    def _dressed(self, scope: Scope, send: Send) -> Send:
        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                self._dress(scope, headers)
            await send(message)

        return dressed

    def _dress(self, scope: Scope, headers: MutableHeaders) -> None:
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        if self._context.https:
            headers.setdefault("strict-transport-security", TRANSPORT_SECURITY)
        # What is static is asked for again too, lest pages of a new release are drawn with the former's looks.
        headers.setdefault("cache-control", "no-cache" if scope["path"].startswith("/static/") else "no-store")
        visitor = scope.get("state", {}).get("visitor")
        if visitor:
            carrier = Response()
            set_cookie(self._context, carrier, visitor_cookie(self._context), visitor)
            headers.append("set-cookie", carrier.headers["set-cookie"])


class _Started:
    """Remembers whether an answer was begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def __call__(self, message: Message) -> None:
        self.begun = True
        await self._send(message)


class _Counted:
    """A body that ends, as if the client had gone, when it grows beyond the limit without having said so."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._bytes = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        return {"type": "http.disconnect"} if self.is_too_large else message

    @property
    def is_too_large(self) -> bool:
        """Whether more came than any request here has."""
        return self._bytes > LARGEST_BODY


def _too_large(request: Request) -> Response:
    return answer(request, TooLargeError(f"the body has more than {LARGEST_BODY} bytes"))


def _announced(scope: Scope) -> int:
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(lengths[0]) if lengths and lengths[0].isdigit() else 0
