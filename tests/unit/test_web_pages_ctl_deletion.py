"""The CTL that is left of mixed mode is deleted by pages and API: shown first, done once, by operators alone."""

import json
from hashlib import sha1

import pytest

from certferry.cluster.accounts import Role
from certferry.cluster.parameters import SECURITY_MODE
from certferry.cluster.sightings import HeldLists
from certferry.cluster.values import Phone
from certferry.trust.purpose import Purpose
from conftest import CLUSTER_BORN, MakeCluster
from web_pages import faults, reading
from web_site import Site, error_of

LISTS = "/security/trust-lists"
ONE = f"{LISTS}/CTL/cluster"
DELETE = f"{ONE}/delete"
API = "/api/v1/trust-lists/CTL"
DEVICES = [f"SEP00000000000{n}" for n in range(6)]


@pytest.fixture
def site(make_cluster: MakeCluster) -> Site:
    cluster = make_cluster("source", nodes=1, secure=True)
    cluster.set_parameter(SECURITY_MODE, "non-secure")
    return Site(cluster)


def actions(site: Site) -> list[str]:
    return [json.loads(line)["action"] for line in site.cluster.audit_lines()]


# --- the pages


@pytest.mark.parametrize("path", [LISTS, ONE])
async def test_the_button_is_offered_to_operators_once_mixed_mode_was_left(site: Site, path: str) -> None:
    async with reading(site) as ann, reading(site, "bob") as bob:
        assert DELETE in (await ann.open(path)).links
        assert DELETE not in (await bob.open(path)).links
        site.cluster.set_parameter(SECURITY_MODE, "mixed")
        assert DELETE not in (await ann.open(path)).links


async def test_it_is_not_offered_beside_an_itl(site: Site) -> None:
    async with reading(site) as ann:
        assert DELETE not in (await ann.open(f"{LISTS}/ITL/source-pub")).links


async def test_it_is_not_offered_where_there_is_no_ctl(make_cluster: MakeCluster) -> None:
    async with reading(Site(make_cluster("source", nodes=1))) as ann:
        assert DELETE not in (await ann.open(LISTS)).links


async def test_it_is_not_offered_for_the_ctl_of_another_cluster(site: Site, make_cluster: MakeCluster) -> None:
    async with reading(Site(make_cluster("destination", nodes=1), {"source": site.cluster})) as ann:
        assert DELETE not in (await ann.open(LISTS)).links


@pytest.mark.parametrize("language", ["en", "ja"])
async def test_the_question_tells_how_many_phones_have_taken_it(site: Site, language: str) -> None:
    cluster, ctl = site.cluster, site.cluster.trust_list("CTL")
    assert ctl is not None
    served = sha1(ctl).hexdigest().upper()
    cluster.add_phones([Phone(device) for device in DEVICES])
    told = [served, served, served, "AB" * 20, ""]
    held = zip(DEVICES, told, strict=False)
    cluster.sightings.note([], [HeldLists(device, each, "", None, CLUSTER_BORN) for device, each in held])
    async with reading(site, language=language) as ann:
        asked = await ann.open(DELETE)
    assert list(faults(asked)) == []
    words = {
        "en": ("hold this emptied CTL: 3.", "hold another CTL: 1.", "never said what they hold: 1.", "taken back"),
        "ja": (
            "空の CTL を保持すると通知した電話機: 3 台",
            "別の CTL を保持すると通知した電話機: 1 台",
            "電話機: 1 台。",
            "取り消す",
        ),
    }
    assert [each for each in words[language] if each not in asked.text] == []


async def test_what_needs_no_warning_gets_none(site: Site) -> None:
    async with reading(site) as ann:
        asked = await ann.open(DELETE)
    assert "hold this emptied CTL: 0." in asked.text
    assert "⚠" not in asked.text


async def test_it_is_deleted_told_and_in_the_audit_log_with_the_name(site: Site) -> None:
    async with reading(site) as ann:
        after = await ann.send(await ann.open(DELETE), DELETE)
        assert after.path == LISTS
        assert "The CTL of source is deleted." in after.text
        assert ONE not in after.links
        assert DELETE not in after.links
        assert "CTL deleted" in (await ann.open("/show/audit")).text
    assert site.cluster.trust_list("CTL") is None
    line = json.loads(site.cluster.audit_lines()[-1])
    assert (line["actor"], line["action"]) == ("ann", "delete-ctl")


async def test_a_double_click_and_the_back_button_delete_once(site: Site) -> None:
    async with reading(site) as ann:
        asked = await ann.open(DELETE)
        answers = [await ann.send(asked, DELETE) for _ in range(3)]
    assert [("is deleted" in each.text, each.status) for each in answers] == [(True, 200)] * 3
    assert actions(site).count("delete-ctl") == 1


async def test_of_two_administrators_the_second_learns_that_it_is_gone(site: Site) -> None:
    async with reading(site) as ann, reading(site) as anns_other_window:
        both = [await each.open(DELETE) for each in (ann, anns_other_window)]
        await ann.send(both[0], DELETE)
        second = await anns_other_window.send(both[1], DELETE)
        assert (second.status, "cluster.ctl-missing" in second.text) == (404, True)
        again = await ann.open(DELETE)
        assert (again.status, "cluster.ctl-missing" in again.text) == (404, True)


async def test_a_cluster_that_went_back_to_mixed_mode_keeps_its_ctl(site: Site) -> None:
    async with reading(site) as ann:
        asked = await ann.open(DELETE)
        site.cluster.set_parameter(SECURITY_MODE, "mixed")
        refused = await ann.send(asked, DELETE)
        assert (refused.status, "cluster.ctl-needed" in refused.text) == (409, True)
        assert "cluster.ctl-needed" in (await ann.open(DELETE)).text
    assert site.cluster.trust_list("CTL") is not None


async def test_a_ctl_that_was_built_anew_since_is_not_the_one_that_was_shown(site: Site) -> None:
    async with reading(site) as ann, reading(site, language="ja") as japanese:
        asked = [await each.open(DELETE) for each in (ann, japanese)]
        assert "CTL" in site.cluster.regenerate(Purpose.CAPF)[1]
        refused = await ann.send(asked[0], DELETE)
        assert (refused.status, "cluster.ctl-replaced" in refused.text) == (409, True)
        assert "表示された後に CTL が作成し直されました" in (await japanese.send(asked[1], DELETE)).text
        assert DELETE in refused.links
        await ann.send(await ann.open(DELETE), DELETE)
    assert site.cluster.trust_list("CTL") is None


async def test_who_may_only_look_is_refused(site: Site) -> None:
    async with reading(site) as ann, reading(site, "bob") as bob:
        assert (await bob.open(DELETE)).status == 403
        asked = await ann.open(DELETE)
        token = (await bob.open(LISTS)).form("/logout").values["csrf_token"]
        values = asked.form(DELETE).values | {"csrf_token": token}
        assert (await bob.client.post(DELETE, data=values)).status_code == 403
    assert site.cluster.trust_list("CTL") is not None


async def test_a_form_without_this_sessions_token_is_refused(site: Site) -> None:
    async with reading(site) as ann:
        values = (await ann.open(DELETE)).form(DELETE).values | {"csrf_token": "elsewhere"}
        assert (await ann.client.post(DELETE, data=values)).status_code == 403
    assert site.cluster.trust_list("CTL") is not None


# --- the API


async def test_the_api_deletes_it_once(site: Site) -> None:
    async with site.logged_in() as ann:
        done = await ann.delete(API)
        assert (done.status_code, done.json()) == (200, {"deleted": "CTL"})
        again = await ann.delete(API)
        assert (again.status_code, error_of(again)["code"]) == (404, "cluster.ctl-missing")
    assert json.loads(site.cluster.audit_lines()[-1])["actor"] == "ann"


async def test_the_api_deletes_no_other_than_the_one_that_was_looked_at(site: Site) -> None:
    async with site.logged_in() as ann:
        (ctl,) = [each for each in (await ann.get("/api/v1/trust-lists")).json()["items"] if each["kind"] == "CTL"]
        other = await ann.delete(API, params={"sha256": "0" * 64})
        assert (other.status_code, error_of(other)["code"]) == (409, "cluster.ctl-replaced")
        assert (await ann.delete(API, params={"sha256": "nonsense"})).status_code == 422
        assert (await ann.delete(API, params={"sha256": ctl["sha256"]})).status_code == 200


async def test_the_api_tells_by_the_same_name_which_list_it_is_and_who_holds_it(site: Site) -> None:
    async with site.logged_in("bob") as bob:
        lists = (await bob.get("/api/v1/trust-lists")).json()["items"]
    ctl = site.cluster.trust_list("CTL") or b""
    assert lists[0]["sha1"] == sha1(ctl).hexdigest().upper()


async def test_the_api_refuses_what_the_command_line_refuses(site: Site) -> None:
    async with site.with_token(Role.READ_ONLY) as bob:
        refused = await bob.delete(API)
        assert (refused.status_code, error_of(refused)["code"]) == (403, "web.read-only")
    site.cluster.set_parameter(SECURITY_MODE, "mixed")
    async with site.logged_in() as ann:
        refused = await ann.delete(API)
        assert (refused.status_code, error_of(refused)["code"]) == (409, "cluster.ctl-needed")
        del ann.headers["x-csrf-token"]
        assert error_of(await ann.delete(API))["code"] == "web.csrf"


async def test_mixed_mode_is_entered_and_left_by_page_and_by_api(site: Site) -> None:
    page, api = "/settings/parameters", "/api/v1/parameters/security-mode"
    async with reading(site) as ann:
        entered = await ann.send(await ann.open(page), page, security_mode="mixed")
        assert "Rebuilt: CTL" in entered.text
    async with site.logged_in() as ann:
        left = await ann.put(api, json={"value": "non-secure"})
        assert "CTL" in left.json()["rebuilt"]
        assert (await ann.delete(API)).status_code == 200
