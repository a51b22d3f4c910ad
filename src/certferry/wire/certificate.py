"""An X.509 certificate as trust lists, TVS and trust stores see it: its DER and the fields taken from it once.

Parsing X.509 costs far more than anything else done with a certificate, so a ``Certificate`` is made once and
passed around; equality and hash are those of the DER.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import sha1, sha256
from typing import Any, Literal, Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certferry.errors import MalformedError
from certferry.wire.der import extent_of
from certferry.wire.names import name_text

LARGEST = 0xFFFF
"""Bytes of the largest certificate read: neither a trust list nor a TVS message can carry a larger one."""


class CertificateMalformedError(MalformedError):
    """The bytes are not a certificate that can be used here."""

    code = "wire.certificate"
    remedy = "Give one X.509 certificate, DER or PEM, with an RSA or EC key."


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate.

    ``subject`` and ``issuer`` are in the cluster's text form (``wire.names``); ``serial`` is the magnitude,
    big-endian, without leading zeros; ``sha256`` is lower-case hex of the DER; ``public_key`` is the PKCS#1
    RSAPublicKey in DER or, for EC, the uncompressed X9.62 point (what a trust list record carries);
    ``signature`` is the certificate's own signature value.
    """

    der: bytes
    subject: str = field(compare=False)
    issuer: str = field(compare=False)
    serial: bytes = field(compare=False)
    common_name: str = field(compare=False)
    not_before: datetime = field(compare=False)
    not_after: datetime = field(compare=False)
    public_key: bytes = field(compare=False, repr=False)
    key_kind: Literal["RSA", "EC"] = field(compare=False)
    key_bits: int = field(compare=False)
    signature: bytes = field(compare=False, repr=False)
    sha256: str = field(compare=False)

    @classmethod
    def parse(cls, der: bytes) -> Self:
        """Read a DER certificate; raise ``CertificateMalformedError`` when it is none."""
        if len(der) > LARGEST:
            raise CertificateMalformedError(f"a certificate of {len(der)} bytes; {LARGEST} are the most read")
        data = bytes(der)
        return cls(data, *_fields(data))

    @classmethod
    def from_pem(cls, pem: str | bytes) -> Self:
        """Read the first certificate of a PEM text; raise ``CertificateMalformedError`` when it has none."""
        try:
            data = pem.encode() if isinstance(pem, str) else pem
            with _quietly():
                der = x509.load_pem_x509_certificate(data).public_bytes(Encoding.DER)
        except (ValueError, x509.InvalidVersion) as error:
            raise CertificateMalformedError(f"not a PEM certificate: {error}") from error
        return cls.parse(der)

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Self:
        """Take over a certificate that the cryptography library holds."""
        return cls.parse(certificate.public_bytes(Encoding.DER))

    @property
    def pem(self) -> str:
        """The certificate as PEM text, with a final newline."""
        return self.x509.public_bytes(Encoding.PEM).decode()

    @property
    def x509(self) -> x509.Certificate:
        """The cryptography library's view, for the parts not held here (extensions, names)."""
        with _quietly():
            return x509.load_der_x509_certificate(self.der)

    @property
    def serial_hex(self) -> str:
        """The serial as Unified CM prints it in keys and file names: upper-case hex, whole bytes."""
        return self.serial.hex().upper()

    @property
    def sha1(self) -> str:
        """Lower-case hex SHA-1 of the DER, as ``show ctl`` prints it."""
        return sha1(self.der, usedforsecurity=False).hexdigest()

    @property
    def is_self_signed(self) -> bool:
        """Whether subject and issuer are the same name."""
        loaded = self.x509
        with _quietly():
            return loaded.subject == loaded.issuer


def serial_of(der: bytes) -> bytes:
    """Return the serial of a certificate without leading zeros, at a hundredth of what ``Certificate.parse`` costs.

    Certificate and TBSCertificate are SEQUENCEs, then may come ``[0]`` with the version, then the INTEGER. Meant for
    what was parsed before: only this far is looked at. Raises ``CertificateMalformedError``.
    """
    at, _ = _element(der, 0, _SEQUENCE)
    at, _ = _element(der, at, _SEQUENCE)
    if der[at : at + 1] == _VERSION:
        _, at = _element(der, at, _VERSION)
    begin, end = _element(der, at, _INTEGER)
    number = int.from_bytes(der[begin:end], signed=True)
    return _magnitude(number).lstrip(b"\0")


_SEQUENCE, _INTEGER, _VERSION = b"\x30", b"\x02", b"\xa0"


def _element(der: bytes, at: int, tag: bytes) -> tuple[int, int]:
    """Return where the content of the element at ``at`` begins and ends."""
    extent = extent_of(der, at)
    if extent is None or der[at : at + 1] != tag:
        raise CertificateMalformedError(f"not a certificate: no element {tag.hex()} at offset {at}")
    if extent[1] > len(der):
        raise CertificateMalformedError(f"not a certificate: the element at offset {at} is longer than the rest")
    return extent


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence the library's remarks on odd serials and names: a stranger's certificate may not write our log."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@lru_cache(maxsize=4096)
def _fields(der: bytes) -> tuple[Any, ...]:
    try:
        with _quietly():
            return _fields_of(der)
    except CertificateMalformedError:
        raise
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise CertificateMalformedError(f"not a usable X.509 certificate: {error}") from error


def _fields_of(der: bytes) -> tuple[Any, ...]:
    loaded = x509.load_der_x509_certificate(der)
    public_key, kind, bits = _key_fields(loaded.public_key())
    subject = loaded.subject
    names = subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return (
        _whole_name(subject),
        _whole_name(loaded.issuer),
        _magnitude(loaded.serial_number),
        str(names[0].value) if names else "",
        loaded.not_valid_before_utc,
        loaded.not_valid_after_utc,
        public_key,
        kind,
        bits,
        loaded.signature,
        sha256(der).hexdigest(),
    )


def _whole_name(name: x509.Name) -> str:
    """Write a name; one with a NUL would end there for a phone, and be another one's name."""
    text = name_text(name)
    if "\0" in text:
        raise CertificateMalformedError(f"the name {text[:60]!r} has a NUL inside")
    return text


def _key_fields(key: CertificatePublicKeyTypes) -> tuple[bytes, Literal["RSA", "EC"], int]:
    if isinstance(key, rsa.RSAPublicKey):
        return key.public_bytes(Encoding.DER, PublicFormat.PKCS1), "RSA", key.key_size
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint), "EC", key.key_size
    raise CertificateMalformedError(f"a {type(key).__name__} is neither an RSA nor an EC key")


def _magnitude(number: int) -> bytes:
    return abs(number).to_bytes(max(1, (number.bit_length() + 7) // 8), "big")
