"""*Certificate Management*, what changes something: generate a CSR, upload, regenerate, delete. Each shows first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from certferry.cluster.cluster import Cluster
from certferry.cluster.signing_requests import MULTI_SERVER, TRUST_STORE_OF
from certferry.cluster.uploading import decide_upload, read_certificates, upload_trust
from certferry.cluster.values import TrustChange
from certferry.errors import Refusal
from certferry.trust.consequences import Consequences
from certferry.trust.purpose import Purpose, Store
from certferry.trust.store_rules import Action, Decision
from certferry.web.context import WebContext, context_of
from certferry.web.pages.certificate_list import find_row, moment, roles_lost
from certferry.web.pages.certificates import certificate_of
from certferry.web.pages.drawing import draw, go, told, words_of
from certferry.web.pages.forms import LARGEST_FILE, Form, read_form
from certferry.web.pages.once import Outcome, new_key, outcomes_of
from certferry.web.security import User, require_operator
from certferry.wire.certificate import Certificate, CertificateMalformedError

router = APIRouter(prefix="/security/certificate", dependencies=[Depends(require_operator)])
LIST = "/security/certificates"
Operator = Annotated[User, Depends(require_operator)]
Context = Annotated[WebContext, Depends(context_of)]


# --- regenerate


@router.get("/regenerate/{purpose}/{node}")
def ask_regenerate(request: Request, context: Context, purpose: Purpose, node: str) -> Response:
    """Show what follows from a new certificate, and ask."""
    cluster = context.cluster
    identity = cluster.identity(purpose, node)
    follows = cluster.consequences(purpose, node)
    return draw(request, "certificate_regenerate.html", identity=identity, node=node, follows=follows, key=new_key())


@router.post("/regenerate/{purpose}/{node}")
async def regenerate(request: Request, context: Context, user: Operator, purpose: Purpose, node: str) -> Response:
    """Make the new certificate once, if the one that was shown is still in use, then show the list."""
    form = await read_form(request)

    def act() -> Outcome:
        # What was shown is what is replaced: two administrators who decide at once make one new certificate.
        shown = certificate_of(context.cluster, form["present"])
        new, rebuilt = context.cluster.regenerate(purpose, node, replaces=shown)
        values = {"purpose": purpose, "node": node, "serial": new.certificate.serial_hex}
        return Outcome("done.regenerated", values, rebuilt)

    await run_in_threadpool(outcomes_of(request).once, user.name, form.key, act)
    return go(LIST, done=form.key)


# --- delete


@router.post("/delete/{store}/{sha256}")
async def delete(request: Request, context: Context, user: Operator, store: Store, sha256: str) -> Response:
    """Take a certificate out of a trust store once, then show the list."""
    form = await read_form(request)

    def act() -> Outcome:
        row = find_row(context.cluster, "trust", store.value, sha256)
        lost = roles_lost(context.cluster, row)
        change = TrustChange("remove", store, certificate_of(context.cluster, sha256))
        undo = context.cluster.change_trust([change], action="delete", details={"store": store.value})
        values = {"name": row.common_name, "store": store.value, "undo": undo}
        return Outcome("done.deleted", values, lost)

    await run_in_threadpool(outcomes_of(request).once, user.name, form.key, act)
    return go(LIST, done=form.key)


# --- CSR


@router.get("/csr")
def ask_csr(request: Request, context: Context) -> Response:
    """Draw the form for a CSR."""
    return _csr_form(request, context.cluster, Form({"node": context.cluster.publisher.name}))


@router.post("/csr")
async def make_csr(request: Request, context: Context, user: Operator) -> Response:
    """Make the CSR once, then show it."""
    form = await read_form(request)
    _check_csr(request, form)

    def act() -> Outcome:
        purpose = Purpose(form["purpose"])
        names = _names(form["names"])
        pem = context.cluster.request_certificate(
            purpose, form["node"], multi_server=form.has("multi-server"), names=names
        )
        return Outcome("done.csr", {"purpose": purpose.value}, pem)

    if form.ok:
        try:
            await run_in_threadpool(outcomes_of(request).once, user.name, form.key, act)
            return go(f"/security/certificate/csr/{form.key}")
        except Refusal as refusal:
            form.refuse(_CSR_FIELD.get(refusal.code, "purpose"), told(request, refusal).sentence)
    return _csr_form(request, context.cluster, form, 422)


@router.get("/csr/{key}")
def show_csr(request: Request, user: Operator, key: str, download: str = "") -> Response:
    """Show a CSR made a moment ago, or send it as a file."""
    outcome = outcomes_of(request).find(user.name, key)
    if outcome is None or outcome.message != "done.csr":
        return go("/security/certificate/csr")
    if download:
        return _csr_file(str(outcome.values["purpose"]), outcome.data)
    return draw(request, "certificate_csr_done.html", made=outcome, key=key)


@router.get("/csr/waiting/{purpose}")
def waiting_csr(context: Context, purpose: Purpose, node: str = "") -> Response:
    """Send the CSR that waits for a node, or the multi-server one, as a file."""
    return _csr_file(purpose.value, context.cluster.waiting_request(purpose, node or None).pem)


def _csr_file(purpose: str, pem: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{purpose}.csr"'}
    return Response(pem, media_type="application/pkcs10", headers=headers)


_CSR_FIELD = {"cert.request-impossible": "purpose", "cluster.name-impossible": "names", "cluster.node-unknown": "node"}


def _check_csr(request: Request, form: Form) -> None:
    say = words_of(request)
    if form["purpose"] not in tuple(Purpose):
        form.refuse("purpose", say("error.choose"))
    if not form["node"]:
        form.refuse("node", say("error.choose"))


def _names(text: str) -> list[str]:
    return [name for part in text.replace(",", " ").split() if (name := part.strip())]


def _csr_form(request: Request, cluster: Cluster, form: Form, status: int = 200) -> Response:
    return draw(
        request,
        "certificate_csr.html",
        status,
        form=form,
        purposes=list(TRUST_STORE_OF),
        multi=sorted(MULTI_SERVER),
        nodes=[node.name for node in cluster.nodes()],
        waiting=cluster.waiting_requests(),
    )


# --- upload


@dataclass(frozen=True, slots=True)
class Upload:
    """A certificate that is about to go somewhere, and what follows from it."""

    certificates: Sequence[Certificate]
    target: Store | Purpose
    node: str
    decision: Decision | None
    follows: Consequences | None

    @property
    def is_refused(self) -> bool:
        """Whether the store does not take it."""
        return self.decision is not None and self.decision.action is Action.REFUSE

    @property
    def pem(self) -> str:
        """What the second form carries."""
        return "".join(each.pem for each in self.certificates)


@router.get("/upload")
def ask_upload(request: Request, context: Context) -> Response:
    """Draw the form for an upload."""
    return _upload_form(request, context.cluster, Form({"node": context.cluster.publisher.name}))


@router.post("/upload")
async def upload(request: Request, context: Context, user: Operator) -> Response:
    """Look at what was sent and show what would follow; with the confirmation, do it once."""
    form = await read_form(request)
    upload = await run_in_threadpool(_read_upload, request, context.cluster, form)
    if upload is None:
        return _upload_form(request, context.cluster, form, 422)
    if form["confirmed"] != "yes" or upload.is_refused:
        return draw(request, "certificate_upload_confirm.html", form=form, upload=upload)
    try:
        await run_in_threadpool(
            outcomes_of(request).once, user.name, form.key, lambda: _install(context.cluster, upload, form)
        )
    except Refusal as refusal:
        form.refuse("file", told(request, refusal).beside_field)
        return _upload_form(request, context.cluster, form, 422)
    return go(LIST, done=form.key)


def _read_upload(request: Request, cluster: Cluster, form: Form) -> Upload | None:
    say, data = words_of(request), form.files.get("file") or form["pem"].encode()
    target: Store | Purpose | None = None
    if form["target"] in tuple(Store):
        target = Store(form["target"])
    elif form["target"] in tuple(Purpose):
        target = Purpose(form["target"])
    else:
        form.refuse("target", say("error.choose"))
    if not data:
        form.refuse("file", say("error.choose-file"))
    elif len(data) > LARGEST_FILE:
        form.refuse("file", say("error.file-too-large"))
    try:
        certificates = read_certificates(data, form["file"]) if form.ok else []
    except CertificateMalformedError as refusal:
        form.refuse("file", told(request, refusal).beside_field)
    return _upload(cluster, certificates, target, form["node"]) if form.ok and target else None


def _upload(cluster: Cluster, certificates: Sequence[Certificate], target: Store | Purpose, node: str) -> Upload:
    if isinstance(target, Purpose):
        return Upload(certificates, target, node, None, cluster.consequences(target, node or None))
    return Upload(certificates[:1], target, node, decide_upload(cluster, certificates[0], target, moment()), None)


def _install(cluster: Cluster, upload: Upload, form: Form) -> Outcome:
    first, *chain = upload.certificates
    values = {"name": first.common_name, "target": upload.target.value}
    if isinstance(upload.target, Purpose):
        _, rebuilt = cluster.install_certificate(upload.target, first, chain, upload.node or None)
        return Outcome("done.installed", values, rebuilt)
    done = upload_trust(cluster, first, upload.target, file=form["file"], description=form["description"], now=moment())
    return Outcome("done.uploaded", values | {"undo": done.undo}) if done.undo else Outcome("done.held", values)


def _upload_form(request: Request, cluster: Cluster, form: Form, status: int = 200) -> Response:
    return draw(
        request,
        "certificate_upload.html",
        status,
        form=form,
        purposes=list(TRUST_STORE_OF),
        stores=list(Store),
        nodes=[node.name for node in cluster.nodes()],
    )
