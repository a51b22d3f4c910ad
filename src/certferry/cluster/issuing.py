"""Making keys and certificates: what a node generates for itself, and the LSC that CAPF issues to a phone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from secrets import randbits
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certferry.errors import UsageError
from certferry.trust.purpose import Purpose
from certferry.wire.certificate import Certificate

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

VALIDITY = timedelta(days=5 * 365)
ITL_RECOVERY_VALIDITY = timedelta(days=20 * 365)
_IPSEC_END_SYSTEM = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.5")


class NameImpossibleError(UsageError):
    """A name cannot stand in a certificate."""

    code = "cluster.name-impossible"
    remedy = "Give a country of two letters, other names of at most 64 characters, and host names in ASCII."


@dataclass(frozen=True, slots=True)
class Organisation:
    """The part of the subject that all certificates of a cluster share, as asked for at installation."""

    unit: str = "Voice"
    name: str = "certferry"
    locality: str = "Tokyo"
    state: str = "Tokyo"
    country: str = "JP"


class KeySource(Protocol):
    """Where new private keys come from; tests and the lab hand out keys made beforehand."""

    def rsa(self, bits: int) -> rsa.RSAPrivateKey:
        """Give an RSA key."""
        ...

    def ec(self) -> ec.EllipticCurvePrivateKey:
        """Give an EC key."""
        ...


class FreshKeys:
    """Keys generated on the spot."""

    def rsa(self, bits: int) -> rsa.RSAPrivateKey:
        """Generate an RSA key: 50 to 200 ms for 2048 bit; releases the interpreter lock."""
        return rsa.generate_private_key(65537, bits)

    def ec(self) -> ec.EllipticCurvePrivateKey:
        """Generate a P-384 key, the size CallManager-ECDSA has."""
        return ec.generate_private_key(ec.SECP384R1())


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be certified: purpose, the host it is for, and the names that go into its SAN."""

    purpose: Purpose
    host: str
    organisation: Organisation = field(default_factory=Organisation)
    alternative_names: Sequence[str] = ()


def common_name(purpose: Purpose, host: str, number: int) -> str:
    """Name a certificate as Unified CM does: ``host``, ``host-EC.domain``, ``CAPF-8hex``, ``ITLRECOVERY_host``."""
    short, dot, domain = host.partition(".")
    if purpose is Purpose.CAPF:
        return f"CAPF-{number & 0xFFFFFFFF:08x}"
    if purpose is Purpose.ITL_RECOVERY:
        return f"ITLRECOVERY_{host}"
    return f"{short}-EC{dot}{domain}" if purpose.is_ec else host


def self_signed(request: Request, key: PrivateKey, now: datetime) -> Certificate:
    """Make the self-signed certificate that a node generates for ``request``, valid from ``now`` on."""
    serial = randbits(126) | 1 << 126  # 16 bytes, as Unified CM's own are
    subject = subject_name(request, serial)
    life = ITL_RECOVERY_VALIDITY if request.purpose is Purpose.ITL_RECOVERY else VALIDITY
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now)
        .not_valid_after(now + life)
        .add_extension(_key_usage(certifies=True), critical=False)
        .add_extension(_extended_usage(), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if request.purpose is Purpose.CAPF:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    else:
        builder = builder.add_extension(_alternative_names(request), critical=False)
    return Certificate.of(builder.sign(key, hashes.SHA256()))


def subject_name(request: Request, number: int) -> x509.Name:
    """Build the subject in the order of Unified CM's own certificates; raises ``NameImpossibleError``."""
    organisation = request.organisation
    parts = [
        (NameOID.COMMON_NAME, common_name(request.purpose, request.host, number)),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, organisation.unit),
        (NameOID.ORGANIZATION_NAME, organisation.name),
        (NameOID.LOCALITY_NAME, organisation.locality),
        (NameOID.STATE_OR_PROVINCE_NAME, organisation.state),
        (NameOID.COUNTRY_NAME, organisation.country),
    ]
    try:
        return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts if value])
    except ValueError as error:
        raise NameImpossibleError(f"the certificate of {request.host} cannot be named: {error}") from error


def signing_request(request: Request, key: PrivateKey) -> x509.CertificateSigningRequest:
    """Make the CSR that *Generate CSR* downloads; raises ``NameImpossibleError``."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject_name(request, randbits(32)))
        .add_extension(_key_usage(certifies=False), critical=False)
        .add_extension(_extended_usage(), critical=False)
        .add_extension(_alternative_names(request), critical=False)
        .sign(key, hashes.SHA256())
    )


def locally_significant(
    device: str,
    phone_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    capf: Certificate,
    key: PrivateKey,
    now: datetime,
) -> Certificate:
    """Issue an LSC: the certificate by which ``device`` registers securely, signed by CAPF."""
    issuer = capf.x509
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, device),
            *(part for part in issuer.subject if part.oid != NameOID.COMMON_NAME),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject)
        .public_key(phone_key)
        .serial_number(randbits(62) | 1 << 62)
        .not_valid_before(now)
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    )
    return Certificate.of(builder.sign(key, hashes.SHA256()))


def key_bytes(key: PrivateKey) -> bytes:
    """Write a private key as unencrypted PKCS#8 DER, to be sealed at once."""
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def key_of(data: bytes) -> PrivateKey:
    """Read a private key back from what ``key_bytes`` wrote."""
    # The check costs 30 ms for an RSA key and these bytes come out of an authenticated seal.
    key = serialization.load_der_private_key(data, password=None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise TypeError(type(key).__name__)
    return key


def _alternative_names(request: Request) -> x509.SubjectAlternativeName:
    names = dict.fromkeys([request.host, *request.alternative_names])
    try:
        return x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    except ValueError as error:
        raise NameImpossibleError(f"{', '.join(names)} cannot all stand in a certificate: {error}") from error


def _key_usage(*, certifies: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        data_encipherment=True,
        key_agreement=True,
        key_cert_sign=certifies,
        content_commitment=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _extended_usage() -> x509.ExtendedKeyUsage:
    return x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH, _IPSEC_END_SYSTEM])
