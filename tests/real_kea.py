"""A real kea-dhcp4 with its control socket, and its control agent."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from certferry.dhcp import kea_config
from certferry.dhcp.kea_channel import UnixChannel
from command_line import Ended, certferry, wait_until
from dhcp_programs import program
from held_ports import held_port

VOICE = "198.51.100.0/24"
TFTP = "192.0.2.11,192.0.2.12"
HOST_PASSWORD = "kea-database-secret"


@dataclass
class RealKea:
    """A kea-dhcp4 that listens on no interface, with its control socket."""

    folder: Path
    more: dict[str, Any] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _held: ExitStack = field(default_factory=ExitStack)

    @property
    def socket(self) -> Path:
        return self.folder / "kea.sock"

    @property
    def file(self) -> Path:
        return self.folder / "configuration" / "kea-dhcp4.conf"

    @property
    def state(self) -> Path:
        return self.folder / "undo.json"

    def write(self) -> None:
        self.file.parent.mkdir()
        config = {
            "interfaces-config": {"interfaces": []},
            "control-socket": {"socket-type": "unix", "socket-name": str(self.socket)},
            "lease-database": {"type": "memfile", "persist": False},
            "loggers": [{"name": "kea-dhcp4", "output_options": [{"output": "stdout"}], "severity": "INFO"}],
            "option-data": [{"name": "domain-name", "data": "example.com"}],
            "client-classes": [{"name": "phones", "test": "substring(option[60].hex,0,13) == 'Cisco Systems'"}],
            "user-context": {"comment": HOST_PASSWORD},
            "shared-networks": [{"name": "floor", "subnet4": [{"id": 70, "subnet": "203.0.113.0/24"}]}],
            "subnet4": [
                {"id": 1, "subnet": VOICE, "pools": [{"pool": "198.51.100.10 - 198.51.100.99"}]},
                {"id": 2, "subnet": "10.99.0.0/16", "option-data": [{"name": "routers", "data": "10.99.0.1"}]},
            ],
            **self.more,
        }
        self.file.write_text("// the site's own words\n" + json.dumps({"Dhcp4": config}), encoding="utf-8")

    def start(self) -> None:
        kea = program("kea-dhcp4", "kea-dhcp4-server")
        self._run([kea, "-c", str(self.file)], "kea.log")
        wait_until(self.socket.exists)
        wait_until(lambda: "DHCP4_STARTED" in (self.folder / "kea.log").read_text())

    def agent(self, **more: Any) -> str:
        """Start the control agent as well; returns its address."""
        agent = program("kea-ctrl-agent", "kea-ctrl-agent")
        port = self._held.enter_context(held_port())
        config = {
            "http-host": "127.0.0.1",
            "http-port": port,
            "control-sockets": {"dhcp4": {"socket-type": "unix", "socket-name": str(self.socket)}},
            "loggers": [{"name": "kea-ctrl-agent", "output_options": [{"output": "stdout"}], "severity": "INFO"}],
            **more,
        }
        file = self.folder / "agent.conf"
        file.write_text(json.dumps({"Control-agent": config}), encoding="utf-8")
        self._run([agent, "-c", str(file)], "agent.log")
        wait_until(lambda: "CTRL_AGENT_STARTED" in (self.folder / "agent.log").read_text())
        return f"127.0.0.1:{port}"

    def _run(self, words: list[str], log: str) -> None:
        places = {"KEA_PIDFILE_DIR": str(self.folder), "KEA_LOCKFILE_DIR": str(self.folder)}
        with (self.folder / log).open("wb") as stream:
            self.processes.append(
                subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=os.environ | places)
            )

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        self.processes.clear()
        self._held.close()

    def config(self) -> Any:
        return UnixChannel(self.socket).call("config-get")["Dhcp4"]

    def option(self, subnet: str = VOICE) -> tuple[IPv4Address, ...] | None:
        config = self.config()
        return kea_config.addresses_in(kea_config.option_of(config, kea_config.find_subnet(config, subnet)))

    def command(self, *words: object, kea: object = None) -> Ended:
        return certferry("dhcp", *words, "--kea", kea or self.socket, "--state", self.state)

    def set_(self, *more: object, subnet: str = VOICE, tftp: str = TFTP, kea: object = None) -> Ended:
        return self.command("set", "--subnet", subnet, "--tftp", tftp, *more, kea=kea)


@contextmanager
def running_kea(folder: Path) -> Iterator[RealKea]:
    """Run one in a folder, whose path has to be short: that of a socket has at most 108 bytes."""
    kea = RealKea(folder)
    kea.write()
    try:
        kea.start()
        yield kea
    finally:
        kea.stop()
