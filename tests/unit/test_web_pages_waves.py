"""Waves on the pages and in the API: planned once, shown as they stand, steered by whoever may, each phone found."""

import re
from datetime import timedelta
from typing import Any

import pytest

from certferry.cluster.migrations import Event, Migration, MigrationPhone, PhoneState, Progress, State, lease_of
from certferry.cluster.sightings import Sighting, Step
from certferry.cluster.values import Phone
from conftest import MakeCluster
from web_pages import Drawn, Reader, faults, reading
from web_site import START, Site, error_of

WAVES = "/migration/waves"
NEW = f"{WAVES}/new"
API = "/api/v1/migrations"
DEVICES = [f"SEP00000000000{n}" for n in range(8)]


@pytest.fixture
def site(make_cluster: MakeCluster) -> Site:
    source, destination = make_cluster("source", nodes=1), make_cluster("destination", "14", nodes=1)
    for cluster in (source, destination):
        cluster.add_phones([Phone(device) for device in DEVICES])
    source.add_phones([Phone("SEP00000000FFFF")])
    return Site(source, {"destination": destination})


async def planned(reader: Reader, **typed: str) -> Drawn:
    """Plan a migration of the phones that both clusters know."""
    return await reader.send(await reader.open(NEW), NEW, **{"skip_unknown": "1", "wave_size": "3", **typed})


def the(site: Site) -> Migration:
    (found,) = site.cluster.migrations.all()
    return found


def run(site: Site, *phones: MigrationPhone, events: tuple[Event, ...] = (), state: State | None = None) -> None:
    """Let a runner elsewhere steer the migration, and write down what it saw."""
    ledger, identifier = site.cluster.migrations, the(site).id
    ledger.claim(identifier, lease_of("eve@elsewhere pid 1 x", site.clock(), 15), site.clock())
    ledger.record(identifier, "eve@elsewhere pid 1 x", Progress(phones, events, state, "a canary failed"))
    if state is not None:
        ledger.release(identifier, "eve@elsewhere pid 1 x")


MOVED = MigrationPhone(DEVICES[0], 0, PhoneState.MOVED, START, START + timedelta(seconds=9), reason="registered")
FAILED = MigrationPhone(
    DEVICES[1], 0, PhoneState.FAILED, START, START, "wave.came-back", "it came back to the source: n1"
)


# --- the plan


async def test_a_plan_is_made_once_and_shown_before_any_phone_is_touched(site: Site) -> None:
    async with reading(site) as ann:
        form = await ann.open(NEW)
        shown = await ann.send(form, NEW, skip_unknown="1", wave_size="3")
        assert "8 phones are planned to move; 1 that the destination does not know are left out." in shown.text
        again = await ann.send(form, NEW, skip_unknown="1", wave_size="3")
        assert again.path == shown.path == f"{WAVES}/source/{the(site).id}"
        assert the(site).actor == "ann"
        waves = site.cluster.migrations.counts(the(site).id)
        assert [sum(counts.values()) for counts in waves.values()] == [5, 3]
        assert shown.path in (await ann.open(WAVES)).links


async def test_phones_are_chosen_by_name_as_people_write_them(site: Site) -> None:
    async with reading(site) as ann:
        form = await ann.open(NEW)
        del form.form(NEW).values["everything"]
        await ann.send(form, NEW, devices="00:00:00:00:00:01, sep000000000002\n0000.0000.0003")
    assert {phone.device for phone in site.cluster.migrations.phones(the(site).id)} == set(DEVICES[1:4])


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"devices": "phone-of-the-boss"}, "devices"),
        ({"devices": "SEP999999999999"}, "devices"),
        ({"percent": "0"}, "percent"),
        ({"percent": "half"}, "percent"),
        ({"canary": "-1"}, "canary"),
        ({"wave_size": "0"}, "wave-size"),
        ({"wave_size": ""}, "wave-size"),
        ({"pace": "0"}, "pace"),
        ({"pace": "fast"}, "pace"),
        ({"between": "-1"}, "between"),
        ({"patience": "0"}, "patience"),
        ({"stop_at": "never"}, "stop-at"),
        ({"stop_at": "101%"}, "stop-at"),
        ({"destination": "source"}, "destination"),
        ({"skip_unknown": ""}, "skip-unknown"),
    ],
)
async def test_what_is_wrong_is_told_beside_its_field_and_nothing_typed_is_lost(
    site: Site, typed: dict[str, str], field: str
) -> None:
    async with reading(site) as ann:
        form = await ann.open(NEW)
        values = form.form(NEW).values
        if "devices" in typed:
            del values["everything"]
        if typed != {"skip_unknown": ""}:
            values["skip-unknown"] = "1"
            after = await ann.send(form, NEW, **typed)
        else:
            after = await ann.send(form, NEW)
    assert after.status == 422
    assert f'id="{field}-error"' in after.answer.text
    kept = after.form(NEW).values
    assert {n: kept[n] for n in ("percent", "pace", "stop-at") if n != field} == {
        n: values[n] for n in ("percent", "pace", "stop-at") if n != field
    }
    assert site.cluster.migrations.all() == ()


async def test_choosing_nobody_is_told(site: Site) -> None:
    async with reading(site) as ann:
        form = await ann.open(NEW)
        del form.form(NEW).values["everything"]
        assert "Choose all phones, a group, or name some." in (await ann.send(form, NEW)).text


# --- how it stands


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("user", ["ann", "bob"])
async def test_every_state_is_drawn_whole(site: Site, user: str, language: str) -> None:
    async with reading(site) as ann:
        path = (await planned(ann)).path
    async with reading(site, user, language) as reader:
        pages = [WAVES, path, f"{path}/phones"] + ([NEW] if user == "ann" else [])
        events = (
            Event("wave", START, {"wave": 0, "canary": True, "phones": 5}),
            Event("failed", START, {"device": DEVICES[1], "wave": 0, "code": "wave.came-back", "reason": "x"}),
            Event("paused", START, {"reason": "a canary failed"}),
            Event("finished", START, {"moved": 1, "failed": 1}),
            Event("option150", START, {"step": "x", "done": "ann said that option 150 names 192.0.2.1"}),
            Event("clock-set-back", START, {"seconds": 3600}),
        )
        for step in range(3):
            if step == 1:
                run(site, MOVED, FAILED, events=events)
            elif step:
                run(site, state=State.PAUSED)
            for page in pages:
                drawn = await reader.open(page)
                assert drawn.status == 200, drawn.text
                assert list(faults(drawn)) == [], page


async def test_a_migration_that_runs_elsewhere_is_watched_and_paused_here(site: Site) -> None:
    async with reading(site) as ann:
        path = (await planned(ann)).path
        run(site, MOVED)
        shown = await ann.open(path)
        assert f'data-migration="{API}/{the(site).id}/events?cluster=source"' in shown.answer.text
        for _ in range(2):
            after = await ann.send(shown, f"{path}/pause")
            assert "A pause was asked for" in after.text
    assert the(site).wanted == "pause"
    assert sum('"pause-migration"' in line for line in site.cluster.audit_lines()) == 1


async def test_a_migration_whose_runner_died_says_so_and_can_be_resumed(site: Site) -> None:
    async with reading(site) as ann:
        path = (await planned(ann)).path
        run(site, MOVED)
        site.clock.pass_by(seconds=60)
        shown = await ann.open(path)
        assert "Broken off: nobody steers it." in shown.text
        assert shown.form(f"{path}/resume").method == "post"
        assert "data-migration" not in shown.answer.text


async def test_each_phone_is_found_with_where_it_is_and_why_it_stopped(site: Site) -> None:
    here, there = Sighting(DEVICES[1], Step.REGISTERED, START, "source-pub", "192.0.2.5"), START + timedelta(minutes=1)
    site.cluster.sightings.note([here])
    site.others["destination"].sightings.note([Sighting(DEVICES[0], Step.REGISTERED, there, "destination-pub", "")])
    async with reading(site, language="ja") as ann:
        path = (await planned(ann)).path
        run(site, MOVED, FAILED, state=State.PAUSED)
        failed = await ann.open(f"{path}/phones?state=failed")
        assert re.findall(r"<code>(SEP\w+)</code>", failed.answer.text) == [DEVICES[1]]
        assert "wave.came-back" in failed.text
        assert "移行元に戻りました" in failed.text
        assert "source-pub" in failed.text
        moved = await ann.open(f"{path}/phones?wave=0&state=moved&size=25")
        assert "destination-pub" in moved.text
        assert DEVICES[2] in (await ann.open(f"{path}/phones?text={DEVICES[2]}")).text
        assert "wave.came-back" in (await ann.open(path)).text


async def test_the_report_is_downloaded_in_the_readers_language(site: Site) -> None:
    async with reading(site, language="ja") as ann:
        path = (await planned(ann)).path
        answer = (await ann.open(f"{path}/report")).answer
        assert 'lang="ja"' in answer.text
        assert "attachment" in answer.headers["content-disposition"]
        lines = (await ann.open(f"{path}/csv")).answer.text.splitlines()
    assert len(lines) == 9


async def test_a_migration_that_nobody_steers_is_given_up_for_a_reason(site: Site) -> None:
    async with reading(site) as ann:
        path = (await planned(ann)).path
        shown = await ann.open(path)
        for _ in range(2):
            after = await ann.send(shown, f"{path}/cancel", reason="change 4711 was put off")
            assert "The migration was cancelled." in after.text
        assert [form.action for form in after.forms if "/start" in form.action] == []
    assert the(site).state is State.CANCELLED
    assert sum("change 4711 was put off" in line for line in site.cluster.audit_lines()) == 1


# --- who may, and what may not be


async def test_who_may_only_look_sees_everything_and_steers_nothing(site: Site) -> None:
    async with reading(site) as ann:
        path = (await planned(ann)).path
    run(site, MOVED)
    async with reading(site, "bob") as bob:
        shown = await bob.open(path)
        assert [form.action for form in shown.forms if form.method == "post"] == ["/logout"]
        token = shown.forms[0].values["csrf_token"]
        for step in ("start", "pause", "resume", "back", "cancel"):
            assert (await bob.client.post(f"{path}/{step}", data={"csrf_token": token})).status_code == 403
        assert (await bob.open(NEW)).status == 403


async def test_nothing_starts_before_somebody_says_that_option_150_is_set(site: Site) -> None:
    async with reading(site) as ann:
        path = (await planned(ann)).path
        after = await ann.send(await ann.open(path), f"{path}/start")
        assert after.status == 422
        assert "Set option 150 first" in after.error_beside("option150")
    assert the(site).state is State.PLANNED


async def test_a_verification_that_fails_stops_the_start_and_only_a_reason_goes_on(site: Site) -> None:
    """No node serves here, so that everything fails."""
    async with reading(site) as ann:
        path = (await planned(ann)).path
        jobs = site.app.state.jobs
        form = await ann.open(path)
        for _ in range(2):  # the second is a double click
            await ann.post(form, f"{path}/start", option150="1")
        (job,) = (await jobs.latest()).items
        async for _ in jobs.events(job.id):
            pass
        shown = await ann.open(path)
        assert "waves.preflight-failed" in shown.text
        assert "TFTP answers" in shown.text
        assert the(site).state is State.PLANNED
        without = await ann.send(shown, f"{path}/start", option150="1", go_on="1")
        assert without.error_beside("override")
    assert (await jobs.latest()).total == 1
    await site.ended()


async def test_a_migration_to_a_cluster_that_is_not_shown_is_only_looked_at(site: Site) -> None:
    site.cluster.migrations.create("m1", "/elsewhere", {"pace": 1.0, "between": 0.0, "patience": 9.0, "stop_at": "1"}, [
        MigrationPhone(DEVICES[0], 0)
    ])  # fmt: skip
    async with reading(site) as ann:
        shown = await ann.open(f"{WAVES}/source/m1")
        assert "is not shown by this server" in shown.text
        assert not [form for form in shown.forms if form.action.endswith("/start")]
    async with site.logged_in() as ann:
        answer = await ann.post(f"{API}/m1/start", json={"option150_confirmed": True})
        assert error_of(answer)["code"] == "web.destination-not-shown"


async def test_a_migration_nobody_planned_is_told(site: Site) -> None:
    async with reading(site) as ann:
        for path in (f"{WAVES}/source/none", f"{WAVES}/source/none/phones", f"{WAVES}/source/none/report"):
            drawn = await ann.open(path)
            assert (drawn.status, "cluster.migration-unknown" in drawn.text) == (404, True)


# --- the API


async def test_the_api_plans_tells_and_pauses_as_the_pages_do(site: Site) -> None:
    wanted: dict[str, Any] = {"destination": "destination", "everything": True, "skip_unknown": True, "wave_size": 3}
    async with site.logged_in() as ann:
        made = await ann.post(API, json=wanted)
        assert (made.status_code, made.json()["left_out"]) == (201, ["SEP00000000FFFF"])
        path = f"{API}/{made.json()['id']}"
        assert [wave["phones"] for wave in made.json()["waves"]] == [5, 3]
        refused = await ann.post(f"{path}/start", json={})
        assert (refused.status_code, error_of(refused)["code"]) == (409, "waves.option150-unconfirmed")
        empty = await ann.post(f"{path}/start", json={"option150_confirmed": True, "override": " "})
        assert error_of(empty)["code"] == "web.override-reason"
        assert (await ann.post(f"{path}/pause")).status_code == 409
        run(site, MOVED, FAILED, events=(Event("paused", START, {"reason": "x"}),))
        told = (await ann.get(path)).json()
        assert (told["state"], told["steered"], told["totals"]["moved"]) == ("running", True, 1)
        assert told["failures"] == {"wave.came-back": 1}
        assert (await ann.post(f"{path}/pause")).json()["wanted"] == "pause"
        failed = (await ann.get(f"{path}/phones", params={"state": "failed"})).json()
        assert [phone["device"] for phone in failed["items"]] == [DEVICES[1]]
        assert (await ann.get(f"{path}/phones", params={"limit": 2, "cursor": "6"})).json()["next"] is None
        assert [event["kind"] for event in (await ann.get(f"{path}/log")).json()["items"]] == ["paused"]
        assert (await ann.get(f"{path}/report", params={"form": "csv"})).text.count("\n") == 9
        (line,) = (await ann.get(API)).json()["items"]
        assert line["counts"] == {"moved": 1, "failed": 1, "waiting": 6}


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({}, "waves.nothing-chosen"),
        ({"everything": True}, "waves.not-at-destination"),
        ({"devices": ["SEP999999999999"]}, "waves.not-at-source"),
        ({"devices": ["boss"]}, "cluster.phone-invalid"),
        ({"everything": True, "destination": "source"}, "web.same-cluster"),
        ({"everything": True, "destination": "mars"}, "web.cluster-unknown"),
        ({"everything": True, "stop_at": "never"}, "web.input"),
    ],
)
async def test_what_cannot_be_planned_is_refused(site: Site, wish: dict[str, Any], code: str) -> None:
    async with site.logged_in() as ann:
        answer = await ann.post(API, json={"destination": "destination"} | wish)
        assert error_of(answer)["code"] == code
    assert site.cluster.migrations.all() == ()


async def test_the_stream_of_a_migration_ends_when_its_state_changes(site: Site) -> None:
    async with site.logged_in() as ann:
        wanted = {"destination": "destination", "devices": DEVICES[:1]}
        identifier = (await ann.post(API, json=wanted)).json()["id"]
        text = (await ann.get(f"{API}/{identifier}/events")).text
    assert text.startswith("event: end\n")
