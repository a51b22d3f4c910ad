"""Every page, in both languages and for both roles: drawn whole, harmless under the strict policy, for everybody."""

import pytest

from certferry.cluster.values import Phone
from certferry.trust.purpose import Purpose
from conftest import MakeCluster
from web_pages import faults, reading
from web_site import Site

PAGES = [
    "/show/cluster",
    "/show/phones",
    "/show/phones?text=00:1b:54:00:00:01",
    "/show/phones/resets",
    "/show/audit",
    "/show/audit?verified=1",
    "/settings/parameters",
    "/settings/users",
    "/security/certificates",
    "/security/certificates?order=expiration&down=1&size=25&page=2",
    "/security/bulk",
    "/security/bulk/export",
    "/security/bulk/consolidate",
    "/security/bulk/import",
    "/security/bulk/history",
    "/security/trust-lists",
    "/security/trust-lists/ITL/source-pub",
    "/security/trust-lists/CTL/cluster",
    "/migration",
    "/nowhere",
]
CHANGING = [
    "/show/phones/reset",
    "/show/phones/reset?device=SEP001B54000001",
    "/show/phones/reset?found=1",
    "/show/phones/add",
    "/show/phones/remove",
    "/show/phones/remove?device=SEP001B54000001&device=SEP001B54000002",
    "/security/certificate/csr",
    "/security/certificate/upload",
    "/security/certificate/regenerate/tomcat/source-pub",
    "/settings/users/bob/delete",
    "/settings/tokens",
]


@pytest.fixture
def site(make_cluster: MakeCluster) -> Site:
    source, destination = make_cluster("source", secure=True), make_cluster("destination", "14", secure=True)
    phones = [Phone(f"SEP001B5400000{number}") for number in range(5)]
    source.add_phones(phones)
    destination.add_phones(phones[:3])
    return Site(source, {"destination": destination})


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("user", ["ann", "bob"])
async def test_every_page_is_drawn_whole(site: Site, user: str, language: str) -> None:
    async with reading(site, user, language) as reader:
        for path in PAGES + (CHANGING if user == "ann" else []):
            drawn = await reader.open(path)
            assert drawn.status == (404 if path == "/nowhere" else 200), (path, drawn.text)
            assert list(faults(drawn)) == [], path
            assert f'lang="{language}"' in drawn.answer.text


@pytest.mark.parametrize("path", [path for path in CHANGING if not path.startswith("/settings")])
async def test_what_changes_something_is_not_for_a_user_who_may_only_look(site: Site, path: str) -> None:
    async with reading(site, "bob") as reader:
        drawn = await reader.open(path)
    assert drawn.status == 403
    assert "web.read-only" in drawn.text


async def test_the_pages_of_every_own_certificate_and_of_one_in_each_store_are_drawn(site: Site) -> None:
    async with reading(site) as reader:
        listed = await reader.open("/security/certificates?size=200")
        paths = {link for link in listed.links if link.startswith("/security/certificates/")}
        stores = {path.split("/")[4]: path for path in paths}
        assert {purpose.value for purpose in Purpose} <= stores.keys()
        for path in stores.values():
            drawn = await reader.open(path)
            assert list(faults(drawn)) == []
            assert "-----BEGIN CERTIFICATE-----" in drawn.text


async def test_the_language_is_switched_by_a_link_and_stays(site: Site) -> None:
    async with reading(site) as reader:
        english = await reader.open("/security/bulk")
        assert "Bulk Certificate Management" in english.text
        link = next(link for link in english.links if "lang=ja" in link)
        assert "一括証明書管理" in (await reader.open(link)).text
        assert "信頼リスト" in (await reader.open("/security/trust-lists")).text


async def test_pages_are_never_kept_by_the_browser_and_only_load_what_is_here(site: Site) -> None:
    async with reading(site) as reader:
        answer = (await reader.open("/show/cluster")).answer
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]


async def test_names_from_outside_are_text_and_never_markup(site: Site) -> None:
    site.cluster.add_phones([Phone("SEP00AABBCCDDEE", description="<script>alert(1)</script>")])
    async with reading(site) as reader:
        drawn = await reader.open("/show/phones?text=<img src=x>")
        assert "<img" not in drawn.answer.text
        drawn = await reader.open("/show/phones")
        assert "<script>alert" not in drawn.answer.text
        assert "<script>alert(1)</script>" in drawn.text
