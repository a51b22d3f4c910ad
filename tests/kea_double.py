"""A Kea that is none: it keeps a configuration, and does wrong on demand."""

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from certferry.dhcp.kea_channel import KeaRefusedError

SECRET = "mysql-secret"


def a_config() -> dict[str, Any]:
    return {
        "lease-database": {"type": "memfile", "password": SECRET},
        "subnet4": [
            {"id": 1, "subnet": "198.51.100.0/24", "option-data": []},
            {"id": 2, "subnet": "203.0.113.0/24", "option-data": []},
        ],
    }


class KeaDouble:
    """``refuses`` maps commands to Kea's words; ``before`` is called with each command's name."""

    name = "/run/kea/double"

    def __init__(self) -> None:
        self.config = a_config()
        self.file = json.dumps(self.config)
        self.refuses: dict[str, str] = {}
        self.calls: list[str] = []
        self.before: Callable[[str], None] = lambda _command: None

    def call(self, command: str, arguments: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        self.before(command)
        self.calls.append(command)
        if command in self.refuses:
            raise KeaRefusedError(f"Kea refused {command}: {self.refuses[command]}")
        match command:
            case "config-get":
                return {"Dhcp4": deepcopy(self.config), "hash": "1234"}
            case "config-set":
                assert arguments is not None
                assert set(arguments) == {"Dhcp4"}
                self.config = deepcopy(arguments["Dhcp4"])
            case "config-write":
                self.file = json.dumps(self.config)
        return {}
