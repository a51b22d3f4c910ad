"""Judging what only a cluster's own database tells: parameters, trust stores, replication. Without it: unknown."""

from collections.abc import Iterable, Iterator
from contextlib import suppress

from certferry.cluster.parameters import PARAMETERS, ROLLBACK
from certferry.errors import MalformedError
from certferry.migrate.place import Inside
from certferry.migrate.seen import Seen, SideName, judged
from certferry.migrate.side import SideView
from certferry.migrate.survey import Asked
from certferry.phone.decision import Kind
from certferry.trust.list_check import Check, Verdict
from certferry.trust.purpose import Purpose, Store
from certferry.wire.certificate import Certificate
from certferry.wire.roles import Role

_SIGNING_STORES = (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST, Store.TOMCAT_TRUST)


def store_checks(seen: Seen) -> Iterator[Check]:
    """Everything from inside."""
    for name, side in seen.sides():
        yield _rollback(name, side)
    yield _signers_held(seen)
    yield _direction(seen)
    yield _capf(seen)
    yield _displaced(seen)
    for name, side in seen.sides():
        if side.inside:
            yield _served(name, side.inside)
            yield _expiring(name, side.inside, seen)


def _rollback(name: SideName, side: SideView) -> Check:
    title = f"{name}: {PARAMETERS[ROLLBACK].title} is False"
    remedy = (
        f"At the {name}: System > Enterprise Parameters > {PARAMETERS[ROLLBACK].title} = False "
        f"(certferry set {ROLLBACK} false), restart TVS and TFTP on all nodes, reset the phones."
    )
    emptied = [str(node.endpoint) for node, known in side.lists(Kind.ITL) if known.is_emptied]
    if side.inside is not None:
        value = side.inside.parameters[ROLLBACK]
        return judged("rollback.parameter", title, value == "false" and not emptied, f"it is {value}", remedy)
    if emptied:
        evidence = f"the ITL of {', '.join(emptied)} has empty TVS and TFTP records"
        return judged("rollback.parameter", title, "fail", evidence, remedy)
    how = (
        "run sql select paramvalue from processconfig where paramname like '%Rollback%'; or see Enterprise Parameters."
    )
    evidence = "the parameter was not seen; no ITL seen is emptied"
    return judged("rollback.parameter", title, "unknown", evidence, how)


def _signers_held(seen: Seen) -> Check:
    title = "Phone-SAST-trust of the source holds every signer of the destination"
    inside = seen.source.inside
    if inside is None:
        how = "show cert list trust at the source, or give its folder as --source; TVS was asked instead (tvs.roles)."
        return judged("store.signers", title, "unknown", "the source's database was not given", how)
    held = {certificate.der for certificate in inside.held_in(Store.PHONE_SAST_TRUST)}
    elsewhere = {certificate.der for certificate in inside.held_in(Store.CALLMANAGER_TRUST)}
    missing = [asked for asked in seen.survey.signers if asked.der and asked.der not in held]
    needed = [asked for asked in missing if asked.needed]
    evidence = "; ".join(_missing(asked, elsewhere) for asked in missing)
    verdict: Verdict = "fail" if needed else "warn" if missing else "pass"
    remedy = "Upload them at the source as Phone-SAST-trust, or import again: certferry bulk import"
    return judged("store.signers", title, verdict, evidence or f"{len(seen.survey.signers)} signers held", remedy)


def _missing(asked: Asked, elsewhere: set[bytes]) -> str:
    where = "in CallManager-trust only, which gives no role" if asked.der in elsewhere else "not held"
    return f"{asked.signer}: {where}"


def _direction(seen: Seen) -> Check:
    """Importing on the wrong cluster is the classic mistake: it is the source whose TVS has to know."""
    title = "The destination's certificates were imported at the source"
    source, destination = seen.source.inside, seen.destination.inside
    if source is None or destination is None:
        how = "Give both clusters' folders, or see Bulk Certificate Management at the source."
        return judged("import.direction", title, "unknown", "not both databases were given", how)
    signers = (Purpose.CALLMANAGER, Purpose.ITL_RECOVERY)
    there = {own.certificate for own in destination.own(*signers)} & _imported(source)
    back = {own.certificate for own in source.own(*signers)} & _imported(destination)
    evidence = f"the source holds {len(there)} signers of the destination, the destination {len(back)} of the source"
    remedy = "Import All on the publisher of the SOURCE: the phones that leave ask the source's TVS."
    if not there and back:
        evidence += ": imported on the wrong side only"
    return judged("import.direction", title, bool(there), evidence, remedy)


def _imported(inside: Inside) -> frozenset[Certificate]:
    """Return what an import of signers touches; that Phone-SAST-trust has them is a check of its own."""
    return inside.held_in(Store.PHONE_SAST_TRUST) | inside.held_in(Store.CALLMANAGER_TRUST)


def _capf(seen: Seen) -> Check:
    """A phone's LSC was issued by the source's CAPF; the destination's call control has to know that (4.3)."""
    title = "CallManager-trust of the destination holds the source's CAPF certificate"
    inside, secure = seen.destination.inside, seen.source.is_secure
    capf = set(_capf_certificates(seen))
    remedy = (
        "Export type CAPF at the source, consolidate, import at the destination (certferry bulk import), or upload "
        "CAPF.pem as CallManager-trust; then restart CallManager and TFTP. Else phones need new LSCs."
    )
    if not capf:
        return judged("store.capf", title, "unknown", "no CAPF certificate of the source was seen", remedy)
    names = ", ".join(sorted(f"{each.subject} serial {each.serial_hex}" for each in capf))
    if inside is None:
        how = f"show cert list trust at the destination, look for {names}; or give its folder as --destination."
        return judged("store.capf", title, "unknown", "the destination's database was not given", how)
    missing = capf - inside.held_in(Store.CALLMANAGER_TRUST)
    verdict: Verdict = "pass" if not missing else "fail" if secure else "warn"
    return judged("store.capf", title, verdict, f"{names}: {len(capf) - len(missing)} of {len(capf)} held", remedy)


def _capf_certificates(seen: Seen) -> Iterator[Certificate]:
    if seen.source.inside:
        yield from (own.certificate for own in seen.source.inside.own(Purpose.CAPF))
    lists = [known.parsed for kind in (Kind.CTL, Kind.ITL) for _, known in seen.source.lists(kind)]
    for record in (record for each in lists for record in each.records_with_role(Role.CAPF)):
        with suppress(MalformedError):
            if record.certificate:
                yield record.parsed


def _displaced(seen: Seen) -> Check:
    """A namesake in the store of the source may have pushed the destination's signer out (bulk 3.4)."""
    title = "No namesake stands in place of a destination's signer in Phone-SAST-trust"
    inside = seen.source.inside
    if inside is None:
        how = "show cert list trust at the source; TVS was asked for the exact serial instead (tvs.vouches)."
        return judged("store.collision", title, "unknown", "the source's database was not given", how)
    held = inside.held_in(Store.PHONE_SAST_TRUST)
    kept, own = {certificate.der for certificate in held}, {asked.der for asked in seen.survey.signers}
    faults = [
        f"{asked.signer} is missing, and {rival.subject} serial {rival.serial_hex} is there"
        for asked in seen.survey.signers
        for rival in held
        # A certificate of the destination itself is its renewed or former one, not a stranger.
        if asked.der and asked.der not in kept and rival.subject == asked.signer.subject and rival.der not in own
    ]
    remedy = "Delete the namesake from Phone-SAST-trust of the source and upload the destination's certificate."
    return judged("store.collision", title, not faults, "; ".join(faults) or f"{len(held)} entries looked at", remedy)


def _served(name: SideName, inside: Inside) -> Check:
    title = f"{name}: every node serves the latest change"
    if not inside.served:
        how = "Run the nodes (certferry serve); each reports which change it answers from."
        return judged("replication.served", title, "unknown", "no node ever reported", how)
    lagging = {node: version for node, version in inside.served.items() if version < inside.version}
    evidence = f"change {inside.version}"
    if lagging:
        evidence += "; " + ", ".join(f"{node} answers from {version}" for node, version in lagging.items())
    remedy = "Wait a moment and verify again; if it stays, restart the node's services (certferry serve)."
    return judged("replication.served", title, not lagging, evidence, remedy)


def _expiring(name: SideName, inside: Inside, seen: Seen) -> Check:
    title = f"{name}: nothing in the trust stores expires within {seen.window.days} days"
    due = list(_due(inside, seen))
    remedy = "Renew them at their cluster, then export, consolidate and import again."
    return judged("expiry.stores", title, "warn" if due else "pass", "; ".join(due) or "nothing does", remedy)


def _due(inside: Inside, seen: Seen) -> Iterable[str]:
    for entry in inside.entries:
        certificate = entry.certificate
        if entry.store in _SIGNING_STORES and certificate.not_after < seen.now + seen.window:
            yield f"{certificate.subject} in {entry.store} on {certificate.not_after:%Y-%m-%d}"
