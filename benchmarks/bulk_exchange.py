"""The exchange of certificates against OpenSSH's sftp server, beside plain ``sftp -b`` moving the same files.

Two clusters of 21 nodes, then twenty. For each: every cluster exports, one consolidates, one plans and imports; then
``sftp -b`` puts and gets the files that lie in the directory, in one session, one after the other.
"""

import argparse
import asyncio
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from certferry.bulk import importing
from certferry.bulk.consolidating import consolidate
from certferry.bulk.exporting import export
from certferry.bulk.settings import SftpSettings
from certferry.bulk.transport import SftpExchange
from certferry.cluster.cluster import Cluster, ClusterSpec
from certferry.cluster.values import Node, NodeRole
from certferry.lab.keys import PooledKeys
from certferry.trust.release import Release
from openssh import OpenSsh, running_sshd  # the tests' own OpenSSH server

NODES = 21
KEYS = 160


async def main() -> None:
    """Print one line for each number of clusters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, nargs="+", default=[2, 20])
    sizes = parser.parse_args().clusters
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        keys = PooledKeys(KEYS)
        clusters = [make_cluster(place, number, keys) for number in range(max(sizes))]
        print(f"{NODES} nodes a cluster, release 12.5.1, OpenSSH internal-sftp on loopback; seconds")
        print(f"{'clusters':>8}{'files':>7}{'export':>8}{'consolidate':>13}{'plan':>7}{'import':>8}{'all':>7}{'files/s':>9}"
              f"{'sftp -b files/s':>17}{'x':>6}{'peak MB':>9}")  # fmt: skip
        for count in sizes:
            home = place / f"sshd{count}"
            home.mkdir()
            async with running_sshd(home) as server:
                await measure(clusters[:count], server)


def make_cluster(place: Path, number: int, keys: PooledKeys) -> Cluster:
    """Make one cluster of 21 nodes."""
    roles = frozenset({NodeRole.TVS, NodeRole.TFTP, NodeRole.CALLMANAGER})
    first = roles | {NodeRole.PUBLISHER, NodeRole.CAPF}
    nodes = [
        Node(f"c{number}n{index}", f"10.{number}.0.{index + 1}", roles if index else first) for index in range(NODES)
    ]
    return Cluster.create(place / f"c{number}", ClusterSpec(f"c{number}", Release(12, 5, 1), nodes), keys=keys)


async def measure(clusters: Sequence[Cluster], server: OpenSsh) -> None:
    """Run the exchange once and print the line."""
    now = datetime.now(UTC)
    async with SftpExchange.opened(server.settings) as exchange:
        began = perf_counter()
        for cluster in clusters:
            await export(cluster, exchange, now=now)
        exported = perf_counter()
        await consolidate(clusters[0], exchange, now=now)
        consolidated = perf_counter()
        made = await importing.plan(clusters[0], exchange, now=now)
        planned = perf_counter()
        importing.apply(clusters[0], made)
        done = perf_counter()
        clusters[0].undo(clusters[0].history()[-1].id)
    files = [path for path in server.directory.iterdir() if path.is_file()]
    ours, theirs = len(files) / (done - began), plain_sftp(server.settings, files)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{len(clusters):>8}{len(files):>7}{exported - began:>8.2f}{consolidated - exported:>13.2f}"
        f"{planned - consolidated:>7.2f}{done - planned:>8.2f}{done - began:>7.2f}{ours:>9.0f}{theirs:>17.0f}"
        f"{ours / theirs:>6.2f}{peak:>9.0f}"
    )


def plain_sftp(settings: SftpSettings, files: Sequence[Path]) -> float:
    """Let OpenSSH's client put and get the same files once; return files a second, each way counted as half."""
    with tempfile.TemporaryDirectory() as folder:
        local, remote = Path(folder, "local"), Path(folder, "remote")
        local.mkdir()
        remote.mkdir()
        for file in files:
            shutil.copy(file, local)
        batch = Path(folder, "batch")
        batch.write_text(f"put {local}/* {remote}/\nget {remote}/* {local}/\n")
        command = ["sftp", "-q", "-b", str(batch), "-P", str(settings.port), "-i", str(settings.client_key)]
        command += ["-o", f"UserKnownHostsFile={settings.known_hosts}", f"{settings.user}@{settings.host}"]
        began = perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return len(files) / (perf_counter() - began)


if __name__ == "__main__":
    asyncio.run(main())
