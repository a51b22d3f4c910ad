"""The migration console and its verification: whatever is asked of it, by whomever, once."""

import re
from typing import Any

import pytest

from certferry.cluster.web_jobs import Job
from conftest import MakeCluster
from web_pages import reading
from web_site import Site


@pytest.fixture
def site(make_cluster: MakeCluster) -> Site:
    return Site(make_cluster("source", nodes=1), {"destination": make_cluster("destination", "14", nodes=1)})


async def test_with_one_cluster_a_verification_leads_to_how_another_is_given(make_cluster: MakeCluster) -> None:
    site = Site(make_cluster("source", nodes=1))
    async with reading(site) as ann:
        page = await ann.open("/settings/users")
        token = page.form("/settings/users").values["csrf_token"]
        answer = await ann.client.post("/migration/verify", data={"csrf_token": token}, follow_redirects=True)
    assert (answer.status_code, answer.url.path) == (200, "/migration")
    assert "--other-cluster FOLDER" in answer.text


# --- option 150


@pytest.mark.parametrize("typed", ["tftp.example", "192.0.2.300", "192.0.2.1:69", "2001:db8::1", "192.0.2.1," * 17])
async def test_what_is_no_list_of_addresses_is_told_beside_the_field_and_stays(site: Site, typed: str) -> None:
    async with reading(site) as ann:
        after = await ann.send(await ann.open("/migration"), "/migration/verify", option150=typed)
        assert after.status == 422
        assert "Give IPv4 addresses" in after.error_beside("option150")
        assert after.form("/migration/verify").values["option150"] == typed
    assert (await site.app.state.jobs.latest()).total == 0


@pytest.mark.parametrize(
    ("typed", "asked"), [("", None), ("192.0.2.1, 192.0.2.2", ["192.0.2.1", "192.0.2.2"]), ("192.0.2.1", ["192.0.2.1"])]
)
async def test_what_dhcp_names_goes_into_the_verification(site: Site, typed: str, asked: list[str] | None) -> None:
    async with reading(site) as ann:
        shown = await ann.send(await ann.open("/migration"), "/migration/verify", option150=typed)
        await site.ended()
    job = await site.app.state.jobs.find(shown.path.split("/")[-1])
    assert job.asked["option150"] == asked
    (verdict,) = [check["verdict"] for check in job.result["checks"] if check["id"] == "option150"]
    assert (verdict == "unknown") == (asked is None)


async def test_how_many_checks_failed_is_told_once_there_was_a_verification(site: Site) -> None:
    async with reading(site) as ann:
        before = await ann.open("/migration")
        assert "Failed last time" not in before.text
        await ann.send(before, "/migration/verify")
        await site.ended()
        assert re.search(r"Failed last time: [1-9]", (await ann.open("/migration")).text)


# --- jobs that a restart found


async def broken_off(site: Site, kind: str) -> str:
    """Leave a job behind as a server does that is killed."""
    looks: dict[str, Any] = {"source": ["source"], "destination": ["destination"]}
    asked: dict[str, Any] = {"verify": looks, "import": {"plan": "0"}}[kind]
    dead = Job("a" * 16, kind, "source", "ann", asked, writes=kind == "import", started_at=site.clock(), runner="dead")
    site.cluster.web_jobs.begin(dead, None, site.clock(), 500)
    return dead.id


@pytest.mark.parametrize("kind", ["verify", "import"])
async def test_a_job_that_broke_off_with_its_server_says_so_and_that_running_it_again_ends_right(
    site: Site, kind: str
) -> None:
    identifier = await broken_off(site, kind)
    place = {"verify": "/migration", "import": "/security/bulk"}[kind]
    async with reading(site) as ann:
        drawn = await ann.open(f"{place}/jobs/{identifier}")
        assert "web.job-interrupted" in drawn.text
        assert "Run it again: it ends right" in drawn.text
        told = (await ann.client.get(f"/api/v1/jobs/{identifier}")).json()
        assert (told["state"], told["error"]["code"]) == ("interrupted", "web.job-interrupted")
    async with reading(site, language="ja") as ann:
        assert "もう一度実行してください" in (await ann.open(f"{place}/jobs/{identifier}")).text


async def test_a_verification_is_found_again_after_a_restart(site: Site) -> None:
    async with reading(site) as ann:
        shown = await ann.send(await ann.open("/migration"), "/migration/verify")
        await site.ended()
    site.restart()
    async with reading(site) as ann:
        assert (await ann.open(shown.path)).status == 200
        assert shown.path in (await ann.open("/migration")).links


async def test_a_verification_asked_for_twice_is_one_job(site: Site) -> None:
    async with reading(site) as ann:
        console = await ann.open("/migration")
        places = {(await ann.post(console, "/migration/verify")).headers["location"] for _ in range(3)}
        await site.ended()
    assert len(places) == 1
