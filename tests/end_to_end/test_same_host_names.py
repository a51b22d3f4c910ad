"""Two clusters whose nodes have the same names: nothing of one's own is displaced, and the phones still move."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from certferry.bulk import importing
from certferry.bulk.consolidating import consolidate
from certferry.bulk.exporting import export
from certferry.bulk.importing import ImportPlan
from certferry.bulk.transport import SftpExchange
from certferry.cluster.cluster import Cluster
from certferry.fleet.device import Device
from certferry.lab.keys import PooledKeys
from certferry.lab.lab import Lab, tftp_servers
from certferry.phone.flash import Flash
from certferry.trust.store_rules import Code


async def exchange_certificates(lab: Lab, *clusters: Cluster) -> dict[str, ImportPlan]:
    now, plans = datetime.now(UTC), {}
    async with SftpExchange.opened(await lab.start_sftp()) as exchange:
        for cluster in clusters:
            await export(cluster, exchange, now=now)
        await consolidate(clusters[0], exchange, now=now)
        for cluster in clusters:
            plans[cluster.name] = await importing.plan(cluster, exchange, now=now)
            importing.apply(cluster, plans[cluster.name])
            await lab.settled(cluster)
    return plans


@pytest.mark.parametrize("secure", [False, True], ids=["non-secure", "secure"])
async def test_phones_move_between_clusters_whose_nodes_have_the_same_names(
    secure: bool, tmp_path: Path, key_pool: PooledKeys
) -> None:
    async with Lab(tmp_path, keys=key_pool) as lab:
        source = lab.create_cluster("source", "10.5.2", nodes=2, secure=secure, prefix="cucm")
        destination = lab.create_cluster("destination", "11.5.1", nodes=2, secure=secure, prefix="cucm")
        (phone,) = lab.add_phones([source, destination], 1, secure=secure)
        for cluster in (source, destination):
            await lab.start(cluster)
        device = Device(phone.device, Flash(), lsc=lab.issue_lsc(source, phone.device) if secure else None)
        assert (await device.boot(tftp_servers(source))).ok
        own = {entry.certificate for entry in source.trust_entries() if entry.is_own}

        plans = await exchange_certificates(lab, destination, source)

        reasons = {change.code for change in plans["source"].changes}
        assert Code.BESIDE_OWN in reasons
        assert {entry.certificate for entry in source.trust_entries() if entry.is_own} == own
        assert (await device.boot(tftp_servers(source))).ok
        outcome = await device.boot(tftp_servers(destination))
        assert outcome.ok, outcome.reason


async def test_phones_of_two_like_named_clusters_both_reach_the_third(tmp_path: Path, key_pool: PooledKeys) -> None:
    async with Lab(tmp_path, keys=key_pool) as lab:
        tokyo = lab.create_cluster("tokyo", "10.5.2", nodes=1, prefix="cucm")
        osaka = lab.create_cluster("osaka", "11.5.1", nodes=1, prefix="cucm")
        central = lab.create_cluster("central", "14", nodes=1, prefix="cucm")
        phones = {cluster.name: lab.add_phones([cluster, central], 1)[0] for cluster in (tokyo, osaka)}
        for cluster in (tokyo, osaka, central):
            await lab.start(cluster)
        await exchange_certificates(lab, tokyo, osaka, central)
        for cluster in (tokyo, osaka):
            device = Device(phones[cluster.name].device, Flash())
            assert (await device.boot(tftp_servers(cluster))).ok
            outcome = await device.boot(tftp_servers(central))
            assert outcome.ok, outcome.reason
