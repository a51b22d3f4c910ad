"""Finding a certificate by what a person would call it, and naming its file as the release does."""

import pytest

from certferry.cluster.certificate_search import (
    CertificateAmbiguousError,
    CertificateNotFoundError,
    file_name,
    find_entry,
)
from certferry.cluster.values import TrustEntry
from certferry.trust.purpose import Store
from certferry.trust.release import Release
from certferry.wire.certificate import Certificate
from conftest import CLUSTER_BORN, MakeCertificate

OLD, NEW = Release.parse("11.5.1"), Release.parse("14")


@pytest.fixture(scope="module")
def pub(make_certificate: MakeCertificate) -> Certificate:
    return make_certificate("CN=pub.example.com", serial=0x0A1B2C3D4E5F)


@pytest.fixture(scope="module")
def sub(make_certificate: MakeCertificate) -> Certificate:
    return make_certificate("CN=sub.example.com", serial=0x1111_2222_3333)


@pytest.fixture(scope="module")
def entries(pub: Certificate, sub: Certificate) -> list[TrustEntry]:
    """One certificate in two stores and another in one."""
    held = [(Store.CALLMANAGER_TRUST, pub), (Store.PHONE_SAST_TRUST, pub), (Store.PHONE_SAST_TRUST, sub)]
    return [TrustEntry(store, certificate, "destination", CLUSTER_BORN) for store, certificate in held]


@pytest.mark.parametrize("release", [OLD, NEW], ids=str)
@pytest.mark.parametrize(
    "reference",
    ["pub.example.com", "PUB.Example.COM", "0A1B2C3D4E5F", "0a1b2c3d4e5f"],
)
def test_a_certificate_answers_to_its_common_name_and_serial_in_any_letter_case(
    entries: list[TrustEntry], pub: Certificate, release: Release, reference: str
) -> None:
    assert find_entry(entries, reference, release).certificate == pub


def test_it_answers_to_its_fingerprint_and_to_six_digits_of_it(entries: list[TrustEntry], sub: Certificate) -> None:
    for reference in (sub.sha256, sub.sha256.upper(), sub.sha256[:6], sub.sha256[:20].upper()):
        assert find_entry(entries, reference, OLD).certificate == sub


def test_fewer_than_six_digits_of_a_fingerprint_are_not_enough(entries: list[TrustEntry], sub: Certificate) -> None:
    with pytest.raises(CertificateNotFoundError):
        find_entry(entries, sub.sha256[:5], OLD)


def test_digits_from_the_middle_of_a_fingerprint_are_not_its_name(entries: list[TrustEntry], sub: Certificate) -> None:
    with pytest.raises(CertificateNotFoundError):
        find_entry(entries, sub.sha256[1:12], OLD)


def test_it_answers_to_the_name_of_its_file_on_that_release(entries: list[TrustEntry], pub: Certificate) -> None:
    assert find_entry(entries, "pub.example.com.pem", OLD).certificate == pub
    assert find_entry(entries, "pub.example.com_0a1b2c3d4e5f.pem", NEW).certificate == pub
    with pytest.raises(CertificateNotFoundError):
        find_entry(entries, "pub.example.com.pem", NEW)


def test_the_first_of_several_stores_that_hold_it_is_returned(entries: list[TrustEntry], pub: Certificate) -> None:
    assert find_entry(entries, "pub.example.com", OLD) == entries[0]
    assert find_entry(entries[1:], "pub.example.com", OLD).store is Store.PHONE_SAST_TRUST


def test_namesakes_are_told_with_the_serials_that_tell_them_apart(
    entries: list[TrustEntry], make_certificate: MakeCertificate
) -> None:
    namesake = make_certificate("CN=pub.example.com", serial=0x77)
    more = [*entries, TrustEntry(Store.TOMCAT_TRUST, namesake, "", CLUSTER_BORN)]
    with pytest.raises(CertificateAmbiguousError) as caught:
        find_entry(more, "pub.example.com", OLD)
    assert str(caught.value) == (
        "'pub.example.com' could be pub.example.com (serial 0A1B2C3D4E5F), pub.example.com (serial 77)"
    )
    assert find_entry(more, "77", OLD).certificate == namesake


def test_a_name_that_nothing_answers_to_is_told(entries: list[TrustEntry]) -> None:
    with pytest.raises(CertificateNotFoundError, match="no certificate is called 'nobody'"):
        find_entry(entries, "nobody", OLD)
    with pytest.raises(CertificateNotFoundError):
        find_entry([], "pub.example.com", OLD)


def test_an_empty_name_means_no_certificate_even_where_one_has_no_common_name(
    make_certificate: MakeCertificate,
) -> None:
    nameless = TrustEntry(Store.TOMCAT_TRUST, make_certificate("O=Example"), "upload", CLUSTER_BORN)
    with pytest.raises(CertificateNotFoundError):
        find_entry([nameless], "", OLD)


# --- file names


@pytest.mark.parametrize(("release", "name"), [("10.5.2", "pub.example.com.pem"), ("12.5.1", "pub.example.com.pem")])
def test_until_12_5_a_file_has_the_common_name(pub: Certificate, release: str, name: str) -> None:
    assert file_name(pub, Release.parse(release)) == name


@pytest.mark.parametrize("release", ["14", "15"])
def test_from_14_it_has_the_serial_too(pub: Certificate, release: str) -> None:
    assert file_name(pub, Release.parse(release)) == "pub.example.com_0a1b2c3d4e5f.pem"


def test_spaces_in_a_name_become_underscores_in_the_file_name(make_certificate: MakeCertificate) -> None:
    assert file_name(make_certificate("CN=Example Root CA"), OLD) == "Example_Root_CA.pem"
