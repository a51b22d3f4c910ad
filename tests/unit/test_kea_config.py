"""Kea's configuration as a value: one subnet's option 150 is changed, and nothing else."""

from copy import deepcopy
from ipaddress import IPv4Address
from typing import Any

import pytest

from certferry.dhcp import kea_config
from certferry.dhcp.kea_config import KeaConfigHiddenError, KeaSubnetUnknownError, Place
from certferry.dhcp.snippets import DEFINITION

ONE, TWO = IPv4Address("192.0.2.11"), IPv4Address("192.0.2.12")
ENTRY = {"code": 150, "name": "option-150", "space": "dhcp4", "csv-format": True, "data": "192.0.2.11, 192.0.2.12"}
HEX = {"code": 150, "space": "dhcp4", "csv-format": False, "data": "C000020BC000020C"}
CONFIG: dict[str, Any] = {
    "valid-lifetime": 3600,
    "option-data": [{"code": 15, "name": "domain-name", "data": "example.com"}],
    "lease-database": {"type": "mysql", "password": "geheim"},
    "subnet4": [
        {"id": 1, "subnet": "198.51.100.0/24", "pools": [{"pool": "198.51.100.10-198.51.100.20"}], "option-data": []},
        {"id": 2, "subnet": "203.0.113.0/25", "option-data": [{"code": 3, "data": "203.0.113.1"}]},
    ],
    "shared-networks": [{"name": "floor", "subnet4": [{"id": 70, "subnet": "203.0.113.128/25"}]}],
}
VOICE = Place(("subnet4", 0), "198.51.100.0/24", 1)


def config_with(**changes: Any) -> dict[str, Any]:
    return {**deepcopy(CONFIG), **changes}


# --- finding


@pytest.mark.parametrize("wanted", ["198.51.100.0/24", " 198.51.100.0/24 ", "1", "198.51.100.0/255.255.255.0"])
def test_a_subnet_is_found_by_its_network_or_id(wanted: str) -> None:
    assert kea_config.find_subnet(CONFIG, wanted) == VOICE


def test_a_subnet_of_a_shared_network_is_found() -> None:
    place = kea_config.find_subnet(CONFIG, "70")
    assert place.path == ("shared-networks", 0, "subnet4", 0)
    assert place.in_words() == "203.0.113.128/25 (id 70)"


@pytest.mark.parametrize("wanted", ["198.51.100.0/25", "198.51.100.0", "3", "", "voice", "198.51.100.7/24"])
def test_another_subnet_is_not_guessed(wanted: str) -> None:
    with pytest.raises(KeaSubnetUnknownError):
        kea_config.find_subnet(CONFIG, wanted)


def test_option_150_is_found_by_its_code_or_by_the_name_the_site_gave_it() -> None:
    named = {"name": "voip-tftp", "data": "192.0.2.11"}
    config = config_with(**{"option-def": [{"name": "voip-tftp", "code": 150, "type": "ipv4-address"}]})
    config["subnet4"][0]["option-data"] = [{"code": 3, "data": "198.51.100.1"}, named]
    assert kea_config.option_of(config, VOICE) == named
    config["subnet4"][0]["option-data"] = [HEX]
    assert kea_config.option_of(config, VOICE) == HEX


def test_an_option_150_of_another_space_is_another_option() -> None:
    config = config_with()
    config["subnet4"][0]["option-data"] = [{**HEX, "space": "vendor-9"}]
    assert kea_config.option_of(config, VOICE) is None


def test_a_subnet_without_its_own_inherits() -> None:
    assert kea_config.inherited(CONFIG, VOICE) is None
    config = config_with(**{"option-data": [HEX]})
    assert kea_config.inherited(config, VOICE) == HEX
    config["shared-networks"][0]["option-data"] = [ENTRY]
    assert kea_config.inherited(config, kea_config.find_subnet(config, "70")) == ENTRY


# --- reading


@pytest.mark.parametrize(
    ("entry", "addresses"),
    [
        (ENTRY, (ONE, TWO)),
        (HEX, (ONE, TWO)),
        ({"csv-format": False, "data": "0xC000020B"}, (ONE,)),
        ({"csv-format": False, "data": "c0:00:02:0b"}, (ONE,)),
        ({"csv-format": False, "data": "c0 00 02 0b"}, (ONE,)),
        ({"csv-format": False, "data": "c00002"}, None),
        ({"csv-format": False, "data": ""}, None),
        ({"csv-format": False, "data": "'text'"}, None),
        ({"data": "tftp.example.com"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_addresses_are_read_from_either_form(
    entry: dict[str, Any] | None, addresses: tuple[IPv4Address, ...] | None
) -> None:
    assert kea_config.addresses_in(entry) == addresses


def test_an_entry_is_told_by_its_addresses_or_as_it_stands() -> None:
    assert kea_config.in_words(HEX) == "192.0.2.11,192.0.2.12"
    assert kea_config.in_words({"data": "tftp.example.com"}) == "tftp.example.com"
    assert kea_config.in_words(None) == "none"


def test_entries_are_the_same_when_phones_hear_the_same() -> None:
    assert kea_config.same_option(ENTRY, HEX)
    assert kea_config.same_option(None, None)
    assert not kea_config.same_option(ENTRY, None)
    assert not kea_config.same_option(ENTRY, {**ENTRY, "data": "192.0.2.12, 192.0.2.11"})
    assert not kea_config.same_option({"data": "one"}, {"data": "two"})


def test_pools_and_reservations_that_win_are_named() -> None:
    config = config_with(reservations=[{"hw-address": "00:1b:54:00:00:01", "option-data": [HEX]}])
    config["subnet4"][0]["pools"][0]["option-data"] = [HEX]
    config["subnet4"][0]["reservations"] = [{"client-id": "01aa", "option-data": [HEX]}, {"hw-address": "x"}]
    assert kea_config.stronger(config, VOICE) == (
        "pool 198.51.100.10-198.51.100.20",
        "the reservation of 01aa",
        "the reservation of 00:1b:54:00:00:01",
    )
    assert kea_config.stronger(CONFIG, VOICE) == ()


# --- writing


def test_kea_does_not_know_option_150_so_it_is_defined() -> None:
    entry, defines = kea_config.new_option(CONFIG, [ONE, TWO], None)
    assert (entry, defines) == (ENTRY, True)
    changed = kea_config.with_option(CONFIG, VOICE, entry, define=defines)
    assert changed["option-def"] == [DEFINITION]


def test_a_definition_that_is_there_is_used_by_its_name() -> None:
    config = config_with(**{"option-def": [{**DEFINITION, "name": "voip-tftp"}]})
    entry, defines = kea_config.new_option(config, [ONE], None)
    assert (entry["name"], entry["data"], defines) == ("voip-tftp", "192.0.2.11", False)


@pytest.mark.parametrize("wrong", [{"type": "string"}, {"array": False}])
def test_a_definition_that_holds_no_list_is_passed_by(wrong: dict[str, Any]) -> None:
    config = config_with(**{"option-def": [{**DEFINITION, **wrong}]})
    entry, defines = kea_config.new_option(config, [ONE, TWO], None)
    assert (entry, defines) == (HEX, False)


def test_what_else_stood_in_the_entry_stays() -> None:
    entry, _ = kea_config.new_option(CONFIG, [ONE], {**HEX, "always-send": True, "user-context": {"by": "us"}})
    assert (entry["always-send"], entry["user-context"]) == (True, {"by": "us"})


@pytest.mark.parametrize("subnet", ["1", "2", "70"])
def test_nothing_but_the_subnet_s_option_and_its_definition_changes(subnet: str) -> None:
    place = kea_config.find_subnet(CONFIG, subnet)
    untouched = deepcopy(CONFIG)
    changed = kea_config.with_option(CONFIG, place, ENTRY, define=True)
    assert untouched == CONFIG
    where = "/" + "/".join(map(str, place.path))
    assert set(kea_config.differences(CONFIG, changed)) == {f"{where}/option-data", "/option-def"}
    assert kea_config.option_of(changed, place) == ENTRY
    assert kea_config.without_150(changed, place) == kea_config.without_150(CONFIG, place)


def test_an_entry_that_is_there_is_replaced_in_its_place() -> None:
    config = config_with()
    router, domain = {"code": 3, "data": "198.51.100.1"}, {"code": 15, "data": "example.com"}
    config["subnet4"][0]["option-data"] = [router, HEX, domain]
    changed = kea_config.with_option(config, VOICE, ENTRY)
    assert changed["subnet4"][0]["option-data"] == [router, ENTRY, domain]
    assert kea_config.with_option(config, VOICE, None)["subnet4"][0]["option-data"] == [router, domain]


def test_a_definition_goes_when_nothing_uses_it_any_more() -> None:
    used = kea_config.with_option(CONFIG, VOICE, ENTRY, define=True)
    assert kea_config.without_definition(used) == used
    other = {"name": "other", "code": 200, "type": "string"}
    unused = {**kea_config.with_option(used, VOICE, None), "option-def": [other, DEFINITION]}
    assert kea_config.without_definition(unused)["option-def"] == [other]


# --- whole configurations


def test_a_configuration_with_hidden_secrets_is_not_told_back_to_kea() -> None:
    kea_config.check_complete(CONFIG)
    with pytest.raises(KeaConfigHiddenError):
        kea_config.check_complete(config_with(**{"hosts-database": {"password": "*****"}}))


def test_a_digest_is_that_of_the_values_not_of_their_order() -> None:
    assert kea_config.digest({"a": 1, "b": [1, 2]}) == kea_config.digest({"b": [1, 2], "a": 1})
    assert kea_config.digest({"b": [1, 2]}) != kea_config.digest({"b": [2, 1]})


def test_differences_are_named_by_place_and_never_by_value() -> None:
    other = config_with()
    other["lease-database"]["password"] = "secret"
    other["subnet4"][1]["id"] = 3
    assert list(kea_config.differences(CONFIG, other)) == ["/lease-database/password", "/subnet4/1/id"]
