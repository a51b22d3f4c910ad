"""Signed files (.sgn): a signed header, then the original bytes unmodified (phone-trust 2.1).

::

    +-- signed header, HEADER_LENGTH bytes --+-- payload, to the end of the file --+

Configuration files have header version 1.0 and a timestamp; Cisco's firmware files have 1.1 and none. The
signature covers the payload too.
"""

from dataclasses import dataclass, field
from typing import Self

from cryptography.hazmat.primitives.asymmetric import rsa

from certferry.wire.certificate import Certificate
from certferry.wire.signed_header import Digest, SignedHeader, header_of, require_key_of, sign_with, verify

SUFFIX = ".sgn"


@dataclass(frozen=True, slots=True)
class SignedFile:
    """One signed file: its header, and ``data``, the whole file as it was read or written."""

    header: SignedHeader
    data: bytes = field(repr=False)
    header_length: int

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a signed file; raise the errors of ``SignedHeader.parse_prefix``."""
        header, length = SignedHeader.parse_prefix(data)
        return cls(header, data, length)

    @property
    def payload(self) -> bytes:
        """The original bytes that were signed."""
        return self.data[self.header_length :]

    def encode(self) -> bytes:
        """Return the whole file, byte for byte."""
        return self.data

    def verify(self, certificate: Certificate) -> bool:
        """Whether the key of ``certificate`` signed header and payload."""
        return verify(self.data, certificate)


def strip(data: bytes) -> bytes:
    """Cut the header off and return the payload, as a TFTP node does that has only ``X.sgn`` and is asked for ``X``."""
    return SignedFile.parse(data).payload


def sign_file(
    name: str,
    payload: bytes,
    signer: Certificate,
    key: rsa.RSAPrivateKey,
    *,
    digest: Digest = Digest.SHA1,
    timestamp: int | None,
    version: tuple[int, int] = (1, 0),
) -> bytes:
    """Write ``payload`` as a signed file; the header calls it ``<name>.sgn``, sub-folder and all.

    ``timestamp`` is Unix seconds, or None to leave it out as firmware files do. Raise ``SignerKeyError`` when
    ``key`` is not the RSA key of ``signer`` or has a size without a modulus code.
    """
    require_key_of(signer, key)
    filename = name.removesuffix(SUFFIX) + SUFFIX
    header = header_of(signer, filename, digest=digest, timestamp=timestamp, version=version)
    return sign_with(key, header, payload)
