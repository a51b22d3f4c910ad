"""The page for API tokens: a token's text is seen once, by its maker; a token taken back is refused at once."""

import re

import pytest

from certferry.cluster.accounts import Role, Token
from conftest import MakeCluster
from web_pages import Drawn, reading
from web_site import Site

TOKENS = "/settings/tokens"
TEXT = re.compile(r"certferry_[0-9a-f]{8}_[\w-]{43}")


@pytest.fixture
def site(make_cluster: MakeCluster) -> Site:
    return Site(make_cluster(nodes=1))


def made(site: Site) -> list[Token]:
    return [token for token in site.cluster.accounts.tokens() if token.name != "test"]


def text_in(drawn: Drawn) -> str:
    found: set[str] = set(TEXT.findall(drawn.answer.text))
    assert len(found) == 1
    return found.pop()


async def status_with(site: Site, text: str) -> int:
    async with site.visitor(authorization=f"Bearer {text}") as program:
        return (await program.get("/api/v1/cluster")).status_code


async def test_a_token_is_made_and_its_text_is_shown_once(site: Site) -> None:
    async with reading(site) as ann:
        shown = await ann.send(await ann.open(TOKENS), TOKENS, name="monitoring", role="read-only", days="30")
        assert "Token monitoring was made." in shown.text
        text = text_in(shown)
        again = await ann.open(str(shown.answer.url))
        assert not TEXT.search(again.answer.text)
        assert "monitoring" in again.text
    (token,) = made(site)
    assert (token.role, token.created_by) == (Role.READ_ONLY, "ann")
    assert token.expires_at is not None
    assert (token.expires_at - token.created_at).days == 30
    assert await status_with(site, text) == 200
    assert text not in "".join(site.cluster.audit_lines())


async def test_without_days_a_token_lasts_until_it_is_taken_back(site: Site) -> None:
    async with reading(site) as ann:
        shown = await ann.send(await ann.open(TOKENS), TOKENS, name="nightly export", role="operator", days="")
        text = text_in(shown)
        site.clock.pass_by(days=5000)
        assert await status_with(site, text) == 200
    async with reading(site) as ann:
        (token,) = made(site)
        path = f"{TOKENS}/{token.id}/delete"
        asked = await ann.open(path)
        assert "Take back nightly export, made by ann?" in asked.text
        for _ in range(2):
            after = await ann.send(asked, path)
            assert "Token nightly export was taken back." in after.text
        assert (await ann.open(path)).status == 404
    assert await status_with(site, text) == 401


async def test_a_token_that_is_over_is_marked(site: Site) -> None:
    async with reading(site) as ann:
        await ann.send(await ann.open(TOKENS), TOKENS, name="short", days="1")
    site.clock.pass_by(days=2)
    async with reading(site, language="ja") as ann:
        assert "期限切れ" in (await ann.open(TOKENS)).text


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"name": "a\tb"}, "name"),
        ({"role": "king"}, "role"),
        ({"days": "0"}, "days"),
        ({"days": "3651"}, "days"),
        ({"days": "soon"}, "days"),
        ({"days": "٣"}, "days"),
    ],
)
async def test_a_wrong_field_is_told_beside_it_and_nothing_typed_is_lost(
    site: Site, typed: dict[str, str], field: str
) -> None:
    sent = {"name": "monitoring", "role": "operator", "days": "7"} | typed
    async with reading(site) as ann:
        after = await ann.send(await ann.open(TOKENS), TOKENS, **sent)
    assert after.status == 422
    assert after.error_beside(field)
    kept = after.form(TOKENS).values
    assert {name: kept[name] for name in sent if name != field} == {n: v for n, v in sent.items() if n != field}
    assert made(site) == []


async def test_a_form_sent_twice_makes_one_token(site: Site) -> None:
    async with reading(site) as ann:
        drawn = await ann.open(TOKENS)
        for _ in range(3):
            await ann.post(drawn, TOKENS, name="once")
    assert len(made(site)) == 1


async def test_who_may_only_look_sees_no_tokens_and_no_way_to_them(site: Site) -> None:
    async with reading(site, "bob") as bob:
        assert TOKENS not in (await bob.open("/settings/users")).links
        assert (await bob.open(TOKENS)).status == 403
    async with reading(site) as ann:
        assert TOKENS in (await ann.open("/settings/users")).links
