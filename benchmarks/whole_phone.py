"""One phone's boot, whole: CTL (missing), ITL, signed configuration, one TVS question, and its registration.

``certferry serve``, one process with everything on, beside dnsmasq (the same files) and a C server over libssl (the
same question, certificate and ciphers), in turns. Registering has no peer among them, so it stands beside the sum.
CPU is the servers', from the operating system. The floor for the question and its load are those of ``tvs.py``.
"""

import argparse
import asyncio
import contextlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import tftp
import tvs
from processes import MissingError, cpu_seconds, free_port, on_core

from certferry.cluster.cluster import Cluster, ClusterSpec
from certferry.cluster.nodes import parse_node
from certferry.cluster.values import CallManagerGroup, Phone, Service
from certferry.errors import Refusal
from certferry.fleet.http import fetch
from certferry.fleet.sip import register
from certferry.trust.purpose import Purpose
from certferry.trust.release import Release
from certferry.wire.tvs import CertificateQueryReply, CertificateQueryRequest, Status

ADDRESS = "127.0.0.1"
PHONES = 1000
AT_ONCE = 50
ROUNDS = 5
KIND = tvs.KINDS[0]


def make_cluster(folder: Path, phones: int) -> Cluster:
    """Make one of two nodes, so that its ITL has the 6 KB that real ones have; configurations are smaller here."""
    roles = "publisher,tvs,tftp,callmanager"
    nodes = [parse_node(f"{tvs.NODE}={ADDRESS}:{roles}")]
    nodes += [parse_node(f"n{number}=192.0.2.{number}:tvs,callmanager") for number in range(2, 3)]
    cluster = Cluster.create(folder, ClusterSpec("bench", Release.parse("12.5.1"), nodes))
    cluster.put_group(CallManagerGroup("Default", tuple(node.name for node in nodes)))
    for service in Service:
        cluster.set_port(tvs.NODE, service, free_port())
    cluster.add_phones([Phone(device(number)) for number in range(phones)])
    return cluster


def device(number: int) -> str:
    return f"SEP{number:012X}"


async def taken(port: int, into: Path, phones: int) -> list[str]:
    """Fetch the files of every phone, for dnsmasq to serve the same; return what ``tftp_load`` is to ask for."""
    itl = await fetch((ADDRESS, port), f"ITL{device(0)}.tlv")
    size = 0
    for number in range(phones):
        (into / f"ITL{device(number)}.tlv").write_bytes(itl)
        config = await fetch((ADDRESS, port), f"{device(number)}.cnf.xml.sgn")
        (into / f"{device(number)}.cnf.xml.sgn").write_bytes(config)
        size = len(config)
    return ["CTLSEP%012X.tlv:-1", f"ITLSEP%012X.tlv:{len(itl)}", f"SEP%012X.cnf.xml.sgn:{size}"]


def make_lab(cluster: Cluster, folder: Path, port: int) -> tvs.Lab:
    """Write the question that phones ask, and the answer for the floor."""
    signer = cluster.identity(Purpose.CALLMANAGER, tvs.NODE).certificate
    query = CertificateQueryRequest(1, tvs.DEVICE, signer.subject, signer.issuer, signer.serial)
    (folder / "query").write_bytes(query.encode())
    (folder / "query.reply").write_bytes(CertificateQueryReply(1, Status.VALID, signer.der, (0, 2), 86400).encode())
    return tvs.Lab(cluster, tvs.identity_file(cluster, folder), folder / "query.reply", port)


def measure(phones: int = PHONES, rounds: int = ROUNDS) -> dict[str, Any]:
    """Return the CPU of each step in ms, of certferry and of its peers, or why nothing was measured."""
    if why := tvs.why_not():
        return {"skipped": why}
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        try:
            return _measure(Path(place), stack, phones, rounds)
        except MissingError as reason:
            return {"skipped": str(reason)}


def _measure(place: Path, stack: contextlib.ExitStack, phones: int, rounds: int) -> dict[str, Any]:
    files, questions = place / "files", place / "questions"
    files.mkdir()
    questions.mkdir()
    place.chmod(0o755)
    cluster = make_cluster(place / "cluster", phones)
    pid = stack.enter_context(tvs.certferry_serve(cluster))
    [node] = [node for node in cluster.nodes() if node.name == tvs.NODE]
    ports = node.ports
    fetched = asyncio.run(taken(ports[Service.HTTP], files, phones))
    lab = make_lab(cluster, questions, ports[Service.TVS])
    with on_core(0):
        dnsmasq, tftp_port = stack.enter_context(tftp.dnsmasq(files))
    floor = stack.enter_context(tvs.floor(lab))
    ours = tvs.Server(tvs.US, pid, ports[Service.TVS])
    ask = tvs.Load(tvs.load_program(), questions)
    steps: dict[str, list[float]] = {name: [] for name in ("files", "question", "register", "dnsmasq", "C")}
    failed = 0
    for _ in range(rounds):
        failed += _files(steps["files"], pid, (ADDRESS, ports[Service.TFTP]), phones, fetched)
        failed += _files(steps["dnsmasq"], dnsmasq, (tftp.ADDRESS, tftp_port), phones, fetched)
        for name, server in (("question", ours), ("C", floor)):
            asked = ask(server, KIND, AT_ONCE, phones)
            steps[name].append(asked["cpu_ms"])
            failed += asked["failed"]
        failed += _register(steps["register"], pid, ports[Service.SIP], phones)
    ms = {name: median(of) for name, of in steps.items()}
    return {
        "phones": phones * rounds,
        "files": list(fetched),
        "failed": failed,
        "ms": ms,
        "without registering": ms["files"] + ms["question"],
        "whole": ms["files"] + ms["question"] + ms["register"],
        "peers": ms["dnsmasq"] + ms["C"],
    }


def _files(into: list[float], pid: int, at: tuple[str, int], phones: int, fetched: Sequence[str]) -> int:
    before = cpu_seconds(pid)
    done = tftp.load(at[1], phones, AT_ONCE, *fetched, address=at[0])
    into.append((cpu_seconds(pid) - before) / phones * 1000)
    return int(done["wrong"])


def _register(into: list[float], pid: int, port: int, phones: int) -> int:
    before = cpu_seconds(pid)
    failed = asyncio.run(_register_all(port, phones))
    into.append((cpu_seconds(pid) - before) / phones * 1000)
    return failed


async def _register_all(port: int, phones: int) -> int:
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> int:
        async with turns:
            try:
                await register((ADDRESS, port), device(number), context=None)
            except Refusal:
                return 1
        return 0

    return sum(await asyncio.gather(*(one(number) for number in range(phones))))


def report(result: dict[str, Any]) -> None:
    """Print a table."""
    if "skipped" in result:
        print(f"skipped: {result['skipped']}")
        return
    ms, peers = result["ms"], result["peers"]
    sizes = [int(name.rpartition(":")[2]) for name in result["files"][1:]]
    print(f"CTL missing, ITL {sizes[0]} bytes, configuration {sizes[1]} bytes, {KIND.name}; {AT_ONCE} at once")
    print(f"{'':<22}{'certferry':>10}{'peers':>8}{'x':>6}   ms CPU a phone, median of the rounds")
    for name, ours, theirs in (
        ("files, beside dnsmasq", ms["files"], ms["dnsmasq"]),
        ("question, beside C", ms["question"], ms["C"]),
        ("both", result["without registering"], peers),
    ):
        print(f"{name:<22}{ours:>10.3f}{theirs:>8.3f}{ours / theirs:>6.2f}")
    print(f"{'registration':<22}{ms['register']:>10.3f}{'-':>8}{'-':>6}")
    print(
        f"{'all':<22}{result['whole']:>10.3f}{peers:>8.3f}{result['whole'] / peers:>6.2f}   {result['failed']} failed"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phones", type=int, default=PHONES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    chosen = parser.parse_args()
    result = measure(chosen.phones, chosen.rounds)
    if chosen.json:
        print(json.dumps(result))
    else:
        report(result)


if __name__ == "__main__":
    main()
