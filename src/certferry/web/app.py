"""The application: API, pages, health and metrics around one publisher's cluster."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.staticfiles import StaticFiles

from certferry import __version__
from certferry.errors import Refusal
from certferry.web.api import router as api_router
from certferry.web.armour import Armour
from certferry.web.context import WebContext
from certferry.web.exchanges import TICK
from certferry.web.jobs import Jobs
from certferry.web.monitoring import Expiries
from certferry.web.monitoring import router as monitoring_router
from certferry.web.refusals import answer_refusals
from certferry.web.security import check_csrf
from certferry.web.wave_standing import Standings

PAGES = "certferry.web.pages"
STATIC = Path(__file__).with_name("static")
API_VERSION = "1"


def create_app(context: WebContext) -> FastAPI:
    """Make the application that shows and administers ``context``'s clusters."""
    app = _bare()
    app.state.context = context
    app.state.jobs = Jobs(context.clock, context.cluster.web_jobs)
    app.state.standings = Standings(context.clock)
    app.state.expiries = Expiries()
    app.state.warm_pages = lambda _clusters: None
    answer_refusals(app)
    app.include_router(monitoring_router)
    _add_pages(app)
    if STATIC.is_dir():
        app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(Armour, context=context)
    return app


def api_description() -> dict[str, Any]:
    """Give the OpenAPI description, which is the same for every cluster."""
    return _bare().openapi()


def _bare() -> FastAPI:
    app = FastAPI(
        title="certferry",
        version=f"{API_VERSION} ({__version__})",
        summary="Certificates of a cluster, their bulk exchange, and the migration of its phones.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.include_router(api_router, prefix="/api/v1")
    return app


def _add_pages(app: FastAPI) -> None:
    """Add the pages, which know the app while it does not know them: without them the API works alone."""
    pages = import_module(PAGES) if find_spec(PAGES) is not None else None
    if pages is None or not hasattr(pages, "router"):
        return
    app.include_router(pages.router, include_in_schema=False, dependencies=[Depends(check_csrf)])
    app.state.warm_pages = pages.warm
    if hasattr(pages, "refusal_page"):
        app.state.refusal_page = pages.refusal_page


async def warm(app: FastAPI) -> None:
    """Read and compile what the first pages need; nobody waits for it, and what cannot be read is told when asked."""
    clusters = app.state.context.clusters
    await asyncio.to_thread(app.state.warm_pages, clusters)
    with suppress(Refusal):
        await asyncio.to_thread(app.state.expiries.text, clusters)
    exchanges = app.state.context.exchanges
    await exchanges.describe_all(clusters)
    await asyncio.sleep(TICK.total_seconds())  # files written just now are sure to be known only when read again
    await exchanges.describe_all(clusters)
    # What is there now stays: the collector need not walk through all of it in the middle of somebody's page.
    gc.collect()
    gc.freeze()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    for cluster in app.state.context.clusters:
        with suppress(Refusal):  # who asks will be told
            await asyncio.to_thread(cluster.prepare_searches)
    with suppress(Refusal):
        await app.state.jobs.resume()
    warming = asyncio.create_task(warm(app))
    yield
    warming.cancel()
    with suppress(asyncio.CancelledError):
        await warming
    await app.state.jobs.finish()
    await app.state.context.exchanges.close()
