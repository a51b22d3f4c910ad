"""*Show*: nodes and services, phones, the audit log."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from certferry.cluster.audit import AuditBrokenError
from certferry.cluster.values import Node, NodeRole, Service
from certferry.web.context import WebContext, context_of
from certferry.web.pages.certificate_list import SIZES, Search, moment, page_found, part_of
from certferry.web.pages.drawing import draw, go, told
from certferry.web.pages.kept import DEVICES
from certferry.web.pages.phone_filter import phone_query, typed_text
from certferry.web.phone_resets import MOST_PHONES
from certferry.web.security import current_user
from certferry.web.views import served_digests

router = APIRouter(prefix="/show", dependencies=[Depends(current_user)])
Context = Annotated[WebContext, Depends(context_of)]
EXPIRING_DAYS = 90
_NEEDS: dict[Service, NodeRole] = {
    Service.TFTP: NodeRole.TFTP,
    Service.HTTP: NodeRole.TFTP,
    Service.TVS: NodeRole.TVS,
    Service.SIP: NodeRole.CALLMANAGER,
    Service.SIPS: NodeRole.CALLMANAGER,
}
_OMITTED = ("at", "actor", "action", "previous")


@router.get("/cluster")
def cluster(request: Request, context: Context) -> Response:
    """Draw the nodes, their services, and the change version each answers from."""
    opened = context.cluster
    served, beats, version = opened.served(), opened.heartbeats.latest(), opened.version()
    nodes = [(node, _services(node), served.get(node.name), beats.get(node.name)) for node in opened.nodes()]
    return draw(
        request,
        "cluster.html",
        nodes=nodes,
        version=version,
        groups=opened.groups(),
        expiring=Search(expiry=EXPIRING_DAYS).find(opened, moment()).total,
        security_mode=opened.security_mode,
        expiring_days=EXPIRING_DAYS,
    )


def _services(node: Node) -> list[tuple[Service, int]]:
    return [(service, node.ports[service]) for service in Service if _NEEDS[service] in node.roles]


@router.get("/phones")
def phones(request: Request, context: Context) -> Response:
    """Draw the phones, found and paged."""
    query = request.query_params
    wanted = phone_query(query)
    search, served = context.cluster.phone_search, served_digests(context.cluster)
    found = search.find(wanted, served, part_of(query))
    page = page_found(found.items, found.total, query)
    return draw(
        request,
        "phones.html",
        page=page,
        text=typed_text(query),
        lists=wanted.status or "",
        order=wanted.sort,
        down=wanted.descending,
        most_reset=MOST_PHONES,
        counts=search.count(served),
        sizes=SIZES,
        elsewhere={name: DEVICES.of(other) for name, other in context.others.items()},
    )


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit log."""

    at: str
    actor: str
    action: str
    details: tuple[tuple[str, str], ...]


@router.get("/audit")
def audit(request: Request, context: Context) -> Response:
    """Draw the audit log, the latest first."""
    query = request.query_params
    text = query.get("text", "").strip()[:200]
    found = context.cluster.find_audit(text, part_of(query))
    page = page_found([_entry(line) for line in found.items], found.total, query)
    whole, broken = None, None
    if "verified" in query:
        try:
            whole = context.cluster.verify_audit()
        except AuditBrokenError as refusal:
            broken = told(request, refusal)
    return draw(request, "audit.html", page=page, text=text, sizes=SIZES, whole=whole, broken=broken)


def _entry(line: str) -> AuditEntry:
    entry: dict[str, Any] = json.loads(line)
    details = tuple((key, _plain(value)) for key, value in entry.items() if key not in _OMITTED)
    return AuditEntry(str(entry.get("at", "")), str(entry.get("actor", "")), str(entry["action"]), details)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


home = APIRouter()


@home.get("/")
def start() -> Response:
    """Send the reader to the first page."""
    return go("/show/cluster")
