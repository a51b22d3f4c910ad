"""A migration started on the pages sets option 150 in a real Kea, and its way back puts back what stood there."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.sightings import Sighting, Step
from certferry.cluster.values import Phone
from certferry.dhcp.kea import Kea
from certferry.dhcp.kea_channel import kea_channel
from certferry.dhcp.kea_undo import UndoRecord
from certferry.migrate.result import Verification
from certferry.web import waves
from conftest import MakeCluster
from real_kea import VOICE, RealKea, running_kea
from web_pages import Reader, reading
from web_site import Site

pytestmark = pytest.mark.slow
NEW = "/migration/waves/new"
PHONE = Phone("SEP000000000001")


@pytest.fixture
def kea(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealKea]:
    with running_kea(tmp_path_factory.mktemp("k")) as running:
        yield running


async def nothing_fails(*_: object) -> Verification:
    return Verification(ok=True, checks=(), phones=(), source="a", destination="b", at=datetime.now(UTC))


def registers(cluster: Cluster) -> None:
    cluster.sightings.note([Sighting(PHONE.device, Step.REGISTERED, datetime.now(UTC), "x", "192.0.2.9")])


async def start(site: Site, reader: Reader, path: str) -> None:
    """Look at the change, start, and follow the migration to its end."""
    look = f"{path}/option150"
    shown = await reader.send(await reader.open(look), look, subnet=VOICE)
    await reader.send(shown, f"{look}/start")
    jobs = site.app.state.jobs
    for job in (await jobs.latest(kind="migrate")).items:
        async for _ in jobs.events(job.id):
            pass
        assert (await jobs.find(job.id)).error is None


async def test_option_150_is_set_and_put_back(
    kea: RealKea, make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waves, "preflight", nothing_fails)
    source, destination = make_cluster("source", nodes=1), make_cluster("destination", nodes=3)
    for cluster in (source, destination):
        cluster.add_phones([PHONE])
    site = Site(source, {"destination": destination}, clock=lambda: datetime.now(UTC))  # type: ignore[arg-type]
    site.context.kea = Kea(kea_channel(str(kea.socket)), UndoRecord(kea.state))
    before = kea.config()
    async with reading(site) as ann:
        plan = await ann.send(await ann.open(NEW), NEW, patience="300")
        registers(destination)
        await start(site, ann, plan.path)
        assert [str(each) for each in kea.option() or ()] == [node.address for node in destination.tftp_nodes()[:2]]
        back = await ann.send(await ann.open(plan.path), f"{plan.path}/back")
        registers(source)
        await start(site, ann, back.path)
    await site.ended()
    assert kea.config() == before
