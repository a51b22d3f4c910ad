"""Hosts of a real site: on each a program as Debian ships it, at its standard port, that can lose power and come back.

They are network namespaces on one bridge (``dhcp_network``). No address of theirs exists outside, and no way leads out.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest

from certferry.cluster.cluster import Cluster
from certferry.lab.lsc import LscFiles
from command_line import COMMAND, wait_until
from dhcp_network import SUBNET, Host, Network, dhcp_network, end_all
from dhcp_programs import program
from openssh import make_key
from postgres import SERVANT, SETTINGS, programs

T = TypeVar("T")
NETWORK = "198.51.100."
DATABASE_PASSWORD = "the-database-s-password"
PHONES_ON_A_HOST = 16
_OUI = 0x001B54000000
_FOLDERS = "certferry-hosts-"


@dataclass
class Machine:
    """A host of the site: it has power or not, a cable or not."""

    name: str
    address: str
    host: Host
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    unplugged: bool = False
    apart_from: set[str] = field(default_factory=set)

    @property
    def folder(self) -> Path:
        """Its disk."""
        return self.host.folder

    def launch(self, *words: object, env: Mapping[str, str] | None = None) -> Path:
        """Start a program that stays; returns its log."""
        process, log = self.host.launch(*words, env=env)
        self.processes.append(process)
        return log

    def when_logged(self, log: Path, text: str) -> None:
        """Wait until the program that was started last says so."""
        process = self.processes[-1]

        def said() -> bool:
            told = log.read_text(encoding="utf-8", errors="replace")
            assert text in told or process.poll() is None, f"{self.name}: {told}"
            return text in told

        wait_until(said, 120)

    def cable(self, *, plugged: bool) -> None:
        """Pull the network cable, or put it back."""
        done = self.host.run(program("ip", "iproute2"), "link", "set", "eth0", "up" if plugged else "down")
        assert done.returncode == 0, done
        self.unplugged = not plugged

    def cut_off_from(self, other: "Machine") -> None:
        """Let nothing more reach ``other`` from here."""
        self._route("add", other.address)
        self.apart_from.add(other.address)

    def mend(self) -> None:
        """Put the cable back, let everything through again, and let the programs go on."""
        if self.unplugged:
            self.cable(plugged=True)
        for address in self.apart_from:
            self._route("delete", address)
        self.apart_from.clear()
        self.thaw()

    def _route(self, verb: str, address: str) -> None:
        done = self.host.run(program("ip", "iproute2"), "route", verb, "blackhole", address)
        assert done.returncode == 0, done

    def freeze(self) -> None:
        """Stop the programs where they are; the kernel still takes connections for them."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    def kill_all(self) -> None:
        """End everything that runs here at once, with children and sessions; the kernel turns callers away."""
        end_all(self.host.namespace)
        for process in self.processes:
            process.wait(10)
        self.processes.clear()

    def lose_power(self) -> None:
        """End everything that runs here at once; nothing answers any more."""
        self.kill_all()
        self.cable(plugged=False)

    @property
    def is_off(self) -> bool:
        """Whether nothing runs here."""
        return not self.processes

    def connections(self, port: int) -> int:
        """Count the TCP connections that the kernel has accepted for one port here."""
        told = self.host.run(program("ss", "iproute2"), "-Htn", "state", "established", f"sport = :{port}")
        return len(told.stdout.splitlines())


@dataclass
class DatabaseHost:
    """A host with PostgreSQL at 5432, which asks everybody on the network for a password."""

    machine: Machine
    data: Path
    bin: Path

    def start(self) -> None:
        chosen = {**SETTINGS, "listen_addresses": self.machine.address, "log_min_messages": "log"}
        words = [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
        servant = ["--reuid", SERVANT, "--regid", str(self.data.stat().st_gid), "--clear-groups"]
        command = [program("setpriv", "util-linux"), *servant, "--pdeathsig", "KILL", self.bin / "postgres"]
        log = self.machine.launch(*command, "-D", self.data, *words)
        self.machine.when_logged(log, "ready to accept connections")

    def connect(self, database: str) -> "psycopg.Connection[tuple[object, ...]]":
        """Connect as its administrator, from itself."""
        place = {"host": self.machine.address, "user": "certferry", "password": DATABASE_PASSWORD, "dbname": database}
        return self.machine.host.inside(lambda: psycopg.connect(**place, autocommit=True))  # type: ignore[arg-type]

    def url(self, database: str, here: Machine) -> str:
        """The place of a cluster, as it is written on the host ``here`` with its own copies of key and password."""
        password = here.folder / f"{self.machine.name}.password"
        if not password.exists():
            password.touch(0o600)
            password.write_text(f"{self.machine.address}:*:*:certferry:{DATABASE_PASSWORD}\n")
        options = f"seal_key={here.folder / database}.key&passfile={password}"
        return f"postgresql://certferry@{self.machine.address}/{database}?{options}"


@dataclass
class SftpHost:
    """A host with OpenSSH at 22; whoever shows ``key`` gets into ``directory``."""

    machine: Machine

    @property
    def directory(self) -> Path:
        return self.machine.folder / "exchange"

    @property
    def key(self) -> Path:
        return self.machine.folder / "id"

    @property
    def known_hosts(self) -> Path:
        return self.machine.folder / "known_hosts"

    def prepare(self) -> None:
        folder = self.machine.folder
        self.directory.mkdir()
        self.known_hosts.write_text(f"{self.machine.address} {make_key(folder / 'host_key')}\n")
        (folder / "authorized_keys").write_text(make_key(self.key) + "\n")
        configuration = [
            f"ListenAddress {self.machine.address}", f"HostKey {folder / 'host_key'}", "UsePAM no", "StrictModes no",
            f"AuthorizedKeysFile {folder / 'authorized_keys'}", f"PidFile {folder / 'sshd.pid'}",
            "PermitRootLogin yes", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
            "Subsystem sftp internal-sftp",
        ]  # fmt: skip
        (folder / "sshd_config").write_text("\n".join(configuration) + "\n")
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists on it when run by root

    def start(self) -> None:
        log = self.machine.launch(
            program("sshd", "openssh-server"), "-D", "-e", "-f", self.machine.folder / "sshd_config"
        )
        self.machine.when_logged(log, "Server listening")


@dataclass
class DhcpHost:
    """A host with Kea at 67, and its control socket."""

    machine: Machine
    socket: Path

    def start(self, tftp: str) -> None:
        option = {"code": 150, "name": "tftp-servers", "space": "dhcp4", "type": "ipv4-address", "array": True}
        self.machine.host.kea(
            {
                "id": 1,
                "pools": [{"pool": f"{NETWORK}100 - {NETWORK}199"}],
                "option-data": [{"name": "tftp-servers", "data": tftp}],
            },
            **{
                "control-socket": {"socket-type": "unix", "socket-name": str(self.socket)},
                "option-def": [option],
            },
        )
        self.machine.processes = list(self.machine.host._running)

    @property
    def place(self) -> list[str]:
        """The options of ``certferry dhcp set`` that name it."""
        return ["--kea", str(self.socket), "--subnet", SUBNET, "--state", str(self.machine.folder / "undo.json")]


@dataclass
class PhoneHost:
    """A host on which phones stay."""

    machine: Machine
    first: int
    settings: list[object] = field(default_factory=list)
    log: Path | None = None

    @property
    def devices(self) -> list[str]:
        return [f"SEP{_OUI + self.first + number:012X}" for number in range(PHONES_ON_A_HOST)]

    @property
    def flash(self) -> Path:
        return self.machine.folder / "flash"

    def launch(self) -> None:
        words = ["--dhcp", "eth0", "--first", self.devices[0], "--count", PHONES_ON_A_HOST, "--flash", self.flash]
        self.log = self.machine.launch(*COMMAND, "fleet", "run", *words, *self.settings, "--json")

    @property
    def flash_at_first(self) -> Path:
        return self.machine.folder / "flash-at-first"

    def take_lscs(self, cluster: Cluster) -> None:
        """Let the cluster's CAPF issue each phone its certificate."""
        folder = self.machine.folder / "lsc"
        for _ in LscFiles(folder).issue(cluster, self.devices):
            pass
        self.settings += ["--lsc", folder]

    def switch_off(self) -> None:
        for process in self.machine.processes:
            process.send_signal(signal.SIGTERM)
            process.wait(90)
        self.machine.processes.clear()

    def power_cut(self) -> None:
        """Let all phones boot anew."""
        for process in self.machine.processes:
            process.send_signal(signal.SIGHUP)

    def happened(self) -> list[dict[str, Any]]:
        return [event for event in events(self.log) if "device" in event] if self.log else []

    def held(self, device: str) -> dict[str, bytes]:
        """What a phone keeps in its flash, by file."""
        return {file.name: file.read_bytes() for file in sorted((self.flash / device).iterdir())}


@dataclass
class Town:
    """All hosts of a site by name."""

    network: Network
    machines: dict[str, Machine] = field(default_factory=dict)

    def machine(self, name: str, number: int) -> Machine:
        """Add a host with the address that ends in ``number``."""
        address = f"{NETWORK}{number}"
        self.machines[name] = Machine(name, address, self.network.host(f"{address}/24"))
        return self.machines[name]

    def database_hosts(self, *numbers: int) -> list[DatabaseHost]:
        """Add hosts with PostgreSQL, which runs as nobody, as it does not as root."""
        found = programs()
        if found is None:
            pytest.skip("PostgreSQL is not installed where everybody may run it (Debian package postgresql)")
        hosts: list[DatabaseHost] = []
        for number in numbers:
            machine = self.machine(f"database-{number}", number)
            hosts.append(DatabaseHost(machine, machine.folder / "data", found))
            if len(hosts) == 1:
                _initdb(hosts[0])
            else:
                subprocess.run(["cp", "-a", hosts[0].data, hosts[-1].data], check=True)
        return hosts


def _initdb(host: DatabaseHost) -> None:
    host.data.mkdir(mode=0o700)
    password = host.machine.folder / "initial-password"
    password.write_text(DATABASE_PASSWORD)
    for path in (host.data, password):
        shutil.chown(path, SERVANT)
    words = ["-A", "scram-sha-256", "-U", "certferry", "--pwfile", str(password), "--no-sync"]
    subprocess.run(
        [host.bin / "initdb", "-D", host.data, *words, "--encoding=UTF8", "--locale=C.UTF-8"],
        check=True, capture_output=True, user=SERVANT, cwd=host.data.parent,
    )  # fmt: skip
    with (host.data / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all certferry {SUBNET} scram-sha-256\n")


@contextmanager
def town() -> Iterator[Town]:
    """Make a network for hosts, and take it away with all that runs there."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDERS}*-*"):
        if not Path("/proc", folder.name.split("-")[2]).exists():  # of a run that was killed
            shutil.rmtree(folder, ignore_errors=True)
    prefix = f"{_FOLDERS}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL passes through
        with dhcp_network(folder) as network:
            made = Town(network)
            try:
                yield made
            finally:
                for machine in made.machines.values():
                    end_all(machine.host.namespace)


def events(log: Path) -> list[dict[str, Any]]:
    """Read what a program told in lines of JSON; a line that is being written is left out."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]


def soon(holds: Callable[[], bool], seconds: float = 120, instead: Callable[[], object] = lambda: "") -> None:
    """Wait for what other hosts bring about; ``instead`` tells what is there when it does not come."""
    try:
        wait_until(holds, seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}: {instead()}") from error
