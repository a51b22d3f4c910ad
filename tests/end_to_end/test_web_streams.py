"""Streams of events held open by the dozen: a user has so many, and gets each back when it ends."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from certferry.cluster.accounts import Role
from certferry.web.api import shared
from certferry.web.jobs import Progress
from certferry.web.server import WebServer, listen
from conftest import MakeCluster
from web_site import Site, error_of


@pytest.fixture
def site(make_cluster: MakeCluster) -> Site:
    return Site(make_cluster(nodes=1))


@pytest.fixture
async def at(site: Site) -> AsyncIterator[str]:
    server = WebServer(site.app, listen("127.0.0.1", 0), None)
    running = asyncio.create_task(server.run_until_stopped())
    await server.ready.wait()
    yield f"http://127.0.0.1:{server.port}/api/v1/"
    server.stop()
    await running


@pytest.fixture
async def job(site: Site, at: str) -> AsyncIterator[str]:
    """A job that goes on for as long as the test does."""
    del at
    gate = threading.Event()

    async def lasting(_progress: Progress) -> Mapping[str, Any]:
        await asyncio.to_thread(gate.wait, 300)
        return {}

    job = await site.app.state.jobs.start("verification", site.cluster.name, "ann", lasting, writes=False)
    yield job.id
    gate.set()


async def test_a_user_follows_so_much_and_no_more(
    site: Site, at: str, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "MOST_STREAMS", 3)
    events, first, second = f"{at}jobs/{job}/events", site.token(Role.READ_ONLY), site.token()
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        async with AsyncExitStack() as held:
            for token in (first, second, first):
                asking = client.stream("GET", events, headers={"authorization": f"Bearer {token}"})
                assert (await held.enter_async_context(asking)).status_code == 200
            refused = await client.get(events, headers={"authorization": f"Bearer {first}"})
            assert (refused.status_code, error_of(refused)["code"]) == (429, "web.too-many-streams")
            assert (await client.get(f"{at}jobs", headers={"authorization": f"Bearer {first}"})).status_code == 200
        async with asyncio.timeout(60):
            while site.context.streams:  # noqa: ASYNC110 -- nobody tells when the last is noticed to be gone
                await asyncio.sleep(0.01)
        async with client.stream("GET", events, headers={"authorization": f"Bearer {first}"}) as again:
            assert again.status_code == 200
