"""What happens when a certificate comes to a trust store: added, put in another's place, skipped or refused.

Unified CM keeps one certificate for each subject in a store, and the later start of validity wins
(bulk-certificates 3.4). Obeyed literally, that loses certificates: two clusters whose hosts have equal names
would displace each other's, or worse the importing cluster's own, and the phones that trust the lost one are
stranded. So the rule holds here among certificates of one origin only; those of different origins stand side by
side, and the decision says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cryptography import x509
from cryptography.x509.oid import SignatureAlgorithmOID

from certferry.wire.certificate import Certificate
from certferry.wire.names import comparable

OWN = ""
"""The origin of the cluster's own certificates."""

SMALLEST_RSA_KEY = 1024
LARGEST_KEY = 4096
_BROKEN_SIGNATURES = ("1.2.840.113549.1.1.2", SignatureAlgorithmOID.RSA_WITH_MD5.dotted_string)


class Action(StrEnum):
    """What becomes of the incoming certificate; ``REPLACE`` adds it and removes the displaced ones."""

    ADD = "add"
    REPLACE = "replace"
    SKIP = "skip"
    REFUSE = "refuse"


class Code(StrEnum):
    """Why; stable, for programs and documentation."""

    NEW = "store.new"
    BESIDE_OWN = "store.beside-own"
    BESIDE_FOREIGN = "store.beside-foreign"
    NEWER = "store.newer"
    OWN = "store.own"
    HELD = "store.held"
    OLDER = "store.older"
    EXPIRED = "store.expired"
    WEAK_KEY = "store.weak-key"
    LARGE_KEY = "store.large-key"
    BROKEN_SIGNATURE = "store.broken-signature"
    WILDCARD = "store.wildcard"


@dataclass(frozen=True, slots=True)
class HeldCertificate:
    """A certificate in a store, and the cluster it came from (``OWN``: a copy of the cluster's own)."""

    certificate: Certificate
    origin: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with one incoming certificate: ``reason`` is a phrase for people, ``code`` its stable name.

    ``displaced`` leave the store, with ``REPLACE`` only. ``warnings`` do not stand in the way.
    """

    action: Action
    code: Code
    reason: str
    displaced: tuple[Certificate, ...] = ()
    warnings: tuple[str, ...] = ()


def decide(incoming: Certificate, held: Sequence[HeldCertificate], origin: str, now: datetime) -> Decision:
    """Decide about ``incoming`` from the cluster ``origin`` against all that the store holds; ``now`` is aware."""
    known = _already_there(incoming, held)
    return known or refusal(incoming, now) or _placement(incoming, held, origin, now)


def refusal(incoming: Certificate, now: datetime) -> Decision | None:
    """Say why no store takes this certificate, whatever it holds; None when it is welcome.

    A SHA-1 signature is no reason: phones in the field live with it.
    """
    if incoming.not_after < now:
        return _refuse(Code.EXPIRED, f"expired on {incoming.not_after:%Y-%m-%d}")
    if incoming.key_kind == "RSA" and incoming.key_bits < SMALLEST_RSA_KEY:
        return _refuse(Code.WEAK_KEY, f"its {incoming.key_bits}-bit RSA key is too short to trust")
    if incoming.key_bits > LARGEST_KEY:
        return _refuse(Code.LARGE_KEY, f"its key has {incoming.key_bits} bits; {LARGEST_KEY} is the most")
    if incoming.x509.signature_algorithm_oid.dotted_string in _BROKEN_SIGNATURES:
        return _refuse(Code.BROKEN_SIGNATURE, "it is signed with MD5 or MD2, which can be forged")
    if wildcards := [name for name in _host_names(incoming) if "*" in name]:
        return _refuse(Code.WILDCARD, f"{wildcards[0]} is a wildcard, which trust stores do not take")
    return None


def _already_there(incoming: Certificate, held: Sequence[HeldCertificate]) -> Decision | None:
    origins = {entry.origin for entry in held if entry.certificate == incoming}
    if OWN in origins:
        return Decision(Action.SKIP, Code.OWN, "this cluster's own")
    if origins:
        return Decision(Action.SKIP, Code.HELD, f"already held, from {min(origins)}")
    return None


def _placement(incoming: Certificate, held: Sequence[HeldCertificate], origin: str, now: datetime) -> Decision:
    warnings = (f"not valid before {incoming.not_before:%Y-%m-%d %H:%M} UTC",) if incoming.not_before > now else ()
    namesakes = [entry for entry in held if comparable(entry.certificate.subject) == comparable(incoming.subject)]
    same_origin = tuple(entry.certificate for entry in namesakes if entry.origin == origin)
    if any(rival.not_before >= incoming.not_before for rival in same_origin):
        return Decision(Action.SKIP, Code.OLDER, "older than the one held, or as old")
    if same_origin:
        since = f"valid from {incoming.not_before:%Y-%m-%d}, later than the one held"
        return Decision(Action.REPLACE, Code.NEWER, since, same_origin, warnings)
    return Decision(Action.ADD, *_beside({entry.origin for entry in namesakes}), warnings=warnings)


def _beside(origins: set[str]) -> tuple[Code, str]:
    if OWN in origins:
        return Code.BESIDE_OWN, "kept beside this cluster's own of the same name"
    if origins:
        return Code.BESIDE_FOREIGN, f"kept beside one of the same name from {', '.join(sorted(origins))}"
    return Code.NEW, "new in this store"


def _refuse(code: Code, reason: str) -> Decision:
    return Decision(Action.REFUSE, code, reason)


def _host_names(certificate: Certificate) -> list[str]:
    try:
        extension = certificate.x509.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return [certificate.common_name]  # phones do not read extensions; unreadable ones harm nobody here
    return [certificate.common_name, *extension.value.get_values_for_type(x509.DNSName)]
