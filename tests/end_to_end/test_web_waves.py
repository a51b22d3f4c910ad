"""Phones that really register move in waves, started and steered from the pages and the API."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certferry.cluster.migrations import State
from certferry.lab.keys import PooledKeys
from wave_lab import WaveLab, wave_lab
from web_pages import reading
from web_site import Site, error_of

pytestmark = pytest.mark.slow
PHONES = 6
NEW = "/migration/waves/new"
API = "/api/v1/migrations"


@pytest.fixture
async def lab(tmp_path: Path, key_pool: PooledKeys) -> AsyncIterator[WaveLab]:
    async with wave_lab(tmp_path, key_pool, phones=PHONES) as made:
        yield made


@pytest.fixture
async def site(lab: WaveLab) -> AsyncIterator[Site]:
    made = Site(lab.source, {"destination": lab.destination}, clock=lambda: datetime.now(UTC))  # type: ignore[arg-type]
    yield made
    await made.ended()


async def ended(site: Site) -> None:
    """Wait until every migration that this server runs has ended or paused, without an error."""
    jobs = site.app.state.jobs
    async with asyncio.timeout(120):
        for job in (await jobs.latest(kind="migrate")).items:
            async for _ in jobs.events(job.id):
                pass
            assert (await jobs.find(job.id)).error is None


async def test_phones_move_by_the_pages_and_come_back(site: Site, lab: WaveLab) -> None:
    async with reading(site) as ann:
        form = await ann.open(NEW)
        plan = await ann.send(form, NEW, canary="2", wave_size="2", pace="50", between="0", patience="300")
        lab.point_to(lab.destination)
        await asyncio.gather(*(ann.post(plan, f"{plan.path}/start", option150="1") for _ in range(2)))
        await ended(site)
        shown = await ann.open(plan.path)
        assert "Every phone has ended." in shown.text
        identifier = plan.path.split("/")[-1]
        assert lab.statuses(identifier) == {"moved": PHONES}
        assert set(lab.resets.values()) == {1}
        assert (await site.app.state.jobs.latest()).total == 1
        back = await ann.send(shown, f"{plan.path}/back")
        assert back.path.startswith("/migration/waves/destination/")
        lab.point_to(lab.source)
        await ann.send(back, f"{back.path}/start", option150="1")
        await ended(site)
    await lab.all_registered(lab.source)
    assert set(lab.resets.values()) == {2}


async def test_two_administrators_start_one_migration_and_a_stop_of_the_server_breaks_it_off(
    site: Site, lab: WaveLab
) -> None:
    wanted = {"destination": "destination", "everything": True, "pace": 0.2, "between": 0, "canary": 2}
    confirmed = {"option150_confirmed": True}
    async with site.logged_in() as ann, site.with_token() as program:
        identifier = (await ann.post(API, json=wanted)).json()["id"]
        lab.point_to(lab.destination)
        path = f"{API}/{identifier}"
        first, second = await asyncio.gather(
            ann.post(f"{path}/start", json=confirmed, headers={"idempotency-key": "k"}),
            program.post(f"{path}/start", json=confirmed),
        )
        assert first.json()["id"] == second.json()["id"]
        await lab.until(lambda: bool(lab.statuses(identifier)["moved"]))
        assert (await ann.get(path)).json()["job"] == first.json()["id"]
        await site.ended()  # the server stops at once, though phones are still waiting
        job = site.cluster.web_jobs.find(first.json()["id"])
        assert job is not None
        assert job.state == "interrupted"
        assert lab.statuses(identifier)["waiting"] > 0
    site.restart()
    async with site.logged_in() as ann:
        told = (await ann.get(path)).json()
        assert (told["state"], told["steered"]) == ("running", False)
        assert error_of(await ann.post(f"{path}/start", json=confirmed))["code"] == "waves.state"
        assert (await ann.post(f"{path}/resume")).status_code == 202
        ledger = lab.source.migrations
        await lab.until(lambda: ledger.find(identifier).is_steered(datetime.now(UTC)))
        assert (await ann.post(f"{path}/pause")).json()["wanted"] == "pause"
        await lab.until(lambda: ledger.find(identifier).state is State.PAUSED)
        assert (await ann.get(path)).json()["state"] == "paused"
    assert set(lab.resets.values()) == {1}
