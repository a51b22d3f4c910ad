"""A whole site on hosts of its own: two clusters of three nodes, their databases, SFTP, DHCP, and phones.

Every step is a command on the host where an administrator would type it.
"""

import json
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from certferry.cluster.cluster import Cluster, ClusterSpec
from certferry.cluster.issuing import KeySource
from certferry.cluster.sightings import Step
from certferry.cluster.values import Node, NodeRole, Phone
from certferry.trust.release import Release
from command_line import COMMAND, Ended
from real_hosts import DatabaseHost, DhcpHost, Machine, PhoneHost, SftpHost, Town, soon, town

T = TypeVar("T")
USUAL = frozenset({NodeRole.TVS, NodeRole.TFTP, NodeRole.CALLMANAGER})


@dataclass
class Side:
    """One cluster: its database's host, and its nodes, the publisher first."""

    name: str
    database: DatabaseHost
    nodes: list[Machine]
    store: str
    logs: dict[str, Path] = field(default_factory=dict)
    opened: Cluster | None = None

    @property
    def publisher(self) -> Machine:
        return self.nodes[0]

    @property
    def members(self) -> list[Machine]:
        """The CallManager group, which are the TVS as well: the subscribers in order."""
        return self.nodes[1:]

    @property
    def tftp(self) -> str:
        """What option 150 names."""
        return ",".join(machine.address for machine in self.nodes[:2])

    def place(self, here: Machine) -> str:
        """The cluster as a command on ``here`` names it."""
        return self.database.url(self.store, here)

    def create(self, release: str, keys: KeySource, *, secure: bool) -> None:
        """Create the cluster on the publisher, and bring its key file to the other nodes."""
        with self.database.connect("postgres") as administrator:
            administrator.execute(f"CREATE DATABASE {self.store}".encode())
        extra = {NodeRole.PUBLISHER, NodeRole.CAPF}
        nodes = [Node(m.name, m.address, USUAL | extra if m is self.publisher else USUAL) for m in self.nodes]
        spec = ClusterSpec(self.name, Release.parse(release), nodes, secure=secure)
        place = self.place(self.publisher)
        self.opened = self.publisher.host.inside(lambda: Cluster.create(place, spec, keys=keys))
        for machine in self.nodes[1:]:
            self.give_key(machine)

    def give_key(self, machine: Machine) -> None:
        shutil.copy(self.publisher.folder / f"{self.store}.key", machine.folder)

    def ask(self, question: Callable[[Cluster], T]) -> T:
        """Ask the cluster's database, from the publisher."""
        cluster = self.opened
        assert cluster is not None
        return self.publisher.host.inside(lambda: question(cluster))

    def run(self, *words: object) -> Ended:
        """Run a command about this cluster on its publisher."""
        return self.publisher.host.certferry(*words, "--cluster", self.place(self.publisher), "--json")

    def did(self, *words: object) -> Any:
        """Run a command that has to succeed; returns what it told."""
        ended = self.run(*words)
        assert ended.code == 0, (words, ended)
        return ended.json

    def change(self) -> None:
        """Change something that every node has to learn of."""
        self.did("phone", "add", "SEP0000000000AA")
        self.did("phone", "remove", "SEP0000000000AA")

    # its nodes

    def launch(self, machine: Machine) -> None:
        place = ["--cluster", self.place(machine)]
        self.logs[machine.name] = machine.launch(*COMMAND, "serve", "--node", machine.name, *place, "--json")

    def when_ready(self, machine: Machine) -> None:
        machine.when_logged(self.logs[machine.name], '"ready": true')

    def start(self, machine: Machine) -> None:
        self.launch(machine)
        self.when_ready(machine)

    def serve_the_latest(self) -> bool:
        version, served = self.ask(lambda cluster: (cluster.version(), cluster.served()))
        return served == {machine.name: version for machine in self.nodes}

    def start_what_is_off(self) -> None:
        """Give power to whatever of the cluster has none."""
        if self.database.machine.is_off:
            self.database.start()
        launched = [machine for machine in self.nodes if machine.is_off]
        for machine in launched:
            self.launch(machine)
        for machine in launched:
            self.when_ready(machine)

    def close(self) -> None:
        if self.opened is not None:
            self.opened.close()


@dataclass
class Site:
    """All of it. ``start`` makes two clusters, exchanges their certificates and lets the phones register."""

    town: Town
    sftp: SftpHost
    dhcp: DhcpHost
    source: Side
    destination: Side
    phones: list[PhoneHost]
    at_first: dict[str, dict[str, bytes]] = field(default_factory=dict)
    begun: list["subprocess.Popen[str]"] = field(default_factory=list)

    @property
    def devices(self) -> set[str]:
        return {device for host in self.phones for device in host.devices}

    @property
    def ends(self) -> list[str]:
        """Both clusters, as commands on the source's publisher name them."""
        here = self.source.publisher
        return ["--source", self.source.place(here), "--destination", self.destination.place(here)]

    def start(self, keys: KeySource, *, secure: bool) -> None:
        self.source.create("10.5.2", keys, secure=secure)
        self.destination.create("11.5.1", keys, secure=secure)
        self.destination.give_key(self.source.publisher)
        self.source.give_key(self.destination.publisher)
        phones = [Phone(device, secure=secure) for device in sorted(self.devices)]
        for side in (self.source, self.destination):
            side.ask(lambda cluster: cluster.add_phones(phones))
            for machine in side.nodes:
                side.launch(machine)
        for host in self.phones:
            host.settings = ["--expires", 20]
            if secure:
                self.source.ask(host.take_lscs)
        for side in (self.source, self.destination):
            for machine in side.nodes:
                side.when_ready(machine)
        for host in self.phones:
            host.launch()

    def start_anew(self, keys: KeySource, *, secure: bool) -> None:
        """Put two other clusters in the place of those that run, and phones that never saw any."""
        for host in self.phones:
            host.switch_off()
            shutil.rmtree(host.flash, ignore_errors=True)
        for side in (self.source, self.destination):
            for machine in side.nodes:
                machine.kill_all()
            side.close()
            side.store += "_anew"
        for file in self.sftp.directory.iterdir():
            file.unlink()
        self.point_to(self.source)
        self.start(keys, secure=secure)

    def exchange(self) -> None:
        """Do part 1 of the published procedure, on each publisher what is done there."""
        place = ["--host", self.sftp.machine.address, "--user", "root", "--directory", self.sftp.directory]
        place += ["--client-key", self.sftp.key, "--known-hosts", self.sftp.known_hosts]
        self.destination.did("bulk", "sftp", *place)
        self.destination.did("bulk", "export", "all")
        self.source.did("bulk", "sftp", *place)
        listed = self.source.did("bulk", "list")["files"]
        assert {file["cluster"] for file in listed if file["cluster"]} == {self.destination.name}
        self.source.did("bulk", "export", "all")
        self.source.did("bulk", "consolidate", "all")
        self.destination.did("bulk", "import", "all", "--yes")
        self.source.did("bulk", "import", "all", "--yes")

    # where the phones are

    def whereabouts(self) -> dict[str, str]:
        """With which node each phone is registered, as the phones themselves tell."""
        nodes = {m.address: m.name for side in (self.source, self.destination) for m in side.nodes}
        found: dict[str, str] = {}
        for event in (event for host in self.phones for event in host.happened()):
            if event["event"] == "registered":
                found[event["device"]] = nodes[event["server"].partition(":")[0]]
            else:
                found.pop(event["device"], None)
        return found

    def count_at(self, *machines: Machine) -> int:
        names = {machine.name for machine in machines}
        return sum(node in names for node in self.whereabouts().values())

    def all_at(self, *machines: Machine) -> bool:
        return self.count_at(*machines) == len(self.devices)

    def when_all_at(self, *machines: Machine) -> None:
        """Wait until all phones are registered with one of these nodes."""
        soon(lambda: self.all_at(*machines), instead=lambda: Counter(self.whereabouts().values()))

    def resets(self) -> Counter[str]:
        """Count the resets each phone obeyed since it was switched on."""
        happened = (event for host in self.phones for event in host.happened())
        return Counter(event["device"] for event in happened if event["event"] == "reset")

    def held(self) -> dict[str, dict[str, bytes]]:
        return {device: host.held(device) for host in self.phones for device in host.devices}

    def hold_lists_of(self, side: Side) -> bool:
        """Whether all phones hold the lists that the cluster serves now."""
        itls = side.ask(lambda cluster: [cluster.trust_list("ITL", machine.name) for machine in side.nodes])
        ctl = side.ask(lambda cluster: cluster.trust_list("CTL"))
        return all(held["ITLFile.tlv"] in itls and held.get("CTLFile.tlv") == ctl for held in self.held().values())

    def tvs_asked(self, devices: Collection[str]) -> set[str]:
        """Which nodes' TVS answered these phones last."""
        seen = self.source.ask(lambda cluster: cluster.sightings.of(devices)).values()
        return {steps[Step.TVS].node for steps in seen if Step.TVS in steps}

    # the way of the phones

    def point_to(self, side: Side) -> Ended:
        """Change option 150 on the DHCP host."""
        words = ["dhcp", "set", *self.dhcp.place, "--tftp", side.tftp, "--yes", "--json"]
        return self.dhcp.machine.host.certferry(*words)

    def plan(self, *options: object, phones: Iterable[str] = ()) -> str:
        """Plan the migration of these phones, else of all; returns its id."""
        chosen = [word for device in phones for word in ("--device", device)] or ["--all"]
        usual = [*chosen, "--canary", 2, "--pace", 100, "--between", 0, "--patience", 120]
        ended = self.source.publisher.host.certferry("migrate", "plan", *self.ends, *usual, *options, "--json")
        assert ended.code == 0, ended
        return str(ended.json["migration"])

    def migrate(self, verb: str, migration: str, *options: object) -> Ended:
        """Start or resume a migration and wait for its end, on the source's publisher."""
        return self.source.publisher.host.certferry("migrate", verb, migration, *self.ends, *options, "--json")

    def begin(self, machine: Machine, *words: object) -> "subprocess.Popen[str]":
        """Start a command as a process on a host."""
        return self.begin_program(machine, *COMMAND, *words)

    def begin_program(self, machine: Machine, *words: object) -> "subprocess.Popen[str]":
        """Start any program on a host."""
        command = machine.host._here(*words)
        pipe = subprocess.PIPE
        self.begun.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True))
        return self.begun[-1]

    def end_what_was_begun(self) -> None:
        """End commands that a test left running because it failed."""
        for process in self.begun:
            if process.poll() is None:
                process.kill()
            process.communicate()
        self.begun.clear()

    def verify(self, *options: object) -> Ended:
        """Verify with two phones, on the source's publisher."""
        phones = [word for host in self.phones for word in ("--device", host.devices[0])]
        words = ["verify", *self.ends, *phones, *options, "--json"]
        return self.source.publisher.host.certferry(*words)

    def diagnose(self, told: str) -> set[str]:
        """Let diagnose say why, from what another command told; returns the causes it names."""
        result = self.source.publisher.folder / "told"
        result.write_text(told)
        ended = self.source.publisher.host.certferry("diagnose", result, "--json")
        assert ended.code == 0, ended
        return {finding["code"] for finding in ended.json["findings"]}

    def remember_flash(self) -> None:
        """Keep what the phones hold, for ``bring_back``."""
        self.at_first = self.held()
        for host in self.phones:
            shutil.copytree(host.flash, host.flash_at_first, symlinks=True)

    def mend(self) -> None:
        """Give every host its power and its cable, and wait until all nodes serve the latest change."""
        self.end_what_was_begun()
        for machine in self.town.machines.values():
            machine.mend()
        if self.sftp.machine.is_off:
            self.sftp.start()
        for side in (self.source, self.destination):
            side.start_what_is_off()
            soon(side.serve_the_latest)

    def bring_back(self) -> None:
        """Make all well: every host has power, the phones are at the source and hold what they held at first."""
        self.mend()
        self.point_to(self.source)
        if self.held() == self.at_first and not self.resets() and self.all_at(self.source.members[0]):
            return
        for host in self.phones:
            host.switch_off()
            shutil.rmtree(host.flash)
            shutil.copytree(host.flash_at_first, host.flash, symlinks=True)
            host.launch()
        self.when_all_at(self.source.members[0])


def finished(process: "subprocess.Popen[str]", seconds: float = 300) -> Ended:
    """Wait for a process."""
    process.wait(seconds)
    assert process.stdout is not None
    assert process.stderr is not None
    return Ended(process.returncode, process.stdout.read(), process.stderr.read())


def checks(told: Ended, verdict: str = "fail") -> dict[str, str]:
    """What verify found, by check, with its evidence."""
    return {
        check["id"]: check["evidence"] for check in json.loads(told.stdout)["checks"] if check["verdict"] == verdict
    }


@contextmanager
def site() -> Iterator[Site]:
    """Make the hosts and what runs on them, but the clusters."""
    with town() as made, tempfile.TemporaryDirectory(prefix="certferry-kea-") as short:  # a socket's path is short
        sftp = SftpHost(made.machine("sftp", 5))
        sftp.prepare()
        sftp.start()
        first, second = made.database_hosts(8, 9)
        first.start()
        second.start()
        names = ("pub", "sub1", "sub2")
        source = Side("source", first, [made.machine(f"src-{n}", 11 + i) for i, n in enumerate(names)], "source")
        goal = [made.machine(f"dst-{n}", 21 + i) for i, n in enumerate(names)]
        destination = Side("destination", second, goal, "destination")
        dhcp = DhcpHost(made.machine("dhcp", 6), Path(short) / "kea.sock")
        dhcp.start(source.tftp)
        hosts = [PhoneHost(made.machine(f"phones-{n}", 30 + n), n * 0x100) for n in range(2)]
        whole = Site(made, sftp, dhcp, source, destination, hosts)
        try:
            yield whole
        finally:
            whole.end_what_was_begun()
            for side in (source, destination):
                side.close()
