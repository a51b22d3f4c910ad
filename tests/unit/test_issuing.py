"""Making keys and certificates: names as Unified CM gives them, and an LSC that its CAPF vouches for."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from certferry.cluster.issuing import (
    FreshKeys,
    NameImpossibleError,
    Organisation,
    Request,
    common_name,
    key_bytes,
    key_of,
    locally_significant,
    self_signed,
    signing_request,
)
from certferry.lab.keys import PooledKeys
from certferry.trust.purpose import Purpose
from certferry.wire.certificate import Certificate

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOST = "cucm-pub.example.com"


def made(purpose: Purpose, key: rsa.RSAPrivateKey, host: str = HOST) -> Certificate:
    return self_signed(Request(purpose, host), key, NOW)


# --- names


@pytest.mark.parametrize(
    ("purpose", "host", "name"),
    [
        (Purpose.CALLMANAGER, HOST, HOST),
        (Purpose.TOMCAT, HOST, HOST),
        (Purpose.TVS, "cucm-pub", "cucm-pub"),
        (Purpose.IPSEC, HOST, HOST),
        (Purpose.CALLMANAGER_ECDSA, HOST, "cucm-pub-EC.example.com"),
        (Purpose.TOMCAT_ECDSA, "cucm-pub", "cucm-pub-EC"),
        (Purpose.ITL_RECOVERY, HOST, f"ITLRECOVERY_{HOST}"),
        (Purpose.CAPF, HOST, "CAPF-36205338"),
    ],
)
def test_a_certificate_is_named_as_unified_cm_names_it(purpose: Purpose, host: str, name: str) -> None:
    assert common_name(purpose, host, 0xAAAA_3620_5338) == name


def test_capfs_number_always_has_eight_digits() -> None:
    assert common_name(Purpose.CAPF, HOST, 0x1) == "CAPF-00000001"


def test_a_capf_certificate_is_named_by_a_number_of_its_own(rsa_key: rsa.RSAPrivateKey) -> None:
    names = {made(Purpose.CAPF, rsa_key).common_name for _ in range(3)}
    assert len(names) == 3
    assert all(re.fullmatch("CAPF-[0-9a-f]{8}", name) for name in names)


def test_the_subject_has_unified_cms_order(rsa_key: rsa.RSAPrivateKey) -> None:
    request = Request(Purpose.TVS, "pub", Organisation("Voice", "Example", "Osaka", "Kansai", "JP"))
    certificate = self_signed(request, rsa_key, NOW)
    assert certificate.subject == certificate.issuer == "CN=pub;OU=Voice;O=Example;L=Osaka;ST=Kansai;C=JP"
    assert [part.rfc4514_attribute_name for part in certificate.x509.subject] == ["CN", "OU", "O", "L", "ST", "C"]


def test_parts_of_the_organisation_that_are_not_told_are_left_out(rsa_key: rsa.RSAPrivateKey) -> None:
    request = Request(Purpose.TVS, "pub", Organisation(unit="", name="Example", locality="", state="", country=""))
    assert self_signed(request, rsa_key, NOW).subject == "CN=pub;O=Example"


@pytest.mark.parametrize(
    "request_",
    [
        Request(Purpose.TVS, "pub", Organisation(country="Japan")),
        Request(Purpose.TVS, "p" * 65),
        Request(Purpose.ITL_RECOVERY, "p" * 60),
    ],
    ids=["country", "host", "ITLRECOVERY_host"],
)
def test_a_subject_that_x509_does_not_take_is_refused(rsa_key: rsa.RSAPrivateKey, request_: Request) -> None:
    with pytest.raises(NameImpossibleError, match="cannot be named"):
        self_signed(request_, rsa_key, NOW)


# --- what a node generates for itself


@pytest.mark.parametrize("purpose", [purpose for purpose in Purpose if not purpose.is_ec])
def test_a_node_signs_its_certificate_itself(rsa_key: rsa.RSAPrivateKey, purpose: Purpose) -> None:
    certificate = made(purpose, rsa_key)
    assert certificate.is_self_signed
    certificate.x509.verify_directly_issued_by(certificate.x509)
    assert certificate.x509.signature_hash_algorithm is not None
    assert certificate.x509.signature_hash_algorithm.name == "sha256"


def test_serials_have_16_bytes_and_are_never_negative(rsa_key: rsa.RSAPrivateKey) -> None:
    serials = {made(Purpose.TVS, rsa_key).serial for _ in range(20)}
    assert len(serials) == 20
    assert {len(serial) for serial in serials} == {16}
    assert all(serial[0] < 0x80 for serial in serials)


@pytest.mark.parametrize(
    ("purpose", "years"), [(Purpose.CALLMANAGER, 5), (Purpose.TVS, 5), (Purpose.CAPF, 5), (Purpose.ITL_RECOVERY, 20)]
)
def test_certificates_live_five_years_and_itl_recovery_twenty(
    rsa_key: rsa.RSAPrivateKey, purpose: Purpose, years: int
) -> None:
    certificate = made(purpose, rsa_key)
    assert certificate.not_before == NOW
    assert certificate.not_after == NOW + timedelta(days=365 * years)


def test_the_host_stands_in_the_subject_alternative_name(rsa_key: rsa.RSAPrivateKey) -> None:
    names = made(Purpose.TOMCAT, rsa_key).x509.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == [HOST]


def test_only_capf_is_an_authority(rsa_key: rsa.RSAPrivateKey) -> None:
    basic = made(Purpose.CAPF, rsa_key).x509.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.value.ca, basic.value.path_length, basic.critical) == (True, 0, True)
    with pytest.raises(x509.ExtensionNotFound):
        made(Purpose.TVS, rsa_key).x509.extensions.get_extension_for_class(x509.BasicConstraints)


def test_a_node_serves_and_asks_with_its_certificate(rsa_key: rsa.RSAPrivateKey) -> None:
    usage = made(Purpose.TVS, rsa_key).x509.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= set(usage)


def test_an_ec_key_makes_an_ec_certificate() -> None:
    key = FreshKeys().ec()
    certificate = self_signed(Request(Purpose.TOMCAT_ECDSA, HOST), key, NOW)
    assert (certificate.key_kind, certificate.key_bits) == ("EC", 384)
    certificate.x509.verify_directly_issued_by(certificate.x509)


# --- CSRs


def test_a_csr_is_signed_by_its_key_and_names_every_host_once(rsa_key: rsa.RSAPrivateKey) -> None:
    request = signing_request(Request(Purpose.TOMCAT, HOST, alternative_names=["sub", HOST, "sub", "uc"]), rsa_key)
    assert request.is_signature_valid
    assert request.public_key() == rsa_key.public_key()
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [HOST, "sub", "uc"]


def test_a_csr_does_not_ask_to_sign_certificates(rsa_key: rsa.RSAPrivateKey) -> None:
    request = signing_request(Request(Purpose.CAPF, HOST), rsa_key)
    assert request.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign is False


# --- LSCs


@pytest.fixture(scope="module")
def capf(rsa_key: rsa.RSAPrivateKey) -> Certificate:
    return made(Purpose.CAPF, rsa_key)


@pytest.fixture(scope="module", params=["RSA", "EC"])
def phone_key(
    request: pytest.FixtureRequest, other_rsa_key: rsa.RSAPrivateKey
) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    return other_rsa_key.public_key() if request.param == "RSA" else FreshKeys().ec().public_key()


def test_an_lsc_names_the_device_and_is_verified_by_capf(
    capf: Certificate, rsa_key: rsa.RSAPrivateKey, phone_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
) -> None:
    lsc = locally_significant("SEP001122334455", phone_key, capf, rsa_key, NOW)
    assert lsc.common_name == "SEP001122334455"
    assert lsc.subject.partition(";")[2] == capf.subject.partition(";")[2]
    assert lsc.issuer == capf.subject
    assert lsc.x509.public_key() == phone_key
    lsc.x509.verify_directly_issued_by(capf.x509)


def test_an_lsc_is_for_asking_only_and_lives_five_years(capf: Certificate, rsa_key: rsa.RSAPrivateKey) -> None:
    lsc = locally_significant("SEP001122334455", rsa_key.public_key(), capf, rsa_key, NOW)
    usage = lsc.x509.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert (lsc.not_before, lsc.not_after) == (NOW, NOW + timedelta(days=5 * 365))


def test_another_capf_does_not_verify_it(
    capf: Certificate, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    lsc = locally_significant("SEP001122334455", rsa_key.public_key(), capf, rsa_key, NOW)
    stranger = made(Purpose.CAPF, other_rsa_key)
    with pytest.raises(ValueError, match="does not match certificate issuer"):
        lsc.x509.verify_directly_issued_by(stranger.x509)


# --- keys


def test_fresh_keys_are_rsa_of_the_size_asked_for_and_p_384() -> None:
    assert FreshKeys().rsa(1024).key_size == 1024
    assert isinstance(FreshKeys().ec().curve, ec.SECP384R1)


def test_a_key_written_is_read_back_as_it_was(rsa_key: rsa.RSAPrivateKey) -> None:
    for key in (rsa_key, FreshKeys().ec()):
        assert key_of(key_bytes(key)).private_numbers() == key.private_numbers()


def test_another_kind_of_key_is_not_read() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 -- needed once

    with pytest.raises(TypeError, match="Ed25519"):
        key_of(key_bytes(Ed25519PrivateKey.generate()))  # type: ignore[arg-type]


def test_a_pool_hands_out_each_key_before_any_again(key_pool: PooledKeys) -> None:
    numbers = {key_pool.rsa(2048).private_numbers().p for _ in range(48)}
    assert len(numbers) == 48
    assert len({key_pool.ec().private_numbers().private_value for _ in range(48)}) == 48


def test_a_pool_makes_keys_of_other_sizes_afresh(key_pool: PooledKeys) -> None:
    assert key_pool.rsa(1024).key_size == 1024
