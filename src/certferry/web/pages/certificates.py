"""*Security > Certificate Management*: find, show, download; what changes something is in ``certificate_changes``."""

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlencode

from cryptography import x509
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from certferry.cluster.certificate_search import CertificateNotFoundError, file_name
from certferry.cluster.cluster import Cluster
from certferry.trust.purpose import Purpose, Store
from certferry.trust.roles import roles_of
from certferry.web.context import WebContext, context_of
from certferry.web.pages.certificate_list import (
    EXPIRY_DAYS,
    SIZES,
    Row,
    Search,
    find_row,
    moment,
    places_of,
    roles_lost,
)
from certferry.web.pages.drawing import draw
from certferry.web.pages.once import new_key
from certferry.web.security import current_user
from certferry.wire.certificate import Certificate
from certferry.wire.roles import role_text

router = APIRouter(prefix="/security/certificates", dependencies=[Depends(current_user)])
Context = Annotated[WebContext, Depends(context_of)]


@router.get("")
def certificate_list(request: Request, context: Context) -> Response:
    """Draw the list, found and paged."""
    search = Search.of(request.query_params)
    query = {key: value for key, value in request.query_params.items() if key not in ("page", "done", "lang")}
    return draw(
        request,
        "certificates.html",
        search=search,
        page=search.find(context.cluster, moment()),
        query=query,
        link=lambda **changed: "?" + urlencode({**query, **changed}),
        names=[*Purpose, *Store],
        sizes=SIZES,
        expiry_days=EXPIRY_DAYS,
    )


@router.get("/{kind}/{name}/{sha256}")
def show(request: Request, context: Context, kind: str, name: str, sha256: str) -> Response:
    """Show one certificate with all fields, and what can be done with it."""
    row = find_row(context.cluster, kind, name, sha256)
    held, places = certificate_of(context.cluster, sha256), places_of(context.cluster, sha256)
    return draw(
        request,
        "certificate.html",
        row=row,
        held=held,
        file=file_name(held, context.cluster.release) if row.is_trust else "",
        places=places,
        roles=_roles(places),
        lists=lists_naming(context.cluster, row),
        fields=list(_fields(held)),
    )


@router.get("/{kind}/{name}/{sha256}/download")
def download(context: Context, kind: str, name: str, sha256: str, form: str = "pem") -> Response:
    """Send the certificate as PEM or DER; never its key."""
    held = certificate_of(context.cluster, find_row(context.cluster, kind, name, sha256).sha256)
    plain = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-_.") else "_" for sign in held.common_name)
    ending, body, media = (
        ("der", held.der, "application/pkix-cert")
        if form == "der"
        else ("pem", held.pem.encode(), "application/x-pem-file")
    )
    headers = {"Content-Disposition": f'attachment; filename="{plain or "certificate"}.{ending}"'}
    return Response(body, media_type=media, headers=headers)


@router.get("/{kind}/{name}/{sha256}/delete")
def ask_delete(request: Request, context: Context, kind: str, name: str, sha256: str) -> Response:
    """Show what follows from deleting a trust certificate, and ask."""
    row = find_row(context.cluster, kind, name, sha256)
    return draw(request, "certificate_delete.html", row=row, lost=roles_lost(context.cluster, row), key=new_key())


def certificate_of(cluster: Cluster, sha256: str) -> Certificate:
    """Return the certificate with that fingerprint; raise ``CertificateNotFoundError``."""
    found = cluster.find_certificate(sha256)
    if found is None:
        raise CertificateNotFoundError(f"no certificate is called {sha256[:16]!r}")
    return found[0]


def lists_naming(cluster: Cluster, row: Row) -> tuple[str, ...]:
    """Return the names of the trust lists that name an own certificate."""
    return () if row.is_trust else cluster.consequences(Purpose(row.name), row.node).lists


def _roles(places: list[Row]) -> list[str]:
    stores = [Store(row.name) for row in places if row.is_trust]
    purposes = [Purpose(row.name) for row in places if not row.is_trust]
    return sorted(role_text(role) for role in roles_of(stores, purposes))


def _fields(held: Certificate) -> Iterator[tuple[str, str]]:
    """Name what X.509 says beyond the fields every page has; extensions nobody can read are left out."""
    loaded = held.x509
    yield "version", loaded.version.name
    yield "signature-algorithm", _algorithm(loaded)
    try:
        extensions = list(loaded.extensions)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return
    for extension in extensions:
        told = _extension(extension.value)
        if told:
            yield told


def _algorithm(loaded: x509.Certificate) -> str:
    name = loaded.signature_algorithm_oid._name  # noqa: SLF001 -- the library's only readable name of an OID
    return f"{name} ({loaded.signature_algorithm_oid.dotted_string})"


def _extension(value: x509.ExtensionType) -> tuple[str, str] | None:
    if isinstance(value, x509.SubjectAlternativeName):
        return "alternative-names", ", ".join(str(name.value) for name in value)
    if isinstance(value, x509.ExtendedKeyUsage):
        return "extended-key-usage", ", ".join(_named(usage) for usage in value)
    if isinstance(value, x509.KeyUsage):
        return "key-usage", ", ".join(name.replace("_", " ") for name in _USAGES if getattr(value, name))
    if isinstance(value, x509.BasicConstraints):
        return "basic-constraints", f"CA: {value.ca}"
    if isinstance(value, x509.SubjectKeyIdentifier):
        return "subject-key-identifier", value.digest.hex(":").upper()
    return None


def _named(oid: x509.ObjectIdentifier) -> str:
    name = oid._name  # noqa: SLF001 -- the library's only readable name of an OID
    return oid.dotted_string if name == "Unknown OID" else name


_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)
