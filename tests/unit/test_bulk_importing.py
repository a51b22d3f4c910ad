"""Whom an import believes: pinned clusters, forged labels, foreign files, many clusters, equal host names."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from bulk_lab import NOW, Cluster, Directory, make_cluster
from certferry.bulk import consolidating, exporting, importing
from certferry.bulk.directory import list_directory
from certferry.bulk.files import manifest_name
from certferry.bulk.labels import Label
from certferry.bulk.lock import Lock, LockHeldError
from certferry.bulk.manifest import FileRecord, Manifest, ManifestSignatureError, digest
from certferry.bulk.origins import ForeignFile, OriginUnknownError
from certferry.bulk.refusals import FileMissingError
from certferry.bulk.snapshot import UnlistedFileError, UnsignedFileError
from certferry.bulk.wrapping import BundleUnreadableError, Wrapping
from certferry.cluster.values import TrustChange
from certferry.trust.purpose import BulkType, Purpose, Store
from certferry.trust.release import Release
from certferry.trust.store_rules import Action
from certferry.wire.certificate import Certificate
from certferry.wire.pkcs12 import Bundle, BundledCertificate
from conftest import MakeCertificate


@pytest.fixture
def source(make_certificate: MakeCertificate, rsa_key: RSAPrivateKey) -> Cluster:
    return make_cluster(make_certificate, rsa_key, "source", release="10.5.2")


@pytest.fixture
def destination(make_certificate: MakeCertificate, other_rsa_key: RSAPrivateKey) -> Cluster:
    return make_cluster(make_certificate, other_rsa_key, "destination")


@pytest.fixture
async def directory(source: Cluster, destination: Cluster) -> Directory:
    return await exchange_of(source, destination)


async def exchange_of(*clusters: Cluster) -> Directory:
    directory = Directory()
    for cluster in clusters:
        await exporting.export(cluster, directory, now=NOW)
    await consolidating.consolidate(clusters[0], directory, now=NOW)
    return directory


def bundle(*certificates: Certificate, password: str | None = "certferry", names: Sequence[str] = ()) -> bytes:
    entries = [
        BundledCertificate(certificate, name or f"CUCM{number}")
        for number, (certificate, name) in enumerate(zip(certificates, names or [""] * len(certificates), strict=True))
    ]
    return Bundle(tuple(entries)).encode(password)


# Pinning


async def test_a_pinned_cluster_has_to_be_signed_by_that_certificate(
    directory: Directory, source: Cluster, destination: Cluster
) -> None:
    right = destination.certificate(Purpose.TOMCAT).sha256
    colons = ":".join(right[i : i + 2] for i in range(0, 64, 2)).upper()
    for fingerprint in (right, colons, f"SHA256:{right}"):
        plan = await importing.plan(source, directory, now=NOW, expect={"destination": fingerprint})
        assert plan.signers == {"destination": right}
    with pytest.raises(importing.SignerUnexpectedError, match=f"destination is signed by {right}, not by abab"):
        await importing.plan(source, directory, now=NOW, expect={"destination": "ab" * 32})
    with pytest.raises(importing.SignerUnexpectedError, match="third is signed by nobody"):
        await importing.plan(source, directory, now=NOW, expect={"third": right})
    with pytest.raises(importing.FingerprintMalformedError):
        await importing.plan(source, directory, now=NOW, expect={"destination": "abc"})


async def test_another_signer_than_at_the_last_import_is_worth_a_warning(
    directory: Directory, source: Cluster, destination: Cluster, make_certificate: MakeCertificate
) -> None:
    first = await importing.plan(source, directory, now=NOW)
    assert first.warnings == ()
    importing.apply(source, first)
    old = destination.certificate(Purpose.TOMCAT)
    new = make_certificate(old.subject, key=destination.key, not_before=NOW)
    destination.owned = [replace(i, certificate=new) if i.certificate == old else i for i in destination.owned]
    again = await importing.plan(source, await exchange_of(destination, source), now=NOW)
    assert [warning for warning in again.warnings if new.sha256 in warning and "than at the last import" in warning]


# What comes between plan and import


async def test_a_plan_stands_when_certificates_of_other_names_came_meanwhile(
    directory: Directory, source: Cluster, make_certificate: MakeCertificate
) -> None:
    made = await importing.plan(source, directory, now=NOW)
    stranger = TrustChange("add", Store.PHONE_SAST_TRUST, make_certificate("CN=stranger"), "upload")
    source.change_trust([stranger], action="upload", details={})
    importing.apply(source, made)
    assert (await importing.plan(source, directory, now=NOW)).pending == ()


async def test_a_plan_is_void_when_a_certificate_came_or_went_that_decides_about_it(
    directory: Directory, source: Cluster, destination: Cluster, make_certificate: MakeCertificate
) -> None:
    name = destination.certificate(Purpose.CALLMANAGER).subject
    namesake = TrustChange("add", Store.PHONE_SAST_TRUST, make_certificate(name.upper()), "upload")
    own = next(entry for entry in source.entries if entry.is_own)
    for change in (namesake, replace(namesake, action="remove"), TrustChange("remove", own.store, own.certificate)):
        made = await importing.plan(source, directory, now=NOW)
        source.change_trust([change], action="test", details={})
        with pytest.raises(importing.PlanOutdatedError):
            importing.apply(source, made)


# Forgery


async def test_a_cluster_cannot_lend_its_certificates_another_clusters_name(
    directory: Directory, source: Cluster, destination: Cluster, make_certificate: MakeCertificate
) -> None:
    evil = make_certificate("CN=evil", key=destination.key)
    name = "destination_pub_tftp.p12"
    label = Label("source", "pub", "CallManager", "evil").text
    data = bundle(evil, names=[label])
    await put_signed(directory, destination, {name: data})
    await consolidating.consolidate(destination, directory, [BulkType.TFTP], now=NOW)
    with pytest.raises(UnlistedFileError, match=f"source does not vouch for CN=evil \\({evil.sha256}\\)"):
        await importing.plan(destination, directory, [BulkType.TFTP], now=NOW, accept_unsigned=True)


async def test_a_file_put_into_another_clusters_name_is_refused(
    directory: Directory, destination: Cluster, make_certificate: MakeCertificate
) -> None:
    directory.put("source_sub9_tftp.p12", bundle(make_certificate("CN=evil")))
    with pytest.raises(UnlistedFileError, match=r"manifest of source does not know source_sub9_tftp\.p12"):
        await consolidating.consolidate(destination, directory, now=NOW, accept_unsigned=True)


async def put_signed(directory: Directory, cluster: Cluster, files: dict[str, bytes]) -> None:
    """Write files with a manifest that vouches for their bytes, as a cluster with bad intentions can."""
    for name in [name for name in directory.names() if name.startswith(f"{cluster.name}_")]:
        await directory.remove(name)
    records = {name: FileRecord(digest(data), len(data), ()) for name, data in files.items()}
    for name, data in files.items():
        directory.put(name, data)
    manifest = Manifest(cluster.name, cluster.release, NOW, records)
    directory.put(manifest_name(cluster.name), manifest.signed(cluster))


async def test_a_certificate_slipped_into_a_consolidated_file_is_found_even_when_its_maker_signs(
    directory: Directory, source: Cluster, destination: Cluster, make_certificate: MakeCertificate
) -> None:
    evil = make_certificate("CN=evil")
    data = bundle(evil, names=["destination/pub/CallManager/evil"])
    sources = {n: digest(directory.data(n)) for n in directory.names() if n.endswith("_tftp.p12") and "cons" not in n}
    record = {"consolidated_tftp.p12": FileRecord(digest(data), len(data), ())}
    directory.put("consolidated_tftp.p12", data)
    manifest = Manifest("destination", Release(15), NOW, record, sources)
    directory.put("consolidated_tftp.manifest.json", manifest.signed(destination))
    with pytest.raises(UnlistedFileError, match="destination does not vouch for CN=evil"):
        await importing.plan(source, directory, now=NOW, accept_unsigned=True)


async def test_a_tampered_manifest_stops_everything_about_its_cluster(
    directory: Directory, source: Cluster, destination: Cluster
) -> None:
    name = manifest_name("source")
    directory.put(name, directory.data(name).replace(b'"10.5.2"', b'"11.5.1"'))
    listing = await list_directory(directory)
    assert {f.signed for f in listing.files if f.cluster == "source"} == {False}
    with pytest.raises(ManifestSignatureError, match=r"source\.manifest\.json: the manifest of source was changed"):
        await consolidating.consolidate(destination, directory, now=NOW)
    with pytest.raises(ManifestSignatureError):
        await importing.plan(destination, directory, now=NOW, accept_unsigned=True)


async def test_a_manifest_that_speaks_for_another_cluster_is_refused(
    directory: Directory, source: Cluster, destination: Cluster
) -> None:
    directory.put(manifest_name("source"), directory.data(manifest_name("destination")))
    (problem,) = {f.problem for f in (await list_directory(directory)).files if f.cluster == "source"}
    assert "it speaks for destination, not for source" in problem


# Files of other products


async def test_foreign_files_are_listed_and_left_alone(directory: Directory, source: Cluster) -> None:
    theirs = bundle(source.certificate(Purpose.TOMCAT), source.certificate(Purpose.CAPF))
    directory.put("cucm-pub.p12", theirs)
    directory.put("locked.pfx", bundle(source.certificate(Purpose.CAPF), password="unknown"))
    directory.put("notes.txt", b"call Bob")
    listing = {f.name: f for f in (await list_directory(directory)).files}
    assert listing["cucm-pub.p12"].certificates == 2
    assert (listing["cucm-pub.p12"].cluster, listing["cucm-pub.p12"].bulk_type) == (None, None)
    assert listing["locked.pfx"].certificates is None
    assert "passwords" in listing["locked.pfx"].problem
    assert listing["notes.txt"].problem == "not a PKCS#12 file"
    await exporting.export(source, directory, now=NOW)
    await exporting.remove_cluster(directory, "source", operator="x")
    assert directory.data("cucm-pub.p12") == theirs
    assert {"notes.txt", "locked.pfx"} <= set(directory.names())


async def test_a_foreign_file_is_imported_after_the_operators_word(
    source: Cluster, make_certificate: MakeCertificate
) -> None:
    directory, certificate = Directory(), make_certificate("CN=cucm")
    directory.put("cucm.p12", bundle(certificate, password="theirs"))
    foreign = [ForeignFile("cucm.p12", BulkType.TFTP, "hq")]
    with pytest.raises(UnsignedFileError):
        await importing.plan(source, directory, now=NOW, foreign=foreign)
    with pytest.raises(BundleUnreadableError):
        await importing.plan(source, directory, now=NOW, foreign=foreign, accept_unsigned=True)
    plan = await importing.plan(
        source, directory, now=NOW, foreign=foreign, accept_unsigned=True, wrapping=Wrapping("x", ("theirs",))
    )
    assert plan.signers == {"hq": None}
    assert {(c.store, c.from_cluster) for c in plan.pending} == {
        (Store.PHONE_SAST_TRUST, "hq"),
        (Store.CALLMANAGER_TRUST, "hq"),
    }
    with pytest.raises(FileMissingError):
        await importing.plan(
            source, directory, now=NOW, foreign=[replace(foreign[0], name="x.p12")], accept_unsigned=True
        )


async def test_keys_and_a_missing_mac_in_a_foreign_file_are_reported(
    source: Cluster, make_certificate: MakeCertificate, rsa_key: RSAPrivateKey
) -> None:
    directory, certificate = Directory(), make_certificate("CN=cucm", key=rsa_key)
    encryption = BestAvailableEncryption(b"theirs")
    data = serialize_key_and_certificates(b"cucm", rsa_key, certificate.x509, None, encryption)
    directory.put("with-key.p12", data)
    directory.put("open.p12", serialize_key_and_certificates(None, None, None, [certificate.x509], NoEncryption()))
    plan = await importing.plan(
        source,
        directory,
        now=NOW,
        foreign=[ForeignFile("with-key.p12", BulkType.TOMCAT, "hq"), ForeignFile("open.p12", BulkType.TOMCAT, "hq")],
        accept_unsigned=True,
        wrapping=Wrapping("theirs"),
    )
    assert "with-key.p12 holds 1 private keys; they were not read" in plan.warnings
    assert len(plan.pending) == 1


async def test_a_consolidated_file_of_another_product_has_no_origin(source: Cluster, destination: Cluster) -> None:
    directory = Directory()
    directory.put("consolidated_tftp.p12", bundle(destination.certificate(Purpose.CALLMANAGER)))
    with pytest.raises(UnsignedFileError):
        await importing.plan(source, directory, now=NOW)
    with pytest.raises(OriginUnknownError, match="'CUCM0' does not say which cluster"):
        await importing.plan(source, directory, now=NOW, accept_unsigned=True)
    foreign = [ForeignFile("consolidated_tftp.p12", BulkType.TFTP, "hq")]
    plan = await importing.plan(source, directory, [], now=NOW, foreign=foreign, accept_unsigned=True)
    assert len(plan.pending) == 2


async def test_a_file_of_our_naming_with_a_key_inside_is_consolidated_without_the_key(
    directory: Directory, destination: Cluster, make_certificate: MakeCertificate, rsa_key: RSAPrivateKey
) -> None:
    certificate = make_certificate("CN=third", key=rsa_key)
    encryption = BestAvailableEncryption(b"certferry")
    data = serialize_key_and_certificates(b"third", rsa_key, certificate.x509, None, encryption)
    directory.put("third_pub_tomcat.p12", data)
    done = await consolidating.consolidate(destination, directory, [BulkType.TOMCAT], now=NOW, accept_unsigned=True)
    assert done.keys_ignored == ("third_pub_tomcat.p12",)
    assert done.unsigned == ("third_pub_tomcat.p12",)
    written = Wrapping().open("c", directory.data("consolidated_tomcat.p12"))
    assert written.keys_ignored == 0
    assert "third/pub/tomcat/third #1" in {entry.friendly_name for entry in written.certificates}


# Stores


async def test_the_clusters_own_certificate_is_never_displaced_by_a_namesake(
    make_certificate: MakeCertificate, rsa_key: RSAPrivateKey, other_rsa_key: RSAPrivateKey
) -> None:
    ours = make_cluster(make_certificate, rsa_key, "ours", host="voice")
    theirs = make_cluster(make_certificate, other_rsa_key, "theirs", host="voice", start=NOW.replace(month=2))
    directory = await exchange_of(ours, theirs)
    importing.apply(ours, plan := await importing.plan(ours, directory, now=NOW))
    own, foreign = ours.certificate(Purpose.CALLMANAGER), theirs.certificate(Purpose.CALLMANAGER)
    assert own.subject == foreign.subject
    assert {own, foreign} <= ours.holds(Store.PHONE_SAST_TRUST)
    assert [c.reason for c in plan.pending if c.certificate == foreign and "name" in c.reason]


async def test_expired_certificates_are_refused_with_the_reason(
    source: Cluster, destination: Cluster, make_certificate: MakeCertificate
) -> None:
    old = destination.certificate(Purpose.CAPF)
    expired = make_certificate(old.subject, key=destination.key, not_after=NOW.replace(month=2))
    destination.owned = [replace(i, certificate=expired) if i.certificate == old else i for i in destination.owned]
    plan = await importing.plan(source, await exchange_of(source, destination), now=NOW)
    (refused,) = plan.refused
    assert refused.certificate == expired
    assert refused.reason == "expired on 2026-02-01"


async def test_certificates_under_this_clusters_name_that_are_not_its_own_are_pointed_out(
    directory: Directory, make_certificate: MakeCertificate, rsa_key: RSAPrivateKey
) -> None:
    namesake = make_cluster(make_certificate, rsa_key, "source")
    plan = await importing.plan(namesake, directory, now=NOW)
    assert [warning for warning in plan.warnings if "another cluster is called source too" in warning]
    assert {c.action for c in plan.changes if c.from_cluster == "source"} == {Action.SKIP}


async def test_many_clusters_in_any_order_all_trust_each_other(
    make_certificate: MakeCertificate, rsa_key: RSAPrivateKey
) -> None:
    clusters = [make_cluster(make_certificate, rsa_key, f"c{number:02}", nodes=("pub",)) for number in range(8)]
    directory = await exchange_of(*reversed(clusters))
    for cluster in clusters:
        importing.apply(cluster, await importing.plan(cluster, directory, now=NOW))
        others = {other.certificate(Purpose.CALLMANAGER) for other in clusters}
        assert others <= cluster.holds(Store.PHONE_SAST_TRUST)
        assert {entry.origin for entry in cluster.trust_entries()} == {""} | {
            other.name for other in clusters if other is not cluster
        }


# Several at once


async def test_simultaneous_exports_of_several_clusters_all_arrive(
    make_certificate: MakeCertificate, rsa_key: RSAPrivateKey
) -> None:
    clusters = [make_cluster(make_certificate, rsa_key, f"c{number}", nodes=("pub",)) for number in range(5)]
    directory = Directory()
    await asyncio.gather(*(exporting.export(cluster, directory, now=NOW) for cluster in clusters))
    listing = await list_directory(directory)
    assert len(listing.clusters) == 5
    assert all(file.signed for file in listing.files)


async def test_the_same_export_started_twice_is_refused_while_the_first_runs(
    directory: Directory, source: Cluster
) -> None:
    directory.put("source.lock", lock_held_elsewhere())
    with pytest.raises(LockHeldError):
        await exporting.export(source, directory, now=NOW, wait=0)


async def test_consolidation_waits_for_an_export_that_is_half_done(
    directory: Directory, source: Cluster, destination: Cluster
) -> None:
    (name, *_) = (n for n in directory.names() if n.startswith("source_"))
    whole = directory.data(name)
    directory.put(name, bundle(source.certificate(Purpose.TVS)))
    directory.put("source.lock", lock_held_elsewhere())
    with pytest.raises(LockHeldError, match="export of source"):
        await consolidating.consolidate(destination, directory, now=NOW, wait=0)
    waiting = asyncio.create_task(consolidating.consolidate(destination, directory, now=NOW, wait=30))
    await asyncio.sleep(0)
    directory.put(name, whole)
    await directory.remove("source.lock")
    assert set((await waiting).files) == set(BulkType)


def lock_held_elsewhere() -> bytes:
    mine = Lock.mine("source", "export", NOW)
    return replace(mine, machine="elsewhere", expires_at="2999-01-01T00:00:00+00:00").encode()
