"""The migration console and its verification: whatever is asked of it, by whomever, once."""

import pytest

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
