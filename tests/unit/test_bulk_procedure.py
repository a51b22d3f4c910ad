"""The four buttons in their order: export on both, consolidate on one, import on both, and what is offered when."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from bulk_lab import NOW, Cluster, Directory, make_cluster
from certferry.bulk import consolidating, exporting, importing
from certferry.bulk.directory import list_directory
from certferry.bulk.snapshot import FileChangedError, IncompleteExportError, UnsignedFileError
from certferry.cluster.values import Identity
from certferry.trust.purpose import BulkType, Purpose, Store
from certferry.trust.store_rules import Action
from conftest import MakeCertificate


@pytest.fixture
def source(make_certificate: MakeCertificate, rsa_key: RSAPrivateKey) -> Cluster:
    return make_cluster(make_certificate, rsa_key, "source", release="10.5.2")


@pytest.fixture
def destination(make_certificate: MakeCertificate, other_rsa_key: RSAPrivateKey) -> Cluster:
    return make_cluster(make_certificate, other_rsa_key, "destination", nodes=("pub", "sub1", "sub2"))


@pytest.fixture
def directory() -> Directory:
    return Directory()


async def exchanged(directory: Directory, *clusters: Cluster) -> None:
    for cluster in clusters:
        await exporting.export(cluster, directory, now=NOW)
    await consolidating.consolidate(clusters[0], directory, now=NOW)


async def imported(cluster: Cluster, directory: Directory) -> importing.Imported:
    return importing.apply(cluster, await importing.plan(cluster, directory, now=NOW))


async def test_an_export_writes_one_file_for_each_node_and_type_and_a_manifest(
    directory: Directory, source: Cluster
) -> None:
    exported = await exporting.export(source, directory, now=NOW)
    assert directory.names() == [
        "source.manifest.json",
        "source_pub_capf.p12",
        "source_pub_itlrecovery.p12",
        "source_pub_tftp.p12",
        "source_pub_tomcat.p12",
        "source_sub1_tftp.p12",
        "source_sub1_tomcat.p12",
    ]
    assert exported.certificates == 6
    assert exported.fingerprint == source.certificate(Purpose.TOMCAT).sha256


async def test_files_of_other_clusters_are_listed_here_too(
    directory: Directory, source: Cluster, destination: Cluster
) -> None:
    await exporting.export(destination, directory, now=NOW)
    await exporting.export(source, directory, [BulkType.TFTP], now=NOW)
    listing = await list_directory(directory)
    assert listing.clusters == ("destination", "source")
    assert [(f.node, f.certificates, f.signed) for f in listing.files if f.cluster == "source"] == [
        ("pub", 1, True),
        ("sub1", 1, True),
    ]


async def test_consolidate_is_offered_once_two_clusters_have_exported(
    directory: Directory, source: Cluster, destination: Cluster
) -> None:
    await exporting.export(source, directory, now=NOW)
    assert not (await list_directory(directory)).consolidate_offered
    with pytest.raises(consolidating.TooFewClustersError, match="so far: source"):
        await consolidating.consolidate(source, directory, now=NOW)
    await exporting.export(destination, directory, now=NOW)
    assert (await list_directory(directory)).consolidate_offered


async def test_import_is_offered_once_consolidated(directory: Directory, source: Cluster, destination: Cluster) -> None:
    await exporting.export(source, directory, now=NOW)
    await exporting.export(destination, directory, now=NOW)
    assert not (await list_directory(directory)).import_offered()
    with pytest.raises(importing.NotConsolidatedError):
        await importing.plan(source, directory, now=NOW)
    await consolidating.consolidate(source, directory, now=NOW)
    assert (await list_directory(directory)).import_offered()


async def test_consolidated_files_hold_every_cluster_and_change_no_trust_store(
    directory: Directory, source: Cluster, destination: Cluster
) -> None:
    before = source.trust_entries()
    await exchanged(directory, source, destination)
    files = {f.name: f for f in (await list_directory(directory)).files if f.consolidated}
    assert {name: f.certificates for name, f in files.items()} == {
        "consolidated_capf.p12": 2,
        "consolidated_itlrecovery.p12": 2,
        "consolidated_tftp.p12": 5,
        "consolidated_tomcat.p12": 5,
    }
    assert source.trust_entries() == before


async def test_import_puts_the_other_clusters_certificates_where_the_mapping_says(
    directory: Directory, source: Cluster, destination: Cluster
) -> None:
    await exchanged(directory, source, destination)
    await imported(source, directory)
    foreign = {(entry.store, entry.certificate) for entry in source.trust_entries() if entry.origin == "destination"}
    expected = {
        (Store.CALLMANAGER_TRUST, destination.certificate(Purpose.CAPF)),
        (Store.PHONE_SAST_TRUST, destination.certificate(Purpose.ITL_RECOVERY)),
        (Store.CALLMANAGER_TRUST, destination.certificate(Purpose.ITL_RECOVERY)),
    }
    for node in ("pub", "sub1", "sub2"):
        expected.add((Store.TOMCAT_TRUST, destination.certificate(Purpose.TOMCAT, node)))
        expected.add((Store.PHONE_SAST_TRUST, destination.certificate(Purpose.CALLMANAGER, node)))
        expected.add((Store.CALLMANAGER_TRUST, destination.certificate(Purpose.CALLMANAGER, node)))
    assert foreign == expected


async def test_own_certificates_are_skipped_and_a_plan_changes_nothing(
    directory: Directory, source: Cluster, destination: Cluster
) -> None:
    await exchanged(directory, source, destination)
    before = source.trust_entries()
    plan = await importing.plan(source, directory, now=NOW)
    assert {change.action for change in plan.changes if change.from_cluster == "source"} == {Action.SKIP}
    assert plan.pending
    assert source.trust_entries() == before
    assert source.history() == ()


async def test_a_second_import_changes_nothing(directory: Directory, source: Cluster, destination: Cluster) -> None:
    await exchanged(directory, source, destination)
    first = await imported(source, directory)
    again = await imported(source, directory)
    assert first.undo_id
    assert again.undo_id is None
    assert not any(change.changes_something for change in again.changes)
    assert len(source.history()) == 1


async def test_undo_restores_exactly_what_was(directory: Directory, source: Cluster, destination: Cluster) -> None:
    await exchanged(directory, source, destination)
    before = set(source.trust_entries())
    done = await imported(source, directory)
    source.undo(done.undo_id or "")
    assert set(source.trust_entries()) == before


async def test_history_says_what_was_imported_and_who_signed(
    directory: Directory, source: Cluster, destination: Cluster
) -> None:
    await exchanged(directory, source, destination)
    await imported(source, directory)
    (entry,) = source.history()
    assert entry.action == "bulk import"
    assert entry.details["signers"] == {"destination": destination.certificate(Purpose.TOMCAT).sha256}
    assert entry.details["added"] == 12


async def test_an_export_after_consolidation_makes_import_wait_for_another_consolidation(
    directory: Directory, source: Cluster, destination: Cluster
) -> None:
    await exchanged(directory, source, destination)
    await exporting.export(destination, directory, [BulkType.TFTP], now=NOW)
    listing = await list_directory(directory)
    assert set(listing.stale) == {BulkType.TFTP}
    assert "destination_pub_tftp.p12 was exported again (2026-06-01 12:" in str(listing.stale[BulkType.TFTP][0])
    assert not listing.import_offered()
    assert listing.import_offered([BulkType.TOMCAT])
    with pytest.raises(importing.StaleConsolidationError, match=r"destination_pub_tftp\.p12 was exported again"):
        await importing.plan(source, directory, now=NOW)
    await consolidating.consolidate(source, directory, [BulkType.TFTP], now=NOW)
    assert (await importing.plan(source, directory, now=NOW)).pending


async def test_a_regenerated_certificate_replaces_the_old_one_after_another_round(
    directory: Directory, source: Cluster, destination: Cluster, make_certificate: MakeCertificate
) -> None:
    await exchanged(directory, source, destination)
    await imported(source, directory)
    old = destination.certificate(Purpose.TOMCAT, "sub1")
    new = make_certificate(old.subject, key=destination.key, not_before=NOW)
    destination.owned = [
        replace(identity, certificate=new) if identity.certificate == old else identity
        for identity in destination.owned
    ]
    await exchanged(directory, destination, source)
    done = await imported(source, directory)
    assert [(c.action, c.certificate) for c in done.changes if c.changes_something] == [(Action.REPLACE, new)]
    assert new in source.holds(Store.TOMCAT_TRUST)
    assert old not in source.holds(Store.TOMCAT_TRUST)


async def test_a_node_that_is_gone_leaves_no_file_behind(directory: Directory, source: Cluster) -> None:
    await exporting.export(source, directory, now=NOW)
    source.owned = [identity for identity in source.owned if identity.node != "sub1"]
    exported = await exporting.export(source, directory, now=NOW)
    assert exported.removed == ("source_sub1_tftp.p12", "source_sub1_tomcat.p12")
    assert not [name for name in directory.names() if "sub1" in name]


async def test_an_export_of_one_type_keeps_the_other_types_vouched_for(directory: Directory, source: Cluster) -> None:
    await exporting.export(source, directory, now=NOW)
    await exporting.export(source, directory, [BulkType.CAPF], now=NOW)
    assert all(file.signed for file in (await list_directory(directory)).files)


async def test_a_cluster_without_the_type_has_nothing_to_export(directory: Directory, source: Cluster) -> None:
    source.owned = [identity for identity in source.owned if identity.purpose is not Purpose.CAPF]
    with pytest.raises(exporting.NothingToExportError):
        await exporting.export(source, directory, [BulkType.CAPF], now=NOW)
    assert directory.names() == []


async def test_ec_twins_travel_with_their_rsa_sisters(
    directory: Directory, source: Cluster, make_certificate: MakeCertificate
) -> None:
    twin = make_certificate("CN=pub-EC.source", ec=True)
    source.owned.append(Identity(Purpose.TOMCAT_ECDSA, "pub", twin))
    exported = await exporting.export(source, directory, [BulkType.TOMCAT], now=NOW)
    assert [c.friendly_name for c in exported.files["source_pub_tomcat.p12"]] == [
        "source/pub/tomcat/pub.source",
        "source/pub/tomcat-ECDSA/pub-EC.source",
    ]


async def test_a_cluster_can_be_taken_out_again(directory: Directory, source: Cluster, destination: Cluster) -> None:
    await exchanged(directory, source, destination)
    removed = await exporting.remove_cluster(directory, "source", operator="destination")
    assert removed[-1] == "source.manifest.json"
    listing = await list_directory(directory)
    assert listing.clusters == ("destination",)
    assert set(listing.stale) == set(BulkType)
    assert "source_pub_capf.p12 was taken out" in str(listing.stale[BulkType.CAPF][0])
    with pytest.raises(exporting.ClusterNotInDirectoryError):
        await exporting.remove_cluster(directory, "source", operator="destination")


async def test_a_file_changed_after_export_is_refused_everywhere(
    directory: Directory, source: Cluster, destination: Cluster
) -> None:
    await exchanged(directory, source, destination)
    name = "source_pub_tftp.p12"
    directory.put(name, directory.data("source_sub1_tftp.p12"))
    listed = {file.name: file for file in (await list_directory(directory)).files}[name]
    assert not listed.signed
    assert "not the file that its manifest describes" in listed.problem
    with pytest.raises(FileChangedError, match=name):
        await consolidating.consolidate(destination, directory, now=NOW)
    with pytest.raises(importing.StaleConsolidationError):
        await importing.plan(destination, directory, now=NOW)


async def test_a_changed_consolidated_file_is_not_imported(
    directory: Directory, source: Cluster, destination: Cluster
) -> None:
    await exchanged(directory, source, destination)
    directory.put("consolidated_tftp.p12", directory.data("source_pub_tftp.p12"))
    with pytest.raises(FileChangedError, match=r"consolidated_tftp\.p12"):
        await importing.plan(destination, directory, now=NOW)


async def test_a_file_that_the_manifest_promises_and_that_is_gone_stops_consolidation(
    directory: Directory, source: Cluster, destination: Cluster
) -> None:
    await exporting.export(source, directory, now=NOW)
    await exporting.export(destination, directory, now=NOW)
    await directory.remove("source_pub_tftp.p12")
    assert (await list_directory(directory)).missing == {"source_pub_tftp.p12": "source"}
    with pytest.raises(IncompleteExportError, match=r"source_pub_tftp\.p12, which source exported, is gone"):
        await consolidating.consolidate(destination, directory, now=NOW)
    done = await consolidating.consolidate(destination, directory, [BulkType.TOMCAT], now=NOW)
    assert set(done.files) == {BulkType.TOMCAT}


async def test_a_cluster_without_manifest_takes_part_after_the_operators_word_only(
    directory: Directory, source: Cluster, destination: Cluster
) -> None:
    await exporting.export(source, directory, now=NOW)
    await exporting.export(destination, directory, now=NOW)
    await directory.remove("source.manifest.json")
    with pytest.raises(UnsignedFileError):
        await consolidating.consolidate(destination, directory, now=NOW)
    done = await consolidating.consolidate(destination, directory, now=NOW, accept_unsigned=True)
    assert len(done.unsigned) == 6
    with pytest.raises(UnsignedFileError, match="no manifest of source vouches for"):
        await importing.plan(destination, directory, now=NOW)
    plan = await importing.plan(destination, directory, now=NOW, accept_unsigned=True)
    assert plan.signers == {"source": None}
    assert len(plan.pending) == 9


async def test_trust_stores_that_changed_after_the_plan_void_it(
    directory: Directory, source: Cluster, destination: Cluster
) -> None:
    await exchanged(directory, source, destination)
    plan = await importing.plan(source, directory, now=NOW)
    importing.apply(source, plan)
    with pytest.raises(importing.PlanOutdatedError):
        importing.apply(source, plan)
