"""What a phone does with a file it was given: accept it, ask TVS about its signer, or reject it.

An essay, then a table
======================

A phone obeys files signed by somebody it already knows. So three things decide (phone-trust 4.2):

**What kind of file it is.** CTL and ITL are trust lists: their signer has to be a SAST, an administrator's security
token. A configuration has to come from the TFTP service: its signer needs the role TFTP, or CCM+TFTP.

**What the phone holds.** A phone without any list cannot check anything; it believes the first lists it sees (the
*leap of faith*). A phone with an ITL checks with that. A phone with a CTL checks with the CTL first and then with
the ITL. A CTL that was left behind by an earlier cluster is a CTL like any other: it never heard of the new signer,
so the question goes to TVS. A phone that got the emptied lists of *Prepare Cluster for Rollback to pre 8.0* accepts
any ITL and an unsigned configuration; the switch does not open the CTL (4.5), so a CTL from a stranger is rejected:
there is no TVS left to ask.

**Where its signer is found**, by subject, issuer and serial, with a role that is enough *there* (``SIGNER_ROLES``).
A signer that a list names without that role is as good as unknown: TVS may know more about it.

When the answer is to ask, a second table, ``TVS_TABLE``, says what the reply of TVS leads to.

    kind x held x finding --> ACCEPT (then the signature is verified with the certificate found)
                          --> ASK_TVS --> answer --> ACCEPT (then the same)
                                                 --> REJECT
                          --> REJECT

Nothing in here reads a file or a clock; ``boot`` does what the tables say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from certferry.phone.outcome import Code
from certferry.wire.roles import Role


class Kind(StrEnum):
    """What a file is."""

    CTL = "CTL"
    ITL = "ITL"
    CONFIGURATION = "configuration"


class Held(StrEnum):
    """What the phone holds when the file arrives."""

    NOTHING = "no list"
    ITL = "an ITL"
    CTL = "a CTL"
    ROLLED_BACK = "emptied lists"


class Finding(StrEnum):
    """Where the file's signer was found with a role that is enough there."""

    IN_CTL = "in the CTL"
    IN_ITL = "in the ITL"
    WITHOUT_ROLE = "in a list, without the role it needs"
    NOWHERE = "in no list"
    UNSIGNED = "no signer at all"


class Answer(StrEnum):
    """What came of asking TVS."""

    VOUCHED = "valid, with the role it needs"
    WITHOUT_ROLE = "valid, without the role it needs"
    OTHER_CERTIFICATE = "another certificate than the one asked about"
    INVALID = "invalid"


class Verdict(StrEnum):
    """What the phone does."""

    ACCEPT = "accept"
    ASK_TVS = "ask TVS"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with its reason; ``code`` only when it is a rejection. ``verify`` is whether a signature is checked."""

    verdict: Verdict
    reason: str
    code: Code | None = None
    verify: bool = True


_SAST = frozenset({Role.SAST})
_TFTP = frozenset({Role.TFTP, Role.CALLMANAGER_TFTP})

ITL_SIGNERS_IN_CTL = _SAST | _TFTP
"""Roles in the CTL that may sign an ITL. Before 12.0 a subscriber signs its ITL with its own CallManager key, which
the CTL names as CCM+TFTP only; phones install such an ITL without asking TVS, so CCM+TFTP must do (deduced, INF)."""

SIGNER_ROLES: Mapping[tuple[Kind, Kind], frozenset[Role]] = {
    (Kind.CTL, Kind.CTL): _SAST,
    (Kind.CTL, Kind.ITL): _SAST,
    (Kind.ITL, Kind.CTL): ITL_SIGNERS_IN_CTL,
    (Kind.ITL, Kind.ITL): _SAST,
    (Kind.CONFIGURATION, Kind.CTL): _TFTP,
    (Kind.CONFIGURATION, Kind.ITL): _TFTP,
}
"""(kind of file, list that names its signer) -> roles of which one is enough."""

TVS_ROLES: Mapping[Kind, frozenset[Role]] = {Kind.CTL: _SAST, Kind.ITL: _SAST, Kind.CONFIGURATION: _TFTP}
"""Roles of which TVS must report one. Seen is only {SAST, TFTP} for a CTL; which half counts is deduced (INF)."""

_BY_FAITH = Decision(Verdict.ACCEPT, "leap of faith: the phone holds no trust list", verify=False)
_NO_LIST = Decision(Verdict.ACCEPT, "the phone holds no trust list", verify=False)
_OPENED = Decision(Verdict.ACCEPT, "the phone's lists were emptied for rollback", verify=False)
_BY_CTL = Decision(Verdict.ACCEPT, "its signer is in the CTL")
_BY_ITL = Decision(Verdict.ACCEPT, "its signer is in the ITL")
_ASK = Decision(Verdict.ASK_TVS, "its signer is in no current list")
_ASK_ROLE = Decision(Verdict.ASK_TVS, "no current list gives its signer the role it needs")
_UNSIGNED = Decision(Verdict.REJECT, "it is not signed", Code.CONFIG_UNSIGNED)
_CLOSED = Decision(
    Verdict.REJECT, "its signer is in no current list and emptied lists leave no TVS to ask", Code.LIST_ROLLED_BACK
)

_Row = Mapping[Finding, Decision]
_ANY_BY_FAITH: _Row = dict.fromkeys(Finding, _BY_FAITH)
_ANY_WITHOUT_LIST: _Row = dict.fromkeys(Finding, _NO_LIST)
_ANY_AFTER_ROLLBACK: _Row = dict.fromkeys(Finding, _OPENED)
_CHECKED: _Row = {
    Finding.IN_CTL: _BY_CTL,
    Finding.IN_ITL: _BY_ITL,
    Finding.WITHOUT_ROLE: _ASK_ROLE,
    Finding.NOWHERE: _ASK,
    Finding.UNSIGNED: _UNSIGNED,
}
_CHECKED_WITHOUT_TVS: _Row = {
    Finding.IN_CTL: _BY_CTL,
    Finding.IN_ITL: _BY_ITL,
    Finding.WITHOUT_ROLE: _CLOSED,
    Finding.NOWHERE: _CLOSED,
    Finding.UNSIGNED: _CLOSED,
}

TABLE: Mapping[Kind, Mapping[Held, _Row]] = {
    Kind.CTL: {
        Held.NOTHING: _ANY_BY_FAITH,
        Held.ITL: _CHECKED,
        Held.CTL: _CHECKED,
        Held.ROLLED_BACK: _CHECKED_WITHOUT_TVS,
    },
    Kind.ITL: {
        Held.NOTHING: _ANY_BY_FAITH,
        Held.ITL: _CHECKED,
        Held.CTL: _CHECKED,
        Held.ROLLED_BACK: _ANY_AFTER_ROLLBACK,
    },
    Kind.CONFIGURATION: {
        Held.NOTHING: _ANY_WITHOUT_LIST,
        Held.ITL: _CHECKED,
        Held.CTL: _CHECKED,
        Held.ROLLED_BACK: _ANY_AFTER_ROLLBACK,
    },
}
"""The decision: ``TABLE[kind][held][finding]``."""

TVS_TABLE: Mapping[Answer, Decision] = {
    Answer.VOUCHED: Decision(Verdict.ACCEPT, "TVS vouched for its signer"),
    Answer.WITHOUT_ROLE: Decision(Verdict.REJECT, "TVS knows its signer, but not in the role it needs", Code.TVS_ROLE),
    Answer.OTHER_CERTIFICATE: Decision(
        Verdict.REJECT, "TVS returned another certificate than its signer's", Code.TVS_OTHER
    ),
    Answer.INVALID: Decision(Verdict.REJECT, "TVS does not vouch for its signer", Code.TVS_INVALID),
}
"""The decision after TVS answered. The first answer is final, an *invalid* too: all nodes of a cluster serve the same
stores, so the next one would say the same. What a phone does when a node lags behind is not documented (INF)."""


def decide(kind: Kind, held: Held, finding: Finding) -> Decision:
    """Look up what a phone does with a file."""
    return TABLE[kind][held][finding]
