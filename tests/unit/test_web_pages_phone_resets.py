"""Phones are reset from the pages: one, those selected, or all found; asked first, each told once, the end shown."""

import asyncio
import json
import re
import threading
from typing import Any

import pytest

from answering_node import a_node
from certferry.cluster.accounts import Role
from certferry.cluster.cluster import Cluster
from certferry.cluster.resets import ResetOutcome
from certferry.cluster.sightings import Sighting, Step
from certferry.cluster.values import Phone
from certferry.web import phone_resets
from conftest import CLUSTER_BORN, MakeCluster
from web_pages import Drawn, Reader, faults, reading
from web_site import Site, error_of

PHONES, RESET, RESETS = "/show/phones", "/show/phones/reset", "/show/phones/resets"
API = "/api/v1/phones/reset"
FIRST, SECOND, THIRD = DEVICES = [f"SEP00000000000{number}" for number in "123"]
DONE, UNANSWERED = ResetOutcome.DONE, ResetOutcome.UNANSWERED


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    made = make_cluster(nodes=1, clock=lambda: CLUSTER_BORN)
    made.add_phones([Phone(device, description="lobby" if device != THIRD else "") for device in DEVICES])
    made.sightings.note([Sighting(FIRST, Step.REGISTERED, CLUSTER_BORN, "pub", "192.0.2.7", "3600")])
    return made


@pytest.fixture
def site(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Site:
    # The pages wait as long as the command line does for who is nowhere; here nobody comes later.
    monkeypatch.setattr(phone_resets.start_resets, "__defaults__", (5.0,))
    return Site(cluster)


def asked_of(drawn: Drawn) -> list[str]:
    return drawn.form(RESET).values["devices"].split()


def resets_in_audit(cluster: Cluster) -> list[Any]:
    lines = [json.loads(line) for line in cluster.audit_lines()]
    return [(line["actor"], line["devices"]) for line in lines if line["action"] == "reset-phones"]


async def ended(site: Site, reader: Reader, drawn: Drawn) -> Drawn:
    """Wait until the job that a page shows is over, and read its page again."""
    await site.ended()
    return await reader.open(drawn.path)


# --- the page of phones


async def test_an_operator_is_offered_a_reset_of_each_phone_of_those_selected_and_of_all_found(site: Site) -> None:
    async with reading(site) as ann:
        drawn = await ann.open(f"{PHONES}?text=lobby")
    assert f"{RESET}?device={FIRST}&text=lobby&status=" in drawn.links
    boxes = [values for tag, values in drawn.tags if values.get("type") == "checkbox"]
    assert [(each["name"], each["value"], each["form"]) for each in boxes] == [
        ("device", FIRST, "reset"), ("device", SECOND, "reset"),
    ]  # fmt: skip
    assert "Reset All Found (2)" in drawn.text
    assert drawn.form(RESET).values == {"text": "lobby", "status": ""}
    assert list(faults(drawn)) == []


async def test_who_may_only_look_sees_no_button_and_is_refused(site: Site, cluster: Cluster) -> None:
    async with reading(site, "bob") as bob:
        drawn = await bob.open(PHONES)
        assert [values for tag, values in drawn.tags if values.get("type") == "checkbox"] == []
        assert [link for link in drawn.links if link.startswith(f"{RESET}?")] == []
        assert RESETS in drawn.links
        assert (await bob.open(f"{RESET}?device={FIRST}")).status == 403
        token = drawn.form("/logout").values["csrf_token"]
        answer = await bob.client.post(RESET, data={"csrf_token": token, "devices": FIRST})
        assert answer.status_code == 403
    assert resets_in_audit(cluster) == []


async def test_where_no_phone_is_found_nothing_is_offered(site: Site) -> None:
    async with reading(site) as ann:
        drawn = await ann.open(f"{PHONES}?text=nobody")
    assert RESET not in [form.action for form in drawn.forms]


async def test_more_than_are_reset_at_once_are_not_offered_and_why_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certferry.web.pages.shown.MOST_PHONES", 2)
    async with reading(site) as ann:
        drawn = await ann.open(PHONES)
        few = await ann.open(f"{PHONES}?text=lobby")
    (button,) = [values for tag, values in drawn.tags if tag == "button" and "aria-disabled" in values]
    assert button["aria-describedby"] == "why-found"
    assert "At most 2 at once" in drawn.text
    assert "At most" not in few.text
    assert list(faults(drawn)) == []


# --- the question


async def test_what_is_shown_before_one_phone_is_reset(site: Site) -> None:
    async with reading(site) as ann:
        drawn = await ann.open(f"{RESET}?device=00:00:00:00:00:01")
    assert asked_of(drawn) == [FIRST]
    assert "Phones that are asked to reset: 1" in drawn.text
    assert "Registered now: 1." in drawn.text
    assert "Registered at no node" not in drawn.text
    assert list(faults(drawn)) == []


async def test_those_selected_are_counted_by_whether_anybody_can_tell_them(site: Site) -> None:
    async with reading(site) as ann:
        drawn = await ann.open(f"{RESET}?device={FIRST}&device={THIRD}&device={FIRST}&text=SEP")
    assert asked_of(drawn) == [FIRST, THIRD]
    assert "Registered now: 1." in drawn.text
    assert "Registered at no node: 1." in drawn.text
    assert f"{PHONES}?text=SEP" in drawn.links


async def test_all_found_are_those_of_the_filter_whatever_is_selected(site: Site) -> None:
    async with reading(site) as ann:
        assert asked_of(await ann.open(f"{RESET}?found=1&text=lobby&device={THIRD}")) == [FIRST, SECOND]
        assert asked_of(await ann.open(f"{RESET}?found=1&text=00:00:00:00:00:02")) == [SECOND]
        assert asked_of(await ann.open(f"{RESET}?found=1&status=unknown")) == DEVICES
        none = await ann.open(f"{RESET}?found=1&status=match")
    assert "none is found any more" in none.text


async def test_many_are_not_all_named_but_counted(site: Site, cluster: Cluster) -> None:
    cluster.add_phones([Phone(f"SEP0000000001{number:02}") for number in range(40)])
    async with reading(site) as ann:
        drawn = await ann.open(f"{RESET}?found=1")
    assert len(asked_of(drawn)) == 43
    assert "and 23 more" in drawn.text


async def test_without_a_selection_it_says_so_and_leads_back(site: Site) -> None:
    async with reading(site) as ann:
        drawn = await ann.open(f"{RESET}?text=lobby&status=unknown")
        assert "No phone is selected" in drawn.text
        assert f"{PHONES}?text=lobby&status=unknown" in drawn.links
        token = (await ann.open(PHONES)).form("/logout").values["csrf_token"]
        answer = await ann.client.post(RESET, data={"csrf_token": token}, follow_redirects=True)
    assert "No phone is selected" in answer.text


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("device=kitchen", 400, "cluster.phone-invalid"),
        (f"device={FIRST}&device=SEP0000000000FF", 404, "cluster.phone-unknown"),
        ("&".join(f"device=SEP{number:012}" for number in range(1001)), 400, "web.too-many-phones"),
    ],
)
async def test_what_cannot_be_reset_is_refused_as_the_api_refuses_it(
    site: Site, query: str, status: int, code: str
) -> None:
    async with reading(site) as ann:
        drawn = await ann.open(f"{RESET}?{query}")
    assert (drawn.status, code in drawn.text) == (status, True)


async def test_more_found_than_are_reset_at_once_are_refused(
    site: Site, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phone_resets, "MOST_PHONES", 2)
    async with reading(site, language="ja") as ann:
        drawn = await ann.open(f"{RESET}?found=1")
        assert (drawn.status, "web.too-many-phones" in drawn.text) == (400, True)
        assert "一度にリセットできる 2 台を超えています" in drawn.text
        token = drawn.form("/logout").values["csrf_token"]
        forced = await ann.client.post(RESET, data={"csrf_token": token, "devices": " ".join(DEVICES)})
    assert forced.status_code == 400
    assert resets_in_audit(cluster) == []


# --- the reset, and what became of it


@pytest.mark.slow
async def test_phones_are_reset_and_what_became_of_each_is_shown(site: Site, cluster: Cluster) -> None:
    with a_node(cluster, {FIRST: DONE, SECOND: UNANSWERED}):
        async with reading(site) as ann:
            shown = await ann.send(await ann.open(f"{RESET}?found=1"), RESET)
            assert re.fullmatch(rf"{RESETS}/\w+", shown.path)
            after = await ended(site, ann, shown)
            listed = await ann.open(RESETS)
    assert "1 of 3 phones said that they reset." in after.text
    assert "Not reset: 2." in after.text
    rows = re.findall(r"<code>(SEP\w{12})</code>.*?</span> ([^<]+)</span></td><td>(\w*)", after.answer.text)
    assert rows == [
        (SECOND, "was told, did not answer", "pub"),
        (THIRD, "registered nowhere; withdrawn", ""),
        (FIRST, "resets", "pub"),
    ]
    assert list(faults(after)) == []
    assert shown.path in listed.links
    assert "and 2 more" in listed.text
    assert list(faults(listed)) == []
    assert resets_in_audit(cluster) == [("ann", DEVICES)]
    assert cluster.resets.open_count() == 0


async def test_it_is_told_in_japanese_and_who_may_only_look_sees_it_too(site: Site, cluster: Cluster) -> None:
    with a_node(cluster, {FIRST: DONE}):
        async with reading(site) as ann, reading(site, "bob", "ja") as bob:
            shown = await ann.send(await ann.open(f"{RESET}?device={FIRST}"), RESET)
            told = (await ended(site, bob, shown)).text
    assert "1 台のうち 1 台がリセットすると応答しました。" in told
    assert "リセットされなかった電話機" not in told


async def test_while_it_runs_its_progress_is_watched(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    async def under_way(*_words: object, **_more: object) -> tuple[()]:
        assert await asyncio.to_thread(over.wait, 60)
        return ()

    monkeypatch.setattr(phone_resets, "reset_by_hand", under_way)
    async with reading(site) as ann:
        shown = await ann.send(await ann.open(f"{RESET}?device={FIRST}"), RESET)
        identifier = shown.path.rpartition("/")[2]
        (watched,) = [values for _, values in shown.tags if "data-job" in values]
        assert watched["data-job"] == f"/api/v1/jobs/{identifier}/events"
        assert json.loads(watched["data-steps"])["reset"] == "Resetting"
        assert '<noscript><meta http-equiv="refresh"' in shown.answer.text
        assert "running" in (await ann.open(RESETS)).text
        over.set()
        await site.ended()
    assert list(faults(shown)) == []


async def test_a_double_click_and_the_back_button_reset_once(site: Site, cluster: Cluster) -> None:
    with a_node(cluster, {FIRST: DONE}):
        async with reading(site) as ann:
            asked = await ann.open(f"{RESET}?device={FIRST}")
            first, second = [await ann.send(asked, RESET) for _ in range(2)]
            await site.ended()
            third = await ann.send(asked, RESET)
    assert first.path == second.path == third.path
    assert resets_in_audit(cluster) == [("ann", [FIRST])]


async def test_what_was_shown_is_what_is_reset_although_the_filter_finds_more_by_now(
    site: Site, cluster: Cluster
) -> None:
    with a_node(cluster, {FIRST: DONE, SECOND: DONE}):
        async with reading(site) as ann:
            asked = await ann.open(f"{RESET}?found=1&text=lobby")
            cluster.add_phones([Phone("SEP00000000000A", description="lobby")])
            await ended(site, ann, await ann.send(asked, RESET))
    assert resets_in_audit(cluster) == [("ann", [FIRST, SECOND])]


async def test_a_phone_that_was_removed_meanwhile_is_told_and_none_is_reset(site: Site, cluster: Cluster) -> None:
    async with reading(site) as ann:
        asked = await ann.open(f"{RESET}?device={FIRST}&device={SECOND}")
        cluster.remove_phones([SECOND])
        refused = await ann.send(asked, RESET)
    assert (refused.status, "cluster.phone-unknown" in refused.text) == (404, True)
    assert resets_in_audit(cluster) == []


async def test_a_form_without_this_sessions_token_is_refused(site: Site, cluster: Cluster) -> None:
    async with reading(site) as ann:
        values = (await ann.open(f"{RESET}?device={FIRST}")).form(RESET).values | {"csrf_token": "elsewhere"}
        assert (await ann.client.post(RESET, data=values)).status_code == 403
    assert resets_in_audit(cluster) == []


async def test_a_reset_that_broke_off_says_what_to_do(
    site: Site, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise phone_resets.TooManyPhonesError("5 phones are more than the 2 that are reset at once")

    monkeypatch.setattr(type(cluster.resets), "ask_by_hand", broken)
    async with reading(site) as ann:
        shown = await ann.send(await ann.open(f"{RESET}?device={FIRST}"), RESET)
        after = await ended(site, ann, shown)
        assert "failed" in (await ann.open(RESETS)).text
    assert "web.too-many-phones" in after.text
    assert "What to do:" in after.text


async def test_a_reset_that_never_was_is_not_found(site: Site) -> None:
    async with reading(site) as ann:
        assert "web.job-unknown" in (await ann.open(f"{RESETS}/nothing")).text


# --- the API


async def test_the_api_resets_several_and_the_pages_show_it(site: Site, cluster: Cluster) -> None:
    with a_node(cluster, {FIRST: DONE, SECOND: DONE}):
        async with site.logged_in() as ann:
            wanted = {"devices": [SECOND, "00:00:00:00:00:01", SECOND]}
            started = await ann.post(API, json=wanted, headers={"idempotency-key": "once"})
            again = await ann.post(API, json=wanted, headers={"idempotency-key": "once"})
            assert (started.status_code, started.json()["id"]) == (202, again.json()["id"])
            await site.ended()
            job = (await ann.get(f"/api/v1/jobs/{started.json()['id']}")).json()
    assert (job["kind"], job["asked"], job["result"]["reset"]) == ("reset", {"devices": [FIRST, SECOND]}, 2)
    assert job["result"]["phones"][0] == {
        "device": FIRST, "outcome": "done", "node": "pub", "sentence": "resets, told by pub",
    }  # fmt: skip
    assert resets_in_audit(cluster) == [("ann", [FIRST, SECOND])]
    async with reading(site) as ann:
        assert "2 of 2 phones said that they reset." in (await ann.open(f"{RESETS}/{job['id']}")).text


async def test_one_phone_that_the_api_reset_is_shown_too(site: Site, cluster: Cluster) -> None:
    async with site.logged_in() as ann:
        started = await ann.post(f"/api/v1/phones/{FIRST}/reset?wait=0")
        await site.ended()
    async with reading(site) as ann:
        shown = await ann.open(f"{RESETS}/{started.json()['id']}")
        assert "0 of 1 phones said that they reset." in shown.text
        assert FIRST in (await ann.open(RESETS)).text


async def test_the_api_refuses_all_when_one_is_not_known_and_resets_for_operators_alone(
    site: Site, cluster: Cluster
) -> None:
    async with site.with_token(Role.READ_ONLY) as bob:
        refused = await bob.post(API, json={"devices": [FIRST]})
        assert (refused.status_code, error_of(refused)["code"]) == (403, "web.read-only")
    async with site.logged_in() as ann:
        for devices, status, code in (
            ([FIRST, "SEP0000000000FF"], 404, "cluster.phone-unknown"),
            (["kitchen"], 400, "cluster.phone-invalid"),
            ([], 422, "web.input"),
            ([FIRST] * 1001, 422, "web.input"),
        ):
            refused = await ann.post(API, json={"devices": devices})
            assert (refused.status_code, error_of(refused)["code"]) == (status, code)
        del ann.headers["x-csrf-token"]
        assert error_of(await ann.post(API, json={"devices": [FIRST]}))["code"] == "web.csrf"
    assert resets_in_audit(cluster) == []
