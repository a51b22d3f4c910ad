"""The trust rules as tables: stores and roles, what is imported where, what lists hold and who signs them."""

from typing import Any

from markdown import code, listed, table

from certferry.trust.list_rules import NodeCertificates, RecordSpec, ctl_records, ctl_signer, itl_records, itl_signer
from certferry.trust.purpose import OWN_COPIES, PURPOSES_OF_TYPE, STORES_OF_TYPE, BulkType, Purpose, Store
from certferry.trust.release import Release
from certferry.trust.roles import ROLES_OF_PURPOSE, ROLES_OF_STORE
from certferry.wire.roles import Role, role_text

RELEASES = [Release.parse(text) for text in ("10.0", "10.5.2", "11.0", "11.5.1", "12.0", "12.5.1", "14", "15")]
PUBLISHER, SUBSCRIBER = "the publisher", "a subscriber"


def _stores() -> str:
    rows = [
        (code(store), _roles(ROLES_OF_STORE[store]), listed(p for p in Purpose if store in OWN_COPIES[p]))
        for store in Store
    ]
    return table(("trust store", "roles that TVS reports", "holds a copy of the cluster's own"), rows)


def _purposes() -> str:
    rows = [(code(purpose), _roles(ROLES_OF_PURPOSE[purpose]), listed(OWN_COPIES[purpose])) for purpose in Purpose]
    return table(("purpose", "roles that TVS reports on its own cluster", "trust stores that hold a copy"), rows)


def _roles(roles: frozenset[Role]) -> str:
    return ", ".join(role.name for role in sorted(roles)) or "none"


def _import_mapping() -> str:
    rows = [(code(t), listed(PURPOSES_OF_TYPE[t]), listed(STORES_OF_TYPE[t])) for t in BulkType]
    return table(("certificate type", "certificates exported", "trust stores on the importing cluster"), rows)


def _role_codes() -> str:
    rows = [(role.value, role.name, role_text(role)) for role in Role]
    return table(("code", "role", "as `show ctl` prints it"), rows)


def _signers() -> str:
    rows = [
        (
            release,
            code(itl_signer(release, "node").purpose) + " of the TFTP node",
            code(ctl_signer(release, "node").purpose) + " of the publisher",
            "yes" if release.has_ec_twins else "no",
            code("CN_SERIAL.pem" if release.trust_file_names_carry_serial else "CN.pem"),
        )
        for release in RELEASES
    ]
    headings = ("release", "signs the ITL", "signs the CTL", "ECDSA certificates", "files in trust stores")
    return table(headings, rows)


def _records() -> str:
    """List the records of a cluster with a publisher and one subscriber, both with TFTP, TVS and call control."""
    nodes = [_node(PUBLISHER, "publisher", "capf"), _node(SUBSCRIBER)]
    rows = []
    for release in RELEASES:
        rows.append((release, "CTL", _record_text(ctl_records(release, nodes))))
        for secure in (True, False):
            mode = "secure" if secure else "non-secure"
            records = itl_records(release, secure, rollback=False, tftp_node=SUBSCRIBER, nodes=nodes)
            rows.append((release, f"ITL of {SUBSCRIBER}, {mode}", _record_text(records)))
    return table(("release", "list", "records, in order"), _folded(rows))


def _node(name: str, *more: str) -> NodeCertificates:
    shared = {Purpose.ITL_RECOVERY}
    certificates: Any = {p: p if p in shared else f"{p} of {name}" for p in Purpose if name == PUBLISHER or p != "CAPF"}
    return NodeCertificates(name, "", frozenset({"tftp", "tvs", "callmanager", *more}), certificates)


def _record_text(records: tuple[RecordSpec, ...]) -> str:
    return "; ".join(f"{record.role.name}: {record.certificate}" for record in records)


def _folded(rows: list[tuple[Release, str, str]]) -> list[tuple[str, str, str]]:
    """Join releases whose list is the same."""
    known: dict[tuple[str, str], list[Release]] = {}
    for release, kind, text in rows:
        known.setdefault((kind, text), []).append(release)
    folded = [(", ".join(map(str, releases)), kind, text) for (kind, text), releases in known.items()]
    return sorted(folded, key=lambda row: row[1])


BLOCKS = {
    "stores": _stores,
    "purposes": _purposes,
    "import-mapping": _import_mapping,
    "role-codes": _role_codes,
    "signers": _signers,
    "list-records": _records,
}
