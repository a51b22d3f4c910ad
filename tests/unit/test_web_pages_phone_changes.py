"""Phones are added, one or those of a CSV, and removed from the pages: faults beside the field, each change once."""

import json
from typing import Any

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.sightings import Sighting, Step
from certferry.cluster.values import CallManagerGroup, Phone
from conftest import CLUSTER_BORN, MakeCluster
from web_pages import Drawn, Reader, faults, reading
from web_site import Site

PHONES, ADD, IMPORT, REMOVE = "/show/phones", "/show/phones/add", "/show/phones/import", "/show/phones/remove"
FIRST, SECOND, THIRD = (f"SEP00000000000{number}" for number in "123")


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    made = make_cluster(nodes=1, clock=lambda: CLUSTER_BORN)
    made.put_group(CallManagerGroup("Branch", (made.publisher.name,)))
    made.add_phones([Phone(FIRST), Phone(SECOND)])
    made.sightings.note([Sighting(FIRST, Step.REGISTERED, CLUSTER_BORN, "pub", "192.0.2.7", "3600")])
    return made


@pytest.fixture
def site(cluster: Cluster) -> Site:
    return Site(cluster)


def audited(cluster: Cluster, action: str) -> list[Any]:
    return [line for line in map(json.loads, cluster.audit_lines()) if line["action"] == action]


# --- one phone


async def test_a_phone_is_added_and_found(site: Site, cluster: Cluster) -> None:
    async with reading(site) as ann:
        assert ADD in (await ann.open(PHONES)).links
        drawn = await ann.open(ADD)
        assert drawn.form(ADD).values["model"] == "8861"
        typed = {"device": "00:00:00:00:00:03", "group": "Branch", "secure": "1", "description": "lobby"}
        after = await ann.send(drawn, ADD, **typed)
    assert after.path == PHONES
    assert "Added or changed: 1 phones." in after.text
    assert cluster.phones()[-1] == Phone(THIRD, "8861", "Branch", secure=True, description="lobby")
    assert audited(cluster, "add-phones")[-1]["actor"] == "ann"


async def test_a_known_phone_is_changed(site: Site, cluster: Cluster) -> None:
    async with reading(site) as ann:
        await ann.send(await ann.open(ADD), ADD, device=FIRST, model="7962")
    assert cluster.phones()[0].model == "7962"


@pytest.mark.parametrize(
    ("typed", "field", "told"),
    [
        ({"device": "kitchen"}, "device", "is not a phone's device name"),
        ({"device": ""}, "device", "is not a phone's device name"),
        ({"device": THIRD, "model": "best phone"}, "model", "is not a model"),
        ({"device": THIRD, "group": "Nowhere"}, "group", "Choose one of the entries."),
    ],
)
async def test_what_is_wrong_is_told_beside_its_field_and_nothing_typed_is_lost(
    site: Site, cluster: Cluster, typed: dict[str, str], field: str, told: str
) -> None:
    async with reading(site) as ann:
        drawn = await ann.send(await ann.open(ADD), ADD, description="lobby", secure="1", **typed)
    assert drawn.status == 422
    assert told in drawn.error_beside(field)
    values = drawn.form(ADD).values
    assert (values["device"], values["description"], values["secure"]) == (typed["device"], "lobby", "1")
    assert list(faults(drawn)) == []
    assert len(cluster.phones()) == 2


async def test_a_fault_is_told_in_japanese(site: Site) -> None:
    async with reading(site, language="ja") as ann:
        drawn = await ann.send(await ann.open(ADD), ADD, device="kitchen")
    assert "kitchen" in drawn.error_beside("device")
    assert "is not" not in drawn.error_beside("device")


# --- a CSV


async def imported(ann: Reader, data: bytes) -> Drawn:
    return await ann.send(await ann.open(ADD), IMPORT, files={"file": data})


async def test_the_phones_of_a_csv_are_added_all_or_none(site: Site, cluster: Cluster) -> None:
    async with reading(site) as ann:
        bad = await imported(ann, b"device,model\nSEP00000000000A,8861\nkitchen,8861\n")
        assert bad.status == 422
        assert "line 3" in bad.error_beside("file")
        assert len(cluster.phones()) == 2
        good = await imported(ann, "device,description\nSEP00000000000A,受付\nSEP00000000000B,\n".encode())
    assert "Added or changed: 2 phones." in good.text
    assert [phone.description for phone in cluster.phones()[2:]] == ["受付", ""]


@pytest.mark.parametrize(
    ("data", "told"),
    [(b"", "Choose a CSV file"), (b"device\n\xff\xfe", "no text in UTF-8"), (b"name\nx\n", "no column 'device'")],
)
async def test_a_file_that_is_none_is_told(site: Site, data: bytes, told: str) -> None:
    async with reading(site) as ann:
        drawn = await imported(ann, data)
    assert told in drawn.error_beside("file")
    assert list(faults(drawn)) == []


async def test_a_csv_of_a_large_site_is_read_whole(site: Site, cluster: Cluster) -> None:
    rows = [f"SEP00000001{number:04X},{'x' * 200}" for number in range(6000)]
    async with reading(site) as ann:
        drawn = await imported(ann, "\n".join(["device,description", *rows]).encode())
    assert "Added or changed: 6000 phones." in drawn.text
    assert len(cluster.devices()) == 6002


async def test_a_double_click_adds_once_and_a_reader_who_comes_back_finds_the_form(
    site: Site, cluster: Cluster
) -> None:
    async with reading(site) as ann:
        drawn = await ann.open(ADD)
        for _ in range(2):
            assert "Added or changed: 1" in (await ann.send(drawn, ADD, device=THIRD)).text
        assert (await ann.open(IMPORT)).path == ADD
    assert len(audited(cluster, "add-phones")) == 2


# --- remove


async def test_phones_are_removed_once_it_is_shown_which(site: Site, cluster: Cluster) -> None:
    async with reading(site) as ann:
        listed = await ann.open(PHONES)
        assert REMOVE in [values.get("formaction") for _, values in listed.tags]
        asked = await ann.open(f"{REMOVE}?device={FIRST}&device=00:00:00:00:00:02&text=SEP")
        assert asked.form(REMOVE).values["devices"] == f"{FIRST} {SECOND}"
        assert "Phones that are removed: 2" in asked.text
        assert "Registered now: 1." in asked.text
        assert f"{PHONES}?text=SEP" in asked.links
        for _ in range(2):
            after = await ann.send(asked, REMOVE)
            assert "Removed: 2 phones." in after.text
    assert cluster.phones() == ()
    (line,) = audited(cluster, "remove-phones")
    assert (line["actor"], line["devices"]) == ("ann", [FIRST, SECOND])


async def test_when_one_is_gone_already_none_is_removed(site: Site, cluster: Cluster) -> None:
    async with reading(site) as ann:
        asked = await ann.open(f"{REMOVE}?device={FIRST}&device={SECOND}")
        cluster.remove_phones([SECOND])
        refused = await ann.send(asked, REMOVE)
        assert (refused.status, "cluster.phone-unknown" in refused.text) == (404, True)
        assert "cluster.phone-unknown" in (await ann.open(f"{REMOVE}?device={SECOND}")).text
    assert list(cluster.devices()) == [FIRST]


async def test_without_a_selection_nothing_is_removed(site: Site, cluster: Cluster) -> None:
    async with reading(site) as ann:
        assert "No phone is selected." in (await ann.open(REMOVE)).text
        token = (await ann.open(PHONES)).form("/logout").values["csrf_token"]
        answer = await ann.client.post(REMOVE, data={"csrf_token": token}, follow_redirects=True)
        assert "No phone is selected." in answer.text
    assert len(cluster.phones()) == 2


@pytest.mark.parametrize("path", [ADD, IMPORT, REMOVE])
async def test_who_may_only_look_changes_nothing(site: Site, cluster: Cluster, path: str) -> None:
    async with reading(site, "bob") as bob:
        listed = await bob.open(PHONES)
        assert ADD not in listed.links
        token = listed.form("/logout").values["csrf_token"]
        values = {"csrf_token": token, "device": THIRD, "model": "8861", "group": "Default", "devices": FIRST}
        assert (await bob.client.post(path, data=values)).status_code == 403
    async with reading(site) as ann:
        assert (await ann.client.post(path, data=values | {"csrf_token": "elsewhere"})).status_code == 403
    assert len(cluster.phones()) == 2
