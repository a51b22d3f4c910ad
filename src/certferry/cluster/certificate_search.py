"""Finding one certificate by what a person would call it: purpose, common name, serial, fingerprint, file name."""

from collections.abc import Iterable, Sequence

from certferry.cluster.values import TrustEntry
from certferry.errors import UsageError
from certferry.trust.release import Release
from certferry.wire.certificate import Certificate

SHORTEST_PREFIX = 6
"""As few digits of a fingerprint mean a certificate."""


class CertificateNotFoundError(UsageError):
    """No certificate answers to that name."""

    code = "cluster.certificate-not-found"
    remedy = "See what there is with 'certferry cert list'; name it by file name, serial, SHA-256 or common name."


class CertificateAmbiguousError(UsageError):
    """Several certificates answer to that name."""

    code = "cluster.certificate-ambiguous"
    remedy = "Name it by its serial or SHA-256 as 'certferry cert list' shows them."


def file_name(certificate: Certificate, release: Release) -> str:
    """Name a trust store file as the release does: ``<CN>.pem``, or ``<CN>_<serial>.pem`` (bulk 3.5)."""
    name = certificate.common_name.replace(" ", "_")
    return f"{name}_{certificate.serial.hex()}.pem" if release.trust_file_names_carry_serial else f"{name}.pem"


def find_entry(entries: Sequence[TrustEntry], reference: str, release: Release) -> TrustEntry:
    """Return the one entry ``reference`` means.

    Raises ``CertificateNotFoundError`` and ``CertificateAmbiguousError``, which tells the candidates.
    """
    found = [entry for entry in entries if reference.casefold() in _names(entry.certificate, release)]
    if not found and len(reference) >= SHORTEST_PREFIX:
        found = [entry for entry in entries if entry.certificate.sha256.startswith(reference.lower())]
    if not found:
        raise CertificateNotFoundError(f"no certificate is called {reference!r}")
    if len({entry.certificate for entry in found}) > 1:
        raise CertificateAmbiguousError(f"{reference!r} could be {_listed(entry.certificate for entry in found)}")
    return found[0]


def _names(certificate: Certificate, release: Release) -> set[str]:
    names = {certificate.common_name, certificate.serial_hex, certificate.sha256, file_name(certificate, release)}
    return {name.casefold() for name in names if name}


def _listed(certificates: Iterable[Certificate]) -> str:
    return ", ".join(f"{each.common_name} (serial {each.serial_hex})" for each in dict.fromkeys(certificates))
