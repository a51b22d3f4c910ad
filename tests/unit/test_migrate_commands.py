"""The migrate commands, without a network: what they plan, print and refuse."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from certferry.cli.migrate_options import now, place_of
from certferry.cluster.cluster import Cluster
from certferry.cluster.migrations import MigrationPhone, PhoneState, Progress, State, lease_of
from certferry.cluster.values import Phone
from certferry.migrate.waves import lease
from certferry.migrate.waves.sides import reset_id
from command_line import Ended, certferry
from conftest import MakeCluster, usual_nodes

pytestmark = pytest.mark.slow

PHONES = [Phone(f"SEP{number:012X}", "7962" if number % 3 == 0 else "8861") for number in range(12)]


class Ends:
    """Source and destination that know the same phones."""

    def __init__(self, source: Cluster, destination: Cluster) -> None:
        self.source, self.destination = source, destination
        for cluster in (source, destination):
            cluster.add_phones(PHONES)
        self.here = ["--source", source.location.text]
        self.both = [*self.here, "--destination", destination.location.text]

    def plan(self, *options: object) -> Ended:
        return certferry("migrate", "plan", *self.both, *options, "--json")

    def planned(self, *options: object) -> str:
        ended = self.plan("--all", *options)
        assert ended.code == 0, ended
        return str(ended.json["migration"])

    def as_if(self, migration: str, state: State, phones: Sequence[MigrationPhone] = (), *, held: bool = False) -> None:
        mine = lease_of(lease.this_runner(), now(), 60)
        self.source.migrations.claim(migration, mine, now())
        self.source.migrations.record(migration, mine.runner, Progress(phones, (), state, "too many"))
        if not held:
            self.source.migrations.release(migration, mine.runner)


@pytest.fixture
def ends(make_cluster: MakeCluster) -> Ends:
    """Nodes on loopback addresses at which nothing listens: what asks them is turned away at once."""
    source, destination = (
        replace(usual_nodes(name, 1)[0], address=address)
        for name, address in (("source", "127.99.0.1"), ("destination", "127.99.0.2"))
    )
    return Ends(make_cluster("source", nodes=[source]), make_cluster("destination", nodes=[destination]))


def test_a_plan_tells_waves_and_phones_and_changes_nothing_else(ends: Ends) -> None:
    before = ends.source.version()
    told = ends.plan("--all", "--canary", 2, "--wave-size", 4).json
    assert told["state"] == "planned"
    assert [(wave["number"], wave["canary"], wave["phones"]) for wave in told["waves"]] == [
        (0, True, 2), (1, False, 4), (2, False, 4), (3, False, 2),
    ]  # fmt: skip
    assert len(told["phones"]) == 12
    canaries = {phone["device"] for phone in told["phones"] if phone["wave"] == 0}
    assert {phone.model for phone in PHONES if phone.device in canaries} == {"7962", "8861"}
    assert ends.source.version() == before


def test_a_plan_for_people_names_the_canaries_and_the_next_command(ends: Ends) -> None:
    ended = certferry("migrate", "plan", *ends.both, "--all", "--canary", "2")
    assert "Canaries: SEP" in ended.stdout
    assert "certferry migrate start" in ended.stderr


def test_phones_are_named_by_csv_and_by_option_in_any_spelling(ends: Ends, tmp_path: Path) -> None:
    (tmp_path / "phones.csv").write_text("device\nSEP000000000001\n")
    told = ends.plan("--csv", tmp_path / "phones.csv", "--device", "00:00:00:00:00:02").json
    assert sorted(phone["device"] for phone in told["phones"]) == ["SEP000000000001", "SEP000000000002"]


def test_a_share_of_the_phones_can_be_planned(ends: Ends) -> None:
    assert len(ends.plan("--all", "--percent", 25).json["phones"]) == 3


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([], "waves.nothing-chosen"),
        (["--group", "Nobody"], "waves.not-at-source"),
        (["--device", "SEP00000000FFFF"], "waves.not-at-source"),
        (["--all", "--stop-at", "none"], "waves.threshold-invalid"),
    ],
)
def test_a_plan_that_cannot_be_meant_is_wrong_usage(ends: Ends, options: list[str], code: str) -> None:
    ended = ends.plan(*options)
    assert (ended.code, ended.error["code"]) == (2, code)


def test_phones_the_destination_does_not_know_are_refused_or_left_out(ends: Ends) -> None:
    ends.destination.remove_phones([PHONES[0].device])
    assert ends.plan("--all").error["code"] == "waves.not-at-destination"
    assert ends.plan("--all", "--skip-unknown").json["left_out"] == [PHONES[0].device]


def test_phones_that_are_other_phones_at_the_destination_are_told(ends: Ends) -> None:
    first, second = PHONES[0], PHONES[1]
    ends.destination.remove_phones([first.device, second.device])
    ends.destination.add_phones([replace(first, model="8845"), replace(second, model=f"CP-{second.model}")])
    assert ends.plan("--all").json["unlike"] == [first.device]
    told = certferry("migrate", "plan", *ends.both, "--all")
    assert "1 phones have another model or security profile at the destination, and may not" in told.stderr
    assert f"{first.device}\n" in told.stderr


def test_both_clusters_have_to_be_named_to_plan(ends: Ends) -> None:
    assert certferry("migrate", "plan", *ends.here, "--all", "--json").error["code"] == "cli.cluster-unnamed"
    assert certferry("migrate", "status", "--json").error["code"] == "cli.cluster-unnamed"


def test_the_source_may_be_named_as_every_cluster_is(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    migration = ends.planned()
    monkeypatch.setenv("CERTFERRY_CLUSTER", ends.source.location.text)
    assert certferry("migrate", "status", "--json").json["migration"] == migration


def test_a_start_without_word_of_option_150_is_refused_after_verification(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    migration = ends.planned()
    refused = certferry("migrate", "start", migration, *ends.here, "--override", "a test", "--json")
    assert (refused.code, refused.error["code"]) == (2, "waves.option150-unconfirmed")
    assert ends.source.migrations.find(migration).state is State.PLANNED


def test_a_start_whose_verification_fails_tells_the_failing_checks_and_resets_nobody(ends: Ends) -> None:
    migration = ends.planned()
    refused = certferry("migrate", "start", migration, *ends.here, "--option150-confirmed", "--json")
    assert refused.code == 4
    assert refused.error["code"] == "waves.preflight-failed"
    assert refused.json["checks"]
    assert all(check["verdict"] == "fail" for check in refused.json["checks"])
    assert ends.source.resets.open_count() == 0
    text = certferry("migrate", "start", migration, *ends.here, "--option150-confirmed")
    assert text.code == 4
    assert "waves.preflight-failed" in text.stderr


def test_an_override_needs_a_reason(ends: Ends) -> None:
    migration = ends.planned()
    assert certferry("migrate", "start", migration, *ends.here, "--override", " ", "--json").error["code"] == (
        "cli.override-empty"
    )


@pytest.mark.parametrize(
    ("command", "state", "code"),
    [
        ("start", State.PAUSED, 2),
        ("start", State.DONE, 2),
        ("resume", State.PLANNED, 2),
        ("resume", State.DONE, 2),
        ("pause", State.PLANNED, 2),
        ("pause", State.PAUSED, 2),
    ],
)
def test_a_command_that_does_not_fit_the_state_is_refused(ends: Ends, command: str, state: State, code: int) -> None:
    migration = ends.planned()
    if state is not State.PLANNED:
        ends.as_if(migration, state)
    refused = certferry("migrate", command, migration, *ends.here, "--json")
    assert (refused.code, refused.error["code"]) == (code, "waves.state")


@pytest.mark.parametrize("command", ["start", "resume"])
def test_a_migration_that_another_process_steers_is_locked(ends: Ends, command: str) -> None:
    migration = ends.planned()
    ends.as_if(migration, State.RUNNING, held=True)
    refused = certferry("migrate", command, migration, *ends.here, "--json")
    assert (refused.code, refused.error["code"]) == (6, "cluster.migration-locked")


def test_a_pause_of_what_nobody_steers_says_so(ends: Ends) -> None:
    migration = ends.planned()
    ends.as_if(migration, State.RUNNING)
    told = certferry("migrate", "pause", migration, *ends.here, "--wait")
    assert (told.code, "Nobody steers" in told.stdout) == (0, True)


def rows(*states: PhoneState) -> list[MigrationPhone]:
    return [
        MigrationPhone(phone.device, 0, state, now(), now(), "tvs.invalid" if state is PhoneState.FAILED else "", "why")
        for phone, state in zip(PHONES, states, strict=False)
    ]


@pytest.mark.parametrize(("state", "command"), [(State.PLANNED, "start"), (State.PAUSED, "resume")])
def test_a_status_ends_with_the_command_that_goes_on_as_it_can_be_typed(ends: Ends, state: State, command: str) -> None:
    migration = ends.planned()
    if state is not State.PLANNED:
        ends.as_if(migration, state)
    told = certferry("migrate", "status", *ends.here).stderr
    assert told.endswith(f": certferry migrate {command} {migration} --source {place_of(ends.source)}\n")


def test_a_status_of_an_ended_migration_says_how_those_that_failed_are_planned_again(ends: Ends) -> None:
    migration = ends.planned("--canary", 5)
    ends.as_if(migration, State.DONE, rows(PhoneState.MOVED, PhoneState.FAILED))
    again = f": certferry migrate plan --failed-of {migration} --source {place_of(ends.source)}\n"
    assert certferry("migrate", "status", *ends.here).stderr.endswith(again)


def test_a_status_of_a_migration_that_moved_every_phone_names_nothing_more_to_do(ends: Ends) -> None:
    ends.as_if(ends.planned("--canary", 5), State.DONE, rows(PhoneState.MOVED, PhoneState.MOVED))
    assert certferry("migrate", "status", *ends.here).stderr == ""


def test_a_refused_start_names_the_command_that_goes_on_as_it_can_be_typed(ends: Ends) -> None:
    migration = ends.planned()
    ends.as_if(migration, State.PAUSED)
    refused = certferry("migrate", "start", *ends.here, "--json")
    assert f"certferry migrate resume {migration} --source {place_of(ends.source)}" in refused.error["remedy"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--device", PHONES[0].device), "1 phone in 1 wave, at least 1 second "),
        (("--all", "--pace", 1, "--canary", 2, "--between", 0), "12 phones in 2 waves, at least 12 seconds "),
        (("--all", "--pace", 0.1, "--canary", 2, "--between", 0), "12 phones in 2 waves, at least 2 minutes "),
    ],
)
def test_a_plan_tells_how_long_it_takes_at_least(ends: Ends, options: Sequence[object], told: str) -> None:
    assert told in certferry("migrate", "plan", *ends.both, *options).stdout


def test_a_status_is_told_from_the_database(ends: Ends) -> None:
    migration = ends.planned("--canary", 5)
    ends.as_if(migration, State.PAUSED, rows(PhoneState.MOVED, PhoneState.FAILED))
    told = certferry("migrate", "status", *ends.here, "--json")
    assert (told.json["migration"], told.json["state"], told.json["reason"]) == (migration, "paused", "too many")
    text = certferry("migrate", "status", "--watch", *ends.here).stdout
    assert "tvs.invalid: Source publisher" in text


def test_a_report_is_written_in_every_form(ends: Ends, tmp_path: Path) -> None:
    migration = ends.planned("--canary", 5)
    ends.as_if(migration, State.PAUSED, rows(PhoneState.MOVED, PhoneState.FAILED))
    page, table = tmp_path / "report.html", tmp_path / "report.csv"
    told = certferry("migrate", "report", *ends.here, "--html", page, "--csv", table, "--lang", "ja", "--json")
    assert told.json["totals"]["failed"] == 1
    assert page.read_text().startswith("<!doctype html>")
    assert len(table.read_text().splitlines()) == 13
    plain = certferry("migrate", "report", *ends.here, "--csv", "-")
    assert (plain.stdout.count("\n"), told.stderr) == (13, f"Wrote {page}.\nWrote {table}.\n")
    assert plain.stderr == ""


def test_the_way_back_is_a_migration_of_those_that_moved_from_the_destination(ends: Ends) -> None:
    first = ends.planned("--pace", 3, "--stop-at", 2)
    ends.as_if(first, State.DONE, rows(PhoneState.MOVED, PhoneState.FAILED, PhoneState.MOVED))
    told = certferry("migrate", "back", first, *ends.here, "--patience", 7, "--json").json
    assert sorted(phone["device"] for phone in told["phones"]) == [PHONES[0].device, PHONES[2].device]
    assert told["destination"] == place_of(ends.source)
    assert (told["settings"]["pace"], told["settings"]["stop_at"], told["settings"]["patience"]) == (3, "2", 7)
    assert told["settings"]["back_from"] == first
    assert ends.destination.migrations.find().id == told["migration"]


def test_there_is_no_way_back_for_phones_that_did_not_move(ends: Ends) -> None:
    first = ends.planned()
    refused = certferry("migrate", "back", first, *ends.here, "--json")
    assert (refused.code, refused.error["code"]) == (2, "waves.nothing-moved")
    assert first in refused.error["sentence"]


# --- list, cancel, those that failed


def test_every_migration_is_listed_with_its_state_and_counts(ends: Ends) -> None:
    assert certferry("migrate", "list", *ends.here, "--json").json == {"migrations": []}
    first = ends.planned("--percent", 50)
    ends.as_if(first, State.PAUSED, rows_of(ends, first, PhoneState.MOVED, PhoneState.FAILED))
    second = ends.planned()
    listed = certferry("migrate", "list", *ends.here, "--json").json["migrations"]
    assert sorted((each["migration"], each["state"], each["phones"]) for each in listed) == sorted(
        [(first, "paused", 6), (second, "planned", 12)]
    )
    (paused,) = [each for each in listed if each["migration"] == first]
    assert (paused["moved"], paused["failed"], paused["waiting"], paused["reason"]) == (1, 1, 4, "too many")
    assert f"{first}  paused (too many)" in certferry("migrate", "list", *ends.here).stdout


def rows_of(ends: Ends, migration: str, *states: PhoneState) -> list[MigrationPhone]:
    """The first phones of a migration, in these states."""
    return [
        replace(phone, state=state, reset_at=now(), ended_at=now() if state.has_ended else None)
        for phone, state in zip(ends.source.migrations.phones(migration), states, strict=False)
    ]


@pytest.mark.parametrize("state", [State.PLANNED, State.PAUSED, State.RUNNING])
def test_a_migration_that_nobody_steers_is_cancelled_for_good(ends: Ends, state: State) -> None:
    migration = ends.planned()
    if state is not State.PLANNED:
        ends.as_if(migration, state, rows_of(ends, migration, PhoneState.MOVED))
    done = certferry("migrate", "cancel", migration, *ends.here, "--reason", "change 4712", "--yes", "--json")
    assert (done.code, done.json["state"], done.json["reason"]) == (0, "cancelled", "change 4712"), done
    for command in ("start", "resume", "pause"):
        refused = certferry("migrate", command, migration, *ends.here, "--json")
        assert (refused.code, refused.error["code"]) == (2, "waves.state"), command
    last = ends.source.migrations.events(migration)[-1]
    assert (last.kind, last.details) == ("cancelled", {"from": state.value, "reason": "change 4712"})
    entry = json.loads(ends.source.audit_lines()[-1])
    assert (entry["action"], entry["migration"], entry["reason"]) == ("cancel-migration", migration, "change 4712")
    page = certferry("migrate", "report", migration, *ends.here, "--html", "-").stdout
    assert f"cancelled from {state}, reason change 4712" in page


def test_cancelling_needs_a_yes_and_is_the_same_a_second_time(ends: Ends) -> None:
    migration = ends.planned()
    assert certferry("migrate", "cancel", *ends.here, "--json").error["code"] == "cli.confirmation"
    assert ends.source.migrations.find().state is State.PLANNED
    assert certferry("migrate", "cancel", *ends.here, "--yes").code == 0
    events = ends.source.migrations.events(migration)
    assert certferry("migrate", "cancel", *ends.here).code == 0
    assert ends.source.migrations.events(migration) == events


def test_resets_that_a_killed_runner_asked_for_are_taken_back_written_down_or_not(ends: Ends) -> None:
    migration = ends.planned("--canary", 0)
    told, written, unwritten = (phone.device for phone in ends.source.migrations.phones(migration)[:3])
    ends.as_if(migration, State.RUNNING, rows_of(ends, migration, PhoneState.RESET, PhoneState.RESET))
    ends.source.resets.ask({reset_id(migration, device): device for device in (told, written, unwritten)}, by="a test")
    ends.source.resets.take("source-pub", [told])
    assert certferry("migrate", "cancel", *ends.here, "--yes").code == 0
    assert ends.source.resets.open_count() == 0
    assert ends.source.resets.take("source-pub", [phone.device for phone in PHONES]) == ()


def test_what_another_process_steers_or_has_ended_is_not_cancelled(ends: Ends) -> None:
    ended = ends.planned()
    ends.as_if(ended, State.DONE)
    assert certferry("migrate", "cancel", ended, *ends.here, "--yes", "--json").error["code"] == "waves.state"
    steered = ends.planned()
    ends.as_if(steered, State.RUNNING, held=True)
    refused = certferry("migrate", "cancel", steered, *ends.here, "--yes", "--json")
    assert (refused.code, refused.error["code"]) == (6, "cluster.migration-locked")


def test_phones_that_moved_before_it_was_cancelled_can_go_back(ends: Ends) -> None:
    migration = ends.planned("--canary", 0)
    ends.as_if(migration, State.PAUSED, rows_of(ends, migration, PhoneState.MOVED))
    told = certferry("migrate", "cancel", *ends.here, "--yes")
    assert f"certferry migrate back {migration}" in told.stderr
    assert len(certferry("migrate", "back", migration, *ends.here, "--json").json["phones"]) == 1


def test_only_the_phones_that_failed_are_planned_again_for_the_same_destination(ends: Ends) -> None:
    first = ends.planned("--canary", 0)
    ends.as_if(first, State.DONE, rows_of(ends, first, PhoneState.MOVED, PhoneState.FAILED, PhoneState.FAILED))
    failed = [p.device for p in ends.source.migrations.phones(first) if p.state is PhoneState.FAILED]
    told = certferry("migrate", "plan", *ends.here, "--failed-of", first, "--json").json
    assert sorted(phone["device"] for phone in told["phones"]) == sorted(failed)
    assert (told["destination"], told["settings"]["failed_of"]) == (place_of(ends.destination), first)
    one = certferry("migrate", "plan", *ends.here, "--failed-of", first, "--device", failed[0], "--json").json
    assert [phone["device"] for phone in one["phones"]] == [failed[0]]


def test_no_phone_migrates_to_where_it_is(ends: Ends) -> None:
    source = Path(ends.source.location.text)
    same = source.parent / "." / source.name / ".." / source.name
    refused = certferry("migrate", "plan", *ends.here, "--destination", same, "--all", "--json")
    assert (refused.code, refused.error["code"]) == (2, "waves.same-cluster")
    assert ends.source.migrations.all() == ()


def test_where_no_phone_failed_there_is_nothing_to_plan(ends: Ends) -> None:
    first = ends.planned()
    refused = certferry("migrate", "plan", *ends.here, "--failed-of", first, "--json")
    assert (refused.code, refused.error["code"]) == (2, "waves.nothing-chosen")
    unknown = certferry("migrate", "plan", *ends.here, "--failed-of", "m9", "--json")
    assert unknown.error["code"] == "cluster.migration-unknown"
