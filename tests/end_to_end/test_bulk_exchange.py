"""The exchange as it is in the field: clusters with their databases, a real OpenSSH server, several at once."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certferry.bulk import consolidating, exporting, importing
from certferry.bulk.directory import list_directory
from certferry.bulk.exchange import Progress, silent
from certferry.bulk.settings import SftpSettings
from certferry.bulk.transport import SftpExchange
from certferry.bulk.wrapping import Wrapping
from certferry.cluster.cluster import Cluster, ClusterSpec
from certferry.cluster.values import Node, NodeRole
from certferry.lab.keys import PooledKeys
from certferry.trust.purpose import Purpose, Store
from certferry.trust.release import Release
from certferry.wire.pkcs12 import Profile
from openssh import OpenSsh, needs_sshd, running_sshd

pytestmark = needs_sshd
PUBLISHER = frozenset({NodeRole.PUBLISHER, NodeRole.TFTP, NodeRole.TVS, NodeRole.CAPF})
PATIENCE = 120
"""Seconds that one waits for the others to give the lock back, on a busy machine."""


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[OpenSsh]:
    home = tmp_path / "server"
    home.mkdir()
    async with running_sshd(home) as running:
        yield running


@pytest.fixture
def clusters(tmp_path: Path, key_pool: PooledKeys) -> Iterator[list[Cluster]]:
    made = []
    for name, release in (("source", "10.5.2"), ("destination", "11.5.1"), ("third", "15")):
        nodes = [Node("pub", "127.0.0.1", PUBLISHER), Node("sub1", "127.0.0.2", frozenset({NodeRole.TFTP}))]
        made.append(Cluster.create(tmp_path / name, ClusterSpec(name, Release.parse(release), nodes), keys=key_pool))
    yield made
    for cluster in made:
        cluster.close()


async def export(cluster: Cluster, settings: SftpSettings, progress: Progress = silent) -> exporting.Exported:
    async with SftpExchange.opened(settings) as exchange:
        return await exporting.export(cluster, exchange, now=now(), progress=progress, wait=PATIENCE)


async def consolidate(cluster: Cluster, settings: SftpSettings) -> consolidating.Consolidated:
    async with SftpExchange.opened(settings) as exchange:
        return await consolidating.consolidate(cluster, exchange, now=now(), wait=PATIENCE)


async def import_all(cluster: Cluster, settings: SftpSettings) -> importing.Imported:
    async with SftpExchange.opened(settings) as exchange:
        return importing.apply(cluster, await importing.plan(cluster, exchange, now=now()))


async def test_the_published_order_of_steps_ends_in_mutual_trust_and_can_be_undone(
    server: OpenSsh, clusters: list[Cluster]
) -> None:
    source, destination, _ = clusters
    untouched = set(source.trust_entries())
    for cluster in (destination, source):
        server.settings.save(cluster)
        await export(cluster, SftpSettings.load(cluster))
    await consolidate(source, server.settings)
    await import_all(destination, server.settings)
    done = await import_all(source, server.settings)

    vouching = {entry.certificate for entry in source.trust_entries(Store.PHONE_SAST_TRUST)}
    assert destination.identity(Purpose.CALLMANAGER, "pub").certificate in vouching
    assert destination.identity(Purpose.CALLMANAGER, "sub1").certificate in vouching
    assert destination.identity(Purpose.ITL_RECOVERY).certificate in vouching
    assert (await import_all(source, server.settings)).undo_id is None
    assert done.undo_id
    source.undo(done.undo_id)
    assert {(e.store, e.certificate) for e in source.trust_entries()} == {(e.store, e.certificate) for e in untouched}


async def test_exports_and_consolidations_at_the_same_time_never_leave_a_torn_or_lost_file(
    server: OpenSsh, clusters: list[Cluster]
) -> None:
    for cluster in clusters:
        await export(cluster, server.settings)
    work = [
        *(export(cluster, server.settings) for cluster in clusters for _ in range(2)),
        *(consolidate(cluster, server.settings) for cluster in clusters),
    ]
    await asyncio.gather(*work)
    await consolidate(clusters[0], server.settings)
    async with SftpExchange.opened(server.settings) as exchange:
        listing = await list_directory(exchange)
    assert listing.import_offered()
    assert listing.clusters == ("destination", "source", "third")
    assert all(file.signed and not file.problem for file in listing.files)
    assert {path.suffix for path in server.directory.iterdir()} == {".p12", ".json"}


async def test_progress_is_told_for_every_file(server: OpenSsh, clusters: list[Cluster]) -> None:
    told: list[tuple[str, int, int]] = []
    exported = await export(clusters[0], server.settings, lambda *step: told.append(step))
    count = len(exported.files)
    assert [step for step in told if step[0] == "upload"] == [("upload", n + 1, count) for n in range(count)]


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
@pytest.mark.parametrize("profile", Profile)
async def test_openssl_reads_the_consolidated_file_and_finds_whose_each_certificate_is(
    server: OpenSsh, clusters: list[Cluster], profile: Profile
) -> None:
    for cluster in clusters[:2]:
        await export(cluster, server.settings)
    async with SftpExchange.opened(server.settings) as exchange:
        await consolidating.consolidate(clusters[0], exchange, now=now(), wrapping=Wrapping(profile=profile))
    path = server.directory / "consolidated_tftp.p12"
    legacy = ["-legacy"] if profile is Profile.LEGACY else []
    command = ["openssl", "pkcs12", "-in", str(path), "-nokeys", *legacy, "-passin", "stdin"]
    shown = subprocess.run(command, input=b"certferry\n", capture_output=True, check=True).stdout.decode()  # noqa: ASYNC221
    assert "friendlyName: destination/sub1/CallManager/" in shown
    assert "friendlyName: source/pub/CallManager/" in shown
    assert shown.count("BEGIN CERTIFICATE") == 6, "two nodes each, and the EC twins of 11.5"
