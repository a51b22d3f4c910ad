"""Fixtures of all tests: keys made once for each run, certificates made to order. No key lies in the repository."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from certferry.wire.certificate import Certificate

TYPE_OF = {
    "CN": NameOID.COMMON_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "L": NameOID.LOCALITY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "C": NameOID.COUNTRY_NAME,
    "DC": NameOID.DOMAIN_COMPONENT,
}
_serials = count(0x5A00_0000_0000_0000_0000_0000_0000_0001)
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
MakeCertificate = Callable[..., Certificate]


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def other_rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def x509_name(text: str) -> x509.Name:
    parts = [part.split("=", 1) for part in text.split(";") if part]
    return x509.Name([x509.NameAttribute(TYPE_OF[label], value) for label, value in parts])


@pytest.fixture(scope="session")
def make_certificate(rsa_key: rsa.RSAPrivateKey) -> MakeCertificate:
    ec_key = ec.generate_private_key(ec.SECP256R1())

    def make(
        subject: str = "CN=pub;OU=Voice;O=Example;L=Tokyo;ST=Tokyo;C=JP",
        *,
        key: PrivateKey | None = None,
        issuer: str | None = None,
        issuer_key: PrivateKey | None = None,
        serial: int | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        ec: bool = False,
        hash: str = "sha256",  # noqa: A002 -- reads best at the call
    ) -> Certificate:
        key = key or (ec_key if ec else rsa_key)
        start = not_before or datetime(2026, 1, 1, tzinfo=UTC)
        algorithm: Any = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256(), "sha512": hashes.SHA512()}[hash]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509_name(subject))
            .issuer_name(x509_name(issuer or subject))
            .public_key(key.public_key())
            .serial_number(serial if serial is not None else next(_serials))
            .not_valid_before(start)
            .not_valid_after(not_after or start + timedelta(days=1825))
            .sign(issuer_key or key, algorithm)
        )
        return Certificate.of(certificate)

    return make
