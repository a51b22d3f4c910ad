"""A cold start with 40,000 phones: seconds until the first file, until all are signed, memory; and what is left later.

``certferry serve`` as everybody runs it, with one process and with one for each core: started on a cluster none of
whose configurations was ever signed; then one phone changed; started again. Signatures are counted in the file that
keeps them. They are made at a lower priority than serving, so what else runs on the machine slows them down.
Beside them stands the limit: as many RSA-2048 signatures as threads make on all cores that do nothing else.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from processes import cpu_seconds, free_port, resident_bytes, running

from certferry.cluster.cluster import Cluster, ClusterSpec
from certferry.cluster.nodes import parse_node
from certferry.cluster.values import Phone, Service
from certferry.errors import Refusal
from certferry.fleet.http import fetch
from certferry.serve.running import SIGNATURES_NAME
from certferry.trust.release import Release

PHONES = 40_000
NODE = "node"
_RECORD = 32 + 4 + 2 + 256 + 4
"""Bytes of the file of signatures for each, RSA-2048."""
_PATIENCE = 300.0
_SETTLED = 5.0


@dataclass(frozen=True)
class Site:
    """A cluster with many phones."""

    cluster: Cluster

    @classmethod
    def make(cls, folder: Path, phones: int) -> "Site":
        """Create it."""
        node = parse_node(f"{NODE}=127.0.0.1:publisher,tvs,tftp,callmanager")
        cluster = Cluster.create(folder, ClusterSpec("bench", Release.parse("12.5.1"), [node], secure=True))
        for service in Service:
            cluster.set_port(NODE, service, free_port())
        cluster.add_phones([Phone(device(number)) for number in range(phones)])
        return cls(cluster)

    @property
    def http(self) -> tuple[str, int]:
        """Where files are."""
        [node] = self.cluster.nodes()
        return node.address, node.ports[Service.HTTP]

    @property
    def signatures(self) -> int:
        """How many were ever made."""
        kept = self.cluster.location.key_file.with_name(SIGNATURES_NAME)
        return kept.stat().st_size // _RECORD if kept.exists() else 0

    def forget_signatures(self) -> None:
        """Make the next start a cold one."""
        self.cluster.location.key_file.with_name(SIGNATURES_NAME).unlink(missing_ok=True)

    def command(self, workers: int) -> list[str]:
        """How to serve it."""
        place = str(self.cluster.location.folder)
        return [sys.executable, "-m", "certferry", "serve", "--cluster", place, "--json", "--workers", str(workers)]


def device(number: int) -> str:
    return f"SEP{number:012X}"


def measure(phones: int = PHONES, workers: tuple[int, ...] = ()) -> dict[str, Any]:
    """Return for each number of workers what a cold start, a restart and a change cost."""
    counts = workers or tuple(sorted({1, os.cpu_count() or 1}))
    result: dict[str, Any] = {"phones": phones, "rsa signatures/s": rsa_limit(), "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as folder:
        site = Site.make(Path(folder) / "cluster", phones)
        result["workers"] = {count: _measure(site, phones, count) for count in counts}
    return result


def rsa_limit(seconds: float = 2.0) -> float:
    """Signatures a second of one thread for each core."""
    key = rsa.generate_private_key(65537, 2048)

    def sign() -> int:
        made, end = 0, perf_counter() + seconds
        while perf_counter() < end:
            key.sign(b"x" * 1024, padding.PKCS1v15(), hashes.SHA1())
            made += 1
        return made

    with ThreadPoolExecutor() as pool:
        return sum(pool.map(lambda _: sign(), range(os.cpu_count() or 1))) / seconds


def _measure(site: Site, phones: int, workers: int) -> dict[str, Any]:
    site.forget_signatures()
    row: dict[str, Any] = {}
    began = perf_counter()
    with running(site.command(workers)) as pid:
        row["first file s"] = _first_file(site, began)
        row["signed by then"] = site.signatures
        asked = [_seconds_for(site, device(phones - 1 - number)) for number in range(20)]
        row["file asked for meanwhile, worst ms"] = max(asked) * 1000
        serving = perf_counter()
        already = site.signatures
        _until_signed(site, phones)
        row["all signed s"] = perf_counter() - began
        row["signatures/s"] = (phones - already) / (perf_counter() - serving)
        sleep(1)
        row["signatures made"] = site.signatures
        row["cpu s"] = cpu_seconds(pid)
        row["memory MB"] = resident_bytes(pid) / 1e6
        before = site.signatures
        changed = perf_counter()
        site.cluster.add_phones([Phone(device(0), "7821")])
        _until_signed(site, before + 1)
        row["one phone changed, s"] = perf_counter() - changed
        sleep(_SETTLED)
        row["signatures for it"] = site.signatures - before
    site.cluster.add_phones([Phone(device(0))])
    before, began = site.signatures, perf_counter()
    with running(site.command(workers)) as pid:
        row["first file after a restart s"] = _first_file(site, began)
        sleep(_SETTLED)
        row["signatures after a restart"] = site.signatures - before
        row["cpu s after a restart"] = cpu_seconds(pid)
    return row


def _first_file(site: Site, began: float) -> float:
    while True:
        try:
            asyncio.run(fetch(site.http, f"{device(0)}.cnf.xml.sgn"))
        except Refusal:
            if perf_counter() - began > _PATIENCE:
                raise
            sleep(0.01)
        else:
            return perf_counter() - began


def _seconds_for(site: Site, name: str) -> float:
    began = perf_counter()
    asyncio.run(fetch(site.http, f"{name}.cnf.xml.sgn"))
    return perf_counter() - began


def _until_signed(site: Site, count: int) -> None:
    end = perf_counter() + _PATIENCE
    while site.signatures < count:
        if perf_counter() > end:
            raise TimeoutError(f"{site.signatures} of {count} signed after {_PATIENCE:.0f} s")
        sleep(0.05)


def report(result: dict[str, Any]) -> None:
    """Print a table."""
    print(f"{result['phones']} phones, {result['cores']} cores, RSA-2048 alone {result['rsa signatures/s']:.0f}/s")
    counts = list(result["workers"])
    print(f"{'':<38}" + "".join(f"{f'{count} workers':>12}" for count in counts))
    for name in result["workers"][counts[0]]:
        cells = (result["workers"][count][name] for count in counts)
        print(f"{name:<38}" + "".join(f"{cell:>12.2f}" if isinstance(cell, float) else f"{cell:>12}" for cell in cells))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phones", type=int, default=PHONES)
    parser.add_argument("--workers", type=int, nargs="*", default=())
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    chosen = parser.parse_args()
    result = measure(chosen.phones, tuple(chosen.workers))
    if chosen.json:
        print(json.dumps(result))
    else:
        report(result)


if __name__ == "__main__":
    main()
