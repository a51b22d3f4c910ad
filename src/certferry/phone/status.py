"""The status messages a phone shows, word for word (phone-trust 4.4)."""

from enum import StrEnum

from certferry.phone.flash import Flash
from certferry.phone.outcome import Code

_NOT_ABOUT_TRUST = frozenset({Code.LIST_MALFORMED, Code.LIST_TOO_BIG, Code.ITL_MISSING, Code.FILE_SERVER_FAILED})
_NOT_ABOUT_SIGNERS = frozenset({Code.CONFIG_MALFORMED, Code.CONFIG_ENCRYPTED})


class Status(StrEnum):
    """A text of *Settings > Status > Status Messages*. Capital letters differ between texts; so they do on phones."""

    ITL_INSTALLED = "ITL installed"
    TRUST_LIST_UPDATED = "Trust List Updated"
    TRUST_LIST_UPDATE_FAILED = "Trust List Update Failed"
    VERIFICATION_FAILURE = "Trust List update failed, verification failure"
    NO_TRUST_LIST = "No Trust List Installed"
    ERASING = "Erasing CTL and ITL files"
    CTL_NOT_FOUND = "File Not Found <CTLFile.tlv>"
    CONFIG_NOT_FOUND = "File not found <Cfg File>"
    CONFIG_SIZE = "CFG TFTP Size Error"
    TFTP_TIMEOUT = "TFTP timeout"
    TFTP_ACCESS = "TFTP access error"
    TFTP_ERROR = "TFTP error"
    TFTP_NOT_FOUND = "TFTP file not found"
    TFTP_NOT_AUTHORIZED = "TFTP server not authorized"


def installed_text(before: Flash, after: Flash) -> Status | None:
    """Choose the text for trust lists once both are settled; None when they stayed as they were."""
    if not after.has_trust_list:
        return Status.NO_TRUST_LIST
    if (before.ctl, before.itl) == (after.ctl, after.itl):
        return None
    return Status.ITL_INSTALLED if after.itl is not None and before.itl is None else Status.TRUST_LIST_UPDATED


def loaded_text(name: str, transport: str) -> str:
    """Write the text for a configuration that was loaded: ``SEP001122334455.cnf.xml.sgn(HTTP)``."""
    return f"{name}({transport})"


def list_failure_texts(code: Code) -> tuple[Status, ...]:
    """Choose the texts for a trust list that was not taken for ``code``."""
    failed = (Status.TRUST_LIST_UPDATE_FAILED,)
    return failed if code in _NOT_ABOUT_TRUST else (*failed, Status.VERIFICATION_FAILURE)


def rejected_text(name: str, code: Code) -> str | None:
    """Write what an 8945 logs for a configuration whose signature it does not accept; 14 is the only reason seen.

    None when it was not taken for something else.
    """
    return None if code in _NOT_ABOUT_SIGNERS else f"invalid file {name}, authenticated fail. Reason:14"
