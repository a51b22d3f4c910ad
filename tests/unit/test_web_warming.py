"""What a server does before the first page is asked for, so that nobody waits while it is read and compiled."""

from datetime import timedelta

import pytest

from certferry.bulk.refusals import UnreachableError
from certferry.bulk.settings import SftpSettings
from certferry.cluster.cluster import Cluster
from certferry.cluster.values import Phone
from certferry.web import app as application
from certferry.web.app import warm
from certferry.web.pages.drawing import environment
from certferry.web.pages.kept import DEVICES, HOLDINGS
from conftest import MakeCluster
from web_site import Site


@pytest.fixture(autouse=True)
def _no_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "TICK", timedelta(0))


@pytest.fixture
def site(make_cluster: MakeCluster) -> Site:
    own, other = make_cluster("source", nodes=1), make_cluster("destination", nodes=1)
    own.add_phones([Phone("SEP001B54000001")])
    return Site(own, {"destination": other})


async def test_every_template_is_compiled(site: Site) -> None:
    environment.cache_clear()
    await warm(site.app)
    drawn = environment()
    assert drawn.cache is not None
    assert len(drawn.cache) == len(drawn.list_templates()) > 20


async def test_what_the_console_compares_is_read_of_every_cluster(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await warm(site.app)
    reads: list[Cluster] = []
    for reading in ("devices", "held_certificates"):
        monkeypatch.setattr(Cluster, reading, reads.append)
    assert DEVICES.of(site.cluster) == {"SEP001B54000001"}
    assert DEVICES.of(site.others["destination"]) == frozenset()
    assert not HOLDINGS.of(site.cluster).foreign
    assert reads == []


async def test_who_vouches_for_whose_trust_lists_is_looked_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await warm(site.app)
    asked: list[object] = []
    monkeypatch.setattr(Cluster, "holds", lambda *signer: asked.append(signer))
    async with site.logged_in() as client:
        assert (await client.get("/security/trust-lists")).status_code == 200
    assert asked == []


async def test_the_exchange_directory_is_looked_at_twice_as_files_of_this_second_may_change_yet(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    async def describe_all(clusters: list[Cluster]) -> list[object]:
        asked.append(len(clusters))
        return []

    monkeypatch.setattr(site.context.exchanges, "describe_all", describe_all)
    await warm(site.app)
    assert asked == [2, 2]


async def test_a_cluster_that_cannot_be_read_keeps_nobody_from_the_others(site: Site) -> None:
    site.cluster.location.database.unlink()
    await warm(site.app)
    async with site.visitor() as client:
        assert (await client.get("/login")).status_code == 200


async def test_an_exchange_directory_out_of_reach_is_told_to_who_asks_and_not_before(site: Site) -> None:
    SftpSettings("127.0.0.1", "ferry", "/exchange", port=9, password="secret").save(site.cluster)
    await warm(site.app)
    with pytest.raises(UnreachableError):
        await site.context.exchanges.describe(site.cluster)


async def test_a_server_that_stops_at_once_does_not_wait_for_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "TICK", timedelta(hours=1))
    async with site.app.router.lifespan_context(site.app), site.logged_in() as client:
        assert (await client.get("/show/cluster")).status_code == 200
