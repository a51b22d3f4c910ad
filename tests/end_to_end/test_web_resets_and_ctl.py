"""A real browser resets phones and deletes the CTL that is left of mixed mode: by mouse, by keys, without scripts."""

import json
from collections.abc import AsyncIterator
from typing import Literal

import pytest

from answering_node import a_node
from certferry.cluster.cluster import Cluster
from certferry.cluster.parameters import SECURITY_MODE
from certferry.cluster.resets import ResetOutcome
from certferry.cluster.values import Phone
from conftest import MakeCluster
from web_browser import Publisher, Window, at_a_desk, needs_chromium, playwright, serving

pytestmark = [needs_chromium, pytest.mark.slow]
DEVICES = [f"SEP00000000000{number}" for number in "1234"]
DONE = dict.fromkeys(DEVICES, ResetOutcome.DONE)


@pytest.fixture
async def publisher(make_cluster: MakeCluster) -> AsyncIterator[Publisher]:
    cluster = make_cluster("source", nodes=1, secure=True)
    cluster.add_phones([Phone(device, description="lobby" if device in DEVICES[:2] else "") for device in DEVICES])
    async with serving(cluster) as publisher:
        yield publisher


def audited(cluster: Cluster, action: str) -> list[dict[str, object]]:
    return [line for line in map(json.loads, cluster.audit_lines()) if line["action"] == action]


async def test_phones_are_selected_by_their_names_and_a_double_click_resets_them_once(publisher: Publisher) -> None:
    async with at_a_desk() as desk:
        window = await desk.window(publisher)
        page, say = window.page, window.say
        await window.log_in()
        await window.go("menu.show", "menu.phones")
        for device in DEVICES[1:3]:
            await page.get_by_role("checkbox", name=device, exact=True).check()
        await window.press("phones.reset-selected")
        await window.sees(say("reset.count", count=2))
        with a_node(publisher.cluster, DONE):
            await page.get_by_role("button", name=say("reset.do", count=2), exact=True).dblclick()
            await window.sees(say("reset.done", done=2, asked=2))
    assert [line["devices"] for line in audited(publisher.cluster, "reset-phones")] == [DEVICES[1:3]]


async def test_all_found_are_reset_with_the_keyboard_alone(publisher: Publisher) -> None:
    async with at_a_desk() as desk:
        window = await desk.window(publisher, "ja")
        page, say = window.page, window.say
        await window.log_in()
        await page.goto(f"{publisher.url}/show/phones?text=lobby")
        await _reach(window, "button", say("phones.reset-found", count=2))
        await page.keyboard.press("Enter")
        await window.sees(say("reset.absent", count=2))
        await _reach(window, "button", say("reset.do", count=2))
        with a_node(publisher.cluster, DONE):
            await page.keyboard.press("Space")
            await window.sees(say("reset.done", done=2, asked=2))
        await _reach(window, "link", say("reset.history"))
        await page.keyboard.press("Enter")
        await window.sees(say("reset-state.done"))
    assert [line["devices"] for line in audited(publisher.cluster, "reset-phones")] == [DEVICES[:2]]


async def _reach(window: Window, role: Literal["button", "link"], name: str) -> None:
    """Press Tab until the focus is on what is meant."""
    wanted = window.page.get_by_role(role, name=name, exact=True)
    await playwright.expect(wanted).to_be_visible()
    for _ in range(80):
        await window.page.keyboard.press("Tab")
        if await wanted.evaluate("each => each === document.activeElement"):
            return
    pytest.fail(f"Tab does not reach {name}")


async def test_one_phone_is_reset_without_scripts(publisher: Publisher) -> None:
    async with at_a_desk() as desk:
        window = await desk.window(publisher, scripts=False)
        await window.log_in()
        await window.page.goto(f"{publisher.url}/show/phones")
        await window.page.get_by_role("link", name=f"{window.say('phones.reset')}: {DEVICES[3]}", exact=True).click()
        with a_node(publisher.cluster, DONE):
            await window.press("reset.do", count=1)
            await window.sees(window.say("reset.done", done=1, asked=1))
    assert [line["devices"] for line in audited(publisher.cluster, "reset-phones")] == [DEVICES[3:]]


async def test_mixed_mode_is_left_and_its_ctl_deleted_by_clicks_alone(publisher: Publisher) -> None:
    async with at_a_desk() as desk:
        ann, bob = await desk.window(publisher), await desk.window(publisher)
        await ann.log_in()
        await bob.log_in("bob")
        delete = ann.page.get_by_role("link", name=ann.say("lists.delete-ctl"), exact=True)
        await ann.go("menu.security", "menu.trust-lists")
        await ann.sees(ann.say("lists.whole-cluster"))
        assert await delete.count() == 0
        await ann.go("menu.settings", "menu.parameters")
        await ann.page.get_by_label(ann.say("parameter.security-mode")).select_option("non-secure")
        await ann.press("action.save")
        await ann.sees(ann.say("done.parameters", count=1))
        await ann.go("menu.security", "menu.trust-lists")
        await delete.click()
        await ann.sees(ann.say("ctl-delete.no-undo"))
        await ann.page.get_by_role("button", name=ann.say("lists.delete-ctl"), exact=True).dblclick()
        await ann.sees(ann.say("done.ctl-deleted", cluster="source"))
        assert await delete.count() == 0
        await bob.page.goto(f"{publisher.url}/security/trust-lists/CTL/cluster/delete")
        await bob.sees("web.read-only")
        await bob.go("menu.show", "menu.phones")
        await bob.sees(DEVICES[0])
        assert await bob.page.get_by_role("checkbox").count() == 0
    assert publisher.cluster.parameters()[SECURITY_MODE] == "non-secure"
    assert publisher.cluster.trust_list("CTL") is None
    assert len(audited(publisher.cluster, "delete-ctl")) == 1
