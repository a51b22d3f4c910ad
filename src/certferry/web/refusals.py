"""How a refusal is answered: the HTTP status for its code, and the one JSON form of every error.

``{"error": {"code", "sentence", "remedy", "fields"}}``; ``fields`` names, for bad input, what is wrong with which
field, so that a page can say it beside the field.
"""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from certferry.errors import Refusal, UsageError

logger = logging.getLogger(__name__)

PROGRAMS = "/api/", "/metrics"
"""What programs ask for, who cannot do anything with a page."""
_STATUS = {
    "web.not-logged-in": HTTPStatus.UNAUTHORIZED,
    "web.token-refused": HTTPStatus.UNAUTHORIZED,
    "web.login": HTTPStatus.UNAUTHORIZED,
    "web.read-only": HTTPStatus.FORBIDDEN,
    "web.csrf": HTTPStatus.FORBIDDEN,
    "web.too-many-logins": HTTPStatus.TOO_MANY_REQUESTS,
    "web.too-many-streams": HTTPStatus.TOO_MANY_REQUESTS,
    "web.input": HTTPStatus.UNPROCESSABLE_ENTITY,
    "web.media-type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "web.too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "web.no-such-page": HTTPStatus.NOT_FOUND,
    "web.method": HTTPStatus.METHOD_NOT_ALLOWED,
    "web.unforeseen": HTTPStatus.INTERNAL_SERVER_ERROR,
    "web.job-running": HTTPStatus.CONFLICT,
    "web.key-reused": HTTPStatus.CONFLICT,
    "web.job-unknown": HTTPStatus.NOT_FOUND,
    "web.plan-unknown": HTTPStatus.NOT_FOUND,
    "web.cluster-unknown": HTTPStatus.NOT_FOUND,
    "web.user-unknown": HTTPStatus.NOT_FOUND,
    "web.last-operator": HTTPStatus.CONFLICT,
    "web.token-unknown": HTTPStatus.NOT_FOUND,
    "web.list-unknown": HTTPStatus.NOT_FOUND,
    "web.destination-not-shown": HTTPStatus.CONFLICT,
    "web.no-kea": HTTPStatus.CONFLICT,
    "dhcp.kea-changed": HTTPStatus.CONFLICT,
    "waves.state": HTTPStatus.CONFLICT,
    "waves.option150-unconfirmed": HTTPStatus.CONFLICT,
    "cluster.migration-unknown": HTTPStatus.NOT_FOUND,
    "cluster.migration-locked": HTTPStatus.CONFLICT,
    "cluster.migration-overlap": HTTPStatus.CONFLICT,
    "bulk.locked": HTTPStatus.LOCKED,
    "bulk.plan-outdated": HTTPStatus.CONFLICT,
    "bulk.settings-missing": HTTPStatus.CONFLICT,
    "bulk.consolidation-stale": HTTPStatus.CONFLICT,
    "bulk.not-consolidated": HTTPStatus.CONFLICT,
    "bulk.too-few-clusters": HTTPStatus.CONFLICT,
    "cert.request-unknown": HTTPStatus.CONFLICT,
    "cluster.certificate-ambiguous": HTTPStatus.CONFLICT,
    "cluster.certificate-replaced": HTTPStatus.CONFLICT,
    "cluster.certificate-not-found": HTTPStatus.NOT_FOUND,
    "cluster.ctl-missing": HTTPStatus.NOT_FOUND,
    "cluster.ctl-needed": HTTPStatus.CONFLICT,
    "cluster.ctl-replaced": HTTPStatus.CONFLICT,
    "cluster.identity-unknown": HTTPStatus.NOT_FOUND,
    "cluster.node-unknown": HTTPStatus.NOT_FOUND,
    "cluster.parameter-unknown": HTTPStatus.NOT_FOUND,
    "cluster.phone-unknown": HTTPStatus.NOT_FOUND,
    "cluster.trust-entry-own": HTTPStatus.CONFLICT,
    "cluster.undo-impossible": HTTPStatus.CONFLICT,
    "cluster.database": HTTPStatus.SERVICE_UNAVAILABLE,
}


class InputError(UsageError):
    """Something in the request is not what it should be."""

    code = "web.input"
    remedy = "Correct the fields named."

    def __init__(self, sentence: str, fields: Mapping[str, str]) -> None:
        super().__init__(sentence)
        self.fields = dict(fields)


class PageUnknownError(UsageError):
    """There is nothing at that address."""

    code = "web.no-such-page"
    remedy = "Choose from the menu of the pages; the API's addresses are in /api/v1/openapi.json."


class MethodError(UsageError):
    """The address does not take that method."""

    code = "web.method"
    remedy = "Use one of the methods that the header Allow names."


class MediaTypeError(UsageError):
    """The request's body is not said to be JSON."""

    code = "web.media-type"
    remedy = "Send JSON with the header Content-Type: application/json; only /api/v1/phones/import takes text/csv."


class TooLargeError(UsageError):
    """The request's body is larger than any that makes sense here."""

    code = "web.too-large"
    remedy = "Send less at a time."


class WebUnforeseenError(Refusal):
    """A defect of certferry met in the pages or the API."""

    code = "web.unforeseen"
    remedy = "This is a defect: report it with what the server wrote on its terminal at that moment."


def status_of(refusal: Refusal) -> int:
    """Choose the HTTP status: what was asked wrongly is 400, what could not be done is 422, unless it is listed."""
    fallback = HTTPStatus.BAD_REQUEST if isinstance(refusal, UsageError) else HTTPStatus.UNPROCESSABLE_ENTITY
    return _STATUS.get(refusal.code, fallback)


def refusal_json(refusal: Refusal) -> dict[str, Any]:
    """Describe a refusal as the API does."""
    fields = refusal.fields if isinstance(refusal, InputError) else {}
    return {"code": refusal.code, "sentence": refusal.sentence, "remedy": refusal.remedy, "fields": fields}


def answer_refusals(app: FastAPI) -> None:
    """Let every refusal, bad input and unknown address be answered in the one form."""
    app.add_exception_handler(Refusal, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_bad_input)
    app.add_exception_handler(HTTPException, _on_http)


def answer_defect(request: Request, error: Exception) -> Response:
    """Answer what nobody foresaw; the whole of it goes to the log."""
    logger.error("defect at %s %s", request.method, request.url.path, exc_info=error)
    return answer(request, WebUnforeseenError(f"{type(error).__name__} at {request.method} {request.url.path}"))


def answer(request: Request, refusal: Refusal, headers: Mapping[str, str] | None = None) -> Response:
    """Answer programs in JSON, else with the pages' own page, or the login page where somebody has to log in."""
    if not _is_for_programs(request) and hasattr(request.app.state, "refusal_page"):
        try:
            return _page(request, refusal, headers or {})
        except Exception:
            logger.exception("the page that tells of a refusal cannot be drawn")
    return _in_json(refusal, headers)


def _in_json(refusal: Refusal, headers: Mapping[str, str] | None = None) -> Response:
    status = status_of(refusal)
    more = {"retry-after": str(refusal.seconds)} if hasattr(refusal, "seconds") else {}
    if status == HTTPStatus.UNAUTHORIZED:
        more["www-authenticate"] = "Bearer"
    return JSONResponse({"error": refusal_json(refusal)}, status, {**(headers or {}), **more})


def _page(request: Request, refusal: Refusal, headers: Mapping[str, str]) -> Response:
    response: Response = request.app.state.refusal_page(request, refusal, status_of(refusal))
    response.headers.update(headers)
    return response


async def _on_refusal(request: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise error
    return answer(request, error)


def _is_for_programs(request: Request) -> bool:
    return request.url.path.startswith(PROGRAMS)


def _nothing_here(request: Request) -> PageUnknownError:
    return PageUnknownError(f"{request.method} {request.url.path}: there is nothing here")


async def _on_bad_input(request: Request, error: Exception) -> Response:
    faults: Sequence[Any] = error.errors() if isinstance(error, RequestValidationError) else ()
    if faults and not _is_for_programs(request) and all(fault["loc"][0] == "path" for fault in faults):
        return answer(request, _nothing_here(request))
    said = request.headers.get("content-type", "")
    has_no_fields = any(fault["type"] == "model_attributes_type" for fault in faults)
    if _is_for_programs(request) and has_no_fields and "json" not in said:
        return answer(request, MediaTypeError(f"the body is {said or 'of no type'}, not application/json"))
    fields = dict(map(_field_of, faults))
    told = "; ".join(f"{field}: {message}" for field, message in fields.items())
    return answer(request, InputError(told or "the request cannot be read", fields))


def _field_of(fault: Mapping[str, Any]) -> tuple[str, str]:
    if fault["type"] == "json_invalid":  # which says where in the text, not in which field
        return "body", f"no JSON: {fault['ctx']['error']} at character {fault['loc'][-1]}"
    return ".".join(map(str, fault["loc"][1:])) or str(fault["loc"][0]), str(fault["msg"])


async def _on_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        refusal = MethodError(f"{request.method} {request.url.path}: not with this method")
        return answer(request, refusal, error.headers)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return answer(request, _nothing_here(request), error.headers)
    return answer(request, InputError(str(error.detail), {}), error.headers)
