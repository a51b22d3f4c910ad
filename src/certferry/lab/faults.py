"""Faults put on purpose into a pair of clusters: what each is, which checks must name it, where a phone really fails.

The table is the proof that ``verify`` misses nothing: for each row a test injects the fault, verifies, and lets a
phone migrate for real. It is a page of the documentation too.
"""

from certferry.lab import injections as put
from certferry.lab.witness import Fault
from certferry.phone.outcome import Code, Step
from certferry.trust.purpose import BulkType

FAULTS: tuple[Fault, ...] = (
    Fault(
        "not-exchanged",
        "The certificates were never exchanged",
        ("tvs.vouches", "store.signers", "import.direction"),
        Step.TVS,
        Code.TVS_INVALID,
        types=(),
    ),
    Fault(
        "missing-in-phone-sast-trust",
        "The destination's signers are in CallManager-trust of the source, but not in Phone-SAST-trust",
        ("tvs.roles", "store.signers"),
        Step.TVS,
        Code.TVS_ROLE,
        after=put.out_of_phone_sast_trust,
    ),
    Fault(
        "imported-on-the-wrong-side",
        "Only the destination imported; the source, whose TVS is asked, did not",
        ("import.direction", "tvs.vouches"),
        Step.TVS,
        Code.TVS_INVALID,
        types=(),
        after=put.import_at_the_destination_only,
        cause="import.wrong-side",
    ),
    Fault(
        "one-tftp-node-not-exported",
        "Only the publisher's CallManager certificate was imported, but a subscriber runs TFTP too",
        ("tvs.vouches", "store.signers"),
        Step.TVS,
        Code.TVS_INVALID,
        after=put.without_the_subscriber,
        rehearsed=False,
        first_server=1,
    ),
    Fault(
        "itlrecovery-not-exchanged",
        "ITLRecovery was left out of the exchange, and it signs the lists from 12.0 on",
        ("recovery.vouched", "tvs.vouches"),
        Step.TVS,
        Code.TVS_INVALID,
        types=(BulkType.TOMCAT, BulkType.TFTP, BulkType.CAPF),
        releases=("11.5.1", "14"),
        cause="import.itlrecovery-missing",
    ),
    Fault(
        "capf-not-exchanged",
        "The source's CAPF certificate is not in CallManager-trust of the destination: it does not take the LSCs",
        ("store.capf",),
        Step.REGISTRATION,
        Code.REGISTRATION_FAILED,
        types=(BulkType.TOMCAT, BulkType.TFTP, BulkType.ITL_RECOVERY),
        secure=True,
        rehearsed=False,
        cause="registration.lsc-foreign-capf",
    ),
    Fault(
        "tomcat-not-exchanged",
        "The tomcat certificates were left out of the exchange: EMCC will not work, phones move",
        (),
        Step.REGISTRATION,
        Code.REGISTERED,
        ("emcc.tomcat",),
        types=(BulkType.CAPF, BulkType.TFTP, BulkType.ITL_RECOVERY),
        cause="emcc.tomcat-unknown",
    ),
    Fault(
        "tvs-down-on-one-node",
        "TVS does not run on the first node of the phone's list; it asks the next",
        (),
        Step.REGISTRATION,
        Code.REGISTERED,
        ("tvs.reachable",),
        after=put.tvs_down_on_one,
        cause="tvs.unreachable",
    ),
    Fault(
        "tvs-down",
        "TVS runs on no node of the source",
        ("tvs.reachable",),
        Step.TVS,
        Code.TVS_UNREACHABLE,
        after=put.tvs_down,
    ),
    Fault(
        "tvs-certificate-regenerated",
        "The TVS certificates were regenerated and the phone still holds the ITL from before",
        ("tvs.certificate",),
        Step.TVS,
        Code.TVS_CERTIFICATE,
        after=put.regenerate_tvs,
        held=True,
    ),
    Fault(
        "itl-not-rebuilt",
        "The TVS certificates were regenerated and the source's TFTP serves the ITL from before",
        ("tvs.certificate",),
        Step.TVS,
        Code.TVS_CERTIFICATE,
        ("tvs.held",),
        after=put.regenerate_tvs_behind_the_itl,
    ),
    Fault(
        "wrong-tvs-list",
        "The phone's configuration names TVS where none listens",
        ("tvs.reachable",),
        Step.TVS,
        Code.TVS_UNREACHABLE,
        after=put.wrong_tvs_ports,
        phone_first=False,
    ),
    Fault(
        "lagging-subscriber",
        "One TVS node has not learnt of the import, and the phone asks it first",
        ("tvs.agree", "replication.served", "tvs.vouches"),
        Step.TVS,
        Code.TVS_INVALID,
        before=put.let_a_subscriber_lag,
        cause="import.replication-lag",
    ),
    Fault(
        "same-subject-collision",
        "A certificate of the same subject pushed the destination's signers out of Phone-SAST-trust",
        ("store.collision", "tvs.vouches"),
        Step.TVS,
        Code.TVS_INVALID,
        after=put.namesakes_in_the_store,
        cause="import.same-subject",
    ),
    Fault(
        "expired-signer",
        "The destination signs with expired certificates, which the import refused",
        ("tvs.vouches",),
        Step.TVS,
        Code.TVS_INVALID,
        ("list.validity", "expiry.window"),
        before=put.expire_signers,
        after=put.refuse_expired,
        cause="list.expired",
    ),
    Fault(
        "rollback-at-the-source",
        "Prepare Cluster for Rollback to Pre 8.0 is True at the source: the phone's ITL is emptied, its CTL is not",
        ("rollback.parameter", "list.rollback"),
        Step.CTL,
        Code.LIST_ROLLED_BACK,
        after=put.rollback_at_the_source,
        secure=True,
        phone_first=False,
        cause="rollback.source",
    ),
    Fault(
        "rollback-at-the-source-non-secure",
        "The same without a CTL: the phone takes whatever it is given, unchecked",
        ("rollback.parameter", "list.rollback"),
        Step.REGISTRATION,
        Code.REGISTERED,
        after=put.rollback_at_the_source,
        phone_first=False,
        cause="rollback.source",
    ),
    Fault(
        "rollback-at-the-destination",
        "Prepare Cluster for Rollback to Pre 8.0 is True at the destination: phones end up unprotected",
        ("rollback.parameter", "list.rollback"),
        Step.REGISTRATION,
        Code.REGISTERED,
        after=put.rollback_at_the_destination,
        cause="rollback.https-dead",
    ),
    Fault(
        "stale-ctl-on-a-non-secure-destination",
        "The destination left mixed mode and still serves the CTL from then",
        ("ctl.mode", "tvs.vouches"),
        Step.TVS,
        Code.TVS_INVALID,
        before=put.leave_a_ctl_behind,
        after=put.serve_the_ctl_left_behind,
        cause="ctl.stale-on-server",
    ),
    Fault(
        "stale-ctl-in-mixed-mode",
        "The destination's CallManager certificate was regenerated and its CTL not updated",
        ("ctl.current", "tvs.vouches"),
        Step.TVS,
        Code.TVS_INVALID,
        after=put.regenerate_behind_the_ctl,
        secure=True,
        cause="ctl.outdated",
    ),
    Fault(
        "from-secure-to-non-secure",
        "The destination has no CTL: phones move and keep the source's",
        (),
        Step.REGISTRATION,
        Code.REGISTERED,
        ("ctl.leftover",),
        before=put.destination_leaves_mixed_mode,
        secure=True,
        cause="ctl.left-over",
    ),
    Fault(
        "tampered-itl",
        "A byte of the destination's ITL was changed",
        ("list.signature",),
        Step.ITL,
        Code.LIST_SIGNATURE,
        after=put.tamper_with_the_itl,
    ),
    Fault(
        "tampered-ctl",
        "A byte of the destination's CTL was changed",
        ("list.signature",),
        Step.CTL,
        Code.LIST_SIGNATURE,
        after=put.tamper_with_the_ctl,
        secure=True,
    ),
    Fault(
        "broken-itl",
        "The destination's ITL is cut short",
        ("list.readable",),
        Step.ITL,
        Code.LIST_MALFORMED,
        after=put.cut_the_itl,
    ),
    Fault(
        "itl-above-64-kb",
        "The destination's ITL has more than 64 KB",
        ("list.size",),
        Step.ITL,
        Code.LIST_TOO_BIG,
        after=put.swell_the_itl,
    ),
    Fault(
        "no-itl",
        "The destination's TFTP node serves a CTL and no ITL",
        ("itl.present",),
        Step.ITL,
        Code.ITL_MISSING,
        after=put.take_the_itl_away,
        secure=True,
    ),
    Fault(
        "sha-512-for-an-old-phone",
        "The destination signs with SHA-512, which a 7962 does not know (the simulated phone does)",
        ("digest.old-phones",),
        Step.REGISTRATION,
        Code.REGISTERED,
        after=put.sign_with_sha512,
        model="7962",
        cause="list.algorithm",
    ),
    Fault(
        "unknown-at-the-destination",
        "The destination does not know the phone: it gets the default configuration and is refused",
        ("device.known",),
        Step.REGISTRATION,
        Code.DEVICE_UNKNOWN,
        after=put.forget_the_phone,
        cause="file.device-unknown",
    ),
    Fault(
        "tftp-down",
        "No TFTP node of the destination answers",
        ("tftp.reachable",),
        Step.CTL,
        Code.FILE_SERVER_FAILED,
        after=put.tftp_down,
        slow=True,
    ),
)  # fmt: skip


def faults_table() -> str:
    """Write the table as the page ``docs/reference/faults.md``."""
    rows = [
        f"| `{fault.name}` | {fault.what} | {_checks(fault)} | {_end(fault)} | `{fault.cause or fault.code}` |"
        for fault in FAULTS
    ]
    return "\n".join((_HEAD, *rows, ""))


def _checks(fault: Fault) -> str:
    said = [f"fail `{each}`" for each in fault.fails] + [f"warn `{each}`" for each in fault.warns]
    return "<br>".join(said)


def _end(fault: Fault) -> str:
    return "registers" if fault.code is Code.REGISTERED else f"fails at {fault.step}: `{fault.code}`"


_HEAD = """# Faults on purpose

For each fault below a test builds two clusters on loopback, injects the fault, runs `certferry verify`, and then
lets a phone migrate for real. The test fails when the verification does not name the fault, when `certferry diagnose`
does not find the cause in it, or when the phone ends otherwise than it says here. A healthy pair shows no fail, in
both modes and between old and new releases.

Checks without a database (`--source HOST`) see what the network shows; ids that begin with `store.`, `import.`,
`rollback.` and `replication.` need the cluster's folder and say *unknown* without it.

This page is generated: `tools/faults-table`.

| fault | what it is | `verify` says | the phone | `diagnose` names |
|---|---|---|---|---|"""
