"""The phone's own certificate and key: what an encrypted configuration is meant for and opened with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import md5

from cryptography.hazmat.primitives.asymmetric import rsa

from certferry.wire.certificate import Certificate


@dataclass(frozen=True, slots=True)
class PhoneIdentity:
    """The LSC, else the MIC, and its private key; only an RSA key can open a configuration (phone-trust 2.2)."""

    certificate: Certificate
    key: rsa.RSAPrivateKey | None = field(repr=False)

    @property
    def cert_hash(self) -> str:
        """The MD5 of the certificate as hex, as ``certHash`` has it."""
        return md5(self.certificate.der, usedforsecurity=False).hexdigest()


Own = Callable[[], PhoneIdentity | None]
"""Looks up the phone's identity, or says that it has none; asked only when a configuration is encrypted."""


def no_identity() -> None:
    """Be a phone without a certificate of its own."""
    return
