"""The files of a TFTP node: which names it serves to whom, how they are signed, and which of them stay as they are."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.issuing import PrivateKey
from certferry.cluster.parameters import ROLLBACK, SECURITY_MODE, SIGNATURE_ALGORITHM
from certferry.cluster.trust_lists import SignerKeyError
from certferry.cluster.values import CallManagerGroup, Phone, SecurityMode, TrustChange
from certferry.serve.file_source import look_up
from certferry.serve.files import SIGNING, FileLibrary
from certferry.serve.signatures import Signatures
from certferry.serve.snapshot import Credentials, Snapshot, trusted_certificates
from certferry.trust.purpose import Purpose, Store
from certferry.wire.phone_config import DeviceSecurityMode, PhoneConfig
from certferry.wire.roles import Role
from certferry.wire.signed_file import SignedFile
from certferry.wire.signed_header import Digest
from conftest import MakeCertificate, MakeCluster

PUB, SUB = "source-pub", "source-sub1"
ONE, TWO, STRANGER = "SEP0011223344AA", "SEP0011223344BB", "SEPFFFFFFFFFFFF"
BORN, LATER = 1_780_000_000, 1_780_003_600


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    """A non-secure cluster of two nodes that knows two phones."""
    made = make_cluster(nodes=2)
    made.add_phones([Phone(ONE), Phone(TWO)])
    return made


def snapshot_of(cluster: Cluster) -> Snapshot:
    return Snapshot.load(cluster, [node.name for node in cluster.nodes()])


def library(cluster: Cluster, node: str = PUB) -> FileLibrary:
    files = FileLibrary()
    files.rebuild(node, snapshot_of(cluster), BORN)
    return files


# --- names


def test_a_non_secure_node_serves_its_itl_and_a_configuration_for_every_phone(cluster: Cluster) -> None:
    files = library(cluster)
    assert len(files) == 1 + 2 + 2 * (2 + 1)
    assert files.find("ITLFile.tlv") == cluster.trust_list("ITL", PUB)
    for device in (ONE, TWO):
        assert files.find(f"ITL{device}.tlv") == cluster.trust_list("ITL", PUB)
        assert files.find(f"{device}.cnf.xml")
        assert files.find(f"{device}.cnf.xml.sgn")


def test_there_is_no_ctl_in_a_non_secure_cluster_which_phones_take_as_such(cluster: Cluster) -> None:
    files = library(cluster)
    assert files.find("CTLFile.tlv") is None
    assert files.find(f"CTL{ONE}.tlv") is None


def test_a_node_in_mixed_mode_serves_the_ctl_too(cluster: Cluster) -> None:
    cluster.set_parameter(SECURITY_MODE, "mixed")
    files = library(cluster)
    assert files.find("CTLFile.tlv") == files.find(f"CTL{ONE}.tlv") == cluster.trust_list("CTL") is not None


def test_each_node_serves_its_own_itl(cluster: Cluster) -> None:
    assert library(cluster, SUB).find("ITLFile.tlv") == cluster.trust_list("ITL", SUB)
    assert cluster.trust_list("ITL", SUB) != cluster.trust_list("ITL", PUB)


@pytest.mark.parametrize(
    "name",
    [f"ITL{STRANGER}.tlv", f"{STRANGER}.cnf.xml", f"{STRANGER}.cnf.xml.sgn", "XMLDefault.cnf.xml.enc.sgn", "", ONE],
)
def test_nothing_is_served_for_a_phone_the_cluster_does_not_know(cluster: Cluster, name: str) -> None:
    assert library(cluster).find(name) is None


@pytest.mark.parametrize("node", [PUB, SUB])
def test_the_default_configuration_is_there_for_everybody_signed_by_each_node(cluster: Cluster, node: str) -> None:
    files = library(cluster, node)
    signed = SignedFile.parse(files.find("XMLDefault.cnf.xml.sgn") or b"")
    assert signed.verify(cluster.identity(Purpose.CALLMANAGER, node).certificate)
    assert signed.header.filename == "XMLDefault.cnf.xml.sgn"
    assert signed.payload == files.find("XMLDefault.cnf.xml")
    assert files.find("XMLDefault.cnf.xml.sgn") == files.find("XMLDefault.cnf.xml.sgn")


def test_it_names_the_callmanagers_of_the_default_group_and_no_tvs(cluster: Cluster) -> None:
    config = PhoneConfig.parse(library(cluster).find("XMLDefault.cnf.xml") or b"")
    (default,) = (group for group in cluster.groups() if group.name == "Default")
    assert [member.name for member in config.callmanagers] == list(default.members)
    assert config.tvs == ()
    cluster.put_group(CallManagerGroup("Default", (SUB,)))
    config = PhoneConfig.parse(library(cluster).find("XMLDefault.cnf.xml") or b"")
    assert [member.name for member in config.callmanagers] == [SUB]


def test_letter_case_does_not_count(cluster: Cluster) -> None:
    files = library(cluster)
    for name in ("ITLFile.tlv", f"ITL{ONE}.tlv", f"{ONE}.cnf.xml.sgn", "XMLDefault.cnf.xml", "XMLDefault.cnf.xml.sgn"):
        assert files.find(name) == files.find(name.upper()) == files.find(name.lower()) is not None


def test_leading_slashes_and_hostile_names_do_no_harm(cluster: Cluster) -> None:
    files = library(cluster)
    assert look_up(files, "/ITLFile.tlv") == files.find("ITLFile.tlv")
    for name in ("../seal.key", "/etc/passwd", "cluster.sqlite", "ITLFile.tlv\0", "x" * 10_000, "ITLF\u0131le.tlv"):
        assert look_up(files, name) is None


def test_a_cluster_without_phones_serves_its_lists_to_everybody(make_cluster: MakeCluster) -> None:
    files = library(make_cluster(nodes=1, secure=True))
    assert len(files) == 2 + 2
    assert files.find("CTLFile.tlv")
    assert files.find("ITLFile.tlv")


# --- configurations


def test_a_signed_configuration_is_the_plain_one_signed_by_this_nodes_callmanager(cluster: Cluster) -> None:
    for node in (PUB, SUB):
        files = library(cluster, node)
        signed = SignedFile.parse(files.find(f"{ONE}.cnf.xml.sgn") or b"")
        signer = cluster.identity(Purpose.CALLMANAGER, node).certificate
        assert signed.verify(signer)
        assert signed.payload == files.find(f"{ONE}.cnf.xml")
        assert (signed.header.subject, signed.header.serial) == (signer.subject, signer.serial)
        assert signed.header.filename == f"{ONE}.cnf.xml.sgn"
        assert signed.header.timestamp == BORN


def test_a_configuration_names_the_phones_own_group(cluster: Cluster) -> None:
    cluster.put_group(CallManagerGroup("East", (SUB,)))
    cluster.add_phones([Phone(TWO, group="East")])
    files = library(cluster)
    one, two = (PhoneConfig.parse(files.find(f"{device}.cnf.xml") or b"") for device in (ONE, TWO))
    assert [member.address for member in one.tvs] == ["127.0.2.2", "127.0.2.1"]
    assert [member.address for member in two.tvs] == ["127.0.2.2"]


def test_a_secure_phone_is_told_so_in_mixed_mode(cluster: Cluster) -> None:
    cluster.add_phones([Phone(TWO, secure=True)])
    cluster.set_parameter(SECURITY_MODE, "mixed")
    config = PhoneConfig.parse(library(cluster).find(f"{TWO}.cnf.xml") or b"")
    assert config.security_mode is DeviceSecurityMode.ENCRYPTED


def test_sha_512_signs_configurations_too(cluster: Cluster) -> None:
    cluster.set_parameter(SIGNATURE_ALGORITHM, "sha-512")
    signed = SignedFile.parse(library(cluster).find(f"{ONE}.cnf.xml.sgn") or b"")
    assert signed.header.digest is Digest.SHA512
    assert signed.verify(cluster.identity(Purpose.CALLMANAGER).certificate)


# --- what stays and what changes


def rebuilt(files: FileLibrary, cluster: Cluster, *names: str, node: str = PUB) -> dict[str, bool]:
    """Take over the cluster as it is now; tell for each name whether its bytes changed."""
    before = {name: files.find(name) for name in names}
    files.rebuild(node, snapshot_of(cluster), LATER)
    return {name: files.find(name) != before[name] for name in names}


SIGNED_ONE, SIGNED_TWO, ITL = f"{ONE}.cnf.xml.sgn", f"{TWO}.cnf.xml.sgn", "ITLFile.tlv"


def test_unchanged_files_keep_their_bytes_when_the_change_version_moves(
    cluster: Cluster, make_certificate: MakeCertificate
) -> None:
    files = library(cluster)
    version = cluster.version()
    cluster.change_trust([TrustChange("add", Store.PHONE_SAST_TRUST, make_certificate())], action="upload")
    cluster.add_phones([Phone(STRANGER)])
    assert cluster.version() > version
    assert rebuilt(files, cluster, SIGNED_ONE, SIGNED_TWO, ITL) == {SIGNED_ONE: False, SIGNED_TWO: False, ITL: False}
    assert files.find(f"{STRANGER}.cnf.xml.sgn")


def test_only_the_phone_whose_configuration_changed_gets_a_new_one(cluster: Cluster) -> None:
    files = library(cluster)
    cluster.add_phones([Phone(TWO, "7821")])
    assert rebuilt(files, cluster, SIGNED_ONE, SIGNED_TWO) == {SIGNED_ONE: False, SIGNED_TWO: True}
    assert SignedFile.parse(files.find(SIGNED_TWO) or b"").header.timestamp == LATER


def test_a_description_alone_changes_no_file(cluster: Cluster) -> None:
    files = library(cluster)
    cluster.add_phones([Phone(TWO, description="moved to the second floor")])
    assert rebuilt(files, cluster, SIGNED_TWO) == {SIGNED_TWO: False}


def test_a_new_callmanager_certificate_signs_everything_of_its_node_anew(cluster: Cluster) -> None:
    pub, sub = library(cluster), library(cluster, SUB)
    cluster.regenerate(Purpose.CALLMANAGER, PUB)
    assert rebuilt(pub, cluster, SIGNED_ONE, ITL) == {SIGNED_ONE: True, ITL: True}
    assert rebuilt(sub, cluster, SIGNED_ONE, ITL, node=SUB) == {SIGNED_ONE: False, ITL: False}
    assert SignedFile.parse(pub.find(SIGNED_ONE) or b"").verify(cluster.identity(Purpose.CALLMANAGER).certificate)


def test_another_digest_signs_everything_anew(cluster: Cluster) -> None:
    files = library(cluster)
    cluster.set_parameter(SIGNATURE_ALGORITHM, "sha-512")
    assert rebuilt(files, cluster, SIGNED_ONE, ITL) == {SIGNED_ONE: True, ITL: True}


def test_rollback_changes_the_itl_and_no_configuration(cluster: Cluster) -> None:
    files = library(cluster)
    cluster.set_parameter(ROLLBACK, "true")
    assert rebuilt(files, cluster, SIGNED_ONE, ITL) == {SIGNED_ONE: False, ITL: True}


def test_a_phone_that_was_forgotten_has_no_files_any_more(cluster: Cluster) -> None:
    files = library(cluster)
    cluster.remove_phones([TWO])
    files.rebuild(PUB, snapshot_of(cluster), LATER)
    assert files.find(f"ITL{TWO}.tlv") is None
    assert files.find(SIGNED_TWO) is None
    assert files.find(SIGNED_ONE)


def test_the_ctl_is_emptied_when_the_cluster_leaves_mixed_mode_and_goes_when_it_is_deleted(cluster: Cluster) -> None:
    cluster.set_parameter(SECURITY_MODE, "mixed")
    files = library(cluster)
    whole = files.find("CTLFile.tlv")
    cluster.set_parameter(SECURITY_MODE, "non-secure")
    files.rebuild(PUB, snapshot_of(cluster), LATER)
    assert files.find("CTLFile.tlv") == files.find(f"CTL{ONE}.tlv") not in (whole, None)
    cluster.delete_ctl()
    files.rebuild(PUB, snapshot_of(cluster), LATER)
    assert files.find("CTLFile.tlv") is None


def test_files_are_swapped_whole_so_that_a_failure_keeps_the_old_ones(cluster: Cluster) -> None:
    files = library(cluster)
    before = files.find(SIGNED_ONE)
    snapshot = snapshot_of(cluster)
    broken = {key: Credentials(each.certificate, _ec_key(cluster)) for key, each in snapshot.credentials.items()}
    with pytest.raises(SignerKeyError, match="has no RSA key"):
        files.rebuild(PUB, replace(snapshot, credentials=broken), LATER)
    assert files.find(SIGNED_ONE) == before


def _ec_key(cluster: Cluster) -> PrivateKey:
    return cluster.private_key(cluster.identity(Purpose.TOMCAT_ECDSA))


# --- signing ahead


def signed_ahead(files: FileLibrary) -> None:
    """Let the library sign all, and wait until it has."""
    files.sign_ahead()
    for thread in threading.enumerate():
        if thread.name == SIGNING:
            thread.join(60)


def test_nothing_is_signed_before_it_is_asked_for_and_then_at_once(cluster: Cluster) -> None:
    files = library(cluster)
    assert files.unsigned == 2
    assert files.find(SIGNED_ONE)
    assert files.unsigned == 1


def test_what_nobody_asked_for_is_signed_in_the_background(cluster: Cluster) -> None:
    files, asked = library(cluster), library(cluster)
    signed_ahead(files)
    assert files.unsigned == 0
    assert files.find(SIGNED_ONE) == asked.find(SIGNED_ONE)


def test_a_closed_library_signs_no_more_ahead(cluster: Cluster) -> None:
    files = library(cluster)
    files.close()
    signed_ahead(files)
    assert files.unsigned == 2


def test_a_change_of_one_phone_leaves_one_to_sign(cluster: Cluster) -> None:
    files = library(cluster)
    signed_ahead(files)
    cluster.add_phones([Phone(TWO, "7821")])
    files.rebuild(PUB, snapshot_of(cluster), LATER)
    assert files.unsigned == 1


def test_after_a_restart_nothing_is_signed_again(cluster: Cluster, tmp_path: Path) -> None:
    found = []
    for timestamp in (BORN, LATER):
        signatures = Signatures(tmp_path / "signatures")
        files = FileLibrary(signatures)
        files.rebuild(PUB, snapshot_of(cluster), timestamp)
        found.append(files.find(SIGNED_ONE))
        signatures.close()
    assert found[0] == found[1]


def test_configurations_written_from_what_phones_share_are_what_each_would_be(cluster: Cluster) -> None:
    cluster.put_group(CallManagerGroup("East", (SUB,)))
    cluster.add_phones([Phone(TWO, group="East"), Phone(STRANGER, "7821")])
    files, snapshot = library(cluster), snapshot_of(cluster)
    for config in snapshot.configs.values():
        assert files.find(f"{config.device}.cnf.xml") == config.encode()


def test_a_configuration_that_cannot_be_written_is_not_served_and_stops_nothing(cluster: Cluster) -> None:
    snapshot = snapshot_of(cluster)
    name, config = next(iter(snapshot.configs.items()))
    broken = replace(config, model="\0")
    files = FileLibrary()
    files.rebuild(PUB, replace(snapshot, configs={**snapshot.configs, name: broken}), BORN)
    signed_ahead(files)
    assert files.find(f"{broken.device}.cnf.xml.sgn") is None
    assert files.unsigned == 1


# --- the snapshot they are made from


def test_a_snapshot_holds_the_keys_of_the_nodes_it_is_for_and_no_others(cluster: Cluster) -> None:
    snapshot = Snapshot.load(cluster, [SUB])
    assert set(snapshot.credentials) == {(SUB, Purpose.CALLMANAGER), (SUB, Purpose.TVS)}
    assert set(snapshot.itl) == {SUB}
    assert [node.name for node in snapshot.nodes] == [PUB, SUB]


def test_a_snapshot_tells_parameters_in_the_terms_services_use(cluster: Cluster) -> None:
    cluster.set_parameter(SECURITY_MODE, "mixed")
    cluster.set_parameter(ROLLBACK, "true")
    cluster.set_parameter("tvs-cache-seconds", "60")
    snapshot = snapshot_of(cluster)
    assert (snapshot.mode, snapshot.rollback, snapshot.tvs_index.ttl) == (SecurityMode.MIXED, True, 60)
    assert snapshot.version == cluster.version()


# --- what TVS vouches for


def test_own_certificates_are_vouched_for_in_their_purpose_and_their_copies(cluster: Cluster) -> None:
    reading = cluster.reading([])
    roles = trusted_certificates(reading.identities, reading.trust)
    of = {purpose: roles[cluster.identity(purpose).certificate.der] for purpose in Purpose}
    assert of == {
        Purpose.CALLMANAGER: {Role.CALLMANAGER_TFTP, Role.SAST, Role.TFTP},
        Purpose.CALLMANAGER_ECDSA: {Role.CALLMANAGER_TFTP},
        Purpose.TOMCAT: {Role.APPLICATION_SERVER},
        Purpose.TOMCAT_ECDSA: {Role.APPLICATION_SERVER},
        Purpose.CAPF: {Role.CAPF},
        Purpose.TVS: {Role.TVS},
        Purpose.ITL_RECOVERY: {Role.SAST, Role.TFTP},
        Purpose.IPSEC: {Role.APPLICATION_SERVER},
    }


@pytest.mark.parametrize(
    ("stores", "roles"),
    [
        ([Store.PHONE_SAST_TRUST], {Role.SAST, Role.TFTP}),
        ([Store.CALLMANAGER_TRUST], set()),
        ([Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST], {Role.SAST, Role.TFTP}),
        ([Store.TOMCAT_TRUST], {Role.APPLICATION_SERVER}),
        ([Store.TOMCAT_TRUST, Store.PHONE_SAST_TRUST], {Role.SAST, Role.TFTP, Role.APPLICATION_SERVER}),
    ],
)
def test_a_foreign_certificate_has_the_roles_of_the_stores_that_hold_it(
    cluster: Cluster, make_certificate: MakeCertificate, stores: list[Store], roles: set[Role]
) -> None:
    stranger = make_certificate("CN=destination-pub")
    cluster.change_trust([TrustChange("add", store, stranger) for store in stores], action="upload")
    reading = snapshot_of(cluster).reading
    assert trusted_certificates(reading.identities, reading.trust)[stranger.der] == roles
