"""A migration's row that this certferry would not write: it is named with what to do, and the others are shown."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from certferry.cluster import schema
from certferry.cluster.cluster import Cluster
from certferry.cluster.database import Database
from certferry.cluster.migration_search import MigrationPhoneQuery
from certferry.cluster.migrations import (
    Event,
    Lease,
    MigrationPhone,
    MigrationRowError,
    Migrations,
    PhoneState,
    Progress,
    State,
    Wanted,
)
from certferry.cluster.searching import Slice
from certferry.cluster.values import Phone
from certferry.migrate.waves.cancelling import cancel
from certferry.migrate.waves.planning import Rules
from certferry.migrate.waves.sides import reset_id
from command_line import certferry
from conftest import MakeCluster
from web_pages import reading
from web_site import Site, error_of

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DEVICES = [f"SEP00000000000{number}" for number in range(3)]
PHONES = [MigrationPhone(device, number) for number, device in enumerate(DEVICES)]
RUNNER = Lease("ann@elsewhere pid 1 x", NOW + timedelta(seconds=15))
API, PAGES = "/api/v1/migrations", "/migration/waves"


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    made = make_cluster("source", nodes=1)
    made.add_phones([Phone(device) for device in DEVICES])
    return made


@pytest.fixture
def ledger(cluster: Cluster) -> Migrations:
    for name in ("good", "strange"):
        cluster.migrations.create(name, "/clusters/destination", Rules().to_json(), PHONES)
    return cluster.migrations


@pytest.fixture
def site(make_cluster: MakeCluster, cluster: Cluster, ledger: Migrations) -> Site:
    return Site(cluster, {"destination": make_cluster("destination", "14", nodes=1)})


def poison(cluster: Cluster, table: Any = schema.migration, *, where: Any = None, **values: str) -> None:
    """Write what no release writes into the rows of the migration ``strange``."""
    key = table.c.id if table is schema.migration else table.c.migration
    change = update(table).where(key == "strange").values(**values)
    store = Database(cluster.location)
    with store.write() as connection:
        connection.execute(change if where is None else change.where(where))
    store.close()


def poison_phone(cluster: Cluster, **values: str) -> None:
    table = schema.migration_phone
    poison(cluster, table, where=table.c.device == DEVICES[1], **values)


# --- the migration


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"state": "teleporting"}, "its state is 'teleporting', which is unknown here"),
        ({"state": ""}, "its state is '', which is unknown here"),
        ({"wanted": "hurry"}, "its wish is 'hurry', which is unknown here"),
    ],
)
def test_a_migration_in_an_unknown_state_is_shown_among_the_others(
    cluster: Cluster, ledger: Migrations, values: dict[str, str], reason: str
) -> None:
    poison(cluster, **values)
    assert [(each.id, each.state) for each in ledger.all()] == [("good", State.PLANNED), ("strange", State.UNKNOWN)]
    found = cluster.migration_search.latest(Slice(0, 10)).items
    assert {each.id: each.reason for each in found} == {"good": "", "strange": reason}
    assert ledger.find("good").state is State.PLANNED


def test_nothing_can_be_done_with_a_migration_in_an_unknown_state(cluster: Cluster, ledger: Migrations) -> None:
    poison(cluster, state="teleporting")
    attempts: list[Callable[[], object]] = [
        lambda: ledger.claim("strange", RUNNER, NOW),
        lambda: ledger.want("strange", Wanted.PAUSE),
        lambda: ledger.cancel("strange", "", NOW),
    ]
    for attempt in attempts:
        with pytest.raises(MigrationRowError, match="migration strange: its state is 'teleporting'") as refusal:
            attempt()
        assert "release" in refusal.value.remedy
    ledger.claim("good", RUNNER, NOW)


def test_a_runner_writes_nothing_over_a_state_that_became_unknown(cluster: Cluster, ledger: Migrations) -> None:
    ledger.claim("strange", RUNNER, NOW)
    poison(cluster, state="teleporting")
    attempts: list[Callable[[], object]] = [
        lambda: ledger.renew("strange", RUNNER),
        lambda: ledger.wanted("strange", RUNNER.runner),
        lambda: ledger.record("strange", RUNNER.runner, Progress(state=State.DONE)),
    ]
    for attempt in attempts:
        with pytest.raises(MigrationRowError):
            attempt()
    ledger.release("strange", RUNNER.runner)
    assert "teleporting" in ledger.find("strange").reason


@pytest.mark.parametrize("values", [{"created_at": "yesterday"}, {"plan": "{"}, {"runner_until": "soon"}])
def test_a_migration_that_cannot_be_read_is_named(cluster: Cluster, ledger: Migrations, values: dict[str, str]) -> None:
    poison(cluster, **values)
    with pytest.raises(MigrationRowError, match="migration strange cannot be read: "):
        ledger.all()


# --- its phones


def test_a_phone_in_an_unknown_state_is_named_with_its_migration_and_value(
    cluster: Cluster, ledger: Migrations
) -> None:
    poison_phone(cluster, state="beamed")
    named = f"phone {DEVICES[1]} of migration strange is in state 'beamed', which is unknown here"
    attempts: list[Callable[[], object]] = [
        lambda: ledger.phones("strange"),
        lambda: ledger.counts("strange"),
        lambda: ledger.claim("strange", RUNNER, NOW),
        lambda: cluster.migration_search.phones("strange", MigrationPhoneQuery(), Slice(0, 10)),
    ]
    for attempt in attempts:
        with pytest.raises(MigrationRowError) as refusal:
            attempt()
        assert str(refusal.value) == named
    assert ledger.find("strange").state is State.PLANNED, "no runner claimed it"


def test_a_phone_in_an_unknown_state_is_nothing_to_the_others(cluster: Cluster, ledger: Migrations) -> None:
    poison_phone(cluster, state="beamed")
    assert [phone.device for phone in ledger.phones("good")] == DEVICES
    assert ledger.counts("good") == {wave: {PhoneState.WAITING: 1} for wave in range(3)}
    waiting = MigrationPhoneQuery(state=PhoneState.WAITING)
    assert cluster.migration_search.phones("strange", waiting, Slice(0, 10)).total == 2
    assert len(cluster.migration_search.phones("strange", MigrationPhoneQuery(wave=0), Slice(0, 10)).items) == 1
    ledger.claim("good", RUNNER, NOW)


def test_a_moment_that_is_none_is_named(cluster: Cluster, ledger: Migrations) -> None:
    poison_phone(cluster, reset_at="noonish")
    with pytest.raises(MigrationRowError, match=f"phone {DEVICES[1]} of migration strange cannot be read: .*noonish"):
        ledger.phones("strange")


def test_an_event_that_cannot_be_read_is_named(cluster: Cluster, ledger: Migrations) -> None:
    ledger.claim("strange", RUNNER, NOW)
    ledger.record("strange", RUNNER.runner, Progress(events=(Event("started", NOW),)))
    poison(cluster, schema.migration_event, details="{")
    with pytest.raises(MigrationRowError, match=r"event \d+ of migration strange cannot be read"):
        ledger.events("strange")


def test_a_migration_whose_phone_is_in_an_unknown_state_can_be_cancelled(cluster: Cluster, ledger: Migrations) -> None:
    asked = {reset_id("strange", device): device for device in DEVICES}
    cluster.resets.ask(asked, by="strange")
    poison_phone(cluster, state="beamed")
    cancel(cluster, "strange", "it is damaged", NOW)
    assert ledger.find("strange").state is State.CANCELLED
    assert cluster.resets.open_count() == 0, "also the reset of the phone in doubt is taken back"


# --- on the command line, on the pages, in the API


def test_the_command_line_lists_both_and_refuses_the_one(cluster: Cluster, ledger: Migrations) -> None:
    here = ["--source", cluster.location.text]
    poison(cluster, state="teleporting")
    listed = certferry("migrate", "list", *here, "--json").json["migrations"]
    assert [(each["migration"], each["state"]) for each in listed] == [("good", "planned"), ("strange", "unknown")]
    assert "teleporting" in certferry("migrate", "list", *here).stdout
    assert "teleporting" in certferry("migrate", "status", "strange", *here).stdout
    assert certferry("migrate", "cancel", "strange", *here, "--yes", "--json").error["code"] == "cluster.migration-row"
    assert (
        certferry("migrate", "pause", "strange", *here, "--json")
        .error["sentence"]
        .startswith("migration strange is unknown")
    )


def test_the_command_line_names_the_phone(cluster: Cluster, ledger: Migrations) -> None:
    here = ["--source", cluster.location.text]
    poison_phone(cluster, state="beamed")
    assert len(certferry("migrate", "list", *here, "--json").json["migrations"]) == 2
    assert certferry("migrate", "status", "good", *here).code == 0
    refused = certferry("migrate", "status", "strange", *here, "--json")
    assert refused.error["code"] == "cluster.migration-row"
    assert f"{DEVICES[1]} of migration strange is in state 'beamed'" in refused.error["sentence"]
    assert refused.error["remedy"] == MigrationRowError.remedy


async def test_pages_and_api_show_the_others(site: Site) -> None:
    poison(site.cluster, state="teleporting")
    poison_phone(site.cluster, state="beamed")
    async with reading(site) as ann:
        overview = await ann.open(PAGES)
        assert (overview.status, f"{PAGES}/source/good" in overview.links) == (200, True)
        assert (await ann.open(f"{PAGES}/source/good")).status == 200
        for path in (f"{PAGES}/source/strange", f"{PAGES}/source/strange/phones"):
            refused = await ann.open(path)
            assert refused.status < 500
            assert "cluster.migration-row" in refused.text
            assert "beamed" in refused.text
    async with site.logged_in() as ann:
        listed = (await ann.get(API)).json()["items"]
        assert {each["id"]: each["state"] for each in listed} == {"good": "planned", "strange": "unknown"}
        assert (await ann.get(f"{API}/good/phones")).status_code == 200
        assert error_of(await ann.get(f"{API}/strange/phones"))["code"] == "cluster.migration-row"


async def test_a_migration_in_an_unknown_state_has_its_page(site: Site) -> None:
    poison(site.cluster, state="teleporting")
    async with reading(site) as ann:
        shown = await ann.open(f"{PAGES}/source/strange")
        assert shown.status == 200
        assert "teleporting" in shown.text
    async with site.logged_in() as ann:
        assert (await ann.get(f"{API}/strange")).json()["state"] == "unknown"
        assert error_of(await ann.post(f"{API}/strange/pause"))["code"] == "waves.state"
