"""A phone moves to a cluster that does not know it: it gets the default configuration, over TFTP and over HTTP 6970."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.values import Service, TrustChange
from certferry.fleet.device import Device, Rehearsal
from certferry.lab.keys import PooledKeys
from certferry.lab.lab import Lab, tftp_servers
from certferry.phone.flash import Flash
from certferry.phone.outcome import Code, Step
from certferry.trust.purpose import Purpose, Store
from certferry.wire.phone_config import PhoneConfig

DEFAULT = "XMLDefault.cnf.xml.sgn"
both_protocols = pytest.mark.parametrize("over_http", [False, True], ids=["TFTP", "HTTP"])


@pytest.fixture
async def lab(tmp_path: Path, key_pool: PooledKeys) -> AsyncIterator[Lab]:
    async with Lab(tmp_path, keys=key_pool) as lab:
        yield lab


async def phone_known_at_the_source(lab: Lab, *, secure: bool = False) -> tuple[Cluster, Cluster, Device]:
    source = lab.create_cluster("source", "10.5.2", nodes=1, secure=secure)
    destination = lab.create_cluster("destination", "11.5.1", nodes=1, secure=secure)
    signers = {each.certificate for each in destination.identities() if each.purpose is Purpose.CALLMANAGER}
    changes = [TrustChange("add", Store.PHONE_SAST_TRUST, each, "destination") for each in signers]
    source.change_trust(changes, action="test")
    (phone,) = lab.add_phones([source], 1, secure=secure)
    device = Device(phone.device, Flash(), lsc=lab.issue_lsc(source, phone.device) if secure else None)
    for cluster in (source, destination):
        await lab.start(cluster)
    assert (await device.boot(tftp_servers(source))).ok
    return source, destination, device


@both_protocols
@pytest.mark.parametrize("secure", [False, True], ids=["non-secure", "mixed"])
async def test_it_is_refused_and_told_why(lab: Lab, *, secure: bool, over_http: bool) -> None:
    _, destination, device = await phone_known_at_the_source(lab, secure=secure)
    device.http_port = destination.publisher.ports[Service.HTTP] if over_http else None
    outcome = await device.boot(tftp_servers(destination))
    assert (outcome.step, outcome.code) == (Step.REGISTRATION, Code.DEVICE_UNKNOWN)
    assert outcome.reason.startswith("the cluster does not know this phone")
    assert "404" in outcome.reason
    assert f"{DEFAULT}({'HTTP' if over_http else 'TFTP'})" in device.statuses
    assert device.flash.itl == destination.trust_list("ITL", "destination-pub")
    assert PhoneConfig.parse(device.flash.config or b"").tvs == ()


async def test_once_it_is_added_it_registers_at_its_next_boot(lab: Lab) -> None:
    source, destination, device = await phone_known_at_the_source(lab)
    assert not (await device.boot(tftp_servers(destination))).ok
    destination.add_phones(source.phones())
    await lab.settled(destination)
    assert (await device.boot()).ok
    assert PhoneConfig.parse(device.flash.config or b"").tvs != ()


async def test_it_does_not_come_back_by_itself_for_it_knows_no_tvs_any_more(lab: Lab) -> None:
    """Which is why verify looks for every phone at the destination before any is moved."""
    source, destination, device = await phone_known_at_the_source(lab)
    assert not (await device.boot(tftp_servers(destination))).ok
    outcome = await device.boot(tftp_servers(source))
    assert (outcome.step, outcome.code) == (Step.TVS, Code.TVS_NONE_KNOWN)


async def test_a_rehearsal_finds_out_without_registering(lab: Lab) -> None:
    _, destination, device = await phone_known_at_the_source(lab)
    rehearsed = Device(device.name, device.flash, rehearsal=Rehearsal())
    outcome = await rehearsed.boot(tftp_servers(destination))
    assert outcome.code is Code.DEVICE_UNKNOWN
    assert "only where phones may register themselves" in outcome.reason
