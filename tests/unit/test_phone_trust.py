"""Whom a phone believes: signers and TVS certificates of its lists."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from certferry.errors import MalformedError
from certferry.phone.decision import Finding, Held, Kind
from certferry.phone.flash import Flash
from certferry.phone.trust import PhoneTrust, Signer, known_list
from certferry.wire.roles import Role
from certferry.wire.trust_list import TrustRecord
from conftest import MakeCertificate
from phone_clusters import PaperCluster


@pytest.fixture(scope="module")
def cluster(make_certificate: MakeCertificate, rsa_key: rsa.RSAPrivateKey) -> PaperCluster:
    return PaperCluster.of("src", rsa_key, make_certificate, ";OU=IST;O=E")


def trust(ctl: bytes | None = None, itl: bytes | None = None) -> PhoneTrust:
    return PhoneTrust.of(Flash(ctl, itl))


def test_the_same_bytes_are_parsed_and_kept_once(cluster: PaperCluster) -> None:
    data = cluster.itl()
    assert known_list(bytes(bytearray(data))) is known_list(data)
    assert trust(itl=bytes(bytearray(data))).itl is known_list(data)


def test_bytes_that_are_no_list_are_refused() -> None:
    with pytest.raises(MalformedError):
        known_list(b"no list")


def test_a_signer_is_the_same_however_its_names_are_spelt() -> None:
    one = Signer.named("CN=a;OU=b;O=c", "CN=ca;O=x", b"\x00\x12")
    other = Signer.named("O=c, OU=b, CN=A", "O=X,CN=CA", b"\x12")
    assert one == other
    assert hash(one) == hash(other)
    assert one != Signer.named("CN=a;OU=b;O=c", "CN=ca;O=x", b"\x13")
    assert one != Signer.named("CN=a;OU=b;O=c", "CN=other;O=x", b"\x12")


def test_the_roles_of_a_signer_are_those_of_all_its_records(cluster: PaperCluster) -> None:
    match = trust(itl=cluster.itl()).find(Kind.ITL, Signer.of(cluster.callmanager))
    assert match.finding is Finding.IN_ITL
    assert match.roles == {Role.SAST, Role.TFTP}
    assert match.public_keys == (cluster.callmanager.public_key,)


def test_a_signer_is_looked_for_in_the_ctl_first(cluster: PaperCluster) -> None:
    both = trust(cluster.ctl(), cluster.itl())
    assert both.find(Kind.CTL, Signer.of(cluster.callmanager)).finding is Finding.IN_CTL


def test_a_role_that_only_the_itl_gives_is_found_there(cluster: PaperCluster) -> None:
    ctl = cluster.signed("CTL", [cluster.record(cluster.callmanager, Role.SAST)])
    match = trust(ctl, cluster.itl()).find(Kind.CONFIGURATION, Signer.of(cluster.callmanager))
    assert match.finding is Finding.IN_ITL


@pytest.mark.parametrize("kind", [Kind.CTL, Kind.ITL])
def test_a_tftp_that_is_no_sast_signs_no_list_of_an_itl_only_phone(cluster: PaperCluster, kind: Kind) -> None:
    itl = cluster.signed("ITL", [cluster.record(cluster.subscriber, Role.CALLMANAGER_TFTP)])
    match = trust(itl=itl).find(kind, Signer.of(cluster.subscriber))
    assert match.finding is Finding.WITHOUT_ROLE
    assert match.roles == {Role.CALLMANAGER_TFTP}


def test_call_control_of_the_ctl_signs_an_itl_but_no_ctl(cluster: PaperCluster) -> None:
    lists = trust(cluster.ctl())
    assert lists.find(Kind.ITL, Signer.of(cluster.subscriber)).finding is Finding.IN_CTL
    assert lists.find(Kind.CTL, Signer.of(cluster.subscriber)).finding is Finding.WITHOUT_ROLE


def test_a_stranger_is_found_nowhere(cluster: PaperCluster, make_certificate: MakeCertificate) -> None:
    assert trust(cluster.ctl(), cluster.itl()).find(Kind.ITL, Signer.of(make_certificate())).finding is Finding.NOWHERE
    assert trust().find(Kind.ITL, Signer.of(cluster.tvs)).finding is Finding.NOWHERE


def test_tvs_is_recognised_by_the_itl_alone(cluster: PaperCluster) -> None:
    assert trust(cluster.ctl(), cluster.itl()).tvs_certificates == (cluster.tvs,)
    assert trust(cluster.ctl()).tvs_certificates == ()


def test_call_control_is_recognised_by_both_lists(cluster: PaperCluster) -> None:
    lists = trust(cluster.ctl(), cluster.itl(tftp_role=Role.CALLMANAGER_TFTP))
    assert lists.callmanager_certificates == (cluster.callmanager, cluster.subscriber)


def test_a_tvs_record_whose_certificate_cannot_be_read_is_no_tvs(cluster: PaperCluster) -> None:
    broken = replace(cluster.record(cluster.tvs, Role.TVS), certificate=b"no certificate")
    absent = replace(cluster.record(cluster.tvs, Role.TVS), certificate=b"")
    itl = cluster.signed("ITL", [cluster.record(cluster.callmanager, Role.TFTP), broken, absent])
    assert trust(itl=itl).tvs_certificates == ()


def test_a_record_without_a_key_names_nobody(cluster: PaperCluster) -> None:
    itl = cluster.signed("ITL", [TrustRecord.emptied("pub", Role.TVS, "192.0.2.1")])
    assert not known_list(itl).signers


def test_what_a_phone_holds_decides_the_row(cluster: PaperCluster) -> None:
    assert trust().held is Held.NOTHING
    assert trust(itl=cluster.itl()).held is Held.ITL
    assert trust(cluster.ctl()).held is Held.CTL
    assert trust(cluster.ctl(), cluster.itl()).held is Held.CTL
    assert trust(itl=cluster.rollback_itl()).held is Held.ROLLED_BACK
    assert trust(cluster.emptied_ctl(), cluster.rollback_itl()).held is Held.ROLLED_BACK


def test_a_ctl_in_force_goes_before_an_emptied_itl_and_an_itl_in_force_before_an_emptied_ctl(
    cluster: PaperCluster,
) -> None:
    assert trust(cluster.ctl(), cluster.rollback_itl()).held is Held.CTL
    assert trust(cluster.emptied_ctl(), cluster.itl()).held is Held.ITL


def test_erasing_leaves_the_configuration() -> None:
    flash = Flash(b"ctl", b"itl", b"xml", config_signed=True)
    assert flash.erased() == Flash(None, None, b"xml", config_signed=True)
    assert flash.has_trust_list
    assert not flash.erased().has_trust_list
