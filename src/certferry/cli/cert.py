"""``certferry cert``: what OS Administration > Security > Certificate Management does."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from certferry.cli.files import naming, read_file, write_file
from certferry.cli.options import ClusterOption, JsonOption, YesOption, confirm, named_again, open_cluster, output
from certferry.cli.output import Output
from certferry.cluster.certificate_search import CertificateNotFoundError, file_name
from certferry.cluster.cluster import Cluster
from certferry.cluster.trust_stores import TrustEntryOwnError
from certferry.cluster.uploading import UploadTargetError, read_certificates, upload_trust
from certferry.cluster.values import Identity, TrustChange, TrustEntry
from certferry.trust.purpose import Purpose, Store
from certferry.wire.certificate import Certificate

app = typer.Typer(help="The certificates of a cluster and its trust stores.")

StoreOption = Annotated[Store | None, typer.Option("--store", help="A trust store, such as Phone-SAST-trust.")]
NodeOption = Annotated[str | None, typer.Option("--node", help="A node's name; the publisher when left out.")]
Reference = Annotated[
    str, typer.Argument(help="A purpose (CallManager, tomcat, ...) or, with --store, file name, serial, SHA-256 or CN.")
]


@app.command("list")
def list_(
    store: StoreOption = None,
    node: Annotated[str | None, typer.Option("--node", help="Only the certificates of this node.")] = None,
    expiring: Annotated[
        int | None, typer.Option("--expiring", metavar="DAYS", min=0, help="Only those that expire within DAYS days.")
    ] = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the cluster's own certificates and what its trust stores hold."""
    out = output(as_json)
    opened = open_cluster(cluster)
    node = opened.node(node).name if node else None
    own = [] if store else [each for each in opened.identities() if node is None or each.node in (node, None)]
    entries = [] if node and not store else list(opened.trust_entries(store))
    if expiring is not None:
        limit = datetime.now(UTC) + timedelta(days=expiring)
        own = sorted((each for each in own if each.certificate.not_after <= limit), key=_expiry)
        entries = sorted((each for each in entries if each.certificate.not_after <= limit), key=_expiry)
    out.data({"own": [_own(each) for each in own], "trust": [_entry(opened, entry) for entry in entries]})
    if own:
        rows = [
            (each.purpose, each.node or "all nodes", each.certificate.common_name, *_dates(each.certificate))
            for each in own
        ]
        out.table(("own certificate", "node", "common name", "key", "expires", "serial", "sha256"), rows)
        out.text("")
    held = [
        (entry.store, file_name(entry.certificate, opened.release), entry.origin or "own", *_dates(entry.certificate))
        for entry in entries
    ]
    out.table(("trust store", "file", "from", "key", "expires", "serial", "sha256"), held)


@app.command()
def show(
    reference: Reference,
    store: StoreOption = None,
    node: NodeOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one certificate with all fields."""
    out = output(as_json)
    certificate = _find(open_cluster(cluster), reference, store, node)
    out.data({**_certificate(certificate), "pem": certificate.pem})
    for name, value in _certificate(certificate).items():
        out.text(f"{name:<12} {value}")
    out.text(f"\n{certificate.pem}")


@app.command()
def download(
    reference: Reference,
    to: Annotated[str, typer.Option("--to", help="File to write, or - for standard output.")] = "-",
    der: Annotated[bool, typer.Option("--der", help="Write DER instead of PEM.")] = False,
    store: StoreOption = None,
    node: NodeOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write one certificate to a file; never its key."""
    out = output(as_json)
    certificate = _find(open_cluster(cluster), reference, store, node)
    _deliver(out, to, certificate.der if der else certificate.pem.encode())
    out.data({"to": to, **_certificate(certificate), "pem": certificate.pem})


@app.command()
def regenerate(
    purpose: Annotated[Purpose, typer.Argument(help="Which certificate.")],
    node: NodeOption = None,
    yes: YesOption = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new key and self-signed certificate in place of the present one."""
    out = output(as_json)
    opened = open_cluster(cluster)
    old = opened.identity(purpose, node)
    told = opened.consequences(purpose, node)
    for sentence in told.sentences():
        out.say(sentence)
    confirm(
        out, f"Replace {purpose} of {old.node or 'the whole cluster'}, serial {old.certificate.serial_hex}?", yes=yes
    )
    new, rebuilt = opened.regenerate(purpose, node)
    text = f"Successfully regenerated certificate for {purpose}, serial {new.certificate.serial_hex}."
    if rebuilt:
        text += f"\nRebuilt: {', '.join(rebuilt)}."
    out.data({"regenerated": _own(new), "rebuilt": rebuilt, "consequences": told.sentences()}, text)


@app.command()
def csr(
    purpose: Annotated[Purpose, typer.Argument(help="Which certificate a CA is to sign.")],
    node: NodeOption = None,
    multi_server: Annotated[
        bool, typer.Option("--multi-server", help="One certificate for all nodes; their names go into the SAN.")
    ] = False,
    san: Annotated[list[str] | None, typer.Option("--san", help="A further DNS name for the SAN; repeatable.")] = None,
    to: Annotated[str, typer.Option("--to", help="File to write, or - for standard output.")] = "-",
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new key and a CSR; the present certificate stays until the signed one is uploaded."""
    out = output(as_json)
    pem = open_cluster(cluster).request_certificate(purpose, node, multi_server=multi_server, names=san or ())
    _deliver(out, to, pem.encode())
    out.data({"purpose": purpose, "to": to, "csr": pem})


@app.command()
def upload(
    file: Annotated[Path, typer.Argument(help="A certificate, PEM or DER; a CA's chain may follow the signed one.")],
    store: Annotated[Store | None, typer.Option("--store", help="The trust store it goes to.")] = None,
    purpose: Annotated[
        Purpose | None, typer.Option("--purpose", help="Or: the certificate of the cluster's own that a CA signed.")
    ] = None,
    node: NodeOption = None,
    description: Annotated[str, typer.Option(help="A remark to keep with it.")] = "",
    yes: YesOption = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a certificate into a trust store (--store), or a CA-signed one in place of the cluster's own (--purpose)."""
    out, opened = output(as_json), open_cluster(cluster)
    if (store is None) == (purpose is None):
        raise UploadTargetError("a certificate goes either to a trust store or in place of an own certificate")
    if store is not None:
        _upload_trust(out, opened, file, store, description)
    elif purpose is not None:
        _upload_own(out, opened, file, purpose, node, yes=yes)


def _upload_own(out: Output, opened: Cluster, file: Path, purpose: Purpose, node: str | None, *, yes: bool) -> None:
    answer, *chain = read_certificates(read_file(file), str(file))
    told = opened.consequences(purpose, node)
    for sentence in told.sentences():
        out.say(sentence)
    confirm(out, f"Install {answer.subject} as {purpose}?", yes=yes)
    new, rebuilt = opened.install_certificate(purpose, answer, chain, node)
    result = {"installed": _own(new), "rebuilt": rebuilt, "consequences": told.sentences()}
    out.data(result, f"Successfully imported certificate for {purpose}, serial {answer.serial_hex}.")


def _upload_trust(out: Output, opened: Cluster, file: Path, store: Store, description: str) -> None:
    certificate = read_certificate(file)
    done = upload_trust(opened, certificate, store, file=file.name, description=description, now=datetime.now(UTC))
    decision = done.decision
    result = {"action": decision.action, "store": store.value, "reason": decision.reason, **_certificate(certificate)}
    out.data(result, f"{decision.action}: {certificate.common_name} in {store} ({decision.reason})")
    for warning in decision.warnings:
        out.warn(warning)


@app.command()
def delete(
    reference: Annotated[str, typer.Argument(help="File name, serial, SHA-256 or common name.")],
    store: Annotated[Store, typer.Option("--store", help="The trust store it is taken from.")],
    yes: YesOption = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a certificate out of a trust store, on all nodes."""
    out = output(as_json)
    opened = open_cluster(cluster)
    entry = opened.find_trust_entry(reference, store)
    if entry.is_own:
        raise TrustEntryOwnError(
            f"{entry.certificate.common_name} in {store} is one of this cluster's own certificates"
        )
    confirm(
        out, f"Delete {entry.certificate.common_name}, serial {entry.certificate.serial_hex}, from {store}?", yes=yes
    )
    change = TrustChange("remove", store, entry.certificate)
    undo = opened.change_trust([change], action="delete", details={"store": store.value})
    deleted = {"deleted": _entry(opened, entry), "undo": undo}
    out.data(deleted, f"Deleted from {store}. Take it back with: certferry bulk undo {undo}{named_again(cluster)}")


def _deliver(out: Output, to: str, data: bytes) -> None:
    """Write the file; with ``--json`` standard output is for the object, which carries it."""
    if to != "-" or not out.as_json:
        write_file(to, data)


def read_certificate(file: Path) -> Certificate:
    """Read a certificate file, PEM or DER."""
    data = read_file(file)
    with naming(file):
        return Certificate.from_pem(data) if b"-----BEGIN" in data else Certificate.parse(data)


def _expiry(held: Identity | TrustEntry) -> datetime:
    return held.certificate.not_after


def _find(opened: Cluster, reference: str, store: Store | None, node: str | None) -> Certificate:
    if store is not None:
        return opened.find_trust_entry(reference, store).certificate
    for purpose in Purpose:
        if purpose.casefold() == reference.casefold():
            return opened.identity(purpose, opened.node(node).name if node else None).certificate
    raise CertificateNotFoundError(f"{reference!r} is none of {', '.join(Purpose)}")


def _own(identity: Identity) -> dict[str, Any]:
    return {"purpose": identity.purpose.value, "node": identity.node, **_certificate(identity.certificate)}


def _entry(opened: Cluster, entry: TrustEntry) -> dict[str, Any]:
    return {
        "store": entry.store.value,
        "file": file_name(entry.certificate, opened.release),
        "from": entry.origin,
        "own": entry.is_own,
        "added_at": entry.added_at,
        "description": entry.description,
        **_certificate(entry.certificate),
    }


def _certificate(certificate: Certificate) -> dict[str, Any]:
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": certificate.serial_hex,
        "not_before": certificate.not_before,
        "not_after": certificate.not_after,
        "key": f"{certificate.key_kind} {certificate.key_bits}",
        "sha256": certificate.sha256,
    }


def _dates(certificate: Certificate) -> tuple[str, str, str, str]:
    return (
        f"{certificate.key_kind} {certificate.key_bits}",
        f"{certificate.not_after:%Y-%m-%d}",
        certificate.serial_hex,
        certificate.sha256[:16],
    )
