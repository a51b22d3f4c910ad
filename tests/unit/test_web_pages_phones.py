"""The phones' page, the trust lists' counts, the API and the metrics tell where phones are and what they hold."""

import re
from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from certferry.cluster.list_status import served_lists
from certferry.cluster.migrations import MigrationPhone, PhoneState
from certferry.cluster.sightings import HeldLists, Sighting, Step
from certferry.cluster.values import Phone
from conftest import CLUSTER_BORN, MakeCluster
from web_pages import Drawn, reading
from web_site import Site

NOW = CLUSTER_BORN
DEVICES = [f"SEP00000000000{n}" for n in range(4)]


@pytest.fixture
def site(make_cluster: MakeCluster) -> Site:
    cluster = make_cluster("source", nodes=2)
    cluster.add_phones([Phone(device) for device in DEVICES])
    (itl, *_) = served_lists(cluster).itls
    held = [HeldLists(DEVICES[0], "", itl, None, NOW), HeldLists(DEVICES[1], "", "AB" * 20, 7, NOW)]
    seen = [Sighting(d, Step.REGISTERED, NOW, "source-sub1", "192.0.2.77", "3600") for d in DEVICES[:2]]
    cluster.sightings.note([*seen, Sighting(DEVICES[1], Step.UNREGISTERED, NOW, "source-sub1", "")], held)
    cluster.counters.report("source-sub1", "tftp", "p1", {"files": 41, "refused": 1})
    return Site(cluster)


def devices(drawn: Drawn) -> list[str]:
    return re.findall(r"<code>(SEP\w{12})</code>", drawn.answer.text)


async def test_a_phone_shows_its_lists_and_where_it_is(site: Site) -> None:
    async with reading(site) as ann:
        drawn = await ann.open("/show/phones")
    assert devices(drawn) == DEVICES
    assert "at source-sub1" in drawn.text
    assert "last at source-sub1" in drawn.text
    assert "192.0.2.77" in drawn.text
    assert "never seen" in drawn.text
    assert "mismatch (1)" in drawn.text
    assert "unknown (2)" in drawn.text


async def test_phones_are_filtered_by_status_and_sorted_either_way(site: Site) -> None:
    async with reading(site) as ann:
        assert devices(await ann.open("/show/phones?status=match")) == DEVICES[:1]
        assert devices(await ann.open("/show/phones?status=mismatch&text=SEP")) == DEVICES[1:2]
        assert devices(await ann.open("/show/phones?order=device&down=1")) == DEVICES[::-1]
        assert devices(await ann.open("/show/phones?order=registered&down=1"))[2:] == DEVICES[2:]
        assert devices(await ann.open("/show/phones?status=nonsense&order=nonsense")) == DEVICES
        links = (await ann.open("/show/phones?order=model")).links
        assert any("order=model&down=1" in link for link in links)


async def test_the_status_is_told_in_japanese(site: Site) -> None:
    async with reading(site, language="ja") as ann:
        text = (await ann.open("/show/phones")).text
    assert all(words in text for words in ("一致", "不一致", "不明", "source-sub1 に登録中"))


async def test_the_trust_lists_tell_how_many_phones_hold_each(site: Site) -> None:
    async with reading(site) as ann:
        drawn = await ann.open("/security/trust-lists")
    assert "/show/phones?status=mismatch" in drawn.links
    assert '<td class="number">1</td>' in drawn.answer.text


async def test_the_api_finds_phones_by_the_status_of_their_lists(site: Site) -> None:
    async with site.logged_in("bob") as bob:
        answer = (await bob.get("/api/v1/phones", params={"list_status": "match"})).json()
        (phone,) = answer["items"]
        assert phone["device"] == DEVICES[0]
        assert (phone["itl_status"], phone["ctl_status"], phone["registered"]) == ("match", "not installed", True)
        assert (phone["registered_node"], phone["registered_address"]) == ("source-sub1", "192.0.2.77")
        unknown = (await bob.get("/api/v1/phones", params={"list_status": "unknown", "limit": 1})).json()
        assert (unknown["total"], unknown["next"]) == (2, "1")
        counts = (await bob.get("/api/v1/phones/counts")).json()
        assert counts["statuses"] == {"mismatch": 1, "not installed": 0, "match": 1, "unknown": 2}
        assert counts["itl"]["AB" * 20] == 1


async def test_prometheus_learns_of_phones_services_and_migrations(site: Site) -> None:
    phones = [MigrationPhone(DEVICES[0], 0, PhoneState.MOVED), MigrationPhone(DEVICES[1], 1)]
    site.cluster.migrations.create("m1", "elsewhere", {}, phones)
    async with site.visitor() as scraper:
        text = (await scraper.get("/metrics")).text
    told = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert told["certferry_registered_phones", "source", "source-sub1"] == 1
    assert told["certferry_phone_lists", "mismatch", "source"] == 1
    assert told["certferry_migration_phones", "m1", "moved", "source"] == 1
    assert told["certferry_migration_phones", "m1", "source", "waiting"] == 1
    assert told["certferry_service_total", "files", "source", "source-sub1", "tftp"] == 41


async def test_a_registration_that_ran_out_is_shown_as_the_last(make_cluster: MakeCluster) -> None:
    later = NOW + timedelta(hours=3)
    cluster = make_cluster("source", nodes=2, clock=lambda: later)
    cluster.add_phones([Phone(DEVICES[0])])
    cluster.sightings.note([Sighting(DEVICES[0], Step.REGISTERED, NOW, "source-sub1", "192.0.2.77", "3600")])
    async with reading(Site(cluster)) as ann:
        assert "last at source-sub1" in (await ann.open("/show/phones")).text
