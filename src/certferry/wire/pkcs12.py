"""PKCS#12 files with certificates: what the bulk exchange carries between clusters.

::

    PFX { 3, content, MAC }
              |        +-- over the content, keyed with the password: wrong password and damage look alike
              +-- AuthenticatedSafe: certificate bags { DER, friendlyName, Java's "trusted" attribute },
                  encrypted with the password; other makers put key bags beside them

Anything is read (RC2-40, 3DES, AES, Java stores, BER; ``performance``: all of it is the library's work), keys
inside are counted and never looked at. Two profiles are written; both carry the attribute without which Java,
and so a Unified CM platform, would list no certificate (bulk-certificates 2).
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import KeySerializationEncryption, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import (
    PBES,
    PKCS12Certificate,
    PKCS12KeyAndCertificates,
    load_pkcs12,
    serialize_java_truststore,
)

from certferry.errors import MalformedError, Refusal
from certferry.wire.certificate import Certificate, CertificateMalformedError
from certferry.wire.pkcs12_outline import Outline, Pkcs12MalformedError

__all__ = [
    "MAX_KDF_ROUNDS",
    "MAX_SIZE",
    "Bundle",
    "BundledCertificate",
    "Pkcs12MalformedError",
    "Pkcs12PasswordError",
    "Pkcs12TooCostlyError",
    "Pkcs12UnwritableError",
    "Profile",
    "hides_its_costs",
    "parse",
    "rounds_asked",
]

MAX_SIZE = 16 * 1024 * 1024
"""Bytes of the largest file that is looked at; 16 MiB hold some 10,000 certificates."""

MAX_KDF_ROUNDS = 5_000_000
"""The most key derivation rounds a file may ask for in all; about two seconds for each password tried."""

KDF_ROUNDS = 2_048
"""What is written. Certificates are public, so rounds buy nothing; 20,000 would make parsing 5 times slower."""

_HIGHEST_BMP = 0xFFFF

_NOT_OPENED = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)
"""What the library raises for files it cannot open; TypeError is a key of a kind unknown to it."""


class Profile(StrEnum):
    """How a bundle is encrypted.

    ``MODERN``: PBES2 with AES-256-CBC, MAC with SHA-256. ``LEGACY``: 3DES, MAC with SHA-1; OpenSSL before 1.1,
    Java 8 and platforms of their time read nothing newer (bulk-certificates 2).
    """

    MODERN = "modern"
    LEGACY = "legacy"


_ALGORITHMS: dict[Profile, tuple[PBES, HashAlgorithm]] = {
    Profile.MODERN: (PBES.PBESv2SHA256AndAES256CBC, SHA256()),
    Profile.LEGACY: (PBES.PBESv1SHA1And3KeyTripleDESCBC, SHA1()),  # noqa: S303 -- what old platforms read
}


class Pkcs12PasswordError(MalformedError):
    """No password that was tried opens the file. A damaged file looks the same: the MAC tells no more."""

    code = "wire.pkcs12-password"
    remedy = "Give the password the file was exported with; if that is sure, export it again: it may be damaged."


class Pkcs12TooCostlyError(Pkcs12MalformedError):
    """The file is so large, or asks for so many key derivation rounds, that opening it would stall the process."""

    code = "wire.pkcs12-too-costly"
    remedy = "Do not trust this file's maker without asking; write the file again with usual settings."


class Pkcs12UnwritableError(Refusal):
    """The bundle cannot be written so that every reader finds every certificate again."""

    code = "wire.pkcs12-unwritable"
    remedy = "Give every certificate a printable name of its own; Java lists certificates by name, without case."


@dataclass(frozen=True, slots=True)
class BundledCertificate:
    """One certificate and the name it goes by in the file (Java: *alias*); ``""`` where the file gives none."""

    certificate: Certificate
    friendly_name: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """The certificates of one file, in its order.

    ``keys_ignored`` counts the private keys that lay beside them. ``mac`` is False for a file whose content
    nothing protects: it opens with any password, so its password proves nothing about where it comes from.
    """

    certificates: tuple[BundledCertificate, ...]
    keys_ignored: int = 0
    mac: bool = True

    @classmethod
    def parse(cls, data: bytes, passwords: Sequence[str | None] = (None,)) -> Self:
        """Open ``data`` with the first of ``passwords`` that fits; None stands for "without a password".

        Raise ``Pkcs12TooCostlyError`` before any costly work, ``Pkcs12MalformedError`` for what is no PKCS#12
        file or holds a certificate that cannot be used, ``Pkcs12PasswordError`` when no password fits.
        """
        outline = _outline(bytes(data))
        with _library_warnings_silenced():
            loaded = _open(bytes(data), passwords, outline)
            entries = [*([loaded.cert] if loaded.cert else []), *loaded.additional_certs]
            certificates = tuple(_bundled(entry) for entry in entries)
        keys = max(outline.keys, int(loaded.key is not None))
        return cls(certificates, keys_ignored=keys, mac=outline.mac)

    def encode(self, password: str | None, profile: Profile = Profile.MODERN) -> bytes:
        """Write the certificates, never a key; each is a *trusted certificate entry* for Java.

        ``password`` None writes without encryption. Raise ``Pkcs12UnwritableError`` for no certificate, names
        that are empty, unprintable or equal without case, or a password that cannot be written.
        """
        _refuse_names([entry.friendly_name for entry in self.certificates])
        entries = [PKCS12Certificate(e.certificate.x509, e.friendly_name.encode()) for e in self.certificates]
        return serialize_java_truststore(entries, _encryption(password, profile))


def parse(data: bytes, passwords: Sequence[str | None] = (None,)) -> Bundle:
    """Open a PKCS#12 file; see ``Bundle.parse``."""
    return Bundle.parse(data, passwords)


def rounds_asked(data: bytes) -> int:
    """Tell how many key derivation rounds each password tried would cost; 0 for what ``parse`` refuses before."""
    try:
        return _outline(data).rounds
    except Pkcs12MalformedError:
        return 0


def hides_its_costs(data: bytes) -> bool:
    """Tell whether somebody who knows the password could have hidden rounds from ``rounds_asked``."""
    try:
        return _outline(data).encrypted
    except Pkcs12MalformedError:
        return False


def _outline(data: bytes) -> Outline:
    if len(data) > MAX_SIZE:
        raise Pkcs12TooCostlyError(f"a PKCS#12 file of {len(data)} bytes; at most {MAX_SIZE} are read")
    outline = Outline.parse(data)
    if outline.rounds > MAX_KDF_ROUNDS:
        raise Pkcs12TooCostlyError(
            f"the file asks for {outline.rounds} key derivation rounds; {MAX_KDF_ROUNDS} is most"
        )
    return outline


def _open(data: bytes, passwords: Sequence[str | None], outline: Outline) -> PKCS12KeyAndCertificates:
    reason = ""
    for password in passwords:
        if password and "\0" in password:
            continue  # the library would not refuse it but panic
        try:
            return load_pkcs12(data, None if password is None else password.encode())
        except _NOT_OPENED as error:
            reason = str(error)
    if outline.mac or outline.encrypted:
        raise Pkcs12PasswordError(f"none of {len(passwords)} passwords opens the PKCS#12 file, or it is damaged")
    raise Pkcs12MalformedError(f"not a usable PKCS#12 file: {reason or 'no password to try'}")


def _bundled(entry: PKCS12Certificate) -> BundledCertificate:
    name = (entry.friendly_name or b"").decode("utf-8", "replace")
    try:
        return BundledCertificate(Certificate.of(entry.certificate), name)
    except CertificateMalformedError as error:
        raise Pkcs12MalformedError(f"certificate {name!r} in the PKCS#12 file is not usable: {error}") from error


@contextmanager
def _library_warnings_silenced() -> Iterator[None]:
    """Old platforms write BER, and serials below one: worth reading, and nothing the reader could mend."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "PKCS#12 bundle could not be parsed as DER", UserWarning)
        warnings.filterwarnings("ignore", "Parsed a serial number which wasn't positive", UserWarning)
        yield


def _refuse_names(names: Sequence[str]) -> None:
    if not names:
        raise Pkcs12UnwritableError("a PKCS#12 file without any certificate")
    seen = set()
    for name in names:
        if not name or not name.isprintable() or max(map(ord, name)) > _HIGHEST_BMP:
            raise Pkcs12UnwritableError(f"{name!r} cannot be a certificate's name in a PKCS#12 file")
        if name.casefold() in seen:
            raise Pkcs12UnwritableError(f"two certificates are called {name!r} (letter case does not count)")
        seen.add(name.casefold())


def _encryption(password: str | None, profile: Profile) -> KeySerializationEncryption:
    if password is None:
        return NoEncryption()
    if not password or "\0" in password:
        raise Pkcs12UnwritableError(
            "an empty password, or one with a NUL in it", remedy="Give a password, or none at all (no encryption)."
        )
    algorithm, mac = _ALGORITHMS[profile]
    builder = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(KDF_ROUNDS)
    return builder.key_cert_algorithm(algorithm).hmac_hash(mac).build(password.encode())
