"""Option 150 changed in Kea when a migration starts, from the pages and the API: shown first, then done once."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from certferry.cluster.migrations import Event, Migration, MigrationStateError, State
from certferry.cluster.sightings import Sighting, Step
from certferry.cluster.values import Phone
from certferry.dhcp.kea import Kea
from certferry.dhcp.kea_channel import KeaUnreachableError
from certferry.dhcp.kea_config import find_subnet, in_words, option_of
from certferry.dhcp.kea_undo import UndoRecord
from certferry.migrate.result import Verification
from certferry.migrate.waves.running import Runner
from certferry.web import waves
from conftest import MakeCluster
from kea_double import KeaDouble
from web_pages import Drawn, Reader, faults, reading
from web_site import Clock, Site, error_of

VOICE = "198.51.100.0/24"
NEW = "/migration/waves/new"
API = "/api/v1/migrations"
PHONE = Phone("SEP000000000001")
SERVERS = "192.0.2.11, 192.0.2.12"


@pytest.fixture
def kea() -> KeaDouble:
    return KeaDouble()


@pytest.fixture
def site(make_cluster: MakeCluster, kea: KeaDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    source, destination = make_cluster("source", nodes=1), make_cluster("destination", "14", nodes=3)
    for cluster in (source, destination):
        cluster.add_phones([PHONE])
    monkeypatch.setattr(waves, "preflight", verified)
    made = Site(source, {"destination": destination}, clock=Now())
    made.context.kea = Kea(kea, UndoRecord(tmp_path / "undo.json"))
    return made


class Now(Clock):
    """Runners wait for what phones do, so their clock has to go."""

    def __call__(self) -> datetime:
        return datetime.now(UTC)


async def verified(*_: object) -> Verification:
    return Verification(ok=True, checks=(), phones=(), source="a", destination="b", at=datetime.now(UTC))


def option(kea: KeaDouble) -> str:
    return in_words(option_of(kea.config, find_subnet(kea.config, VOICE)))


def nodes(site: Site) -> str:
    return ",".join(node.address for node in site.context.others["destination"].tftp_nodes()[:2])


def registers(site: Site) -> None:
    destination = site.context.others["destination"]
    destination.sightings.note([Sighting(PHONE.device, Step.REGISTERED, datetime.now(UTC), "x", "192.0.2.9")])


async def planned(reader: Reader) -> Drawn:
    return await reader.send(await reader.open(NEW), NEW, patience="20", between="0")


async def looked(reader: Reader, **typed: str) -> Drawn:
    """Plan a migration, follow the link to Kea, and look at the change."""
    shown = await planned(reader)
    assert f"{shown.path}/option150" in shown.links
    form = await reader.open(f"{shown.path}/option150")
    return await reader.send(form, f"{shown.path}/option150", **{"subnet": VOICE, **typed})


def the(site: Site) -> Migration:
    (found,) = site.cluster.migrations.all()
    return found


def told(site: Site) -> list[Mapping[str, Any]]:
    return [event.details for event in site.cluster.migrations.events(the(site).id) if event.kind == "option150"]


@pytest.mark.parametrize("language", ["en", "ja"])
async def test_the_change_is_shown_before_anything_is_changed(site: Site, kea: KeaDouble, language: str) -> None:
    async with reading(site, language=language) as ann:
        form = await ann.open(f"{(await planned(ann)).path}/option150")
        drawn = await ann.send(form, form.path, subnet=" 1 ")
    assert list(faults(form)) == list(faults(drawn)) == []
    assert drawn.status == 200
    assert f"{VOICE} (id 1)" in drawn.text
    assert nodes(site) in drawn.text
    assert option(kea) == "none"
    assert set(kea.calls) == {"config-get"}


async def test_kea_is_changed_when_verification_has_passed_and_phones_are_reset_then(
    site: Site, kea: KeaDouble
) -> None:
    async with reading(site) as ann:
        drawn = await looked(ann)
        registers(site)
        shown = await ann.send(drawn, f"{drawn.path}/start")
        await ann.post(drawn, f"{drawn.path}/start")
        await finished(site)
        assert shown.path == drawn.path.removesuffix("/option150")
        after = await ann.open(shown.path)
    assert option(kea) == nodes(site)
    assert kea.calls.count("config-set") == 1
    (recorded,) = told(site)
    assert (recorded["before"], recorded["after"], recorded["changed"]) == ("none", nodes(site), True)
    assert f"option 150 of {VOICE} (id 1) was none, now is {nodes(site)}" in after.text
    assert the(site).state is State.DONE


async def test_other_servers_may_be_named(site: Site, kea: KeaDouble) -> None:
    async with reading(site) as ann:
        drawn = await looked(ann, tftp=SERVERS)
        registers(site)
        await ann.send(drawn, f"{drawn.path}/start")
        await finished(site)
    assert option(kea) == SERVERS.replace(" ", "")


@pytest.mark.parametrize(
    ("typed", "field", "sentence"),
    [
        ({"subnet": ""}, "subnet", "入力してください"),
        ({"subnet": "192.0.2.0/24"}, "subnet", "Kea にサブネット '192.0.2.0/24' がありません"),
        ({"tftp": "tftp.example.com"}, "tftp", "'tftp.example.com' は IPv4 アドレスではありません"),
        ({"tftp": "192.0.2.1,192.0.2.1"}, "tftp", "192.0.2.1 が重複しています"),
    ],
)
async def test_what_is_wrong_is_told_beside_its_field_and_nothing_is_lost(
    site: Site, typed: dict[str, str], field: str, sentence: str
) -> None:
    async with reading(site, language="ja") as ann:
        path = f"{(await planned(ann)).path}/option150"
        drawn = await ann.send(await ann.open(path), path, **{"subnet": VOICE, "tftp": "", **typed})
    assert drawn.status == 422
    assert sentence in drawn.error_beside(field)
    assert drawn.form(path).values | typed == drawn.form(path).values
    assert [form for form in drawn.forms if form.action.endswith("/start")] == []


async def test_a_kea_that_does_not_answer_is_told_and_asked_again(
    site: Site, kea: KeaDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object) -> Mapping[str, Any]:
        raise KeaUnreachableError("/run/kea/double: Connection refused")

    async with reading(site, language="ja") as ann:
        with monkeypatch.context() as patched:
            patched.setattr(kea, "call", silent)
            drawn = await looked(ann)
        assert drawn.status == 422
        assert "dhcp.kea-unreachable" in drawn.text
        again = await ann.send(drawn, drawn.path)
    assert again.status == 200
    assert drawn.form(drawn.path).values["subnet"] == VOICE


async def test_what_somebody_changed_since_it_was_shown_is_not_overwritten(site: Site, kea: KeaDouble) -> None:
    async with reading(site, language="ja") as ann:
        drawn = await looked(ann)
        kea.config["subnet4"][0]["option-data"] = [{"code": 150, "csv-format": False, "data": "C0000207"}]
        refused = await ann.send(drawn, f"{drawn.path}/start")
    assert refused.status == 422
    assert "オプション 150 は 192.0.2.7 です。表示された none から変わっています" in refused.text
    assert option(kea) == "192.0.2.7"
    assert refused.form(f"{drawn.path}/start").values["before"] == "192.0.2.7"
    assert the(site).state is State.PLANNED


async def test_a_verification_that_fails_leaves_kea_as_it_was_and_a_reason_goes_on(
    site: Site, kea: KeaDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object) -> Verification:
        return Verification(ok=False, checks=(), phones=(), source="a", destination="b", at=datetime.now(UTC))

    monkeypatch.setattr(waves, "preflight", failing)
    async with reading(site) as ann:
        drawn = await looked(ann)
        await ann.send(drawn, f"{drawn.path}/start")
        await finished(site)
        assert option(kea) == "none"
        assert "waves.preflight-failed" in (await ann.open(drawn.path.removesuffix("/option150"))).text
        form = await ann.open(drawn.path)
        drawn = await ann.send(form, drawn.path, subnet=VOICE)
        without = await ann.send(drawn, f"{drawn.path}/start", go_on="1")
        assert "Fill in this field." in without.error_beside("override")
        registers(site)
        await ann.send(without, f"{drawn.path}/start", override="change 4711")
        await finished(site)
    assert option(kea) == nodes(site)
    assert the(site).state is State.DONE


async def finished(site: Site) -> None:
    for job in (await site.app.state.jobs.latest()).items:
        async for _ in site.app.state.jobs.events(job.id):
            pass


async def test_it_is_told_when_kea_was_changed_and_no_phone_was_reset(
    site: Site, kea: KeaDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def overtaken(_runner: Runner, _events: list[Event]) -> None:
        raise MigrationStateError("migration 1 is running, so it cannot be started")

    monkeypatch.setattr(Runner, "run", overtaken)
    async with reading(site) as ann:
        drawn = await looked(ann)
        await ann.send(drawn, f"{drawn.path}/start")
        await finished(site)
        shown = await ann.open(drawn.path.removesuffix("/option150"))
    assert option(kea) == nodes(site)
    assert "No phone was reset, but Kea was changed." in shown.text


async def test_the_way_back_puts_back_what_stood_there(site: Site, kea: KeaDouble) -> None:
    before = dict(kea.config)
    async with reading(site) as ann:
        drawn = await looked(ann)
        registers(site)
        shown = await ann.send(drawn, f"{drawn.path}/start")
        await finished(site)
        back = await ann.send(await ann.open(shown.path), f"{shown.path}/back")
        form = await ann.open(f"{back.path}/option150")
        assert "what stood there before certferry changed it" in form.text
        drawn = await ann.send(form, f"{back.path}/option150", subnet=VOICE)
        site.cluster.sightings.note([Sighting(PHONE.device, Step.REGISTERED, datetime.now(UTC), "x", "192.0.2.9")])
        await ann.send(drawn, f"{back.path}/option150/start")
        await finished(site)
    assert kea.config == before | {"option-def": []}


async def test_a_server_without_a_kea_offers_none(site: Site) -> None:
    site.context.kea = None
    async with reading(site) as ann:
        shown = await planned(ann)
        assert f"{shown.path}/option150" not in shown.links
        drawn = await ann.open(f"{shown.path}/option150")
    assert "was given no Kea" in drawn.text
    assert list(faults(drawn)) == []
    assert [form for form in drawn.forms if "option150" in form.action] == []


async def test_who_may_only_look_does_not_look_into_kea(site: Site, kea: KeaDouble) -> None:
    async with reading(site) as ann, reading(site, "bob") as bob:
        path = f"{(await planned(ann)).path}/option150"
        assert (await bob.open(path)).status == 403
    async with site.logged_in("bob") as bob:
        answer = await bob.get(f"{API}/{the(site).id}/option150", params={"subnet": VOICE})
        assert error_of(answer)["code"] == "web.read-only"
    assert kea.calls == []


# --- the API


async def test_programs_look_and_start_the_same_way(site: Site, kea: KeaDouble) -> None:
    async with site.logged_in() as ann:
        made = (await ann.post(API, json={"destination": "destination", "everything": True, "patience": 20})).json()
        path = f"{API}/{made['id']}"
        shown = (await ann.get(f"{path}/option150", params={"subnet": "1"})).json()
        assert shown == {
            "kea": kea.name,
            "subnet": VOICE,
            "before": "none",
            "after": nodes(site),
            "changed": True,
            "defines_option": True,
            "warnings": [],
        }
        registers(site)
        wanted = {"subnet": VOICE, "before": shown["before"], "after": shown["after"]}
        job = await ann.post(f"{path}/start", json={"kea": wanted})
        assert job.status_code == 202
        await finished(site)
    assert option(kea) == nodes(site)


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        ({"kea": {"subnet": VOICE}, "option150_confirmed": True}, 400, "web.option150-both"),
        ({"kea": {"subnet": "9"}}, 422, "dhcp.kea-subnet"),
        ({"kea": {"subnet": VOICE, "tftp": "::1"}}, 400, "dhcp.tftp-servers"),
        ({"kea": {"subnet": VOICE, "before": "192.0.2.7"}}, 409, "dhcp.kea-changed"),
        ({"kea": {"subnet": VOICE, "after": "192.0.2.7"}}, 409, "dhcp.kea-changed"),
        ({"kea": {"subnet": ""}}, 422, "web.input"),
    ],
)
async def test_what_cannot_be_meant_is_refused_before_anything_happens(
    site: Site, kea: KeaDouble, wanted: dict[str, Any], status: int, code: str
) -> None:
    async with site.logged_in() as ann:
        made = (await ann.post(API, json={"destination": "destination", "everything": True})).json()
        answer = await ann.post(f"{API}/{made['id']}/start", json=wanted)
        assert (answer.status_code, error_of(answer)["code"]) == (status, code)
    assert "config-set" not in kea.calls
    assert (await site.app.state.jobs.latest()).total == 0


async def test_a_server_without_a_kea_says_so(site: Site) -> None:
    site.context.kea = None
    async with site.logged_in() as ann:
        made = (await ann.post(API, json={"destination": "destination", "everything": True})).json()
        answer = await ann.post(f"{API}/{made['id']}/start", json={"kea": {"subnet": VOICE}})
    assert (answer.status_code, error_of(answer)["code"]) == (409, "web.no-kea")
