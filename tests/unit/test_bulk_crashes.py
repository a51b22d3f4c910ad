"""Killed before any step, at every step: the next run ends right, and nothing half done is ever believed."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from bulk_lab import NOW, Cluster, Directory, KilledError, make_cluster
from certferry.bulk import consolidating, exporting, importing
from certferry.bulk.files import BundleName, final_name
from certferry.bulk.lock import break_lock
from certferry.bulk.snapshot import take_snapshot
from certferry.errors import Refusal
from certferry.trust.purpose import BulkType
from certferry.wire.pkcs12 import parse
from conftest import MakeCertificate

LATER = NOW + timedelta(hours=1)


@pytest.fixture(scope="module")
def pair(
    make_certificate: MakeCertificate, rsa_key: RSAPrivateKey, other_rsa_key: RSAPrivateKey
) -> tuple[Cluster, Cluster]:
    return (
        make_cluster(make_certificate, rsa_key, "source", release="10.5.2"),
        make_cluster(make_certificate, other_rsa_key, "destination"),
    )


async def fresh(pair: tuple[Cluster, Cluster]) -> Directory:
    """Make a directory as it is after a whole exchange."""
    directory = Directory()
    for cluster in pair:
        await exporting.export(cluster, directory, now=NOW)
    await consolidating.consolidate(pair[0], directory, now=NOW)
    return directory


async def steps_of(pair: tuple[Cluster, Cluster], operation: str) -> int:
    directory = await fresh(pair)
    before = directory.steps
    await run(operation, pair, directory)
    return directory.steps - before


async def run(operation: str, pair: tuple[Cluster, Cluster], directory: Directory) -> None:
    if operation == "export":
        await exporting.export(pair[0], directory, now=LATER)
    elif operation == "consolidate":
        await consolidating.consolidate(pair[1], directory, now=LATER)
    else:
        await exporting.remove_cluster(directory, "source", operator="destination")


async def killed_at(step: int, operation: str, pair: tuple[Cluster, Cluster]) -> Directory:
    """Run the operation on a whole exchange and kill it before its ``step``; clear the dead owner's lock."""
    directory = await fresh(pair)
    directory.die_at = directory.steps + step
    with pytest.raises(KilledError):
        await run(operation, pair, directory)
    directory.die_at = None
    for scope in ("source", None):
        await break_lock(directory, scope)
    return directory


async def everything_with_a_final_name_parses(directory: Directory) -> None:
    for name in directory.names():
        if BundleName.parse(name):
            assert parse(directory.data(name), ["certferry"]).certificates


async def imported_or_refused(pair: tuple[Cluster, Cluster], directory: Directory) -> set[str] | Refusal:
    """Plan an import as it is now: the hashes of what it would bring, or why it is refused."""
    try:
        plan = await importing.plan(pair[1], directory, now=LATER)
    except Refusal as refusal:
        return refusal
    return {change.certificate.sha256 for change in plan.pending}


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["export", "consolidate", "remove"])
async def test_killed_at_any_step_nothing_torn_is_seen_and_a_second_run_ends_right(
    operation: str, pair: tuple[Cluster, Cluster]
) -> None:
    source_hashes = {
        identity.certificate.sha256 for identity in pair[0].identities() if identity.purpose not in ("TVS", "ipsec")
    }
    count = await steps_of(pair, operation)
    assert count >= 9
    for step in range(count):
        directory = await killed_at(step, operation, pair)
        await everything_with_a_final_name_parses(directory)
        halfway = await imported_or_refused(pair, directory)
        assert isinstance(halfway, Refusal) or halfway == source_hashes, f"step {step}"

        await run_again(operation, pair, directory)
        assert [name for name in directory.names() if final_name(name) or name.endswith(".lock")] == []
        snapshot = await take_snapshot(directory)
        assert snapshot.missing() == {}
        if operation == "remove":
            assert snapshot.clusters() == ("destination",)
        else:
            await consolidating.consolidate(pair[0], directory, now=LATER)
            assert await imported_or_refused(pair, directory) == source_hashes


async def run_again(operation: str, pair: tuple[Cluster, Cluster], directory: Directory) -> None:
    try:
        await run(operation, pair, directory)
    except exporting.ClusterNotInDirectoryError:
        assert operation == "remove", "the first run had removed everything already"


async def test_a_killed_exports_lock_is_taken_over_by_the_next_export(pair: tuple[Cluster, Cluster]) -> None:
    directory = Directory()
    directory.die_at = 5
    with pytest.raises(KilledError):
        await exporting.export(pair[0], directory, now=NOW)
    directory.die_at = None
    assert "source.lock" in directory.names()
    # The dead owner is this very process, which lives; break the lock as the operator would.
    assert await break_lock(directory, "source")
    assert (await exporting.export(pair[0], directory, [BulkType.TOMCAT], now=NOW)).files
