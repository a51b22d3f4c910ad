"""How a boot ended, and the journal of how it came to that.

``Step`` and ``Code`` are stable: reports are counted by them and a diagnosis starts from them.
"""

from dataclasses import dataclass
from enum import StrEnum


class Step(StrEnum):
    """The step of a boot at which something happened, in the order of phone-trust 4.3."""

    CTL = "ctl"
    ITL = "itl"
    TVS = "tvs"
    CONFIGURATION = "configuration"
    REGISTRATION = "registration"


class Code(StrEnum):
    """Why a boot ended. The part before the dot names what to look at."""

    REGISTERED = "phone.registered"
    FILE_SERVER_FAILED = "tftp.failed"
    LIST_MALFORMED = "list.malformed"
    LIST_TOO_BIG = "list.too-big"
    LIST_SIGNATURE = "list.signature"
    LIST_ROLLED_BACK = "list.rolled-back"
    ITL_MISSING = "list.itl-missing"
    TVS_NONE_KNOWN = "tvs.none-known"
    TVS_NOT_IN_ITL = "tvs.not-in-itl"
    TVS_UNREACHABLE = "tvs.unreachable"
    TVS_NO_ANSWER = "tvs.no-answer"
    TVS_HANDSHAKE = "tvs.handshake"
    TVS_CERTIFICATE = "tvs.certificate-unknown"
    TVS_INVALID = "tvs.invalid"
    TVS_ROLE = "tvs.role"
    TVS_OTHER = "tvs.other-certificate"
    CONFIG_MISSING = "configuration.missing"
    CONFIG_MALFORMED = "configuration.malformed"
    CONFIG_UNSIGNED = "configuration.unsigned"
    CONFIG_SIGNATURE = "configuration.signature"
    CONFIG_ENCRYPTED = "configuration.encrypted-ignored"
    NO_CALL_CONTROL = "registration.no-member"
    REGISTRATION_FAILED = "registration.failed"
    DEVICE_UNKNOWN = "registration.unknown-device"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a boot ended: at which step, why (stable code) and in one sentence."""

    ok: bool
    step: Step
    code: Code
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened, with its evidence. ``at`` is on the caller's clock, in seconds.

    ``signer`` is the signer's text (subject, serial), ``found`` where it was found (``CTL``, ``ITL``, ``TVS``),
    ``roles`` what it may do there, ``member`` the server that was asked (``address:port``).
    """

    at: float
    step: Step
    text: str
    file: str = ""
    signer: str = ""
    found: str = ""
    roles: tuple[int, ...] = ()
    member: str = ""


Journal = tuple[Entry, ...]
