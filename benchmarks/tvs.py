"""TVS beside the least that TLS can cost: server CPU for each question, how long phones wait, and what bursts do.

In one run on one machine, alternately: ``certferry serve`` as it is, one process, on a cluster with thousands of trust
certificates; and ``peers/tvs_floor.c``, threads that block in libssl and answer everything with one canned reply.
``load/tvs_load.c`` makes a full handshake for each question, as phones do. CPU is each server's, as ``processes.py``
takes it: neither has children, so it is that of the one process. Memory is its resident set, with what it shares. Both
servers run on one core and the load on another, since two busy cores that share their parts slow each other down.

``measure()`` gives the same figures as plain data to other programs.
"""

import argparse
import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from os import getloadavg, sysconf
from pathlib import Path
from statistics import median
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from processes import compiled, cpu_seconds, free_port, on_core, running

from certferry.cluster.cluster import Cluster, ClusterSpec
from certferry.cluster.nodes import parse_node
from certferry.cluster.values import Service, TrustChange
from certferry.serve.tls import CIPHERS
from certferry.trust.purpose import Purpose, Store
from certferry.trust.release import Release
from certferry.wire.certificate import Certificate
from certferry.wire.tvs import (
    CertificateQueryReply,
    CertificateQueryRequest,
    CertificateVerificationReply,
    CertificateVerificationRequest,
    Status,
)

NODE = "tvs1"
DEVICE = "CP-8861-SEPB000B4BA0AEE"
FLOOR_THREADS = 8
LIBRARIES = ("ssl", "crypto", "pthread")
PATIENCE = 60
"""Seconds that a server or a load may take to say anything."""

US, FLOOR = "certferry", "C with libssl"


@dataclass(frozen=True)
class Kind:
    """One way in which phones ask: which question, over which TLS."""

    name: str
    question: str
    version: int = 12
    ciphers: str = "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:AES256-SHA"


KINDS = (
    Kind("TLS 1.2, ECDHE, command 3", "query"),
    Kind("TLS 1.2, ECDHE, command 1", "verification"),
    Kind("TLS 1.2, AES256-SHA (8861, static RSA)", "query", ciphers="AES256-SHA"),
    Kind("TLS 1.3, command 3", "query", version=13),
)


@dataclass(frozen=True)
class Sizes:
    """How much to do. ``questions`` in each round of each server, ``rounds`` of which the median counts."""

    certificates: int = 4000
    questions: int = 2000
    rounds: int = 5
    at_once: int = 32
    crowd: int = 400
    burst: int = 1000
    idle: int = 100
    drips: int = 50


@dataclass(frozen=True)
class Server:
    """A server that runs: its name, its process, its port."""

    name: str
    pid: int
    port: int

    def memory_mb(self) -> float:
        """Resident set of the process (RSS): pages it shares with others are counted whole."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    given = parser.parse_args()
    sizes = Sizes(certificates=200, questions=200, rounds=1, burst=200, idle=10, drips=5) if given.quick else Sizes()
    figures = measure(sizes)
    print(json.dumps(figures, indent=2) if given.json else described(figures))


def measure(sizes: Sizes = Sizes()) -> dict[str, Any]:
    """Measure all, and give the figures as plain data; ``skipped`` says what is missing and why."""
    if reason := why_not():
        return {"skipped": {"all": reason}}
    load_before = getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="certferry-tvs-") as name, ExitStack() as stack:
        folder = Path(name)
        lab = Lab.make(folder, sizes)
        load = Load(load_program(), folder)
        servers = [stack.enter_context(serving(lab)), stack.enter_context(floor(lab))]
        kinds = [compare(kind, servers, load, sizes) for kind in KINDS]
        return {
            "sizes": vars(sizes),
            "openssl": ssl.OPENSSL_VERSION,
            "load before": round(load_before, 2),
            "kinds": kinds,
            "crowd": crowd(servers, load, sizes),
            "beside hostile peers": beside_hostile_peers(servers[0], load, sizes),
            "memory": memory_after_a_flood(servers[0], load, sizes),
            "skipped": {f"{FLOOR} beside hostile peers": f"{FLOOR_THREADS} idle peers stop it, by its making"},
        }


def why_not() -> str | None:
    """Say what this machine lacks to compile the peers, if anything."""
    if shutil.which("gcc") is None:
        return "gcc is not installed"
    if not list(Path("/usr/include").rglob("openssl/ssl.h")):
        return "the headers of OpenSSL are not installed (libssl-dev)"
    return None


# What is measured


def compare(kind: Kind, servers: Sequence[Server], load: "Load", sizes: Sizes) -> dict[str, Any]:
    """Measure the servers alternately with one kind of question; ratio of CPU to that of the floor."""
    rounds: dict[str, list[dict[str, Any]]] = {server.name: [] for server in servers}
    for server in servers:
        load(server, kind, sizes.at_once, sizes.at_once * 4)  # warm
    for _ in range(sizes.rounds):
        for server in servers:
            rounds[server.name].append(load(server, kind, sizes.at_once, sizes.questions))
    figures = {name: summary(of) for name, of in rounds.items()}
    ratios = [us["cpu_ms"] / it["cpu_ms"] for us, it in zip(rounds[US], rounds[FLOOR], strict=True)]
    return {"name": kind.name, "at once": sizes.at_once, "servers": figures, "ratio": median(ratios), "ratios": ratios}


def summary(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Unite the rounds of one server: medians, and every failure."""
    medians = {key: median(each[key] for each in rounds) for key in ("cpu_ms", "p50_ms", "p99_ms", "per_second")}
    return {**medians, "failed": sum(each["failed"] for each in rounds)}


def crowd(servers: Sequence[Server], load: "Load", sizes: Sizes) -> dict[str, Any]:
    """Many phones at once for a while, and a burst in which each comes once."""
    return {
        server.name: {
            f"{sizes.crowd} at once": load(server, KINDS[0], sizes.crowd, max(sizes.questions, sizes.crowd * 4)),
            f"burst of {sizes.burst}": load(server, KINDS[0], sizes.burst, sizes.burst),
        }
        for server in servers
    }


def beside_hostile_peers(server: Server, load: "Load", sizes: Sizes) -> dict[str, Any]:
    """The crowd again while others hold connections and say nothing, or a byte at a time."""
    with hostile_peers(server.port, sizes.idle, sizes.drips):
        return load(server, KINDS[0], sizes.crowd, max(sizes.questions, sizes.crowd * 4))


def memory_after_a_flood(server: Server, load: "Load", sizes: Sizes) -> dict[str, float]:
    """Resident memory before and after another flood; all floods so far came before the first figure."""
    before = server.memory_mb()
    load(server, KINDS[0], sizes.burst, sizes.burst * 5)
    return {"before_mb": before, "after_mb": server.memory_mb()}


@contextmanager
def hostile_peers(port: int, idle: int, drips: int) -> Iterator[None]:
    """Hold ``idle`` silent TCP and as many silent TLS connections, and ``drips`` whose hello comes byte by byte."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    ended = threading.Event()
    with ExitStack() as stack:

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))

        for _ in range(idle):
            connect()
            stack.enter_context(context.wrap_socket(connect()))
        dripping = threading.Thread(target=drip, args=([connect() for _ in range(drips)], ended))
        dripping.start()
        try:
            yield
        finally:
            ended.set()
            dripping.join()


def drip(peers: Sequence[socket.socket], ended: threading.Event) -> None:
    """Send the beginning of a TLS record that never becomes whole."""
    beginning = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)
    for byte in beginning:
        for peer in peers:
            try:
                peer.send(bytes([byte]))
            except OSError:  # cut off at its deadline, as it should be
                continue
        if ended.wait(0.05):
            return


# The servers and the load


@dataclass(frozen=True)
class Lab:
    """A cluster with many trust certificates, and what phones ask it."""

    cluster: Cluster
    identity: Path
    reply: Path
    port: int

    @classmethod
    def make(cls, folder: Path, sizes: Sizes) -> "Lab":
        """Create it in ``folder``, with the questions as files for the load and the reply for the floor."""
        node = parse_node(f"{NODE}=127.0.0.1:publisher,tvs")
        cluster = Cluster.create(folder / "cluster", ClusterSpec("bench", Release.parse("12.5.1"), [node]))
        key = ec.generate_private_key(ec.SECP256R1())
        cluster.change_trust(
            [
                TrustChange("add", Store.PHONE_SAST_TRUST, foreign_certificate(number, key), "other")
                for number in range(sizes.certificates)
            ],
            action="bulk import",
        )
        port = free_port()
        cluster.set_port(NODE, Service.TVS, port)
        signer = cluster.identity(Purpose.CALLMANAGER, NODE).certificate
        query = CertificateQueryRequest(1, DEVICE, signer.subject, signer.issuer, signer.serial)
        (folder / "query").write_bytes(query.encode())
        (folder / "verification").write_bytes(CertificateVerificationRequest(1, DEVICE, signer.der).encode())
        (folder / "query.reply").write_bytes(CertificateQueryReply(1, Status.VALID, signer.der, (0, 2), 86400).encode())
        (folder / "verification.reply").write_bytes(
            CertificateVerificationReply(1, Status.VALID, (0, 2), 86400).encode()
        )
        return cls(cluster, identity_file(cluster, folder), folder / "query.reply", port)


def identity_file(cluster: Cluster, folder: Path) -> Path:
    """Give the floor the certificate and key that the cluster's TVS has."""
    identity = cluster.identity(Purpose.TVS, NODE)
    key = cluster.private_key(identity).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / "identity.pem"
    path.touch(mode=0o600)
    path.write_bytes(identity.certificate.pem.encode() + key)
    return path


def foreign_certificate(number: int, key: ec.EllipticCurvePrivateKey) -> Certificate:
    """Make one certificate of another cluster."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"node{number}.example.com")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(10**20 + number).not_valid_before(start)
    return Certificate.of(builder.not_valid_after(start + timedelta(days=1460)).sign(key, hashes.SHA256()))


def load_program() -> Path:
    """Compile what asks."""
    return compiled("load/tvs_load.c", *LIBRARIES)


@contextmanager
def serving(lab: Lab) -> Iterator[Server]:
    """Run ``certferry serve`` as everybody runs it."""
    with certferry_serve(lab.cluster) as pid:
        yield Server(US, pid, lab.port)


@contextmanager
def certferry_serve(cluster: Cluster) -> Iterator[int]:
    """Serve the one node of ours on the servers' core; yield its process."""
    place = str(cluster.location.folder)
    command = [sys.executable, "-m", "certferry", "serve", "--cluster", place, "--node", NODE, "--json", "--until-eof"]
    with running(command, ready='"ready"', core=0) as pid:
        yield pid


@contextmanager
def floor(lab: Lab) -> Iterator[Server]:
    """Run the C server, with the certificate, key and ciphers that certferry has."""
    program = compiled("peers/tvs_floor.c", *LIBRARIES)
    command: list[str | Path] = [program, lab.identity, lab.reply, CIPHERS, str(FLOOR_THREADS)]
    said: list[str] = []
    with running(command, ready='"port"', said=said, core=0) as pid:
        yield Server(FLOOR, pid, json.loads(said[0])["port"])


@dataclass(frozen=True)
class Load:
    """The load generator; called, it gives its own figures and the server's CPU for each question."""

    program: Path
    folder: Path

    def __call__(self, server: Server, kind: Kind, at_once: int, total: int) -> dict[str, Any]:
        """Ask ``total`` questions, ``at_once`` of them at a time."""
        question = str(self.folder / kind.question)
        numbers = [str(at_once), str(total), str(kind.version)]
        command = [str(self.program), str(server.port), question, *numbers, kind.ciphers]
        before = cpu_seconds(server.pid)
        with on_core(1):
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=PATIENCE * 4)
        used = cpu_seconds(server.pid) - before
        figures: dict[str, Any] = json.loads(done.stdout)
        return {**figures, "cpu_ms": used / total * 1000, "per_second": figures["answered"] / figures["seconds"]}


# Telling


def described(figures: Mapping[str, Any]) -> str:
    """Write the figures out for people."""
    lines = [f"not measured: {what}: {why}" for what, why in figures["skipped"].items()]
    if figures.get("load before", 0) > 1:
        lines.append(f"others use this machine (load {figures['load before']}): times mean little, CPU and ratios do")
    for kind in figures.get("kinds", ()):
        lines.append(f"\n{kind['name']}, {kind['at once']} at once: {kind['ratio']:.2f} times the CPU of {FLOOR}")
        lines += [f"  {name:<14} {_line(each)}" for name, each in kind["servers"].items()]
    for name, situations in figures.get("crowd", {}).items():
        lines += [f"\n{name}: {situation}: {_line(each)}" for situation, each in situations.items()]
    if "memory" in figures:
        hostile, memory, sizes = figures["beside hostile peers"], figures["memory"], figures["sizes"]
        peers = f"{2 * sizes['idle']} idle and {sizes['drips']} dripping peers"
        lines.append(f"\n{US}: {sizes['crowd']} at once beside {peers}: {_line(hostile)}")
        lines.append(f"{US}: memory {memory['before_mb']:.0f} MB, after a flood {memory['after_mb']:.0f} MB")
    return "\n".join(lines)


def _line(figures: Mapping[str, Any]) -> str:
    return (
        f"{figures['cpu_ms']:.3f} ms CPU, {figures['per_second']:5.0f}/s, "
        f"p50 {figures['p50_ms']:6.1f} ms, p99 {figures['p99_ms']:6.1f} ms, {figures['failed']} failed"
    )


if __name__ == "__main__":
    main()
