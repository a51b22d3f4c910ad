"""Kea's configuration as a value: find a subnet in it, read its option 150, make the configuration with another one.

Nothing else of a configuration is read, and none of it is ever told: it holds passwords.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Any

from certferry.dhcp.snippets import CODE, DEFINITION
from certferry.errors import Refusal

Config = Mapping[str, Any]
Entry = dict[str, Any]
_HIDDEN = "*****"
_NO_ENTRY: Entry = {"": None}


class KeaSubnetUnknownError(Refusal):
    """Kea's configuration has no such subnet."""

    code = "dhcp.kea-subnet"
    remedy = "Name the subnet as in Kea's configuration, 198.51.100.0/24, or by its id."


class KeaConfigHiddenError(Refusal):
    """Kea hides secrets in what it tells, so that it cannot be told its own configuration again."""

    code = "dhcp.kea-hidden"
    remedy = "Change the file by hand: certferry dhcp snippet --for kea writes the change."


@dataclass(frozen=True, slots=True)
class Place:
    """Where a subnet stands in a configuration."""

    path: tuple[str | int, ...]
    subnet: str
    subnet_id: int

    def in_words(self) -> str:
        """Name the subnet with its id."""
        return f"{self.subnet} (id {self.subnet_id})"


def is_whole(config: Any) -> bool:
    """Whether what is looked at here has the shape that Kea gives it, so that nothing else has to ask."""
    return (
        isinstance(config, dict)
        and all(isinstance(definition.get("name"), str) for definition in _listed(config, "option-def"))
        and all(_is_level(level) for level in _levels(config))
    )


def find_subnet(config: Config, wanted: str) -> Place:
    """Find a subnet by its CIDR or id, in shared networks too; raises ``KeaSubnetUnknownError``."""
    for place in _places(config):
        if wanted.strip() == str(place.subnet_id) or _same_network(wanted, place.subnet):
            return place
    raise KeaSubnetUnknownError(f"Kea has no subnet {wanted.strip()!r}")


def option_of(config: Config, place: Place) -> Entry | None:
    """Return the subnet's own option 150 as it stands there, or None."""
    return _entry(config, _at(config, place).get("option-data", []))


def inherited(config: Config, place: Place) -> Entry | None:
    """Return the option 150 of the shared network or of all subnets, which a subnet without its own gets."""
    above = [] if len(place.path) == 2 else [config["shared-networks"][place.path[1]]]  # noqa: PLR2004 -- subnet4[n]
    found = (_entry(config, level.get("option-data", [])) for level in (*above, config))
    return next((entry for entry in found if entry is not None), None)


def new_option(config: Config, addresses: Sequence[IPv4Address], previous: Entry | None) -> tuple[Entry, bool]:
    """Make the entry for ``addresses`` beside what else stood in ``previous``, and tell whether it needs a definition.

    A definition that cannot hold a list is passed by: the value is written as bytes.
    """
    definition = _definition(config)
    kept = {key: value for key, value in (previous or {}).items() if key not in ("data", "csv-format", "name")}
    entry: Entry = {"code": CODE, "space": "dhcp4", **kept}
    if definition is None or (definition.get("type") == "ipv4-address" and definition.get("array")):
        name = (definition or DEFINITION)["name"]
        entry |= {"name": name, "csv-format": True, "data": ", ".join(map(str, addresses))}
    else:
        entry |= {"csv-format": False, "data": b"".join(address.packed for address in addresses).hex().upper()}
    return entry, definition is None


def with_option(config: Config, place: Place, entry: Entry | None, *, define: bool = False) -> Config:
    """Return the configuration in which the subnet's option 150 is ``entry``, or is missing."""
    changed = deepcopy(dict(config))
    subnet = _at(changed, place)
    names = _names(config)
    options = list(subnet.get("option-data", []))
    at = next((index for index, option in enumerate(options) if _is_150(option, names)), len(options))
    options[at : at + 1] = [] if entry is None else [entry]
    subnet["option-data"] = options
    if define:
        changed["option-def"] = [*changed.get("option-def", []), dict(DEFINITION)]
    return changed


def without_150(config: Config, place: Place) -> Config:
    """Return what of a configuration is not certferry's: without the subnet's option 150, and its definition."""
    rest = with_option(config, place, None)
    return {**rest, "option-def": [each for each in config.get("option-def", []) if each != _definition(config)]}


def without_definition(config: Config) -> Config:
    """Return the configuration without certferry's definition of option 150, unless something still uses it."""
    names = _names(config)
    if any(_is_150(option, names) for option in _every_option(config)):
        return config
    definitions = [each for each in config.get("option-def", []) if each.get("name") != DEFINITION["name"]]
    return {**config, "option-def": definitions}


def addresses_in(entry: Entry | None) -> tuple[IPv4Address, ...] | None:
    """Read an entry's addresses; None where there is no entry or it holds something else."""
    if entry is None:
        return None
    data = str(entry.get("data", ""))
    try:
        if entry.get("csv-format", True):
            return tuple(IPv4Address(word.strip()) for word in data.split(","))
        raw = bytes.fromhex(data.removeprefix("0x").replace(":", ""))
    except (AddressValueError, ValueError):
        return None
    if not raw or len(raw) % 4:
        return None
    return tuple(IPv4Address(raw[at : at + 4]) for at in range(0, len(raw), 4))


def in_words(entry: Entry | None) -> str:
    """Tell an entry's value; what it holds instead of addresses is told as it stands."""
    if entry is None:
        return "none"
    addresses = addresses_in(entry)
    return str(entry.get("data", ""))[:80] if addresses is None else ",".join(map(str, addresses))


def same_option(one: Entry | None, other: Entry | None) -> bool:
    """Tell whether two entries say the same to phones."""
    if one is None or other is None:
        return one is other
    return addresses_in(one) == addresses_in(other) and in_words(one) == in_words(other)


def stronger(config: Config, place: Place) -> tuple[str, ...]:
    """Name what has an option 150 of its own that wins over the subnet's: pools and reservations."""
    subnet, names = _at(config, place), _names(config)
    levels = [(f"pool {pool.get('pool')}", pool) for pool in subnet.get("pools", [])]
    held = [*subnet.get("reservations", []), *config.get("reservations", [])]
    levels += [(f"the reservation of {_identity(reservation)}", reservation) for reservation in held]
    return tuple(
        name for name, level in levels if any(_is_150(option, names) for option in level.get("option-data", []))
    )


def check_complete(config: Config) -> None:
    """Raise ``KeaConfigHiddenError`` if the configuration has secrets left out."""
    if any(value == _HIDDEN for value in _every_value(config)):
        raise KeaConfigHiddenError("Kea's answer to config-get has secrets replaced by stars")


def digest(config: Config) -> str:
    """Make a configuration's SHA-256, whatever the order of its keys."""
    return sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Name the settings in which two configurations differ; never their values."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from differences(one.get(key), other.get(key), f"{path}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from differences(left, right, f"{path}/{index}")
    elif one != other:
        yield path


def _places(config: Config) -> Iterator[Place]:
    for index, subnet in enumerate(config.get("subnet4", [])):
        yield Place(("subnet4", index), str(subnet.get("subnet", "")), int(subnet.get("id", 0)))
    for number, network in enumerate(config.get("shared-networks", [])):
        for index, subnet in enumerate(network.get("subnet4", [])):
            path = ("shared-networks", number, "subnet4", index)
            yield Place(path, str(subnet.get("subnet", "")), int(subnet.get("id", 0)))


def _levels(config: Entry) -> Iterator[Entry]:
    """Go through everything that may have options of its own."""
    yield from (config, *_listed(config, "reservations"))
    networks = _listed(config, "shared-networks")
    yield from networks
    for subnet in (subnet for level in (config, *networks) for subnet in _listed(level, "subnet4")):
        yield from (subnet, *_listed(subnet, "pools"), *_listed(subnet, "reservations"))


def _listed(level: Entry, key: str) -> list[Entry]:
    """Return the entries of a list; one that stands for what is none when there is something else."""
    found = level.get(key, [])
    return found if isinstance(found, list) and all(isinstance(each, dict) for each in found) else [_NO_ENTRY]


def _is_level(level: Entry) -> bool:
    options = _listed(level, "option-data")
    named = all(isinstance(option.get("name", ""), str) for option in options)
    return level is not _NO_ENTRY and _NO_ENTRY not in options and named and isinstance(level.get("id", 0), int)


def _at(config: Config, place: Place) -> dict[str, Any]:
    found: Any = config
    for step in place.path:
        found = found[step]
    subnet: dict[str, Any] = found
    return subnet


def _same_network(one: str, other: str) -> bool:
    try:
        return "/" in one and IPv4Network(one.strip()) == IPv4Network(other, strict=False)
    except ValueError:
        return False


def _definition(config: Config) -> Entry | None:
    definitions = (each for each in config.get("option-def", []) if each.get("space", "dhcp4") == "dhcp4")
    return next((each for each in definitions if each.get("code") == CODE), None)


def _names(config: Config) -> frozenset[str]:
    definition = _definition(config)
    return frozenset() if definition is None else frozenset([str(definition.get("name"))])


def _is_150(option: Entry, names: frozenset[str]) -> bool:
    of_dhcp = option.get("space", "dhcp4") == "dhcp4"
    return of_dhcp and (option.get("code") == CODE or option.get("name") in names)


def _entry(config: Config, options: Sequence[Entry]) -> Entry | None:
    names = _names(config)
    return next((dict(option) for option in options if _is_150(option, names)), None)


def _identity(reservation: Mapping[str, Any]) -> str:
    kinds = ("hw-address", "client-id", "duid", "circuit-id", "flex-id")
    return next((str(reservation[kind]) for kind in kinds if kind in reservation), "a host")


def _every_option(value: Any) -> Iterator[Entry]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "option-data" and isinstance(inner, list):
                yield from (option for option in inner if isinstance(option, dict))
            else:
                yield from _every_option(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _every_option(inner)


def _every_value(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _every_value(inner)
    else:
        yield value
