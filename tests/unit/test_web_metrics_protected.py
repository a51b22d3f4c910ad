"""/metrics is open to everybody, or with ``certferry web --protect-metrics`` to those who may look at the pages."""

import pytest

from certferry.cluster.accounts import Role
from conftest import MakeCluster
from web_site import Site, error_of

METRICS = "/metrics"


@pytest.fixture
def site(make_cluster: MakeCluster) -> Site:
    return Site(make_cluster(nodes=1))


@pytest.fixture
def protected(site: Site) -> Site:
    site.context.protect_metrics = True
    return site


async def test_a_stranger_reads_them_unless_they_are_protected(site: Site) -> None:
    async with site.visitor() as stranger:
        assert "certferry_change_version" in (await stranger.get(METRICS)).text
        site.context.protect_metrics = True
        assert "certferry_" not in (await stranger.get(METRICS)).text


async def test_a_stranger_is_refused_as_a_program_is_and_not_led_to_a_page(protected: Site) -> None:
    async with protected.visitor() as stranger:
        answer = await stranger.get(METRICS)
    assert (answer.status_code, error_of(answer)["code"]) == (401, "web.not-logged-in")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_token_that_may_look_is_enough(protected: Site) -> None:
    async with protected.with_token(Role.READ_ONLY) as prometheus:
        answer = await prometheus.get(METRICS)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "certferry_change_version" in answer.text


async def test_who_is_logged_in_reads_them_in_the_browser(protected: Site) -> None:
    async with protected.logged_in("bob") as bob:
        assert (await bob.get(METRICS)).status_code == 200


async def test_a_token_that_is_none_or_was_taken_back_is_refused(protected: Site) -> None:
    async with protected.with_token(Role.READ_ONLY) as prometheus:
        protected.cluster.accounts.remove_token(protected.cluster.accounts.tokens()[0].id)
        answer = await prometheus.get(METRICS)
    assert (answer.status_code, error_of(answer)["code"]) == (401, "web.token-refused")


async def test_whether_the_server_lives_and_is_ready_is_told_to_everybody(protected: Site) -> None:
    async with protected.visitor() as stranger:
        assert [(await stranger.get(path)).text for path in ("/livez", "/readyz")] == ["ok\n", "ok\n"]
