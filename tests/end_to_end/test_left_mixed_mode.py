"""A cluster leaves mixed mode: its phones take the emptied CTL, let go of the old one, and can be moved (over TFTP)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.parameters import ROLLBACK, SECURITY_MODE
from certferry.cluster.values import Node, Service, TrustChange
from certferry.fleet.device import Device
from certferry.lab.keys import PooledKeys
from certferry.lab.lab import Lab, tftp_servers
from certferry.phone.decision import Held
from certferry.phone.flash import Flash
from certferry.phone.outcome import Code, Step
from certferry.phone.trust import PhoneTrust
from certferry.trust.purpose import Purpose, Store
from certferry.wire.phone_config import DeviceSecurityMode, PhoneConfig

RELEASES = ["10.0", "11.5.1", "12.5.1"]


@pytest.fixture
async def lab(tmp_path: Path, key_pool: PooledKeys) -> AsyncIterator[Lab]:
    async with Lab(tmp_path, keys=key_pool) as lab:
        yield lab


async def secure_phone(lab: Lab, *clusters: Cluster, at: int = 0) -> Device:
    """Return a phone that lives in the first cluster, in mixed mode, served by its node number ``at``."""
    (phone,) = lab.add_phones(clusters, 1, secure=True)
    device = Device(phone.device, Flash(), lsc=lab.issue_lsc(clusters[0], phone.device))
    for cluster in clusters:
        await lab.start(cluster)
    assert (await device.boot([server(clusters[0].nodes()[at])])).ok
    assert PhoneTrust.of(device.flash).held is Held.CTL
    return device


def server(node: Node) -> tuple[str, int]:
    return node.address, node.ports[Service.TFTP]


async def leave_mixed_mode(lab: Lab, cluster: Cluster) -> None:
    cluster.set_parameter(SECURITY_MODE, "non-secure")
    await lab.settled(cluster)


def vouch_for(source: Cluster, destination: Cluster) -> None:
    purposes = (Purpose.CALLMANAGER, Purpose.ITL_RECOVERY)
    signers = {each.certificate for each in destination.identities() if each.purpose in purposes}
    changes = [TrustChange("add", Store.PHONE_SAST_TRUST, each, destination.name) for each in signers]
    source.change_trust(changes, action="test")


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("at", [0, 1], ids=["publisher", "subscriber"])
async def test_a_phone_takes_the_emptied_ctl_and_registers_without_tls(lab: Lab, release: str, at: int) -> None:
    source = lab.create_cluster("source", release, nodes=2, secure=True)
    device = await secure_phone(lab, source, at=at)
    await leave_mixed_mode(lab, source)
    assert (await device.boot()).ok
    assert device.flash.ctl == source.trust_list("CTL")
    assert PhoneTrust.of(device.flash).held is Held.ITL
    assert PhoneConfig.parse(device.flash.config or b"").security_mode is DeviceSecurityMode.NON_SECURE
    assert device.tvs_requests == 0
    assert (await device.boot()).ok


@pytest.mark.parametrize("release", RELEASES)
async def test_it_then_moves_like_any_phone_of_a_non_secure_cluster(lab: Lab, release: str) -> None:
    source = lab.create_cluster("source", release, nodes=2, secure=True)
    destination = lab.create_cluster("destination", "11.5.1", nodes=2)
    vouch_for(source, destination)
    device = await secure_phone(lab, source, destination)
    await leave_mixed_mode(lab, source)
    assert (await device.boot()).ok
    assert (await device.boot(tftp_servers(destination))).ok
    assert device.flash.itl == destination.trust_list("ITL", "destination-pub")
    assert device.tvs_requests == 1


async def test_a_phone_that_missed_the_emptied_ctl_is_moved_too(lab: Lab) -> None:
    source = lab.create_cluster("source", "11.5.1", nodes=1, secure=True)
    destination = lab.create_cluster("destination", "12.5.1", nodes=1)
    vouch_for(source, destination)
    device = await secure_phone(lab, source, destination)
    await leave_mixed_mode(lab, source)
    assert (await device.boot(tftp_servers(destination))).ok


async def test_after_leaving_mixed_mode_the_rollback_switch_opens_its_phones(lab: Lab) -> None:
    """The published way from a secure cluster to a non-secure one, without any exchange (4.5)."""
    source = lab.create_cluster("source", "12.5.1", nodes=1, secure=True)
    destination = lab.create_cluster("destination", "14", nodes=1)
    device = await secure_phone(lab, source, destination)
    source.set_parameter(ROLLBACK, "true")
    await leave_mixed_mode(lab, source)
    assert (await device.boot()).ok
    assert PhoneTrust.of(device.flash).held is Held.ROLLED_BACK
    assert (await device.boot(tftp_servers(destination))).ok
    assert device.tvs_requests == 0


async def test_opened_phones_refuse_the_emptied_ctl_of_a_stranger_until_it_is_deleted(lab: Lab) -> None:
    source = lab.create_cluster("source", "12.5.1", nodes=1, secure=True)
    destination = lab.create_cluster("destination", "14", nodes=1, secure=True)
    device = await secure_phone(lab, source, destination)
    source.set_parameter(ROLLBACK, "true")
    for cluster in (source, destination):
        await leave_mixed_mode(lab, cluster)
    assert (await device.boot()).ok
    outcome = await device.boot(tftp_servers(destination))
    assert (outcome.step, outcome.code) == (Step.CTL, Code.LIST_ROLLED_BACK)
    destination.delete_ctl()
    await lab.settled(destination)
    assert (await device.boot()).ok


async def test_a_new_phone_of_such_a_cluster_takes_its_lists_on_faith(lab: Lab) -> None:
    source = lab.create_cluster("source", "11.5.1", nodes=2, secure=True)
    await lab.start(source)
    await leave_mixed_mode(lab, source)
    (phone,) = lab.add_phones([source], 1)
    await lab.settled(source)
    device = Device(phone.device, Flash())
    assert (await device.boot([server(source.nodes()[1])])).ok
    assert (await device.boot()).ok
    assert PhoneTrust.of(device.flash).held is Held.ITL
    assert device.tvs_requests == 0
