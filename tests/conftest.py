"""Fixtures of all tests: keys made once for each run, certificates made to order. No key lies in the repository."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from certferry.cluster.cluster import Cluster, ClusterSpec
from certferry.cluster.location import ClusterLocation
from certferry.cluster.values import Node, NodeRole
from certferry.lab import loopback
from certferry.lab.keys import PooledKeys
from certferry.trust.release import Release
from certferry.wire.certificate import Certificate
from no_other_hosts import stay_at_home
from on_postgresql import TEST_SERVER, copies_on

TYPE_OF = {
    "CN": NameOID.COMMON_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "L": NameOID.LOCALITY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "C": NameOID.COUNTRY_NAME,
    "DC": NameOID.DOMAIN_COMPONENT,
}
settings.register_profile("same", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=2000)
settings.load_profile("same")
"""Every run tries the same examples, however busy the machine is; ``--hypothesis-profile=search`` looks for others."""
_serials = count(0x5A00_0000_0000_0000_0000_0000_0000_0001)
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
MakeCertificate = Callable[..., Certificate]
MakeCluster = Callable[..., Cluster]
CLUSTER_BORN = datetime(2026, 6, 1, 12, tzinfo=UTC)
"""When the clusters that ``make_cluster`` makes were made; their clocks stand still there."""

TOGETHER = (
    "test_backup_and_restore",
    "test_cluster_moving",
    "test_postgresql_cluster",
    "test_postgresql_nodes",
    "test_real_hosts",
    "test_web_api_https",
)
"""Modules whose tests share something that takes seconds to make: each stays with one worker."""


class Together(LoadScopeScheduling):  # type: ignore[misc]  # xdist is without types
    """Hands tests out one by one, those of a module of ``TOGETHER`` all to one worker.

    xdist's own groups mark the ids of tests, which pytest 9.2 does not let it: they group nothing.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = Path(nodeid.partition("::")[0]).stem
        return module if module in TOGETHER else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_configure() -> None:
    """Let no test speak to another machine, and no two workers share addresses."""
    stay_at_home()
    worker, workers = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]), os.environ.get("PYTEST_XDIST_WORKER_COUNT")
    share = (loopback._LAST - loopback._FIRST + 1) // int(workers or 1)
    loopback._FIRST += worker % int(workers or 1) * share
    loopback._LAST = loopback._FIRST + share - 1


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together | None:
    """Let ``--dist loadgroup`` keep the tests of such a module together."""
    return Together(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def other_rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def x509_name(text: str) -> x509.Name:
    parts = [part.split("=", 1) for part in text.split(";") if part]
    return x509.Name([x509.NameAttribute(TYPE_OF[label], value) for label, value in parts])


@pytest.fixture(scope="session")
def make_certificate(rsa_key: rsa.RSAPrivateKey) -> MakeCertificate:
    ec_key = ec.generate_private_key(ec.SECP256R1())

    def make(
        subject: str = "CN=pub;OU=Voice;O=Example;L=Tokyo;ST=Tokyo;C=JP",
        *,
        key: PrivateKey | None = None,
        issuer: str | None = None,
        issuer_key: PrivateKey | None = None,
        serial: int | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        ec: bool = False,
        hash: str = "sha256",  # noqa: A002 -- reads best at the call
    ) -> Certificate:
        key = key or (ec_key if ec else rsa_key)
        start = not_before or datetime(2026, 1, 1, tzinfo=UTC)
        algorithm: Any = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256(), "sha512": hashes.SHA512()}[hash]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509_name(subject))
            .issuer_name(x509_name(issuer or subject))
            .public_key(key.public_key())
            .serial_number(serial if serial is not None else next(_serials))
            .not_valid_before(start)
            .not_valid_after(not_after or start + timedelta(days=1825))
            .sign(issuer_key or key, algorithm)
        )
        return Certificate.of(certificate)

    return make


@pytest.fixture(scope="session")
def key_pool() -> PooledKeys:
    return PooledKeys(48)


@pytest.fixture(scope="session")
def later_keys() -> PooledKeys:
    """For what copies of templates make anew: a key from the templates' pool might be the one it takes the place of."""
    return PooledKeys(16)


def usual_nodes(cluster: str, count: int) -> list[Node]:
    """A publisher with CAPF and its subscribers; all run TFTP, TVS and call control."""
    everywhere = frozenset({NodeRole.TFTP, NodeRole.TVS, NodeRole.CALLMANAGER})
    publisher = Node(f"{cluster}-pub", "127.0.2.1", everywhere | {NodeRole.PUBLISHER, NodeRole.CAPF})
    subscribers = [Node(f"{cluster}-sub{number}", f"127.0.2.{number + 1}", everywhere) for number in range(1, count)]
    return [publisher, *subscribers]


@pytest.fixture(scope="session")
def cluster_templates(tmp_path_factory: pytest.TempPathFactory, key_pool: PooledKeys) -> Callable[..., Path]:
    """Make each kind of cluster once in a run; the tests get copies, which are a fraction of the work."""
    folder = tmp_path_factory.mktemp("clusters")
    made: dict[str, Path] = {}

    def template(spec: ClusterSpec, born: datetime) -> Path:
        kind = repr((spec, born))
        if kind not in made:
            made[kind] = folder / str(len(made))
            Cluster.create(made[kind], spec, keys=key_pool, clock=lambda: born).close()
        return made[kind]

    return template


@pytest.fixture
def make_cluster(
    tmp_path: Path,
    later_keys: PooledKeys,
    cluster_templates: Callable[..., Path],
    place: Callable[[Path, Path], ClusterLocation],
) -> MakeCluster:
    """Make a cluster in the test's own folder; its clock stands still at ``CLUSTER_BORN`` unless one is given.

    Clusters of one description have the same certificates in every test.
    """

    def make(
        name: str = "source",
        release: str = "11.5.1",
        nodes: int | list[Node] = 3,
        *,
        secure: bool = False,
        clock: Callable[[], datetime] = lambda: CLUSTER_BORN,
        **spec: Any,
    ) -> Cluster:
        all_nodes = usual_nodes(name, nodes) if isinstance(nodes, int) else nodes
        wanted = ClusterSpec(name, Release.parse(release), all_nodes, secure=secure, **spec)
        location = place(cluster_templates(wanted, clock()), tmp_path / name)
        return Cluster(location, keys=later_keys, clock=clock)

    return make


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path, Path], ClusterLocation]]:
    """Copy a template to the test's own folder; or to PostgreSQL, where a server is named, as its tests do."""
    if server := os.environ.get(TEST_SERVER):
        with copies_on(server, monkeypatch) as copied:
            yield copied
    else:
        yield lambda template, folder: ClusterLocation.parse(copytree(template, folder))
