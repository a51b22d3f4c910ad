"""``migrate start --kea``: certferry sets option 150 before the first reset, and puts it back on the way back."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from certferry.cli import dhcp_kea, migrate_run
from certferry.cli.migrate_options import now
from certferry.cluster.cluster import Cluster
from certferry.cluster.migrations import State
from certferry.cluster.sightings import Sighting, Step
from certferry.cluster.values import Phone
from certferry.dhcp.kea_config import addresses_in, find_subnet, option_of
from certferry.migrate.result import Verification
from certferry.migrate.waves.running import Runner
from command_line import Ended, certferry
from conftest import MakeCluster
from kea_double import KeaDouble

PHONES = [Phone(f"SEP{number:012X}") for number in range(3)]
VOICE = "198.51.100.0/24"
FORMER = {"code": 150, "csv-format": False, "data": "C0000201"}
"""192.0.2.1, as the site wrote it."""


class Site:
    """Two clusters, phones that register with the destination by themselves, and one Kea."""

    def __init__(self, source: Cluster, destination: Cluster, kea: KeaDouble, state: Path) -> None:
        self.source, self.destination, self.kea, self.state = source, destination, kea, state
        kea.config["subnet4"][0]["option-data"] = [dict(FORMER)]
        self.seen_at(destination)
        ended = certferry("migrate", "plan", "--source", source.location.text, *self.to, "--all", "--json")
        self.migration = str(ended.json["migration"])

    @property
    def to(self) -> list[str]:
        return ["--destination", self.destination.location.text]

    @property
    def told(self) -> list[object]:
        return ["--kea", self.kea.name, "--subnet", VOICE, "--kea-state", self.state]

    def seen_at(self, cluster: Cluster) -> None:
        cluster.sightings.note([Sighting(p.device, Step.REGISTERED, now(), "x", "192.0.2.9") for p in PHONES])

    def start(self, *more: object, migration: str = "", source: Cluster | None = None) -> Ended:
        place = (source or self.source).location.text
        return certferry("migrate", "start", migration or self.migration, "--source", place, *more)

    @property
    def option(self) -> Sequence[str]:
        entry = option_of(self.kea.config, find_subnet(self.kea.config, VOICE))
        return [str(address) for address in addresses_in(entry) or ()]

    def event(self, cluster: Cluster | None = None) -> Any:
        ledger = (cluster or self.source).migrations
        (found,) = [event for event in ledger.events(ledger.find().id) if event.kind == "option150"]
        return found.details


async def fine(*_: object) -> Verification:
    return Verification(ok=True, checks=(), phones=(), source="a", destination="b", at=now())


@pytest.fixture
def site(make_cluster: MakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    kea = KeaDouble()
    source, destination = make_cluster("source", nodes=1), make_cluster("destination", nodes=3)
    for cluster in (source, destination):
        cluster.add_phones(PHONES)

    monkeypatch.setattr(dhcp_kea, "kea_channel", lambda *_, **__: kea)
    monkeypatch.setattr(migrate_run, "preflight", fine)
    return Site(source, destination, kea, tmp_path / "undo.json")


def nodes_of(cluster: Cluster) -> list[str]:
    return [node.address for node in cluster.tftp_nodes()[:2]]


def test_the_destination_s_first_two_tftp_nodes_are_set_before_the_first_reset(site: Site) -> None:
    done = site.start(*site.told, "--yes", "--json")
    assert done.code == 0, done
    assert site.option == nodes_of(site.destination)
    assert done.json["state"] == "done"
    kinds = [event.kind for event in site.source.migrations.events(site.migration)]
    assert kinds[:2] == ["option150", "started"]
    assert site.event() | {"step": "", "done": ""} == {
        "kea": site.kea.name, "subnet": VOICE, "before": "192.0.2.1", "after": ",".join(nodes_of(site.destination)),
        "changed": True, "step": "", "done": "",
    }  # fmt: skip


def test_the_difference_is_shown_first_on_stderr(site: Site) -> None:
    done = site.start(*site.told, "--yes", "--lines")
    assert "- option 150: 192.0.2.1\n" in done.stderr
    assert f"+ option 150: {','.join(nodes_of(site.destination))}\n" in done.stderr
    first = json.loads(done.stdout.splitlines()[0])
    assert (first["event"], first["before"]) == ("option150", "192.0.2.1")


def test_nothing_is_changed_without_a_yes(site: Site) -> None:
    refused = site.start(*site.told, "--json")
    assert (refused.code, refused.error["code"]) == (2, "cli.confirmation")
    assert site.option == ["192.0.2.1"]
    assert site.source.migrations.find().state is State.PLANNED


def test_other_servers_may_be_named(site: Site) -> None:
    assert site.start(*site.told, "--tftp", "203.0.113.7", "--yes").code == 0
    assert site.option == ["203.0.113.7"]


def test_the_way_back_puts_back_what_stood_there(site: Site) -> None:
    assert site.start(*site.told, "--yes").code == 0
    back = certferry("migrate", "back", site.migration, "--source", site.source.location.text, "--json").json
    site.seen_at(site.source)
    done = site.start(*site.told, "--yes", "--json", migration=back["migration"], source=site.destination)
    assert done.code == 0, done
    assert option_of(site.kea.config, find_subnet(site.kea.config, VOICE)) == FORMER
    assert json.loads(site.state.read_text())["changes"] == []
    assert (site.event(site.destination)["after"], site.event(site.destination)["changed"]) == ("192.0.2.1", True)


def test_the_way_back_of_a_change_made_by_hand_sets_the_source_s_nodes(site: Site) -> None:
    assert site.start("--option150-confirmed").code == 0
    site.kea.config["subnet4"][0]["option-data"] = []
    back = certferry("migrate", "back", site.migration, "--source", site.source.location.text, "--json").json
    site.seen_at(site.source)
    assert site.start(*site.told, "--yes", migration=back["migration"], source=site.destination).code == 0
    assert site.option == nodes_of(site.source)


def test_a_start_killed_after_the_change_changes_nothing_when_it_is_done_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(Runner, "run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert site.start(*site.told, "--yes").code == 130
    assert site.source.migrations.find().state is State.PLANNED
    changes = json.loads(site.state.read_text())["changes"]
    assert site.start(*site.told).code == 0, "nothing is left to be confirmed"
    assert site.kea.calls.count("config-set") == 1
    assert json.loads(site.state.read_text())["changes"] == changes
    assert site.event()["changed"] is False


def test_resuming_asks_kea_nothing(site: Site) -> None:
    assert site.start(*site.told, "--yes").code == 0
    with site.source._database.write() as connection:
        connection.exec_driver_sql("UPDATE migration SET state = 'running'")
        connection.exec_driver_sql("UPDATE migration_phone SET state = 'waiting'")
    asked = list(site.kea.calls)
    assert certferry("migrate", "resume", "--source", site.source.location.text).code == 0
    assert site.kea.calls == asked


def test_a_kea_that_does_not_answer_is_told_before_phones_are_rehearsed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate_run, "preflight", None)
    site.kea.refuses["config-get"] = "no rights"
    assert site.start(*site.told, "--yes", "--json").error["code"] == "dhcp.kea-refused"


def test_a_kea_that_does_not_take_it_lets_no_phone_be_reset(site: Site) -> None:
    site.kea.refuses["config-test"] = "bad luck"
    assert site.start(*site.told, "--yes", "--json").error["code"] == "dhcp.kea-refused"
    assert site.source.resets.open_count() == 0
    assert site.source.migrations.find().state is State.PLANNED


def test_a_migration_that_another_began_meanwhile_is_not_resumed_by_its_second_start(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two operators: the first one's run pauses at a failure while the second one's start verifies."""

    def paused() -> None:
        with site.source._database.write() as connection:
            connection.exec_driver_sql("UPDATE migration SET state = 'paused'")

    async def slow(*_: object) -> Verification:
        paused()
        return await fine()

    monkeypatch.setattr(migrate_run, "preflight", slow)
    refused = site.start(*site.told, "--yes", "--json")
    assert (refused.code, refused.error["code"]) == (2, "waves.state")
    assert site.option == ["192.0.2.1"]
    with site.source._database.write() as connection:
        connection.exec_driver_sql("UPDATE migration SET state = 'planned'")
    site.kea.before = lambda command: paused() if command == "config-write" else None
    monkeypatch.setattr(migrate_run, "preflight", fine)
    late = site.start(*site.told, "--yes", "--json")
    assert (late.code, late.error["code"]) == (2, "waves.state")
    assert "take it back with: certferry dhcp undo" in late.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--kea", "/run/kea"],
        ["--subnet", VOICE],
        ["--tftp", "192.0.2.1"],
        ["--kea", "/run/kea", "--subnet", VOICE, "--option150-confirmed"],
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(site: Site, words: list[str]) -> None:
    refused = site.start(*words, "--json")
    assert (refused.code, refused.error["code"]) == (2, "cli.option150-choice")
