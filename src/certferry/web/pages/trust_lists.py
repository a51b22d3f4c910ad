"""*Security > Trust Lists*: the ITL of each TFTP node and the CTL, decoded: who signed, who is in it, who vouches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha1
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from certferry.cluster.cluster import Cluster
from certferry.cluster.values import SecurityMode
from certferry.trust.list_check import Check, Signature, check_list, find_signer, signature_of
from certferry.trust.list_rules import MAXIMUM_CERTIFICATES
from certferry.trust.purpose import Store
from certferry.web.context import WebContext, context_of
from certferry.web.pages.certificate_list import moment
from certferry.web.pages.drawing import draw, go
from certferry.web.pages.kept import VOUCHED, Vouched
from certferry.web.security import current_user
from certferry.web.views import served_digests
from certferry.wire.roles import role_text
from certferry.wire.trust_list import TrustList

router = APIRouter(prefix="/security/trust-lists", dependencies=[Depends(current_user)])
Context = Annotated[WebContext, Depends(context_of)]
CLUSTER = "cluster"
"""Stands in a path for the node of the CTL, which is one for the cluster."""


@dataclass(frozen=True, slots=True)
class ShownRecord:
    """One record as the page tells it."""

    role: str
    dns_name: str
    subject: str
    serial: str
    sha256: str
    expires: datetime | None
    is_signer: bool
    holder: str


@dataclass(frozen=True, slots=True)
class ShownList:
    """One trust list of a cluster; ``vouched`` are the other clusters whose Phone-SAST-trust has its signer."""

    kind: Literal["CTL", "ITL"]
    node: str
    data: bytes
    parsed: TrustList
    vouched: tuple[tuple[str, bool], ...]
    holders: int = 0

    @property
    def path(self) -> str:
        """Where its page is."""
        return f"/security/trust-lists/{self.kind}/{self.node}"

    @property
    def built(self) -> datetime | None:
        """When it was built."""
        stamp = self.parsed.header.timestamp
        return None if stamp is None else datetime.fromtimestamp(stamp, UTC)

    @property
    def signature(self) -> Signature:
        """Whether the signature holds."""
        return signature_of(self.data, self.parsed)

    @property
    def certificates(self) -> int:
        """How many different certificates it has; phones load so many at most as ``limit`` says."""
        return len({record.certificate for record in self.parsed.records if record.certificate})

    @property
    def limit(self) -> int:
        """How many certificates a phone loads."""
        return MAXIMUM_CERTIFICATES

    def checks(self) -> tuple[Check, ...]:
        """Judge the list by itself."""
        return check_list(self.data, moment())


@router.get("")
def overview(request: Request, context: Context) -> Response:
    """Draw the lists of the cluster, and of the other ones where they are known."""
    sides = sides_of([context.cluster, *context.others.values()])
    left = any(_is_left_of_mixed_mode(context.cluster, shown) for shown in sides[0][1])
    return draw(request, "trust_lists.html", sides=sides, left_ctl=left)


def sides_of(clusters: Sequence[Cluster]) -> list[tuple[str, list[ShownList], Mapping[str, int]]]:
    """Tell of each cluster its name, its lists, and how many phones hold them, by status."""
    return [
        (each.name, list(_lists(each, clusters)), each.phone_search.count(served_digests(each))) for each in clusters
    ]


@router.get("/{kind}/{node}")
def show(request: Request, context: Context, kind: Literal["CTL", "ITL"], node: str) -> Response:
    """Decode one list."""
    clusters = [context.cluster, *context.others.values()]
    for shown in _lists(context.cluster, clusters):
        if (shown.kind, shown.node.casefold()) == (kind, node.casefold()):
            return draw(
                request,
                "trust_list.html",
                shown=shown,
                records=list(_records(context.cluster, shown)),
                left_ctl=_is_left_of_mixed_mode(context.cluster, shown),
            )
    return go("/security/trust-lists")


@router.get("/{kind}/{node}/download")
def download(context: Context, kind: Literal["CTL", "ITL"], node: str) -> Response:
    """Send the list as phones get it."""
    data = context.cluster.trust_list(kind, None if node == CLUSTER else node)
    headers = {"Content-Disposition": f'attachment; filename="{kind}File.tlv"'}
    return Response(data or b"", media_type="application/octet-stream", headers=headers)


def _lists(cluster: Cluster, clusters: Sequence[Cluster]) -> Iterator[ShownList]:
    wanted: list[tuple[Literal["CTL", "ITL"], str]] = [("CTL", CLUSTER)]
    wanted += [("ITL", node.name) for node in cluster.tftp_nodes()]
    others = [(each, VOUCHED.of(each)) for each in clusters if each.name != cluster.name]
    holders = cluster.phone_search.holders()
    for kind, node in wanted:
        data = cluster.trust_list(kind, None if node == CLUSTER else node)
        if data:
            parsed = TrustList.parse(data)
            vouched = tuple((each.name, _vouches(each, asked, parsed)) for each, asked in others)
            yield ShownList(kind, node, data, parsed, vouched, holders.get((kind, _sha1(data)), 0))


def _is_left_of_mixed_mode(cluster: Cluster, shown: ShownList) -> bool:
    """Whether a list is the CTL of a cluster that left mixed mode: it can be deleted."""
    return shown.kind == "CTL" and cluster.security_mode is not SecurityMode.MIXED


def _sha1(data: bytes) -> str:
    """The name under which phones tell a list (phone-trust 4.6)."""
    return sha1(data, usedforsecurity=False).hexdigest().upper()


def _vouches(cluster: Cluster, asked: Vouched, trust_list: TrustList) -> bool:
    """Whether a cluster's TVS takes the signer as one of trust lists: its certificate is in Phone-SAST-trust.

    ``asked`` has what was asked before, and takes the answer.
    """
    header = trust_list.header
    signer = header.subject, header.serial.hex().upper()
    if signer not in asked:
        asked[signer] = cluster.holds(Store.PHONE_SAST_TRUST, *signer)
    return asked[signer]


def _records(cluster: Cluster, shown: ShownList) -> Iterator[ShownRecord]:
    signer = find_signer(shown.parsed, shown.parsed)
    owners = {
        each.certificate.der: f"{each.purpose} · {each.node}" if each.node else each.purpose.value
        for each in cluster.identities()
    }
    for record in shown.parsed.records:
        held = record.parsed if record.certificate else None
        yield ShownRecord(
            role_text(record.role),
            record.dns_name,
            record.subject,
            record.serial.hex().upper(),
            held.sha256 if held else "",
            held.not_after if held else None,
            record is signer,
            owners.get(record.certificate, ""),
        )
