"""Changing Kea and changing it back: what was there is kept, what others did is respected, failures leave it whole."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from stat import S_IMODE
from typing import Any

import pytest

from certferry.dhcp.kea import Kea, KeaChangedError, KeaSetFailedError
from certferry.dhcp.kea_channel import KeaRefusedError, KeaUnreachableError
from certferry.dhcp.kea_config import KeaConfigHiddenError
from certferry.dhcp.kea_undo import NothingToUndoError, UndoRecord, UndoRecordUnreadableError
from certferry.dhcp.option150_step import ByKea
from kea_double import SECRET, KeaDouble, a_config

ONE, TWO, THREE = (IPv4Address(f"192.0.2.{number}") for number in (11, 12, 13))
VOICE = "198.51.100.0/24"
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def double() -> KeaDouble:
    return KeaDouble()


@pytest.fixture
def kea(double: KeaDouble, tmp_path: Path) -> Kea:
    return Kea(double, UndoRecord(tmp_path / "state" / "undo.json"), now=lambda: NOW)


def value(double: KeaDouble, subnet: int = 0) -> str | None:
    options = double.config["subnet4"][subnet]["option-data"]
    return options[0]["data"] if options else None


def set_(kea: Kea, *servers: IPv4Address, subnet: str = VOICE) -> None:
    kea.apply(kea.plan(subnet, servers))


def undo(kea: Kea, subnet: str = VOICE, *, anyway: bool = False) -> None:
    kea.apply(kea.plan_undo(subnet, anyway=anyway))


# --- there


def test_a_plan_tells_before_and_after_and_changes_nothing(kea: Kea, double: KeaDouble) -> None:
    plan = kea.plan(VOICE, (ONE, TWO))
    assert (plan.before_text, plan.after_text) == ("none", "192.0.2.11,192.0.2.12")
    assert plan.is_pending
    assert double.config == a_config()
    assert set(double.calls) == {"config-get"}
    assert not kea.record.path.exists()


def test_a_plan_never_shows_the_configuration(kea: Kea) -> None:
    assert SECRET not in repr(kea.plan(VOICE, (ONE,)))


def test_a_change_is_tried_before_it_is_set_and_written_after(kea: Kea, double: KeaDouble) -> None:
    applied = kea.apply(kea.plan(VOICE, (ONE, TWO)))
    assert (applied.written, applied.warnings) == (True, ())
    assert value(double) == "192.0.2.11, 192.0.2.12"
    changing = [call for call in double.calls if call != "config-get"]
    assert changing == ["config-test", "config-set", "config-write"]
    assert json.loads(double.file) == double.config


def test_other_settings_stay_as_they_are(kea: Kea, double: KeaDouble) -> None:
    set_(kea, ONE)
    assert double.config["lease-database"] == a_config()["lease-database"]
    assert double.config["subnet4"][1] == a_config()["subnet4"][1]


def test_what_is_so_already_is_left_alone(kea: Kea, double: KeaDouble) -> None:
    set_(kea, ONE)
    double.calls.clear()
    plan = kea.plan(VOICE, (ONE,))
    assert not plan.is_pending
    assert kea.apply(plan).written
    assert double.calls == ["config-get"]
    assert len(kea.record.changes()) == 1


def test_a_subnet_that_inherits_says_so(kea: Kea, double: KeaDouble) -> None:
    double.config["option-data"] = [{"code": 150, "csv-format": False, "data": "C000020D"}]
    assert kea.plan(VOICE, (ONE,)).before_text == "none of its own, so 192.0.2.13"


def test_a_pool_that_wins_is_warned_of(kea: Kea, double: KeaDouble) -> None:
    double.config["subnet4"][0]["pools"] = [{"pool": "A", "option-data": [{"code": 150, "data": "00"}]}]
    assert kea.plan(VOICE, (ONE,)).warnings == ("pool A has its own option 150, which wins",)


# --- and back


def test_undo_puts_back_what_stood_there_to_the_letter(kea: Kea, double: KeaDouble) -> None:
    double.config["subnet4"][0]["option-data"] = [{"code": 150, "csv-format": False, "data": "c0:00:02:0d"}]
    before = json.dumps(double.config["subnet4"])
    set_(kea, ONE)
    undo(kea)
    assert json.dumps(double.config["subnet4"]) == before


def test_undo_of_the_first_change_leaves_no_definition_behind(kea: Kea, double: KeaDouble) -> None:
    set_(kea, ONE)
    undo(kea)
    assert double.config == {**a_config(), "option-def": []}


def test_a_definition_that_two_subnets_use_goes_with_the_last(kea: Kea, double: KeaDouble) -> None:
    set_(kea, ONE)
    set_(kea, ONE, subnet="2")
    undo(kea)
    assert double.config["option-def"] != []
    undo(kea, "2")
    assert double.config["option-def"] == []


def test_changes_are_undone_one_by_one_the_latest_first(kea: Kea, double: KeaDouble) -> None:
    for server in (ONE, TWO, THREE):
        set_(kea, server)
    for expected in ("192.0.2.12", "192.0.2.11", None):
        undo(kea)
        assert value(double) == expected
    with pytest.raises(NothingToUndoError, match=VOICE):
        kea.plan_undo(VOICE)


def test_each_subnet_has_its_own_way_back(kea: Kea, double: KeaDouble) -> None:
    set_(kea, ONE)
    set_(kea, TWO, subnet="2")
    undo(kea)
    assert (value(double, 0), value(double, 1)) == (None, "192.0.2.12")


def test_undo_refuses_when_somebody_else_changed_the_option(kea: Kea, double: KeaDouble) -> None:
    set_(kea, ONE)
    double.config["subnet4"][0]["option-data"][0]["data"] = "192.0.2.99"
    with pytest.raises(KeaChangedError, match=r"option 150 is 192\.0\.2\.99, not 192\.0\.2\.11"):
        kea.plan_undo(VOICE)
    undo(kea, anyway=True)
    assert value(double) is None


def test_what_else_was_changed_meanwhile_survives_undo(kea: Kea, double: KeaDouble) -> None:
    set_(kea, ONE)
    double.config["subnet4"][1]["valid-lifetime"] = 60
    undo(kea)
    assert double.config["subnet4"][1]["valid-lifetime"] == 60


def test_a_change_that_somebody_took_back_already_is_forgotten(kea: Kea, double: KeaDouble) -> None:
    set_(kea, ONE)
    double.config["subnet4"][0]["option-data"] = []
    plan = kea.plan_undo(VOICE)
    assert not plan.is_pending
    kea.apply(plan)
    assert kea.record.changes() == ()


# --- the record


def test_the_record_holds_the_value_and_hashes_and_no_secret(kea: Kea) -> None:
    set_(kea, ONE)
    (change,) = kea.record.changes()
    assert (change.subnet, change.subnet_id, change.before) == (VOICE, 1, None)
    assert change.at == "2026-05-01T12:00:00+00:00"
    assert len(change.config_before) == len(change.config_after) == 64
    assert SECRET not in kea.record.path.read_text()


def test_the_record_is_its_owner_s_alone(kea: Kea) -> None:
    set_(kea, ONE)
    assert S_IMODE(kea.record.path.stat().st_mode) == 0o600
    assert S_IMODE(kea.record.path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"changes": [{}]}', '{"changes": 3}', "\xff"])
def test_a_record_that_is_none_is_refused(kea: Kea, content: str) -> None:
    kea.record.path.parent.mkdir()
    kea.record.path.write_text(content, encoding="latin-1")
    with pytest.raises(UndoRecordUnreadableError):
        kea.plan_undo(VOICE)


def test_a_record_that_cannot_be_written_stops_the_change_before_kea_is_touched(double: KeaDouble) -> None:
    kea = Kea(double, UndoRecord(Path("/proc/none/undo.json")))
    with pytest.raises(UndoRecordUnreadableError):
        set_(kea, ONE)
    assert double.config == a_config()


def test_the_usual_record_is_one_for_each_kea(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one, other = UndoRecord.usual("/run/kea/one"), UndoRecord.usual("/run/kea/other")
    assert one.path.parent == tmp_path / "certferry"
    assert one != other
    assert one == UndoRecord.usual("/run/kea/one")


def test_whoever_is_stopped_between_set_and_the_end_can_still_undo(kea: Kea, double: KeaDouble) -> None:
    def stop(command: str) -> None:
        if command == "config-write":
            raise KeyboardInterrupt

    double.before = stop
    with pytest.raises(KeyboardInterrupt):
        set_(kea, ONE)
    double.before = lambda _command: None
    undo(kea)
    assert value(double) is None


# --- what goes wrong


def test_a_configuration_that_changed_since_the_plan_is_not_overwritten(kea: Kea, double: KeaDouble) -> None:
    plan = kea.plan(VOICE, (ONE,))
    double.config["subnet4"][1]["valid-lifetime"] = 60
    with pytest.raises(KeaChangedError, match="while this change was being looked at"):
        kea.apply(plan)
    assert value(double) is None
    assert kea.record.changes() == ()


def test_what_kea_finds_wrong_when_it_tries_is_not_set(kea: Kea, double: KeaDouble) -> None:
    double.refuses["config-test"] = "no"
    with pytest.raises(KeaRefusedError, match="config-test: no"):
        set_(kea, ONE)
    assert "config-set" not in double.calls
    assert kea.record.changes() == ()


def test_after_a_failed_set_the_former_configuration_is_set_again(kea: Kea, double: KeaDouble) -> None:
    told: list[Mapping[str, Any]] = []
    original = double.call

    def failing_once(command: str, arguments: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        if command == "config-set" and arguments is not None:
            told.append(arguments["Dhcp4"])
            if len(told) == 1:
                double.config = {"half": "done"}
                raise KeaRefusedError("Kea refused config-set: sockets")
        return original(command, arguments)

    double.call = failing_once  # type: ignore[method-assign]
    with pytest.raises(KeaSetFailedError, match="sockets; the configuration of before was set again"):
        set_(kea, ONE)
    assert double.config == told[1] == a_config()
    assert kea.record.changes() == ()


def test_when_even_that_fails_it_is_said(kea: Kea, double: KeaDouble) -> None:
    double.refuses["config-set"] = "sockets"
    with pytest.raises(KeaSetFailedError, match="could not be set again"):
        set_(kea, ONE)
    assert len(kea.record.changes()) == 1


def test_a_kea_that_may_not_write_its_file_keeps_the_change_till_its_restart(kea: Kea, double: KeaDouble) -> None:
    double.refuses["config-write"] = "Unable to open file"
    applied = kea.apply(kea.plan(VOICE, (ONE,)))
    assert not applied.written
    assert "Kea's restart takes it back" in applied.warnings[0]
    assert value(double) == "192.0.2.11"


def test_a_kea_that_alters_what_it_is_told_is_told_of(kea: Kea, double: KeaDouble) -> None:
    def alter(command: str) -> None:
        if command == "config-get" and "config-set" in double.calls:
            double.config["subnet4"][1]["t1"] = 7

    double.before = alter
    applied = kea.apply(kea.plan(VOICE, (ONE,)))
    assert applied.warnings == ("Kea has other values than it was told in: /subnet4/1/t1",)


def test_a_kea_that_hides_its_secrets_is_not_changed(kea: Kea, double: KeaDouble) -> None:
    double.config["lease-database"]["password"] = "*****"
    with pytest.raises(KeaConfigHiddenError):
        kea.plan(VOICE, (ONE,))


@pytest.mark.parametrize(
    "odd",
    [
        {"subnet4": None},
        {"subnet4": ["198.51.100.0/24"]},
        {"subnet4": [{"id": [], "subnet": VOICE}]},
        {"subnet4": [{"id": 1, "subnet": VOICE, "option-data": {"code": 150}}]},
        {"subnet4": [{"id": 1, "subnet": VOICE, "pools": [{"option-data": [150]}]}]},
        {"subnet4": [{"id": 1, "subnet": VOICE, "reservations": 7}]},
        {"shared-networks": [None]},
        {"shared-networks": [{"subnet4": "none"}]},
        {"option-def": [{"code": 150, "type": "ipv4-address", "array": True}]},
        {"option-data": [{"name": []}]},
        {"reservations": [{"option-data": 1}]},
    ],
)
def test_a_configuration_of_another_shape_is_refused(kea: Kea, double: KeaDouble, odd: dict[str, Any]) -> None:
    double.config |= odd
    with pytest.raises(KeaUnreachableError, match="no DHCPv4 configuration"):
        kea.plan(VOICE, (ONE,))


def test_what_others_keep_beside_a_subnet_may_have_any_shape(kea: Kea, double: KeaDouble) -> None:
    double.config["subnet4"][0]["user-context"] = {"option-data": 5, "pools": {"option-data": ["x"]}}
    set_(kea, ONE)
    undo(kea)
    assert double.config["subnet4"][0]["user-context"] == {"option-data": 5, "pools": {"option-data": ["x"]}}


def test_another_server_than_dhcpv4_is_told(kea: Kea, double: KeaDouble) -> None:
    double.call = lambda command, arguments=None: {"Dhcp6": {}}  # type: ignore[method-assign]
    with pytest.raises(KeaUnreachableError, match="no DHCPv4 configuration"):
        kea.plan(VOICE, (ONE,))


# --- as a step of a migration


def test_the_step_says_what_it_does_and_did(kea: Kea, double: KeaDouble) -> None:
    step = ByKea(kea, VOICE, (ONE, TWO))
    assert step.describe() == (
        "Option 150 of subnet 198.51.100.0/24 in Kea at /run/kea/double names 192.0.2.11,192.0.2.12."
    )
    done = "option 150 of 198.51.100.0/24 (id 1) was none, now is 192.0.2.11,192.0.2.12"
    assert step.apply() == done
    assert "already" in step.apply()
    assert step.undo() == ("option 150 of 198.51.100.0/24 (id 1) was put back from 192.0.2.11,192.0.2.12, now is none")
    assert value(double) is None


def test_the_step_tells_what_a_restart_would_take_back(kea: Kea, double: KeaDouble) -> None:
    double.refuses["config-write"] = "Unable to open file"
    assert "Kea's restart takes it back" in ByKea(kea, VOICE, (ONE,)).apply()
