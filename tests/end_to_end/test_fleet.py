"""Many phones at once, in one process, over real sockets."""

import gc
import tracemalloc
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import rsa

from certferry.fleet.device import Device
from certferry.fleet.fleet import Fleet, Progress
from certferry.phone.outcome import Code, Outcome
from conftest import MakeCertificate
from phone_clusters import PaperCluster
from phone_network import LiveCluster, live

PHONE_BYTES = 60_000


@pytest.fixture(scope="module")
def papers(
    make_certificate: MakeCertificate, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> tuple[PaperCluster, PaperCluster]:
    return PaperCluster.of("src", rsa_key, make_certificate), PaperCluster.of("dst", other_rsa_key, make_certificate)


@pytest_asyncio.fixture
async def clusters(papers: tuple[PaperCluster, PaperCluster]) -> AsyncIterator[tuple[LiveCluster, LiveCluster]]:
    async with live(papers[0], vouches_for=papers[1].tvs_roles()) as source, live(papers[1]) as destination:
        yield source, destination


def phones(count: int, source: LiveCluster, destination: LiveCluster) -> list[Device]:
    names = [f"SEP{number:012X}" for number in range(count)]
    for name in names:
        destination.add(name)
    return [Device(name, source.flash(name), tftp_servers=[destination.tftp.address]) for name in names]


async def test_every_phone_of_a_fleet_moves(clusters: tuple[LiveCluster, LiveCluster]) -> None:
    fleet = Fleet(phones(40, *clusters), at_once=10)
    result = await fleet.boot()
    assert (result.phones, result.registered, result.failed) == (40, 40, 0)
    assert result.tvs_requests == 40
    assert result.codes == {Code.REGISTERED: 40}


async def test_progress_is_told_phone_by_phone(clusters: tuple[LiveCluster, LiveCluster]) -> None:
    told: list[Progress] = []
    fleet = Fleet(phones(5, *clusters), at_once=2)
    result = await fleet.boot(progress=told.append)
    assert [progress.done for progress in told] == [1, 2, 3, 4, 5]
    assert {progress.device: progress.outcome for progress in told} == result.outcomes


async def test_phones_that_fail_are_counted_and_do_not_hinder_the_others(
    clusters: tuple[LiveCluster, LiveCluster],
) -> None:
    source, destination = clusters
    devices = phones(6, source, destination)
    for device in devices[::2]:
        del destination.files[f"{device.name}.cnf.xml.sgn".lower()]
    result = await Fleet(devices).boot()
    assert (result.registered, result.failed) == (3, 3)
    assert result.codes[Code.CONFIG_MISSING] == 3


async def test_all_phones_are_sent_to_the_servers_that_dhcp_now_names(
    clusters: tuple[LiveCluster, LiveCluster],
) -> None:
    source, destination = clusters
    devices = [Device(device.name, device.flash) for device in phones(3, source, destination)]
    result = await Fleet(devices).boot([destination.tftp.address])
    assert result.registered == 3


async def test_an_empty_fleet_is_done_at_once() -> None:
    result = await Fleet([]).boot()
    assert (result.phones, result.registered, result.tvs_requests) == (0, 0, 0)


async def test_no_more_phones_boot_at_once_than_allowed(
    clusters: tuple[LiveCluster, LiveCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    booting: list[str] = []
    most: list[int] = []
    boot = Device.boot

    async def watched(device: Device, tftp_servers: Sequence[tuple[str, int]] | None = None) -> Outcome:
        booting.append(device.name)
        most.append(len(booting))
        outcome = await boot(device, tftp_servers)
        booting.remove(device.name)
        return outcome

    monkeypatch.setattr(Device, "boot", watched)
    await Fleet(phones(12, *clusters), at_once=3).boot()
    assert max(most) == 3


@pytest.mark.slow
async def test_hundreds_of_phones_fit_one_process(clusters: tuple[LiveCluster, LiveCluster]) -> None:
    devices = phones(300, *clusters)
    tracemalloc.start()
    try:
        result = await Fleet(devices, at_once=20).boot()  # tracing is slow, and a phone waits for answers only so long
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.registered == 300
    assert held / 300 < PHONE_BYTES
