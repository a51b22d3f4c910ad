"""A network of its own: hosts are network namespaces on one bridge; each has one interface, eth0.

What runs there ends with the test run, even when that is killed; the next run removes the namespaces it left.
"""

import ctypes
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from command_line import Ended, certferry, wait_until
from dhcp_programs import SBIN, program

TESTS = Path(__file__).parent
T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
FAMILY = "cf"
"""Networks that are named so are removed by whoever comes next, once their test run is gone."""
SUBNET = "198.51.100.0/24"


@dataclass
class Host:
    """One host; what was started on it ends with the network."""

    namespace: str
    folder: Path
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        settings: dict[str, Any] = {"stdin": subprocess.DEVNULL, "timeout": 300, "encoding": "utf-8"} | options
        return subprocess.run(self._here(*words), capture_output=True, check=False, env=_environment(), **settings)

    def certferry(self, *arguments: object) -> Ended:
        """Run a command of the product here: in this process, in a thread that lives in the namespace."""
        return self.inside(lambda: certferry(*arguments))

    def inside(self, work: Callable[[], T]) -> T:
        """Do something in a thread that lives in the namespace, as do the threads it makes."""

        def entered() -> T:
            with Path("/run/netns", self.namespace).open("rb") as namespace:
                error = ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET)
                assert error == 0, os.strerror(ctypes.get_errno())
            return work()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(entered).result()

    def start(self, *words: object, until: str, env: Mapping[str, str] | None = None) -> Path:
        """Start a server and wait until its log says so; returns the log."""
        running, log = self.launch(*words, env=env)

        def started() -> bool:
            assert running.poll() is None, log.read_text(encoding="utf-8", errors="replace")
            return until in log.read_text(encoding="utf-8", errors="replace")

        wait_until(started)
        return log

    def launch(self, *words: object, env: Mapping[str, str] | None = None) -> tuple[subprocess.Popen[bytes], Path]:
        """Start a server; returns it and its log."""
        log = self.folder / f"{Path(str(words[0])).name}-{len(self._running)}.log"
        with log.open("wb") as stream:
            running = subprocess.Popen(
                self._here(*words), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=_environment(env)
            )
        self._running.append(running)
        return running, log

    def stop(self) -> None:
        """End everything that was started here."""
        for running in self._running:
            running.terminate()
        for running in self._running:
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait(10)
        self._running.clear()

    def _here(self, *words: object) -> list[str]:
        bound_to_us = [program("setpriv", "util-linux"), "--pdeathsig", "KILL"]
        return [*bound_to_us, _ip(), "netns", "exec", self.namespace, *map(str, words)]

    # --- DHCP servers, each with the option 150 lines given in its own words

    def dnsmasq(self, *options: str) -> None:
        words = ["--keep-in-foreground", "--log-facility=-", "--port=0", "--no-ping", "--conf-file=/dev/null"]
        pool = f"--dhcp-leasefile={self.folder / 'dnsmasq.leases'}", "--dhcp-range=198.51.100.10,198.51.100.20,1h"
        self.start(program("dnsmasq", "dnsmasq-base"), *words, *pool, *options, until="started, version")

    def isc(self, text: str) -> None:
        configuration, leases = self.folder / "dhcpd.conf", self.folder / "dhcpd.leases"
        configuration.write_text(text, encoding="utf-8")
        leases.touch()
        words = ("-4", "-d", "-f", "-cf", configuration, "-lf", leases, "-pf", self.folder / "dhcpd.pid", "eth0")
        self.start(program("dhcpd", "isc-dhcp-server"), *words, until="Server starting service")

    def kea(self, subnet: Mapping[str, Any], **more: Any) -> Path:
        """Start Kea with one subnet; returns its configuration file. ``more`` goes into Dhcp4."""
        configuration = self.folder / "kea-dhcp4.conf"
        usual = {
            "interfaces-config": {"interfaces": ["eth0"]},
            "lease-database": {"type": "memfile", "persist": False},
            "loggers": [{"name": "kea-dhcp4", "output_options": [{"output": "stdout"}], "severity": "INFO"}],
            "subnet4": [{"subnet": SUBNET, "pools": [{"pool": "198.51.100.40 - 198.51.100.50"}], **subnet}],
        }
        configuration.write_text(json.dumps({"Dhcp4": {**usual, **more}}), encoding="utf-8")
        places = {"KEA_PIDFILE_DIR": str(self.folder), "KEA_LOCKFILE_DIR": str(self.folder)}
        kea = program("kea-dhcp4", "kea-dhcp4-server")
        self.start(kea, "-c", configuration, until="DHCP4_STARTED", env=places)
        return configuration

    def fake(self, **offer: str) -> None:
        """Start a server that offers exactly this; see dhcp_fake_server.py."""
        self.start(sys.executable, TESTS / "dhcp_fake_server.py", json.dumps(offer), until="ready")


@dataclass
class Network:
    """Hosts on one bridge."""

    name: str
    folder: Path
    hosts: list[Host] = field(default_factory=list)

    def host(self, address: str = "") -> Host:
        """Add a host, with an address such as 198.51.100.2/24 or without."""
        number = len(self.hosts)
        namespace, port = f"{self.name}-{number}", f"p{number}"
        _ok("netns", "add", namespace)
        folder = self.folder / namespace
        folder.mkdir()
        host = Host(namespace, folder)
        self.hosts.append(host)
        _ok("-n", namespace, "link", "set", "lo", "up")
        peer = ("peer", "name", port, "netns", f"{self.name}-hub")
        _ok("-n", namespace, "link", "add", "eth0", "type", "veth", *peer)
        _ok("-n", f"{self.name}-hub", "link", "set", port, "master", "hub", "up")
        if address:
            _ok("-n", namespace, "address", "add", address, "broadcast", "+", "dev", "eth0")
        _ok("-n", namespace, "link", "set", "eth0", "up")
        return host


@contextmanager
def dhcp_network(folder: Path) -> Iterator[Network]:
    """Make a network and take it away again; the test is skipped with the reason where it can't be made."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    sweep()
    network = Network(f"{FAMILY}{os.getpid()}x{secrets.token_hex(2)}", folder)
    hub = f"{network.name}-hub"
    made = subprocess.run([_ip(), "netns", "add", hub], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"network namespaces cannot be made here: {made.stderr.strip()}")
    try:
        _ok("-n", hub, "link", "add", "hub", "type", "bridge")
        _ok("-n", hub, "link", "set", "hub", "up")
        yield network
    finally:
        for host in network.hosts:
            host.stop()
        for namespace in (hub, *(host.namespace for host in network.hosts)):
            _ok("netns", "delete", namespace)


def sweep() -> None:
    """Remove the namespaces of runs that were killed, with what still runs there."""
    found = subprocess.run([_ip(), "netns", "list"], capture_output=True, text=True, check=False)
    ours_are = re.compile(FAMILY + r"(\d+)x[0-9a-f]{4}-\w+")
    for line in found.stdout.splitlines():
        name = line.partition(" ")[0]
        if (ours := ours_are.fullmatch(name)) and not Path("/proc", ours[1]).exists():
            end_all(name)
            subprocess.run([_ip(), "netns", "delete", name], capture_output=True, check=False)


def end_all(namespace: str) -> None:
    """Kill whatever runs in a namespace of ours, whoever started it there."""
    there = subprocess.run([_ip(), "netns", "pids", namespace], capture_output=True, text=True, check=False)
    for pid in there.stdout.split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def _ip() -> str:
    return program("ip", "iproute2")


def _ok(*words: str) -> None:
    done = subprocess.run([_ip(), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)


def _environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "PATH": SBIN, **(more or {})}
