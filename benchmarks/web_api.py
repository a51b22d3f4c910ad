"""The API on a large cluster: 10,000 trust certificates of twenty clusters, 40,000 phones; how long each answer takes.

Without sockets, in one process: what is measured is the server's own time. A page draws from the same answers.
"""

import argparse
import asyncio
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from certferry.cluster.cluster import Cluster, ClusterSpec
from certferry.cluster.nodes import parse_node
from certferry.cluster.values import Phone, TrustChange
from certferry.trust.purpose import Store
from certferry.trust.release import Release
from certferry.wire.certificate import Certificate
from web_site import Site

ROUNDS = 10
STORES = (Store.CALLMANAGER_TRUST, Store.TOMCAT_TRUST, Store.PHONE_SAST_TRUST)
PATHS = (
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
    "api/v1/bulk/history",
    "api/v1/audit",
    "metrics",
)


async def main() -> None:
    """Print one line for each address."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificates", type=int, default=10_000)
    parser.add_argument("--phones", type=int, default=40_000)
    sizes = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        site = Site(large_cluster(Path(folder) / "large", sizes.certificates, sizes.phones))
        begun = perf_counter()
        site.cluster.prepare_searches()
        print(f"preparing searches of {sizes.certificates} new certificates, once: {perf_counter() - begun:.2f} s")
        async with site.logged_in() as client:
            for path in PATHS:
                times = []
                for _ in range(ROUNDS):
                    begun = perf_counter()
                    answer = await client.get(f"/{path}")
                    times.append((perf_counter() - begun) * 1000)
                    assert answer.status_code == 200, answer.text
                print(f"{path:<82} median {median(times):6.1f} ms, worst {max(times):6.1f} ms")


def large_cluster(folder: Path, certificates: int, phones: int) -> Cluster:
    """Make a cluster of three nodes that twenty others exchanged certificates with."""
    nodes = [parse_node(f"n{n}=10.0.0.{n + 1}:{'publisher,' if n == 0 else ''}tftp,tvs,callmanager") for n in range(3)]
    cluster = Cluster.create(folder, ClusterSpec("large", Release.parse("12.5.1"), nodes, secure=True))
    key = ec.generate_private_key(ec.SECP256R1())
    changes = [
        TrustChange("add", STORES[n % len(STORES)], foreign_certificate(n, key), f"cluster{n % 20}")
        for n in range(certificates)
    ]
    cluster.change_trust(changes, action="bulk import")
    cluster.add_phones([Phone(f"SEP{n:012X}", description=f"desk {n}") for n in range(phones)])
    return cluster


def foreign_certificate(number: int, key: ec.EllipticCurvePrivateKey) -> Certificate:
    """Make one certificate of another cluster."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"node{number}.example.com")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(10**20 + number).not_valid_before(start)
    builder = builder.not_valid_after(start + timedelta(days=1460, hours=number))
    return Certificate.of(builder.sign(key, hashes.SHA256()))


if __name__ == "__main__":
    asyncio.run(main())
