"""Whoever writes into the exchange directory can hinder, and is told of; nobody's memory, time or trust is theirs."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from bulk_lab import NOW, Cluster, Directory, make_cluster
from certferry.bulk import consolidating, directory, exporting, importing, snapshot
from certferry.bulk.directory import list_directory
from certferry.bulk.exchange import READ_LIMIT, Entry
from certferry.bulk.files import manifest_name
from certferry.bulk.refusals import DirectoryTooLargeError, ExchangeError
from certferry.bulk.snapshot import take_snapshot
from certferry.bulk.wrapping import FilesTooCostlyError, Patience
from certferry.trust.purpose import BulkType, Purpose
from certferry.wire.pkcs12 import KDF_ROUNDS, MAX_KDF_ROUNDS, Bundle, BundledCertificate
from conftest import MakeCertificate

USUAL = 2 * KDF_ROUNDS
"""What a file that certferry writes asks for: the content's and the MAC's rounds."""


@pytest.fixture
def source(make_certificate: MakeCertificate, rsa_key: RSAPrivateKey) -> Cluster:
    return make_cluster(make_certificate, rsa_key, "source", nodes=("pub",))


@pytest.fixture
def destination(make_certificate: MakeCertificate, other_rsa_key: RSAPrivateKey) -> Cluster:
    return make_cluster(make_certificate, other_rsa_key, "destination", nodes=("pub",))


async def exported(*clusters: Cluster) -> Directory:
    place = Directory()
    for cluster in clusters:
        await exporting.export(cluster, place, now=NOW)
    return place


# Memory


class Sparse(Directory):
    """Says that files are larger than they are, as they would be when they grow on disk; nothing is read of them."""

    async def entries(self) -> Sequence[Entry]:
        listed = await super().entries()
        return [Entry(each.name, READ_LIMIT, each.modified) for each in listed]

    async def read(self, name: str, limit: int = READ_LIMIT) -> bytes:
        raise AssertionError(name)


async def test_files_that_together_fill_a_computers_memory_are_not_read() -> None:
    place = Sparse()
    for number in range(20):
        place.put(f"evil_node{number}_tomcat.p12", b"")
    with pytest.raises(DirectoryTooLargeError, match="20 files of clusters"):
        await take_snapshot(place)


async def test_more_files_than_twenty_clusters_export_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MOST_FILES", 3)
    place = Directory()
    for number in range(4):
        place.put(f"evil_node{number}_tomcat.p12", b"")
    with pytest.raises(DirectoryTooLargeError):
        await take_snapshot(place)


async def test_foreign_files_are_read_as_long_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MOST_BYTES", 1000)
    place = Directory()
    for name in ("a.p12", "b.p12", "c.p12"):
        place.put(name, bytes(400))
    taken = await take_snapshot(place)
    assert [name for name, file in taken.files.items() if file.data is not None] == ["a.p12", "b.p12"]
    assert "was not read" in taken.files["c.p12"].problem


async def test_one_file_that_is_too_large_hides_no_other(source: Cluster) -> None:
    place = await exported(source)
    place.put("evil_pub_tomcat.p12", bytes(READ_LIMIT + 1))
    place.put("evil.manifest.json", bytes(READ_LIMIT + 1))
    listed = {file.name: file for file in (await list_directory(place)).files}
    assert listed["source_pub_tomcat.p12"].signed
    assert "larger than" in listed["evil_pub_tomcat.p12"].problem


async def test_what_is_too_large_is_not_consolidated(source: Cluster) -> None:
    place = await exported(source)
    place.put("evil_pub_tomcat.p12", bytes(READ_LIMIT + 1))
    with pytest.raises(ExchangeError, match=r"evil_pub_tomcat\.p12: larger than"):
        await consolidating.consolidate(source, place, [BulkType.TOMCAT], now=NOW, accept_unsigned=True, wait=0)


async def test_ten_thousand_foreign_names_are_only_listed(source: Cluster) -> None:
    place = await exported(source)
    for number in range(10_000):
        place.put(f"junk{number}.txt", b"")
    listing = await list_directory(place)
    assert listing.clusters == ("source",)
    assert len([file for file in listing.files if file.signed]) == len(listing.exported)


# Time


@pytest.fixture
def usual_file(source: Cluster) -> bytes:
    return Bundle((BundledCertificate(source.certificate(Purpose.TOMCAT), "x"),)).encode("certferry")


def test_a_file_is_counted_by_the_rounds_it_asks_for(usual_file: bytes) -> None:
    patience = Patience(2 * USUAL)
    patience.spend("one", usual_file)
    patience.spend("two", usual_file)
    patience.spend("none at all", b"no PKCS#12")
    with pytest.raises(FilesTooCostlyError, match=f"three asks for {USUAL} key derivation rounds, and 0 are left"):
        patience.spend("three", usual_file)


def test_patience_suffices_for_one_file_of_the_worst_kind_and_for_thousands_of_usual_ones() -> None:
    assert Patience().rounds > MAX_KDF_ROUNDS
    assert Patience().rounds > 4000 * USUAL


async def test_a_list_opens_foreign_files_as_long_as_patience_lasts(
    usual_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "Patience", lambda: Patience(USUAL))
    place = Directory()
    place.put("a.p12", usual_file)
    place.put("b.p12", usual_file)
    first, second = (await list_directory(place)).files
    assert (first.certificates, second.certificates) == (1, None)
    assert "key derivation rounds" in second.problem


async def test_a_consolidation_that_would_take_hours_is_refused(
    source: Cluster, destination: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consolidating, "Patience", lambda: Patience(USUAL))
    place = await exported(source, destination)
    with pytest.raises(FilesTooCostlyError):
        await consolidating.consolidate(source, place, [BulkType.TOMCAT], now=NOW, wait=0)


# Trust


async def test_an_older_export_that_was_put_back_is_worth_a_warning(source: Cluster, destination: Cluster) -> None:
    old = await exported(source, destination)
    new = Directory()
    for cluster in (source, destination):
        await exporting.export(cluster, new, now=NOW + timedelta(days=1))
    for place in (new, old):
        await consolidating.consolidate(source, place, now=NOW)
    first = await importing.plan(source, new, now=NOW)
    assert first.warnings == ()
    assert first.exported == {"destination": NOW + timedelta(days=1)}
    importing.apply(source, first)
    again = await importing.plan(source, old, now=NOW)
    told = "the export of destination was made at 2026-06-01 12:00:00 UTC, before the one that was imported last"
    assert again.warnings == (told,)
    importing.apply(source, again)  # the operator's word
    assert (await importing.plan(source, old, now=NOW)).warnings == ()


async def test_a_manifest_put_back_without_its_files_is_refused(source: Cluster, destination: Cluster) -> None:
    place = await exported(source, destination)
    old = place.data(manifest_name("destination"))
    await exporting.export(destination, place, now=NOW + timedelta(days=1))
    place.put(manifest_name("destination"), old)
    with pytest.raises(snapshot.FileChangedError):
        await consolidating.consolidate(source, place, [BulkType.TOMCAT], now=NOW, wait=0)
