"""Every page and the API beside a large cluster: 10,000 trust certificates, 40,000 phones, twenty clusters' files.

Without sockets between reader and server, in one process: what is measured is the server's own time for one answer,
the talk with OpenSSH's sftp server included. ``first`` is the first time an address is asked of a server that has
warmed up; ``cpu`` is what the process itself worked, which other programs on the machine change little.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import httpx
from bulk_exchange import make_cluster
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from certferry.bulk.consolidating import consolidate
from certferry.bulk.exporting import export
from certferry.bulk.settings import SftpSettings
from certferry.bulk.transport import SftpExchange
from certferry.cluster.cluster import Cluster, ClusterSpec
from certferry.cluster.migrations import MigrationPhone, PhoneState
from certferry.cluster.nodes import parse_node
from certferry.cluster.sightings import HeldLists, Sighting, Step
from certferry.cluster.values import Phone, TrustChange
from certferry.lab.keys import PooledKeys
from certferry.migrate.waves.planning import Rules
from certferry.trust.purpose import Store
from certferry.trust.release import Release
from certferry.web.app import warm
from certferry.web.exchanges import IDLE_SECONDS
from certferry.wire.certificate import Certificate
from openssh import running_sshd  # the tests' own OpenSSH server
from web_site import Site

ROUNDS = 10
KEYS = 128
STORES = (Store.CALLMANAGER_TRUST, Store.TOMCAT_TRUST, Store.PHONE_SAST_TRUST)
PATHS = (
    "show/cluster",
    "show/phones",
    "show/phones?text=desk%203999",
    "show/phones?page=700",
    "show/phones?status=mismatch",
    "show/phones?order=status",
    "show/phones?order=registered&down=1",
    "show/phones/add",
    "show/phones/reset?found=1&text=desk%20399",
    "show/phones/resets",
    "show/audit",
    "security/certificates",
    "security/certificates?text=node77&order=expiration",
    "security/bulk",
    "security/bulk?size=200&page=5",
    "security/bulk?problems=1",
    "security/bulk/import",
    "security/bulk/history",
    "security/bulk/undo/{change}",
    "security/bulk/undo/{change}?page=100",
    "security/bulk/jobs/{plan}",
    "security/bulk/jobs/{plan}?size=200&page=7",
    "security/certificates/trust/tomcat-trust/{trust}",
    "security/certificates/trust/tomcat-trust/{trust}/delete",
    "security/certificates/own/tomcat/{own}",
    "security/certificate/csr",
    "security/certificate/upload",
    "security/trust-lists",
    "security/trust-lists/ITL/n0",
    "settings/parameters",
    "settings/users",
    "settings/tokens",
    "migration",
    "migration/jobs/{verification}",
    "migration/waves",
    "migration/waves/new",
    "migration/waves/large/m1",
    "migration/waves/large/m1/phones",
    "migration/waves/large/m1/phones?state=failed&text=wave.nowhere",
    "migration/waves/large/m1/phones?page=700",
    "api/v1/migrations/m1",
    "api/v1/migrations/m1/phones?state=moved",
    "api/v1/phones/counts",
    "api/v1/cluster",
    "api/v1/certificates/own",
    "api/v1/certificates/trust",
    "api/v1/certificates/trust?text=node77",
    "api/v1/certificates/trust?sort=expiry&descending=true&cursor=9000",
    "api/v1/certificates/trust?store=tomcat-trust&expires_before=2030-02-01T00:00:00Z",
    "api/v1/trust-lists",
    "api/v1/phones",
    "api/v1/phones?text=desk%203999",
    "api/v1/phones?cursor=39000",
    "api/v1/bulk/files",
    "api/v1/bulk/history",
    "api/v1/jobs",
    "api/v1/audit",
    "metrics",
)


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    certificates: int = 10_000
    phones: int = 40_000
    clusters: int = 20


@dataclass(frozen=True)
class Timing:
    """How long one address took, in milliseconds, and how large the answer was."""

    path: str
    first: float
    median: float
    worst: float
    cpu: float
    bytes: int


async def measure(sizes: Sizes, paths: Sequence[str] = PATHS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Make everything and time each address."""
    async with AsyncExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ssh = await stack.enter_async_context(running_sshd(place))
        files = await exchange_files(place, ssh.settings, sizes.clusters)
        large, other = (large_cluster(place / name, name, sizes) for name in ("large", "other"))
        for cluster in (large, other):
            ssh.settings.save(cluster)
        site = Site(large, {"other": other})
        site.clock.now = datetime.now(UTC)
        site.context.exchanges.idle = IDLE_SECONDS
        stack.push_async_callback(site.context.exchanges.close)
        begun = perf_counter()
        await warm(site.app)  # as the server does when it starts
        prepared = perf_counter() - begun
        client = await stack.enter_async_context(site.logged_in())
        names = await named(client, large)
        timings = [await timed(client, path.format(**names), rounds) for path in paths]
    return {
        "sizes": asdict(sizes) | {"files": files},
        "warming_s": prepared,
        "pages": [asdict(timing) for timing in timings],
        "slowest_median_ms": max(timing.median for timing in timings),
        "slowest_cpu_ms": max(timing.cpu for timing in timings),
        "slowest_first_ms": max(timing.first for timing in timings),
    }


async def named(client: httpx.AsyncClient, cluster: Cluster) -> dict[str, str]:
    """Plan an import and verify; give the names of what stands in addresses."""
    trust = (
        await client.get("/api/v1/certificates/trust", params={"store": "tomcat-trust", "usage": "foreign"})
    ).json()
    own = (await client.get("/api/v1/certificates/own")).json()
    return {
        "change": cluster.find_history().items[0].id,
        "plan": await job(client, "bulk/plan", {}),
        "verification": await job(client, "verify", {"source": ["large"], "destination": ["other"]}),
        "trust": trust["items"][0]["sha256"],
        "own": next(each["sha256"] for each in own if each["purpose"] == "tomcat"),
    }


async def job(client: httpx.AsyncClient, path: str, wanted: Mapping[str, Any]) -> str:
    """Start a job and wait for its end; return its id."""
    asked = await client.post(f"/api/v1/{path}", json=wanted)
    assert asked.status_code == 202, asked.text
    identifier = str(asked.json()["id"])
    await client.get(f"/api/v1/jobs/{identifier}/events")  # ends with the job
    shown = (await client.get(f"/api/v1/jobs/{identifier}")).json()
    assert shown["state"] == "done", shown
    return identifier


async def timed(client: httpx.AsyncClient, path: str, rounds: int) -> Timing:
    """Ask for one address again and again."""
    times, worked = [], []
    for _ in range(rounds + 1):
        begun, before = perf_counter(), process_time()
        answer = await client.get(f"/{path}")
        times.append((perf_counter() - begun) * 1000)
        worked.append((process_time() - before) * 1000)
        assert answer.status_code == 200, (path, answer.text)
    return Timing(path, times[0], median(times[1:]), max(times[1:]), median(worked[1:]), len(answer.content))


async def exchange_files(place: Path, settings: SftpSettings, count: int) -> int:
    """Let ``count`` clusters of 21 nodes export, and one consolidate; return how many files there are."""
    keys, now = PooledKeys(KEYS), datetime.now(UTC)
    async with SftpExchange.opened(settings) as exchange:
        clusters = [make_cluster(place, number, keys) for number in range(count)]
        for cluster in clusters:
            await export(cluster, exchange, now=now)
        await consolidate(clusters[0], exchange, now=now)
        return len(await exchange.entries())


def large_cluster(folder: Path, name: str, sizes: Sizes) -> Cluster:
    """Make a cluster of three nodes that twenty others exchanged certificates with, and whose phones were seen."""
    nodes = [parse_node(f"n{n}=127.0.0.{n + 1}:{'publisher,' if n == 0 else ''}tftp,tvs,callmanager") for n in range(3)]
    cluster = Cluster.create(folder, ClusterSpec(name, Release.parse("12.5.1"), nodes, secure=True))
    key = ec.generate_private_key(ec.SECP256R1())
    changes = [
        TrustChange("add", STORES[n % len(STORES)], foreign_certificate(n, key), f"cluster{n % 20}")
        for n in range(sizes.certificates)
    ]
    cluster.change_trust(changes, action="bulk import")
    devices = [f"SEP{n:012X}" for n in range(sizes.phones)]
    cluster.add_phones([Phone(device, description=f"desk {n}") for n, device in enumerate(devices)])
    now = datetime.now(UTC)
    seen = [Sighting(device, Step.REGISTERED, now, "n0", "10.9.0.1", "3600") for device in devices[::2]]
    held = [HeldLists(device, "", f"{n % 4:040X}", None, now) for n, device in enumerate(devices[::2])]
    cluster.sightings.note(seen, held)
    rules = Rules().to_json() | {"wave_size": 200}
    cluster.migrations.create(
        "m1", str(folder.with_name("other")), rules, [moving(n, d) for n, d in enumerate(devices)]
    )
    return cluster


def moving(number: int, device: str) -> MigrationPhone:
    """Make one phone of a migration that is half done."""
    at = datetime.now(UTC)
    if number % 100 == 1:
        return MigrationPhone(device, number // 200, PhoneState.FAILED, at, at, "wave.nowhere", "it registered nowhere")
    state = PhoneState.MOVED if number % 2 else PhoneState.WAITING
    return MigrationPhone(device, number // 200, state, at, at)


def foreign_certificate(number: int, key: ec.EllipticCurvePrivateKey) -> Certificate:
    """Make one certificate of another cluster."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"node{number}.example.com")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(10**20 + number).not_valid_before(start)
    builder = builder.not_valid_after(start + timedelta(days=1460, hours=number))
    return Certificate.of(builder.sign(key, hashes.SHA256()))


def main() -> None:
    """Print one line for each address, or everything as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, size in asdict(Sizes()).items():
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--json", action="store_true")
    given = vars(parser.parse_args())
    as_json = given.pop("json")
    measured = asyncio.run(measure(Sizes(**given)))
    print(json.dumps(measured, indent=2) if as_json else described(measured))


def described(measured: Mapping[str, Any]) -> str:
    """Write the figures out for people."""
    lines = [", ".join(f"{count} {name}" for name, count in measured["sizes"].items())]
    lines.append(f"made ready when the server starts, beside the first pages: {measured['warming_s']:.2f} s")
    form = "{path:<82} first {first:7.1f} ms, median {median:6.1f} ms, cpu {cpu:6.1f} ms, worst {worst:6.1f} ms"
    return "\n".join([*lines, *(form.format(**page) for page in measured["pages"])])


if __name__ == "__main__":
    main()
