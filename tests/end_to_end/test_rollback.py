"""*Prepare Cluster for Rollback to Pre 8.0* at the source: what it empties, and why the migration then fails."""

from pathlib import Path

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.parameters import ROLLBACK
from certferry.cluster.values import TrustChange
from certferry.fleet.device import Device
from certferry.lab.demo import DemoPlan, PreconditionError, _Demonstration
from certferry.lab.keys import PooledKeys
from certferry.lab.lab import Lab, tftp_servers
from certferry.phone.flash import Flash
from certferry.phone.outcome import Code, Step
from certferry.trust.list_check import tvs_certificates
from certferry.trust.purpose import Purpose, Store
from certferry.wire.trust_list import TrustList


def vouch_for(source: Cluster, destination: Cluster) -> None:
    """Do what an import does for the signers, so that only the rollback can be the reason."""
    signers = {each.certificate for each in destination.identities() if each.purpose in _SIGNERS}
    changes = [TrustChange("add", Store.PHONE_SAST_TRUST, each, destination.name) for each in signers]
    source.change_trust(changes, action="test")


_SIGNERS = (Purpose.CALLMANAGER, Purpose.ITL_RECOVERY)


async def phone_of(lab: Lab, source: Cluster, destination: Cluster, *, secure: bool) -> Device:
    (phone,) = lab.add_phones([source, destination], 1, secure=secure)
    device = Device(phone.device, Flash(), lsc=lab.issue_lsc(source, phone.device) if secure else None)
    for cluster in (source, destination):
        await lab.start(cluster)
    assert (await device.boot(tftp_servers(source))).ok
    return device


async def test_a_secure_phone_that_took_the_emptied_itl_cannot_ask_tvs_and_stays(
    tmp_path: Path, key_pool: PooledKeys
) -> None:
    async with Lab(tmp_path, keys=key_pool) as lab:
        source = lab.create_cluster("source", "10.5.2", nodes=2, secure=True)
        destination = lab.create_cluster("destination", "11.5.1", nodes=2, secure=True)
        vouch_for(source, destination)
        device = await phone_of(lab, source, destination, secure=True)
        source.set_parameter(ROLLBACK, "true")
        await lab.settled(source)
        assert (await device.boot()).ok
        assert tvs_certificates(TrustList.parse(device.flash.itl or b"")) == ()
        held = device.flash
        outcome = await device.boot(tftp_servers(destination))
        assert (outcome.ok, outcome.step, outcome.code) == (False, Step.CTL, Code.LIST_ROLLED_BACK)
        assert "Prepare Cluster for Rollback" in outcome.reason
        assert device.flash == held


async def test_once_the_parameter_is_false_again_the_same_phone_moves(tmp_path: Path, key_pool: PooledKeys) -> None:
    async with Lab(tmp_path, keys=key_pool) as lab:
        source = lab.create_cluster("source", "10.5.2", nodes=1, secure=True)
        destination = lab.create_cluster("destination", "12.5.1", nodes=1, secure=True)
        vouch_for(source, destination)
        capf = source.identity(Purpose.CAPF).certificate
        destination.change_trust([TrustChange("add", Store.CALLMANAGER_TRUST, capf, source.name)], action="test")
        device = await phone_of(lab, source, destination, secure=True)
        for value in ("true", "false"):
            source.set_parameter(ROLLBACK, value)
            await lab.settled(source)
            assert (await device.boot(tftp_servers(source))).ok
        assert (await device.boot(tftp_servers(destination))).ok


async def test_a_non_secure_phone_with_emptied_lists_takes_any_itl_without_asking(
    tmp_path: Path, key_pool: PooledKeys
) -> None:
    """Cisco's rollback method: nobody vouches, nothing is verified; that is why the procedure forbids it."""
    async with Lab(tmp_path, keys=key_pool) as lab:
        source = lab.create_cluster("source", "10.5.2", nodes=1)
        destination = lab.create_cluster("destination", "11.5.1", nodes=1)
        device = await phone_of(lab, source, destination, secure=False)
        source.set_parameter(ROLLBACK, "true")
        await lab.settled(source)
        assert (await device.boot()).ok
        assert (await device.boot(tftp_servers(destination))).ok
        assert device.tvs_requests == 0


async def test_the_preconditions_of_the_procedure_refuse_it_before_a_phone_is_touched(
    tmp_path: Path, key_pool: PooledKeys
) -> None:
    class Silent:
        def step(self, title: str) -> None: ...
        def detail(self, text: str) -> None: ...
        def progress(self, what: str, done: int, total: int) -> None: ...

    async with Lab(tmp_path, keys=key_pool) as lab:
        demonstration = _Demonstration(lab, DemoPlan(phones=1, nodes=1), Silent(), secure=False)
        Cluster.open(tmp_path / "source").set_parameter(ROLLBACK, "true")
        with pytest.raises(PreconditionError, match=r"Rollback to Pre 8\.0 is True"):
            await demonstration.run()
