"""/certificates: the cluster's own, its trust stores, and everything Certificate Management does with them."""

from typing import Annotated, Literal

from fastapi import Path, Query
from starlette.responses import Response

from certferry.cluster.certificate_search import CertificateNotFoundError
from certferry.cluster.cluster import Cluster
from certferry.cluster.identities import CertificateReplacedError
from certferry.cluster.searching import TrustQuery
from certferry.cluster.uploading import read_certificates, upload_trust
from certferry.cluster.values import Identity, TrustChange
from certferry.trust.purpose import Purpose, Store
from certferry.web.api.shared import ChosenCluster, Context, Moment, Part, SearchText, protected
from certferry.web.certificate_models import (
    CertificateDetail,
    ConsequencesAnswer,
    CsrAnswer,
    CsrRequest,
    OwnAnswer,
    RegenerateRequest,
    ReplacedAnswer,
    TrustAnswer,
    UndoAnswer,
    UploadOwnRequest,
    UploadTrustAnswer,
    UploadTrustRequest,
    WaitingCsrAnswer,
)
from certferry.web.models import Page
from certferry.web.security import Operator
from certferry.web.views import certificate_view, own_view, page, trust_view
from certferry.wire.certificate import Certificate

router = protected("certificates", "/certificates")
Fingerprint = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="SHA-256 of the certificate, in hex.")]
NodeName = Annotated[str | None, Query(max_length=255, description="A node; the publisher otherwise.")]
NOT_FOUND = "no certificate of this cluster has that SHA-256"


@router.get("/own")
def own(
    cluster: ChosenCluster,
    node: Annotated[str | None, Query(max_length=255)] = None,
    purpose: Purpose | None = None,
    expires_before: Moment | None = None,
) -> list[OwnAnswer]:
    """List the cluster's own certificates."""
    name = cluster.node(node).name if node else None
    return [
        own_view(each)
        for each in cluster.identities()
        if (name is None or each.node in (name, None))
        and (purpose is None or each.purpose is purpose)
        and (expires_before is None or each.certificate.not_after < expires_before)
    ]


@router.get("/trust")
def trust(
    cluster: ChosenCluster,
    part: Part,
    store: Store | None = None,
    usage: Annotated[
        Literal["own", "foreign"] | None, Query(description="own: copies of the cluster's own certificates.")
    ] = None,
    expires_before: Moment | None = None,
    text: SearchText = "",
    sort: Literal["name", "expiry", "store", "origin", "added"] = "store",
    descending: bool = False,
) -> Page[TrustAnswer]:
    """Find entries of the trust stores."""
    query = TrustQuery(store, usage, expires_before, text, sort, descending)
    return Page[TrustAnswer](**page(cluster.find_trust(query, part), part, trust_view))


@router.delete("/trust/{store}/{sha256}")
def delete(store: Store, sha256: Fingerprint, cluster: ChosenCluster, _user: Operator) -> UndoAnswer:
    """Take a certificate out of a trust store, on all nodes."""
    certificate, stores = _find(cluster, sha256)
    if store not in stores:
        raise CertificateNotFoundError(f"{store} does not hold that certificate")
    change = TrustChange("remove", store, certificate)
    return UndoAnswer(undo=cluster.change_trust([change], action="delete", details={"store": store.value}))


@router.post("/trust")
def upload(wanted: UploadTrustRequest, cluster: ChosenCluster, context: Context, _user: Operator) -> UploadTrustAnswer:
    """Put a certificate into a trust store."""
    certificate = read_certificates(_pem(wanted.certificate), "the certificate")[0]
    done = upload_trust(
        cluster, certificate, wanted.store, file="the certificate", description=wanted.description, now=context.clock()
    )
    decision = done.decision
    return UploadTrustAnswer(
        action=decision.action.value,
        reason=decision.reason,
        warnings=list(decision.warnings),
        sha256=certificate.sha256,
        undo=done.undo,
    )


@router.get("/own/{purpose}/consequences")
def consequences(purpose: Purpose, cluster: ChosenCluster, node: NodeName = None) -> ConsequencesAnswer:
    """Say what replacing a certificate brings about, before it is done."""
    return ConsequencesAnswer(sentences=list(cluster.consequences(purpose, node).sentences()))


@router.post("/own/{purpose}/regenerate")
def regenerate(purpose: Purpose, wanted: RegenerateRequest, cluster: ChosenCluster, _user: Operator) -> ReplacedAnswer:
    """Make a new key and self-signed certificate; asked twice for the same certificate, it is done once."""
    present = cluster.identity(purpose, wanted.node)
    if present.certificate.sha256 != wanted.replaces:
        raise CertificateReplacedError(f"{purpose} has serial {present.certificate.serial_hex} by now")
    told = cluster.consequences(purpose, wanted.node).sentences()
    new, rebuilt = cluster.regenerate(purpose, wanted.node, replaces=present.certificate)
    return _replaced(new, rebuilt, told)


@router.get("/csr")
def waiting(cluster: ChosenCluster) -> list[WaitingCsrAnswer]:
    """List the CSRs that wait for their certificates."""
    return [WaitingCsrAnswer(purpose=e.purpose, node=e.node, csr=e.pem) for e in cluster.waiting_requests()]


@router.post("/csr")
def csr(wanted: CsrRequest, cluster: ChosenCluster, _user: Operator) -> CsrAnswer:
    """Make a new key and a CSR; the present certificate stays until the signed one is uploaded."""
    pem = cluster.request_certificate(wanted.purpose, wanted.node, multi_server=wanted.multi_server, names=wanted.names)
    return CsrAnswer(purpose=wanted.purpose, csr=pem)


@router.post("/own")
def install(wanted: UploadOwnRequest, cluster: ChosenCluster, _user: Operator) -> ReplacedAnswer:
    """Put a CA-signed certificate in place of the cluster's own."""
    answer, *chain = read_certificates(_pem(wanted.certificate), "the certificate")
    told = cluster.consequences(wanted.purpose, wanted.node).sentences()
    new, rebuilt = cluster.install_certificate(wanted.purpose, answer, chain, wanted.node)
    return _replaced(new, rebuilt, told)


@router.get("/{sha256}")
def show(sha256: Fingerprint, cluster: ChosenCluster) -> CertificateDetail:
    """Show one certificate with all fields, and where the cluster has it."""
    certificate, stores = _find(cluster, sha256)
    return certificate_view(certificate, cluster.identities(), stores)


@router.get("/{sha256}/pem", response_class=Response, responses={200: {"content": {"application/x-pem-file": {}}}})
def download(sha256: Fingerprint, cluster: ChosenCluster) -> Response:
    """Download a certificate as PEM; never its key."""
    certificate, _ = _find(cluster, sha256)
    name = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._-") else "_" for sign in _name(certificate))
    headers = {"content-disposition": f'attachment; filename="{name}.pem"'}
    return Response(certificate.pem, media_type="application/x-pem-file", headers=headers)


def _name(certificate: Certificate) -> str:
    return f"{certificate.common_name or 'certificate'}_{certificate.serial_hex}"


def _find(cluster: Cluster, sha256: str) -> tuple[Certificate, tuple[Store, ...]]:
    found = cluster.find_certificate(sha256)
    if found is None:
        raise CertificateNotFoundError(NOT_FOUND)
    return found


def _pem(text: str) -> bytes:
    return text.encode()


def _replaced(new: Identity, rebuilt: tuple[str, ...], told: tuple[str, ...]) -> ReplacedAnswer:
    return ReplacedAnswer(certificate=own_view(new), rebuilt=list(rebuilt), consequences=list(told))
