"""Phones reset by hand, in a terminal or by the API: each is told once, and nothing is left to be told later."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from answering_node import a_node
from certferry.cluster.accounts import Role
from certferry.cluster.cluster import Cluster
from certferry.cluster.hand_resets import HandReset, reset_by_hand
from certferry.cluster.phones import PhoneUnknownError
from certferry.cluster.resets import ResetOutcome
from certferry.cluster.values import Phone
from command_line import Ended, certferry
from conftest import MakeCluster
from web_site import Site, error_of

FIRST, SECOND, THIRD = (f"SEP00000000000{number}" for number in "123")


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    made = make_cluster(nodes=1)
    made.add_phones([Phone(device) for device in (FIRST, SECOND, THIRD)])
    return made


@pytest.fixture
def reset(cluster: Cluster) -> Callable[..., Ended]:
    return lambda *words: certferry("--cluster", cluster.location.text, "phone", "reset", *words)


def test_phones_that_answer_are_reset(cluster: Cluster, reset: Callable[..., Ended]) -> None:
    with a_node(cluster, {FIRST: ResetOutcome.DONE, SECOND: ResetOutcome.DONE}):
        ended = reset(FIRST, "00:00:00:00:00:02", "--json")
    assert ended.code == 0
    assert ended.json["ok"] is True
    assert ended.json["phones"] == [
        {"device": FIRST, "outcome": "done", "node": "pub"},
        {"device": SECOND, "outcome": "done", "node": "pub"},
    ]


def test_each_that_is_not_reset_is_told_and_why(cluster: Cluster, reset: Callable[..., Ended]) -> None:
    with a_node(cluster, {FIRST: ResetOutcome.DONE, SECOND: ResetOutcome.UNANSWERED}):
        ended = reset(FIRST, SECOND, THIRD, "--wait", "0.5")
    assert ended.code == 5
    assert f"{FIRST}  done        resets, told by pub" in ended.stdout
    assert f"{SECOND}  unanswered  was told by pub and did not answer" in ended.stdout
    assert f"{THIRD}  absent      is registered at no node that runs; withdrawn" in ended.stdout
    assert cluster.resets.open_count() == 0


def test_where_none_is_reset_it_failed_and_nothing_comes_later(cluster: Cluster, reset: Callable[..., Ended]) -> None:
    ended = reset(FIRST, "--wait", "0", "--json")
    assert (ended.code, ended.json["ok"], ended.json["reset"]) == (1, False, 0)
    with a_node(cluster, {FIRST: ResetOutcome.DONE}):
        assert cluster.resets.open_count() == 0


def test_a_patience_that_is_no_number_does_not_last_for_ever(reset: Callable[..., Ended]) -> None:
    assert reset(FIRST, "--wait", "nan", "--json").code in (1, 2)


def test_a_phone_that_is_not_known_is_refused_and_no_other_is_reset(
    cluster: Cluster, reset: Callable[..., Ended]
) -> None:
    ended = reset(FIRST, "SEP0000000000FF", "--json")
    assert (ended.code, ended.error["code"]) == (2, "cluster.phone-unknown")
    assert reset("kitchen", "--json").error["code"] == "cluster.phone-invalid"
    assert cluster.resets.open_count() == 0


def test_the_audit_log_says_who_had_which_phones_reset(cluster: Cluster, reset: Callable[..., Ended]) -> None:
    reset(FIRST, SECOND, FIRST, "--wait", "0")
    line = json.loads(cluster.audit_lines()[-1])
    assert (line["action"], line["devices"]) == ("reset-phones", [FIRST, SECOND])


def test_what_a_node_took_and_never_ended_is_in_doubt(
    cluster: Cluster, reset: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certferry.cluster.hand_resets.TAKEN_SECONDS", 0.3)
    with a_node(cluster, {FIRST: None}):
        ended = reset(FIRST, "--wait", "0.3", "--json")
    assert (ended.code, ended.json["phones"]) == (1, [{"device": FIRST, "outcome": "in-doubt", "node": "pub"}])


def test_ctrl_c_withdraws_what_nobody_took(
    cluster: Cluster, reset: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("certferry.cli.phone.progress_bars", lambda _out: _Bars(interrupted))
    assert reset(FIRST, "--json").error["code"] == "cli.interrupted"
    assert cluster.resets.open_count() == 0


class _Bars:
    def __init__(self, report: Callable[..., None]) -> None:
        self._report = report

    def __enter__(self) -> Callable[..., None]:
        return self._report

    def __exit__(self, *_: object) -> None:
        pass


async def test_the_same_wish_asked_again_resets_no_phone_twice(cluster: Cluster) -> None:
    async def ask() -> tuple[HandReset, ...]:
        return await reset_by_hand(cluster.resets, "key", [FIRST], "ann", wait=5, progress=lambda _done, _total: None)

    with a_node(cluster, {FIRST: ResetOutcome.DONE}):
        assert await ask() == await ask() == (HandReset(FIRST, ResetOutcome.DONE, "pub"),)
    assert [json.loads(line)["action"] for line in cluster.audit_lines()].count("reset-phones") == 1


async def test_phones_that_keep_ending_are_waited_for(cluster: Cluster) -> None:
    told: list[tuple[int, int]] = []
    with pytest.raises(PhoneUnknownError):
        await reset_by_hand(
            cluster.resets, "x", ["SEP0000000000FF"], "ann", wait=0, progress=lambda *at: told.append(at)
        )
    assert told == []
    with a_node(cluster, dict.fromkeys((FIRST, SECOND), ResetOutcome.DONE)):
        await reset_by_hand(cluster.resets, "y", [FIRST, SECOND], "ann", wait=5, progress=lambda *at: told.append(at))
    assert told[-1] == (2, 2)


# --- the API


@pytest.fixture
def site(cluster: Cluster) -> Site:
    return Site(cluster)


async def result_of(site: Site, client: httpx.AsyncClient, started: httpx.Response) -> Any:
    assert started.status_code == 202, started.text
    await site.ended()
    job = (await client.get(f"/api/v1/jobs/{started.json()['id']}")).json()
    assert job["state"] == "done", job["error"]
    return job["result"]


async def test_an_operator_resets_a_phone_and_the_audit_log_names_him(site: Site, cluster: Cluster) -> None:
    with a_node(cluster, {FIRST: ResetOutcome.DONE}):
        async with site.logged_in() as ann:
            started = await ann.post(f"/api/v1/phones/{FIRST}/reset")
            result = await result_of(site, ann, started)
    assert (result["device"], result["outcome"], result["node"]) == (FIRST, "done", "pub")
    line = json.loads(cluster.audit_lines()[-1])
    assert (line["actor"], line["action"], line["devices"]) == ("ann", "reset-phones", [FIRST])


async def test_the_same_key_is_the_same_reset(site: Site, cluster: Cluster) -> None:
    with a_node(cluster, {FIRST: ResetOutcome.DONE}):
        async with site.logged_in() as ann:
            key = {"idempotency-key": "once"}
            started = [await ann.post(f"/api/v1/phones/{FIRST}/reset", headers=key) for _ in range(3)]
            await result_of(site, ann, started[0])
    assert len({each.json()["id"] for each in started}) == 1
    assert [json.loads(line)["action"] for line in cluster.audit_lines()].count("reset-phones") == 1


async def test_a_phone_that_is_nowhere_is_not_reset_later(site: Site, cluster: Cluster) -> None:
    async with site.logged_in() as ann:
        result = await result_of(site, ann, await ann.post(f"/api/v1/phones/{FIRST}/reset?wait=0"))
    assert result["outcome"] == "absent"
    assert cluster.resets.open_count() == 0


async def test_only_operators_reset_and_only_phones_that_are_known(site: Site, cluster: Cluster) -> None:
    async with site.with_token(Role.READ_ONLY) as bob:
        assert (await bob.post(f"/api/v1/phones/{FIRST}/reset")).status_code == 403
    async with site.logged_in() as ann:
        stranger = await ann.post("/api/v1/phones/SEP0000000000FF/reset")
        assert (stranger.status_code, error_of(stranger)["code"]) == (404, "cluster.phone-unknown")
        kitchen = await ann.post("/api/v1/phones/kitchen/reset")
        assert (kitchen.status_code, error_of(kitchen)["code"]) == (400, "cluster.phone-invalid")
    assert cluster.resets.open_count() == 0
