"""The pages' view of an exchange directory: listed anew on each load, unchanged files read once, never a stale word."""

import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certferry.bulk.exporting import export
from certferry.bulk.refusals import ExchangeError
from certferry.bulk.settings import SftpSettings
from certferry.bulk.transport import SftpExchange
from certferry.cluster.cluster import Cluster
from certferry.serve.lab_sftp import LabSftp
from certferry.web.exchanges import Exchanges
from conftest import MakeCluster
from sftp_servers import lab_sftp

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PASSWORD = "two-hundred-gallons"


@pytest.fixture
async def sftp(tmp_path: Path) -> AsyncIterator[LabSftp]:
    async with lab_sftp(tmp_path / "sftp", "carol", PASSWORD) as serving:
        yield serving


@pytest.fixture
async def cluster(make_cluster: MakeCluster, sftp: LabSftp) -> Cluster:
    made = make_cluster("source", nodes=1)
    host, port = sftp.address
    exchange = await SftpExchange.connect(
        SftpSettings(host, "carol", "/exchange", port=port, password=PASSWORD), accept_new_host_key=True
    )
    exchange.settings.save(made)
    await exchange.close()
    return made


@pytest.fixture
async def exchanges() -> AsyncIterator[Exchanges]:
    made = Exchanges()
    yield made
    await made.close()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that were read from the server."""
    names: list[str] = []
    fetch = SftpExchange.read

    async def counted(self: SftpExchange, name: str, *more: int) -> bytes:
        names.append(name)
        return await fetch(self, name, *more)

    monkeypatch.setattr(SftpExchange, "read", counted)
    return names


async def exported(cluster: Cluster) -> None:
    async with SftpExchange.opened(SftpSettings.load(cluster)) as exchange:
        await export(cluster, exchange, now=NOW)


def age(folder: Path, seconds: float) -> None:
    """Make all files older by so much."""
    for file in folder.iterdir():
        at = file.stat().st_mtime - seconds
        os.utime(file, (at, at))


async def test_what_is_unchanged_is_read_once_and_what_changed_is_read_again(
    exchanges: Exchanges, cluster: Cluster, tmp_path: Path, read: list[str]
) -> None:
    folder = tmp_path / "sftp" / "exchange"
    await exported(cluster)
    age(folder, 60)
    (folder / "newest.txt").write_text("not ours")  # the server's clock went on, as this shows
    first = await exchanges.describe(cluster)
    assert first["clusters"] == ("source",)
    assert len(read) == len(set(read)) > 1
    read.clear()
    assert await exchanges.describe(cluster) == first
    assert read == []
    touched = next(folder.glob("*.p12"))
    touched.write_bytes(touched.read_bytes() + b"!")
    changed = await exchanges.describe(cluster)
    assert read == [touched.name]
    (line,) = [each for each in changed["files"] if each["name"] == touched.name]
    assert not line["signed"]
    touched.unlink()
    assert touched.name in (await exchanges.describe(cluster))["missing"]


async def test_a_file_written_in_this_second_is_read_again_as_it_could_change_unseen(
    exchanges: Exchanges, cluster: Cluster, tmp_path: Path
) -> None:
    folder = tmp_path / "sftp" / "exchange"
    await exported(cluster)
    now = time.time()
    for file in folder.iterdir():  # all in one second, however long the export took
        os.utime(file, (now, now))
    touched = next(folder.glob("*.p12"))
    signed = {each["name"]: each["signed"] for each in (await exchanges.describe(cluster))["files"]}
    assert signed[touched.name]
    before = touched.stat()
    data = touched.read_bytes()
    touched.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(touched, ns=(before.st_atime_ns, before.st_mtime_ns))
    signed = {each["name"]: each["signed"] for each in (await exchanges.describe(cluster))["files"]}
    assert not signed[touched.name]


async def test_clusters_with_the_same_settings_share_one_listing(
    exchanges: Exchanges, cluster: Cluster, make_cluster: MakeCluster
) -> None:
    other, stranger = make_cluster("destination", nodes=1), make_cluster("third", nodes=1)
    SftpSettings.load(cluster).save(other)
    here, there, nothing = await exchanges.describe_all([cluster, other, stranger])
    assert here is there
    assert getattr(nothing, "code", "") == "bulk.settings-missing"


async def test_a_server_that_went_away_is_told_and_found_again(
    exchanges: Exchanges, cluster: Cluster, sftp: LabSftp
) -> None:
    await exported(cluster)
    first = await exchanges.describe(cluster)
    saved = SftpSettings.load(cluster)
    SftpSettings(saved.host, "carol", "/nowhere", port=saved.port, password=PASSWORD, host_key=saved.host_key).save(
        cluster
    )
    with pytest.raises(ExchangeError):
        await exchanges.describe(cluster)
    saved.save(cluster)
    assert await exchanges.describe(cluster) == first
