"""The pages and the API of a cluster that left mixed mode: its emptied CTL is shown as what it is."""

import pytest

from certferry.cluster.parameters import SECURITY_MODE
from conftest import MakeCluster
from web_pages import reading
from web_site import Site

CTL_PAGE = "/security/trust-lists/CTL/cluster"


@pytest.fixture
def site(make_cluster: MakeCluster) -> Site:
    cluster = make_cluster("source", nodes=2, secure=True)
    cluster.set_parameter(SECURITY_MODE, "non-secure")
    return Site(cluster)


async def test_the_emptied_ctl_is_listed_and_its_records_are_shown_as_emptied(site: Site) -> None:
    async with reading(site) as ann:
        assert CTL_PAGE in (await ann.open("/security/trust-lists")).links
        shown = (await ann.open(CTL_PAGE)).text
    assert shown.count("(emptied)") == 2
    assert "Emptied when the cluster left mixed mode" in shown


async def test_it_is_told_in_japanese(site: Site) -> None:
    async with reading(site, language="ja") as ann:
        assert "混合モードの終了時に空に" in (await ann.open(CTL_PAGE)).text


async def test_the_api_tells_which_records_are_emptied(site: Site) -> None:
    async with site.logged_in("bob") as bob:
        answer = (await bob.get("/api/v1/trust-lists")).json()
    (ctl,) = [each for each in answer["items"] if each["kind"] == "CTL"]
    assert ctl["signature"] == "valid"
    assert [record["role"] for record in ctl["records"] if record["emptied"]] == ["CCM+TFTP", "CCM+TFTP"]


async def test_once_it_is_deleted_it_is_on_no_page(site: Site) -> None:
    site.cluster.delete_ctl()
    async with reading(site) as ann:
        assert CTL_PAGE not in (await ann.open("/security/trust-lists")).links
