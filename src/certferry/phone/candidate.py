"""A file that a phone was given and has not accepted yet: read as far as the decision about it needs."""

from dataclasses import dataclass, field

from certferry.errors import MalformedError
from certferry.phone.decision import Kind
from certferry.phone.outcome import Code
from certferry.phone.status import Status
from certferry.phone.trust import KnownList, Signer, known_list
from certferry.wire.phone_config import MAX_SIZE
from certferry.wire.signed_file import SUFFIX, SignedFile
from certferry.wire.signed_header import verify_with_key
from certferry.wire.trust_list import PHONE_LIMIT


@dataclass(frozen=True, slots=True)
class Candidate:
    """One file: ``signer`` is None when it is not signed; ``known`` is set for a list, ``xml`` for a configuration."""

    kind: Kind
    name: str
    data: bytes = field(repr=False)
    signer: Signer | None
    known: KnownList | None = field(default=None, repr=False)
    xml: bytes = field(default=b"", repr=False)

    def is_signed_with(self, public_keys: tuple[bytes, ...]) -> bool:
        """Whether one of ``public_keys`` signed the whole file."""
        return any(verify_with_key(self.data, key) for key in public_keys)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a file was rejected for what it is, not for its signer; ``shown`` is what the phone's screen says of it."""

    code: Code
    reason: str
    shown: Status | None = None


def read_candidate(kind: Kind, name: str, data: bytes) -> Candidate | Rejection:
    """Read a file; one that a phone cannot load or parse is rejected at once (phone-trust 1.10, 4.2)."""
    try:
        return _configuration(name, data) if kind is Kind.CONFIGURATION else _trust_list(kind, name, data)
    except MalformedError as error:
        code = Code.CONFIG_MALFORMED if kind is Kind.CONFIGURATION else Code.LIST_MALFORMED
        return Rejection(code, f"{name} cannot be read: {error}")


def _trust_list(kind: Kind, name: str, data: bytes) -> Candidate | Rejection:
    if len(data) > PHONE_LIMIT:
        return Rejection(Code.LIST_TOO_BIG, f"{name} has {len(data)} bytes, more than the {PHONE_LIMIT} a phone loads")
    known = known_list(data)
    return Candidate(kind, name, known.data, known.signer, known=known)


def _configuration(name: str, data: bytes) -> Candidate | Rejection:
    """Read a configuration no further than its header: its XML is not parsed before its signer is believed."""
    if len(data) > MAX_SIZE:
        reason = f"{name} has {len(data)} bytes, more than the {MAX_SIZE} a phone loads"
        return Rejection(Code.CONFIG_MALFORMED, reason, Status.CONFIG_SIZE)
    if not name.endswith(SUFFIX) or data.lstrip()[:1] == b"<":
        return Candidate(Kind.CONFIGURATION, name, data, None, xml=data)
    signed = SignedFile.parse(data)  # of an encrypted file too: what is behind its header is opened once it is believed
    return Candidate(Kind.CONFIGURATION, name, data, Signer.of(signed.header), xml=signed.payload)
