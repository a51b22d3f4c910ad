"""A migration sets option 150 in a real Kea before its first reset, and the way back puts back what stood there."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from certferry.cli import migrate_run
from certferry.cluster.cluster import Cluster
from certferry.cluster.sightings import Sighting, Step
from certferry.cluster.values import Phone
from certferry.migrate.result import Verification
from command_line import certferry
from conftest import MakeCluster
from real_kea import VOICE, RealKea, running_kea

pytestmark = pytest.mark.slow
PHONE = Phone("SEP000000000001")


@pytest.fixture
def kea(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealKea]:
    with running_kea(tmp_path_factory.mktemp("k")) as running:
        yield running


def registers(cluster: Cluster) -> None:
    cluster.sightings.note([Sighting(PHONE.device, Step.REGISTERED, datetime.now(UTC), "x", "192.0.2.9")])


async def nothing_fails(*_: object) -> Verification:
    return Verification(ok=True, checks=(), phones=(), source="a", destination="b", at=datetime.now(UTC))


def test_option_150_is_set_and_put_back(
    kea: RealKea, make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate_run, "preflight", nothing_fails)
    source, destination = make_cluster("source", nodes=1), make_cluster("destination", nodes=3)
    for cluster in (source, destination):
        cluster.add_phones([PHONE])
    here = ["--source", source.location.text]
    by_kea = ["--kea", kea.socket, "--subnet", VOICE, "--kea-state", kea.state, "--yes", "--json"]
    before = kea.config()

    assert certferry("migrate", "plan", *here, "--destination", destination.location.text, "--all").code == 0
    registers(destination)
    moved = certferry("migrate", "start", *here, *by_kea)
    assert moved.code == 0, moved
    assert kea.option() is not None
    assert [str(address) for address in kea.option() or ()] == [node.address for node in destination.tftp_nodes()[:2]]

    assert certferry("migrate", "back", *here).code == 0
    registers(source)
    returned = certferry("migrate", "start", "--source", destination.location.text, *by_kea)
    assert returned.code == 0, returned
    assert kea.config() == before
