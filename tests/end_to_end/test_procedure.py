"""The published procedure, whole: two clusters, an SFTP exchange, phones that move. Real sockets throughout."""

from pathlib import Path

import pytest

from certferry.cluster.cluster import Cluster
from certferry.lab.demo import DemoPlan, ModeReport, demonstrate
from certferry.lab.keys import PooledKeys
from certferry.trust.release import Release
from certferry.wire.trust_list import TrustList

RELEASES = ["10.5.2", "11.5.1", "12.0", "12.5.1", "14", "15"]
MODES = {"secure": True, "non-secure": False}


class Listener:
    """Remembers the story."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.details: list[str] = []
        self.watched: list[tuple[str, int, int]] = []

    def step(self, title: str) -> None:
        self.steps.append(title)

    def detail(self, text: str) -> None:
        self.details.append(text)

    def progress(self, what: str, done: int, total: int) -> None:
        self.watched.append((what, done, total))


async def run(folder: Path, keys: PooledKeys, plan: DemoPlan, *, secure: bool) -> tuple[ModeReport, Listener]:
    story = Listener()
    report = await demonstrate(plan, folder, story, secure=secure, keys=keys, in_processes=False)
    return report, story


@pytest.mark.slow
@pytest.mark.parametrize("secure", MODES.values(), ids=MODES.keys())
@pytest.mark.parametrize("destination", RELEASES)
@pytest.mark.parametrize("source", RELEASES)
async def test_phones_move_between_every_pair_of_releases(
    source: str, destination: str, secure: bool, tmp_path: Path, key_pool: PooledKeys
) -> None:
    plan = DemoPlan(phones=2, nodes=2, source_release=source, destination_release=destination)
    report, story = await run(tmp_path, key_pool, plan, secure=secure)
    assert report.ok
    assert report.registered_at_destination == 2
    assert report.before_exchange == {"tvs.invalid": 2}
    assert "2 of 2 keep exactly what they had; nothing is half installed" in story.details


@pytest.mark.parametrize("secure", MODES.values(), ids=MODES.keys())
async def test_one_question_to_tvs_is_enough_for_a_phone(secure: bool, tmp_path: Path, key_pool: PooledKeys) -> None:
    report, _ = await run(tmp_path, key_pool, DemoPlan(phones=3, nodes=3), secure=secure)
    assert report.tvs_requests == 3


async def test_a_secure_phone_asks_about_the_ctl_and_verifies_the_itl_with_it(
    tmp_path: Path, key_pool: PooledKeys
) -> None:
    _, story = await run(tmp_path, key_pool, DemoPlan(phones=1, nodes=2), secure=True)
    journal = [line.split(": ", 1)[1] for line in story.details if line.startswith("SEP")]
    device = next(line for line in story.details if line.startswith("SEP")).split(":")[0]
    assert journal[:3] == [
        f"CTL{device}.tlv: its signer is in no current list",
        f"CTL{device}.tlv: TVS vouched for its signer",
        f"ITL{device}.tlv: its signer is in the CTL",
    ]


@pytest.mark.parametrize(("release", "signer"), [("11.5.1", "CN=destination-sub1"), ("12.0", "CN=ITLRECOVERY_")])
async def test_the_release_decides_who_signs_what_the_phones_take(
    release: str, signer: str, tmp_path: Path, key_pool: PooledKeys
) -> None:
    plan = DemoPlan(phones=1, nodes=2, destination_release=release)
    report, _ = await run(tmp_path, key_pool, plan, secure=False)
    assert report.ok
    destination = Cluster.open(tmp_path / "destination")
    assert destination.release == Release.parse(release)
    itl = TrustList.parse(destination.trust_list("ITL", "destination-sub1") or b"")
    assert itl.header.subject.startswith(signer)


async def test_the_story_follows_the_order_of_the_procedure(tmp_path: Path, key_pool: PooledKeys) -> None:
    _, story = await run(tmp_path, key_pool, DemoPlan(phones=1, nodes=1), secure=False)
    assert story.steps == [
        "Two clusters",
        "1 phones register at the source",
        "Without the exchange: 1 of them are sent to the destination",
        "Bulk certificate management",
        "Preconditions",
        "Option 150 names the destination; the phones are reset",
    ]
    assert ("migrating", 1, 1) in story.watched
