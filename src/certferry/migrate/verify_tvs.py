"""The matrix: every TVS node of the source against every signer of the destination, and TVS itself."""

from collections.abc import Iterator
from datetime import datetime

from certferry.errors import MalformedError
from certferry.fleet.tvs import TvsHandshakeError, TvsUnreachableError
from certferry.migrate.seen import Seen, judged
from certferry.migrate.survey import Answered, Asked, TvsNode
from certferry.phone.decision import TVS_ROLES, Kind
from certferry.phone.events import Address, address_text
from certferry.trust.list_check import Check, Verdict
from certferry.wire.certificate import Certificate
from certferry.wire.roles import Role, role_text
from certferry.wire.tvs import Status

_IMPORT = (
    "Export All at the destination, Consolidate, then Import All at the SOURCE (certferry bulk export | consolidate | "
    "import), or upload the certificate at the source as Phone-SAST-trust. Then restart TVS on every source node: "
    "utils service restart Cisco Trust Verification Service"
)
_EXPIRED = (
    "This certificate has expired, so an import refuses it. Regenerate it at the destination (certferry cert "
    "regenerate), export there, consolidate, and import at the SOURCE."
)
_RESTART_TVS = "utils service restart Cisco Trust Verification Service"


def tvs_checks(seen: Seen) -> Iterator[Check]:
    """Everything about TVS."""
    yield from _lists(seen)
    yield from _reached(seen)
    for node in seen.survey.nodes:
        if node.presented is not None:
            yield from _certificates(seen, node, node.presented)
    yield _held(seen)
    yield from _matrix(seen)
    yield from _agreement(seen)
    yield _recovery(seen)


def _lists(seen: Seen) -> Iterator[Check]:
    """Judge the TVS list in each phone's present configuration (phone-trust 3.7)."""
    for device in seen.source.devices:
        yield _list_of(seen, device)
    if not seen.source.devices:
        remedy = "Run it with --device SEP<MAC>: the list is the phone's CallManager group."
        yield judged("tvs.list", "Phones know TVS nodes of the source", "unknown", "no device was named", remedy)


def _list_of(seen: Seen, device: str) -> Check:
    title = f"The configuration of {device} names TVS nodes of the source"
    members = seen.source.tvs_list(device)
    if members is None:
        remedy = "Check the device name; the source served no configuration for it."
        return judged("tvs.list", title, "unknown", "its configuration was not seen", remedy)
    remedy = (
        "Put TVS nodes of the source into the phone's CallManager group (System > Cisco Unified CM Group), "
        "then reset the phone while option 150 still names the source."
    )
    if not members:
        return judged("tvs.list", title, "fail", "its <TVS> block is empty: the phone asks nobody", remedy)
    evidence = ", ".join(address_text(member) for member in members)
    named = {host for host, _ in seen.source.tvs_in_lists}
    strangers = [host for host, _ in members if named and host not in named]
    if strangers:
        evidence += f"; the ITL has no TVS record of {', '.join(strangers)}"
    return judged("tvs.list", title, "warn" if strangers else "pass", evidence, remedy)


def _reached(seen: Seen) -> Iterator[Check]:
    nodes = seen.survey.nodes
    if not nodes:
        remedy = "Name a device, or see that the source serves an ITL with TVS records."
        yield judged("tvs.reachable", "The source's TVS answers", "unknown", "no TVS node is known", remedy)
    lost = _lists_without_answer(seen)
    for node in nodes:
        title = f"TVS {node} answers"
        if not node.failure:
            yield judged("tvs.reachable", title, "pass", node.tls)
            continue
        verdict: Verdict = "fail" if node.address in lost else "warn"
        evidence = node.note
        if verdict == "warn":
            evidence += "; phones ask the next of their list, after a time-out"
        yield judged("tvs.reachable", title, verdict, evidence, _remedy_for(node))


def _remedy_for(node: TvsNode) -> str:
    if node.failure == TvsHandshakeError.code:
        return f"On {node.address[0]} compare TLS versions (show tls min-version) and restart TVS: {_RESTART_TVS}"
    if node.failure == TvsUnreachableError.code:
        port = node.address[1]
        return f"On {node.address[0]}: {_RESTART_TVS}; and open TCP {port} from the phones' network, also after DHCP."
    return f"Read the TVS trace of {node.address[0]}; a service that answers only command 1 cannot vouch."


def _lists_without_answer(seen: Seen) -> set[Address]:
    """Return the members of lists in which nobody answers; of all nodes when no configuration was seen."""
    dead = {node.address for node in seen.survey.nodes if node.failure}
    every = [node.address for node in seen.survey.nodes]
    lists = [members for device in seen.source.devices if (members := seen.source.tvs_list(device))] or [tuple(every)]
    return {member for members in lists if dead.issuperset(members) for member in members}


def _certificates(seen: Seen, node: TvsNode, presented: Certificate) -> Iterator[Check]:
    """Compare what the node presents with role 21 of every ITL that phones of the source may hold."""
    title = f"TVS {node} presents a certificate that phones have in their ITL"
    itls = list(_itls(seen))
    lacking = [where for where, tvs in itls if presented not in tvs]
    evidence = f"{presented.subject}, serial {presented.serial_hex}, SHA-256 {presented.sha256}"
    remedy = (
        f"If TVS on {node.address[0]} was regenerated: restore the old TVS certificate, or let all phones take the new "
        "ITL from the source first (reset them before DHCP changes). Else restart TFTP so that the ITL is built anew."
    )
    if not itls:
        how = "Name a TFTP node of the source that answers, and see that its ITL is not emptied (rollback.parameter)."
        yield judged("tvs.certificate", title, "unknown", f"{evidence}; no ITL with TVS records was seen", how)
        return
    told = f"; not in the ITL of {', '.join(lacking)}" if lacking else f"; in {len(itls)} ITL"
    yield judged("tvs.certificate", title, not lacking, evidence + told, remedy)


def _itls(seen: Seen) -> Iterator[tuple[str, tuple[Certificate, ...]]]:
    if Kind.ITL in seen.source.held:
        held = seen.source.held_list(Kind.ITL)
        yield "the phones", held.tvs_certificates if held else ()
        return
    for where, known in seen.source.lists(Kind.ITL):
        if not known.is_emptied:
            yield str(where.endpoint), known.tvs_certificates


def _held(seen: Seen) -> Check:
    """Judge what cannot be seen from outside: that phones took the latest ITL before they leave."""
    title = "Phones hold an ITL with the present TVS certificates"
    if Kind.ITL in seen.source.held:
        return judged("tvs.held", title, "pass", "the ITL given with --held-itl was used above")
    ways = "Compare RTMT > Device Search > ITL status, or a phone's Settings > Security > Trust List > ITL signature."
    if seen.source.inside is None:
        return judged("tvs.held", title, "unknown", "only phones know what they hold", ways)
    changed = [(at, node) for at, node, purpose in seen.source.inside.regenerated if purpose == "TVS"]
    if not changed:
        return judged("tvs.held", title, "pass", "no TVS certificate was ever regenerated at the source")
    evidence = "; ".join(f"TVS of {node} regenerated at {at:%Y-%m-%d %H:%M} UTC" for at, node in changed)
    remedy = f"Reset every phone at the source once before DHCP changes, so that it takes the new ITL. {ways}"
    return judged("tvs.held", title, "warn", evidence, remedy)


def _matrix(seen: Seen) -> Iterator[Check]:
    if not seen.survey.signers:
        remedy = "See that the destination's TFTP nodes answer and serve their lists."
        yield judged("tvs.vouches", "TVS vouches for the destination", "unknown", "no signer was seen", remedy)
    for node in seen.survey.nodes:
        for asked in seen.survey.signers:
            yield from _cell(node, asked, _mending(asked, seen.now))


def _mending(asked: Asked, now: datetime) -> str:
    """Say how a signer comes to be known; the advice to import does not help one that imports refuse."""
    try:
        ended = bool(asked.der) and Certificate.parse(asked.der).not_after < now
    except MalformedError:
        ended = False
    return _EXPIRED if ended else _IMPORT


def _cell(node: TvsNode, asked: Asked, mending: str) -> Iterator[Check]:
    title = f"TVS {node} vouches for {asked.name}"
    about = f"{asked.signer}; {', '.join(asked.uses)}"
    answer = node.answers.get(asked.signer)
    if answer is None or answer.status is None:
        note = answer.note if answer else node.note
        remedy = f"Mend TVS on {node.address[0]}, then verify again."
        yield judged("tvs.vouches", title, "unknown", f"{about}; {note}", remedy)
        return
    verdict: Verdict = "pass" if answer.status is Status.VALID else "fail" if asked.needed else "warn"
    standing_by = (
        "" if asked.needed or verdict == "pass" else "; it stands by: it signs nothing that hangs on TVS today"
    )
    yield judged("tvs.vouches", title, verdict, f"{about}: {answer.status.name.lower()}{standing_by}", mending)
    if answer.status is Status.VALID:
        yield _roles(node, asked, answer)
        yield _returned(node, asked, answer)


def _roles(node: TvsNode, asked: Asked, answer: Answered) -> Check:
    title = f"TVS {node} gives {asked.name} the role that phones need"
    told = ", ".join(role_text(role) for role in sorted(answer.roles)) or "no role at all"
    short = [kind for kind in sorted(asked.needed) if not answer.roles & TVS_ROLES[kind]]
    evidence = f"{asked.signer}: {told}"
    if short:
        evidence += f"; not enough for the {' and the '.join(short)}"
    remedy = (
        f"{asked.name} is only in CallManager-trust of the source: upload it there as Phone-SAST-trust "
        f"(or import again: certferry bulk import), then {_RESTART_TVS}"
    )
    if not asked.needed and Role.SAST not in answer.roles:
        return judged("tvs.roles", title, "pass" if answer.roles else "warn", evidence, remedy)
    return judged("tvs.roles", title, not short, evidence, remedy)


def _returned(node: TvsNode, asked: Asked, answer: Answered) -> Check:
    title = f"TVS {node} returns the very certificate of {asked.name}"
    if not asked.der:
        how = "Compare by hand: certferry tvs ask NODE CERT.pem --query"
        return judged("tvs.returned", title, "unknown", "no list of the destination carries it", how)
    remedy = "Delete the other certificate of that name from Phone-SAST-trust of the source and import again."
    same = answer.der == asked.der
    evidence = "byte for byte that of the list" if same else f"{len(answer.der)} bytes, another certificate"
    return judged("tvs.returned", title, same, f"{asked.signer}: {evidence}", remedy)


def _agreement(seen: Seen) -> Iterator[Check]:
    """TVS nodes that answer differently: replication lags, or one was not restarted (bulk 7, row 9)."""
    nodes = [node for node in seen.survey.nodes if node.answered]
    if len(nodes) < 2:  # noqa: PLR2004 -- one node agrees with itself
        return
    title = "All TVS nodes of the source give the same answers"
    differing = []
    for asked in seen.survey.signers:
        said = {
            answer.said for node in nodes if (answer := node.answers.get(asked.signer)) and answer.status is not None
        }
        if len(said) > 1:
            differing.append(asked)
    remedy = (
        "Wait for replication (up to 30 minutes; utils dbreplication runtimestate), restart TVS on the nodes that "
        f"lag: {_RESTART_TVS}; then verify again."
    )
    evidence = "; ".join(_who_said_what(asked, nodes) for asked in differing)
    yield judged("tvs.agree", title, not differing, evidence or f"{len(nodes)} nodes agree", remedy)


def _who_said_what(asked: Asked, nodes: list[TvsNode]) -> str:
    yes = [str(n) for n in nodes if (a := n.answers.get(asked.signer)) and a.status is Status.VALID]
    no = [str(n) for n in nodes if (a := n.answers.get(asked.signer)) and a.status is Status.INVALID]
    if not yes or not no:
        return f"{asked.name}: other roles or another certificate on some"
    return f"{asked.name}: known to {', '.join(yes)}, not to {', '.join(no)}"


def _recovery(seen: Seen) -> Check:
    """From 12.0 ITLRecovery signs the lists; before, it stands by for 'utils itl reset' (phone-trust 1.10)."""
    title = "The source vouches for the destination's ITLRecovery"
    recoveries = [asked for asked in seen.survey.signers if asked.is_recovery]
    inside = seen.destination.inside
    signs = any(asked.needed for asked in recoveries) or (inside is not None and inside.release.itl_recovery_signs)
    if not recoveries:
        remedy = "See 'show itl' at the destination; from 10.0 every cluster has an ITLRecovery certificate."
        return judged("recovery.vouched", title, "unknown", "no ITLRecovery was seen in a list", remedy)
    answers = [a for node in seen.survey.nodes for asked in recoveries if (a := node.answers.get(asked.signer))]
    known = [answer.status for answer in answers if answer.status is not None]
    if not known:
        return judged("recovery.vouched", title, "unknown", "no TVS answered", "Mend TVS first, then verify again.")
    missing = known.count(Status.INVALID)
    when = "it signs the destination's lists" if signs else "before 12.0 it only stands by"
    evidence = (
        f"{', '.join(asked.name for asked in recoveries)}: {len(known) - missing} of {len(known)} answers; {when}"
    )
    verdict: Verdict = "pass" if not missing else "fail" if signs else "warn"
    return judged("recovery.vouched", title, verdict, evidence, f"Export type ITLRecovery too. {_IMPORT}")
