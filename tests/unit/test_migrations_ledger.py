"""The ledger of migrations: what survives a crash, and that only one runner writes."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from certferry.cluster.acting import acting_as
from certferry.cluster.cluster import Cluster
from certferry.cluster.migrations import (
    Event,
    Lease,
    MigrationLockedError,
    MigrationOverlapError,
    MigrationPhone,
    Migrations,
    MigrationUnknownError,
    PhoneState,
    Progress,
    State,
    Wanted,
)
from certferry.migrate.waves import lease
from conftest import MakeCluster

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
PHONES = [MigrationPhone(f"SEP{number:012X}", number // 2) for number in range(5)]
PLAN = {"pace": 1.0, "stop_at": "5%"}
ANN, BOB = (Lease(name, NOW + timedelta(seconds=15)) for name in ("ann@host pid 1 x:1", "bob@host pid 2 x:2"))


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(nodes=1)


@pytest.fixture
def ledger(cluster: Cluster) -> Migrations:
    cluster.migrations.create("m1", "/clusters/destination", PLAN, PHONES)
    return cluster.migrations


def test_a_migration_is_kept_as_it_was_planned(cluster: Cluster, ledger: Migrations) -> None:
    with acting_as("ann"):
        made = ledger.create("m2", "elsewhere", PLAN, PHONES[:2])
    assert ledger.find("m2") == made
    assert (made.state, made.wanted, made.actor, made.plan) == (State.PLANNED, Wanted.RUN, "ann", PLAN)
    assert ledger.phones("m1") == tuple(PHONES)
    assert [each.id for each in ledger.all()] == ["m1", "m2"]
    assert json.loads(cluster.audit_lines()[-1])["action"] == "plan-migration"


def test_the_latest_migration_is_meant_when_none_is_named(ledger: Migrations) -> None:
    ledger.create("m2", "elsewhere", PLAN, PHONES)
    assert ledger.find().id == "m2"


@pytest.mark.parametrize("name", ["m9", ""])
def test_an_unknown_migration_is_refused(ledger: Migrations, name: str) -> None:
    with pytest.raises(MigrationUnknownError):
        ledger.find(name)
    with pytest.raises(MigrationUnknownError):
        ledger.want(name, Wanted.PAUSE)


def test_a_cluster_without_migrations_says_so(cluster: Cluster) -> None:
    with pytest.raises(MigrationUnknownError, match="no migration yet"):
        cluster.migrations.find()


def test_phones_are_counted_by_wave_and_state(ledger: Migrations) -> None:
    ledger.claim("m1", ANN, NOW)
    ledger.record("m1", ANN.runner, Progress([replace(PHONES[0], state=PhoneState.MOVED)]))
    assert ledger.counts("m1") == {
        0: {PhoneState.MOVED: 1, PhoneState.WAITING: 1},
        1: {PhoneState.WAITING: 2},
        2: {PhoneState.WAITING: 1},
    }


def test_what_a_runner_did_is_written_down_together(ledger: Migrations) -> None:
    ledger.claim("m1", ANN, NOW)
    failed = replace(
        PHONES[3], state=PhoneState.FAILED, reset_at=NOW, ended_at=NOW + timedelta(seconds=2), code="c", reason="因"
    )
    events = [Event("failed", NOW, {"device": failed.device}), Event("paused", NOW, {"reason": "多い"})]
    ledger.record("m1", ANN.runner, Progress([failed], events, State.PAUSED, "too many"))
    assert ledger.phones("m1")[3] == failed
    kept = ledger.events("m1")
    assert [(event.kind, event.details) for event in kept] == [(event.kind, event.details) for event in events]
    assert ledger.events("m1", after=kept[0].position) == kept[1:]
    assert (ledger.find("m1").state, ledger.find("m1").reason) == (State.PAUSED, "too many")


def test_one_runner_steers_at_a_time(ledger: Migrations) -> None:
    ledger.claim("m1", ANN, NOW)
    with pytest.raises(MigrationLockedError, match="ann@host pid 1 until 12:00:15"):
        ledger.claim("m1", BOB, NOW + timedelta(seconds=14))
    assert ledger.find("m1").runner == ANN.runner


def test_a_runner_that_says_nothing_is_taken_for_dead_and_writes_nothing_any_more(ledger: Migrations) -> None:
    ledger.claim("m1", ANN, NOW)
    ledger.claim("m1", BOB, NOW + timedelta(seconds=15))
    with pytest.raises(MigrationLockedError):
        ledger.renew("m1", ANN)
    with pytest.raises(MigrationLockedError):
        ledger.record("m1", ANN.runner, Progress([replace(PHONES[0], state=PhoneState.MOVED)]))
    assert ledger.phones("m1") == tuple(PHONES)


def test_a_runner_known_to_be_dead_is_replaced_at_once(ledger: Migrations) -> None:
    ledger.claim("m1", ANN, NOW)
    ledger.claim("m1", BOB, NOW, is_gone=lambda runner: runner == ANN.runner)
    assert ledger.find("m1").runner == BOB.runner


def test_a_runner_that_lets_go_leaves_the_migration_to_anybody(ledger: Migrations) -> None:
    ledger.claim("m1", ANN, NOW)
    ledger.release("m1", ANN.runner)
    ledger.claim("m1", BOB, NOW)
    ledger.release("m1", ANN.runner)
    assert ledger.find("m1").runner == BOB.runner


def test_a_lease_is_renewed_and_brings_what_is_wanted(ledger: Migrations) -> None:
    ledger.claim("m1", ANN, NOW)
    assert ledger.renew("m1", replace(ANN, until=NOW + timedelta(seconds=60))) is Wanted.RUN
    assert ledger.want("m1", Wanted.PAUSE).wanted is Wanted.PAUSE
    assert ledger.renew("m1", ANN) is ledger.wanted("m1") is Wanted.PAUSE


def test_resuming_forgets_the_pause_that_was_asked_for(ledger: Migrations) -> None:
    ledger.want("m1", Wanted.PAUSE)
    assert ledger.claim("m1", ANN, NOW).wanted is Wanted.PAUSE
    assert ledger.wanted("m1") is Wanted.RUN


def test_a_phone_is_under_way_in_one_migration_only(ledger: Migrations) -> None:
    ledger.create("m2", "elsewhere", PLAN, PHONES[4:])
    ledger.claim("m1", ANN, NOW)
    with pytest.raises(MigrationOverlapError, match="SEP000000000004 is in migration m1"):
        ledger.claim("m2", BOB, NOW)
    ledger.record("m1", ANN.runner, Progress([replace(PHONES[4], state=PhoneState.FAILED)]))
    ledger.claim("m2", BOB, NOW)


def test_an_override_stands_in_the_audit_log_with_its_reason(cluster: Cluster, ledger: Migrations) -> None:
    ledger.note_override("m1", "change 4711", ["tvs.knows-signer", "SEP000000000000"])
    entry = json.loads(cluster.audit_lines()[-1])
    assert (entry["action"], entry["reason"]) == ("override-verification", "change 4711")
    assert entry["failing"] == ["tvs.knows-signer", "SEP000000000000"]
    cluster.verify_audit()


# --- who a runner is


def test_a_runner_of_this_process_lives() -> None:
    assert not lease.is_gone(lease.this_runner())
    assert lease.this_runner() != lease.this_runner()


@pytest.mark.parametrize(
    ("old", "new", "gone"),
    [("pid", "pid", False), (":", "-", False)],
)
def test_what_cannot_be_read_is_not_taken_for_dead(old: str, new: str, gone: bool) -> None:
    assert lease.is_gone(lease.this_runner().replace(old, new)) is gone


@pytest.mark.parametrize("runner", ["", "ann", "ann@elsewhere pid 1 otherboot:pid:[1]:77:aa"])
def test_a_runner_of_another_machine_is_not_taken_for_dead(runner: str) -> None:
    assert not lease.is_gone(runner)


def test_a_process_that_has_ended_or_is_another_one_is_gone() -> None:
    people, _, trace = lease.this_runner().rpartition(" ")
    world, _, _ = trace.rpartition(":")[0].rpartition(":")
    assert lease.is_gone(f"{people} {world}:1:aa")
    assert lease.is_gone(f"ann@host pid 4194305 {world}:1:aa")
