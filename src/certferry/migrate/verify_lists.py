"""Judging the trust lists and configurations that both clusters serve, each by itself and side by side."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain

from certferry.errors import MalformedError
from certferry.migrate.seen import Seen, SideName, judged
from certferry.migrate.side import SideView, TftpNode, readable
from certferry.phone.decision import SIGNER_ROLES, Kind
from certferry.phone.trust import KnownList, Signer
from certferry.trust.list_check import Check, check_list
from certferry.wire.certificate import Certificate
from certferry.wire.roles import Role
from certferry.wire.signed_file import SUFFIX
from certferry.wire.signed_header import Digest, SignedHeader, verify_with_key
from certferry.wire.trust_list import TrustRecord

RESTART_TFTP = "utils service restart Cisco Tftp"
_OLD_BITS = 2048


def list_checks(seen: Seen) -> Iterator[Check]:
    """Everything about files."""
    for name, side in seen.sides():
        yield from _per_node(name, side, seen)
        yield from _ctl_checks(name, side)
    yield _leftover(seen)
    yield from _configurations(seen.destination)
    yield from _old_phones(seen)
    yield _expiry(seen)
    yield _namesakes(seen)


def _per_node(name: SideName, side: SideView, seen: Seen) -> Iterator[Check]:
    device = side.devices[0] if side.devices else None
    for node in side.alive:
        itl, ctl = node.trust_list(Kind.ITL, device), node.trust_list(Kind.CTL, device)
        yield _present(name, node, itl)
        for kind, data in ((Kind.ITL, itl), (Kind.CTL, ctl)):
            if data is not None:
                yield from _list(f"{name} {node.endpoint} {kind}", data, ctl if kind is Kind.ITL else itl, seen)


def _present(name: SideName, node: TftpNode, itl: bytes | None) -> Check:
    title = f"{name} {node.endpoint}: it serves an ITL"
    if itl is not None:
        return judged("itl.present", title, "pass", f"{len(itl)} bytes")
    remedy = f"Restart TFTP on {node.endpoint.host} so that it builds its ITL: {RESTART_TFTP}; then 'show itl' there."
    return judged("itl.present", title, "fail", "no ITLFile.tlv and none for a device", remedy)


def _list(what: str, data: bytes, beside: bytes | None, seen: Seen) -> Iterator[Check]:
    """Judge one list; ``beside`` is the other list of the node, which may name the signer."""
    try:
        other = readable(beside)
        checks = check_list(data, seen.now)
        if other is not None:
            checks = tuple(_with_other(check, data, other) for check in checks)
    except MalformedError as error:
        remedy = f"Restart TFTP on the node so that it is built anew: {RESTART_TFTP}"
        yield judged("list.readable", f"{what}: a phone can read it", "fail", error.sentence, remedy)
        return
    yield from (replace(check, title=f"{what}: {check.title}") for check in checks)


def _with_other(check: Check, data: bytes, other: KnownList) -> Check:
    """Let the other list vouch for a signer that this one does not name (the ITL of a subscriber, by the CTL)."""
    if check.id not in ("list.signer", "list.signature") or check.verdict == "pass":
        return check
    header = SignedHeader.parse(data)
    named = other.signers.get(Signer.of(header))
    if named is None or not named.roles & SIGNER_ROLES[Kind.ITL, Kind.CTL]:
        return check
    if not any(verify_with_key(data, key) for key in named.public_keys):
        return check
    return replace(check, verdict="pass", evidence=f"{header.subject}, by the other list of the node", remedy="")


def _ctl_checks(name: SideName, side: SideView) -> Iterator[Check]:
    """Judge the CTL of a cluster against its ITLs: one for all nodes, of this mode, of today's certificates."""
    device = side.devices[0] if side.devices else None
    ctls = {str(node.endpoint): node.trust_list(Kind.CTL, device) for node in side.alive}
    served = {where: data for where, data in ctls.items() if data is not None}
    if not served:
        return
    title = f"{name}: all nodes serve the same CTL"
    evidence = f"{len(served)} of {len(ctls)} nodes serve one, {len(set(served.values()))} different"
    remedy = f"On the publisher: utils ctl update CTLFile; then on every TFTP node: {RESTART_TFTP}"
    yield judged("ctl.same", title, len(served) == len(ctls) and len(set(served.values())) == 1, evidence, remedy)
    for node in side.alive:
        ctl, itl = readable(node.trust_list(Kind.CTL, device)), readable(node.trust_list(Kind.ITL, device))
        if ctl and itl:
            yield _ctl_mode(name, node, ctl, itl)
            yield _ctl_current(name, node, ctl, itl)


def _ctl_mode(name: SideName, node: TftpNode, ctl: KnownList, itl: KnownList) -> Check:
    """The ITL tells the cluster's mode: its TFTP record is CCM+TFTP in mixed mode only (phone-trust 1.10)."""
    title = f"{name} {node.endpoint}: a CTL is served only in mixed mode, or emptied after it"
    serving = itl.parsed.records_with_role(Role.TFTP, Role.CALLMANAGER_TFTP)
    mixed = any(record.role == Role.CALLMANAGER_TFTP for record in serving)
    if not serving:
        return judged("ctl.mode", title, "unknown", "the ITL names no TFTP service", "See 'show itl' on the node.")
    evidence = "the ITL has CCM+TFTP: mixed mode" if mixed else "the ITL has TFTP only: not mixed mode, yet a CTL"
    if not mixed and ctl.is_emptied:
        evidence += ", emptied when the cluster left mixed mode"
    remedy = f"On {node.endpoint.host}: file delete tftp CTLFile.tlv; then {RESTART_TFTP}"
    return judged("ctl.mode", title, mixed or ctl.is_emptied, evidence, remedy)


def _ctl_current(name: SideName, node: TftpNode, ctl: KnownList, itl: KnownList) -> Check:
    title = f"{name} {node.endpoint}: the CTL names today's certificates"
    if itl.is_emptied:
        remedy = "Set Prepare Cluster for Rollback to Pre 8.0 to False first."
        return judged("ctl.current", title, "unknown", "the ITL is emptied, so there is nothing to compare", remedy)
    if ctl.is_emptied and not itl.parsed.records_with_role(Role.CALLMANAGER_TFTP):
        return judged("ctl.current", title, "pass", "emptied when the cluster left mixed mode")
    missing = [
        record
        for record in itl.parsed.records_with_role(Role.CALLMANAGER_TFTP, Role.TFTP)
        if record.certificate and not _is_in(record, ctl, Role.CALLMANAGER_TFTP)
    ]
    signer = ctl.signers.get(itl.signer)
    faults = [f"{Signer.of(record)} of the ITL is not in it as CCM+TFTP" for record in missing]
    if signer is None or not signer.roles & SIGNER_ROLES[Kind.ITL, Kind.CTL]:
        faults.append(f"{itl.signer}, who signs the ITL, is not in it")
    evidence = "; ".join(faults) or f"signed by {ctl.signer}; it names the signer and the TFTP service of the ITL"
    remedy = "On the publisher: utils ctl update CTLFile; restart TFTP and CallManager on all nodes; reset the phones."
    return judged("ctl.current", title, not faults, evidence, remedy)


def _is_in(record: TrustRecord, known: KnownList, role: Role) -> bool:
    named = known.signers.get(Signer.of(record))
    return named is not None and role in named.roles and record.public_key in named.public_keys


def _leftover(seen: Seen) -> Check:
    title = "No CTL of the source is left behind on the phones"
    secure, to_secure = seen.source.is_secure, seen.destination.is_secure
    if secure is None or to_secure is None:
        remedy = "Mend reachability first, or look at a phone: Settings > Security > Trust List."
        return judged("ctl.leftover", title, "unknown", "one of the clusters was not seen", remedy)
    modes = f"source {_mode(secure)}, destination {_mode(to_secure)}"
    remedy = (
        "Phones keep the source's CTL and check every later file with it first. Move to a cluster in mixed mode, or "
        "erase the CTL after the move (Settings > Security > Trust List > CTL > Erase)."
    )
    return judged("ctl.leftover", title, "warn" if secure and not to_secure else "pass", modes, remedy)


def _mode(secure: bool) -> str:  # noqa: FBT001 -- a word for a flag
    return "in mixed mode" if secure else "non-secure"


def _configurations(side: SideView) -> Iterator[Check]:
    """Judge signed configurations against the lists of the node that serves them."""
    for node in side.alive:
        for device in side.devices:
            data = node.data(f"{device}.cnf.xml{SUFFIX}")
            if data is not None:
                yield _configuration(node, device, data)


def _configuration(node: TftpNode, device: str, data: bytes) -> Check:
    title = f"destination {node.endpoint}: the configuration of {device} verifies with the lists beside it"
    remedy = f"Restart TFTP on {node.endpoint.host} so that it signs anew: {RESTART_TFTP}"
    try:
        signer = Signer.of(SignedHeader.parse(data))
    except MalformedError as error:
        return judged("configuration.signature", title, "fail", error.sentence, remedy)
    keys = [
        key
        for kind in (Kind.CTL, Kind.ITL)
        if (known := readable(node.trust_list(kind, device))) and (named := known.signers.get(signer))
        if named.roles & SIGNER_ROLES[Kind.CONFIGURATION, kind]
        for key in named.public_keys
    ]
    if not keys:
        evidence = f"{signer} is in none of them as TFTP; TVS would have to vouch for it"
        return judged("configuration.signature", title, "warn", evidence, remedy)
    holds = any(verify_with_key(data, key) for key in keys)
    return judged("configuration.signature", title, holds, f"signed by {signer}", remedy)


def _old_phones(seen: Seen) -> Iterator[Check]:
    """SHA-512 and keys above 2048 bits are beyond old phones (phone-trust 1.10, 4.7, 6)."""
    headers = list(_headers(seen.destination))
    digests = sorted({header.digest.name for _, header in headers if header.digest is not Digest.SHA1})
    large = sorted({where for where, header in headers if header.modulus_bits > _OLD_BITS})
    remedy = "At the destination set TFTP File Signature Algorithm to SHA-1 until the old phones have moved."
    title = "The destination signs with what the phones know: SHA-1"
    evidence = f"signed with {', '.join(digests)}" if digests else "everything seen is signed with SHA-1"
    yield _for_old(seen, "digest.old-phones", title, evidence, remedy, bad=bool(digests), seen_any=bool(headers))
    title = "The destination's signers have keys the phones know: RSA up to 2048 bits"
    evidence = f"larger keys sign {', '.join(large)}" if large else "no larger key signs anything seen"
    remedy = "Regenerate the certificate at the destination with a 2048-bit RSA key."
    yield _for_old(seen, "key.old-phones", title, evidence, remedy, bad=bool(large), seen_any=bool(headers))


def _for_old(
    seen: Seen, identifier: str, title: str, evidence: str, remedy: str, *, bad: bool, seen_any: bool
) -> Check:
    if not seen_any:
        return judged(identifier, title, "unknown", "no signed file was seen", "Mend reachability first.")
    if not bad:
        return judged(identifier, title, "pass", evidence)
    if seen.old_phones is None:
        ask = f"{remedy} If there are none: --no-old-phones"
        return judged(identifier, title, "warn", f"{evidence}; whether there are old phones is not known", ask)
    return judged(identifier, title, not seen.old_phones, f"{evidence}; old phones: {seen.old_phones}", remedy)


def _headers(side: SideView) -> Iterator[tuple[str, SignedHeader]]:
    for node in side.alive:
        for file in node.files.values():
            try:
                if file.data is not None and not file.data.lstrip().startswith(b"<"):
                    yield f"{file.name} of {node.endpoint}", SignedHeader.parse(file.data)
            except MalformedError:
                continue


def _expiry(seen: Seen) -> Check:
    title = f"No certificate of the lists expires within {seen.window.days} days"
    found = dict.fromkeys(chain.from_iterable(_certificates(side) for _, side in seen.sides()))
    due = [each for each in found if each.not_after < seen.now + seen.window]
    if not found:
        return judged("expiry.window", title, "unknown", "no list was seen", "Mend reachability first.")
    evidence = "; ".join(f"{each.subject} serial {each.serial_hex} on {each.not_after:%Y-%m-%d}" for each in due)
    remedy = "Renew them before the migration, export and import again, and let the phones reset in between."
    first = min(each.not_after for each in found)
    return judged(
        "expiry.window", title, "warn" if due else "pass", evidence or f"the first on {first:%Y-%m-%d}", remedy
    )


def _certificates(side: SideView) -> Iterator[Certificate]:
    for kind in (Kind.CTL, Kind.ITL):
        for _, known in side.lists(kind):
            yield from _opened(known.parsed.records)


def _opened(records: Iterable[TrustRecord]) -> Iterator[Certificate]:
    for record in records:
        try:
            if record.certificate:
                yield record.parsed
        except MalformedError:
            continue


def _namesakes(seen: Seen) -> Check:
    """Certificates of equal subject on both sides push each other out of a trust store (bulk 3.4)."""
    title = "No certificate of one cluster has the subject of another one's"
    own, other = set(_certificates(seen.source)), set(_certificates(seen.destination))
    if not own or not other:
        return judged("subject.collision", title, "unknown", "not both clusters were seen", "Mend reachability first.")
    subjects = {each.subject: each for each in own}
    pairs = [(subjects[each.subject], each) for each in other - own if each.subject in subjects]
    evidence = "; ".join(f"{a.subject}: serials {a.serial_hex} and {b.serial_hex}" for a, b in pairs)
    remedy = (
        "A Unified CM store keeps one of them, the later start of validity. See that TVS vouches for every signer; "
        "else upload the missing one by hand to Phone-SAST-trust of the source, or rename the host."
    )
    return judged("subject.collision", title, "warn" if pairs else "pass", evidence or "no subject in common", remedy)
