"""Drawing a page: the templates, what every page knows, and how values look."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse

from certferry.errors import Refusal
from certferry.web.context import context_of
from certferry.web.jobs import STEPS
from certferry.web.pages.language import COOKIE, LANGUAGES, Words, language_of
from certferry.web.pages.once import outcomes_of
from certferry.web.pages.sentences import Told, tell
from certferry.web.security import csrf_token

_YEAR = 365 * 24 * 3600
SEE_OTHER = 303
Values = Mapping[str, Any]


def draw(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Draw ``template`` with ``values`` in the reader's language."""
    body = environment().get_template(template).render(_common(request) | values)
    response = HTMLResponse(body, status)
    if request.query_params.get("lang") in LANGUAGES:
        response.set_cookie(COOKIE, request.query_params["lang"], max_age=_YEAR, samesite="lax", httponly=True)
    return response


def go(path: str, **query: str | int) -> RedirectResponse:
    """Send the browser on to ``path`` after a change, so that going back repeats nothing."""
    return RedirectResponse(f"{path}?{urlencode(query)}" if query else path, SEE_OTHER)


def words_of(request: Request) -> Words:
    """Return the words of the reader's language."""
    return Words(language_of(request))


def told(request: Request, refusal: Refusal, code: str = "") -> Told:
    """Tell a refusal in the reader's language; ``code`` is for one that a job kept without its class."""
    return Told.of(refusal, language_of(request), code)


@cache
def environment() -> Environment:
    """Make the templates' environment once: what comes from outside is escaped, what is missing is an error."""
    made = Environment(
        loader=PackageLoader("certferry.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["job_steps"] = STEPS
    made.filters |= {"utc": utc, "day": day, "fingerprint": fingerprint, "grouped": grouped, "twice": twice}
    return made


def utc(at: datetime | str | None) -> str:
    """Show a time to the second."""
    if at is None:
        return ""
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def day(at: datetime) -> str:
    """Show a date."""
    return f"{at.astimezone(UTC):%Y-%m-%d}"


def fingerprint(digits: str) -> str:
    """Part hex digits by colons, as people compare them."""
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2)).upper()


def grouped(number: int) -> str:
    """Write a large number so that it can be read."""
    return f"{number:,}"


def twice(values: Iterable[object]) -> list[tuple[str, str]]:
    """Make options of a drop-down that show what they mean."""
    return [(str(value), str(value)) for value in values]


def _common(request: Request) -> dict[str, Any]:
    context, language = context_of(request), language_of(request)
    user = getattr(request.state, "user", None)  # found by the page's dependency; none on the login page
    return {
        "t": Words(language),
        "tell": lambda sentence: tell(sentence, language),
        "language": language,
        "languages": [(code, name, _in_language(request, code)) for code, name in LANGUAGES.items()],
        "user": user,
        "cluster": context.cluster,
        "others": context.others,
        "path": request.url.path,
        "csrf_token": csrf_token(request),
        "outcome": outcomes_of(request).find(user.name, request.query_params.get("done")) if user else None,
        "now": datetime.now(UTC),
    }


def _in_language(request: Request, code: str) -> str:
    kept = [(key, value) for key, value in request.query_params.multi_items() if key != "lang"]
    return f"{request.url.path}?{urlencode([*kept, ('lang', code)])}"
