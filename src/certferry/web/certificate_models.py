"""The shapes of the API around certificates and trust lists."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from certferry.trust.purpose import Purpose, Store
from certferry.web.models import BIGGEST_TEXT, Name, Shape, Text

# --- certificates


class CertificateAnswer(Shape):
    """What a list shows of a certificate."""

    sha256: str
    subject: str
    issuer: str
    common_name: str
    serial: str
    not_before: datetime
    not_after: datetime
    key: str


class OwnAnswer(CertificateAnswer):
    """A certificate of the cluster's own; ``node`` null: all nodes share it."""

    purpose: Purpose
    node: str | None


class TrustAnswer(CertificateAnswer):
    """An entry of a trust store; ``origin`` is empty for copies of the cluster's own."""

    store: Store
    origin: str
    own: bool
    added_at: datetime
    description: str


class UseAnswer(Shape):
    """One use of an own certificate."""

    purpose: Purpose
    node: str | None


class CertificateDetail(CertificateAnswer):
    """A certificate with all fields, and where the cluster has it."""

    sha1: str
    signature_algorithm: str
    self_signed: bool
    extensions: list[dict[str, Any]]
    alternative_names: list[str]
    used_for: list[UseAnswer]
    stores: list[Store]
    pem: str


class ConsequencesAnswer(Shape):
    """What replacing a certificate brings about, in sentences."""

    sentences: list[str]


class NodeRequest(Shape):
    """Which node; the publisher when left out."""

    node: Name | None = None


class RegenerateRequest(NodeRequest):
    """``replaces`` is the SHA-256 of the certificate that was looked at: another one in its place is not replaced."""

    replaces: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ReplacedAnswer(Shape):
    """The new certificate, the lists rebuilt for it, and what follows."""

    certificate: OwnAnswer
    rebuilt: list[str]
    consequences: list[str]


class CsrRequest(NodeRequest):
    """What a CA is to sign."""

    purpose: Purpose
    multi_server: bool = False
    names: list[Annotated[str, Field(min_length=1, max_length=253)]] = Field(default=[], max_length=100)


class CsrAnswer(Shape):
    """A certificate signing request."""

    purpose: Purpose
    csr: str


class WaitingCsrAnswer(CsrAnswer):
    """A certificate signing request that waits for its certificate; without a node it is for all nodes."""

    node: str | None


class UploadTrustRequest(Shape):
    """A certificate for a trust store, as PEM text."""

    store: Store
    certificate: str = Field(max_length=BIGGEST_TEXT)
    description: Text = ""


class UploadTrustAnswer(Shape):
    """What became of it: added, put in another's place, or skipped; ``undo`` takes it back."""

    action: str
    reason: str
    warnings: list[str]
    sha256: str
    undo: str | None


class UploadOwnRequest(NodeRequest):
    """A certificate that a CA signed for a CSR of this cluster; its chain follows it in the PEM text."""

    purpose: Purpose
    certificate: str = Field(max_length=BIGGEST_TEXT)


class UndoAnswer(Shape):
    """The id by which a change can be taken back."""

    undo: str


# --- trust lists


class RecordAnswer(Shape):
    """One record of a trust list."""

    role: str
    role_code: int
    subject: str
    issuer: str
    serial: str
    dns_name: str
    ip_address: str
    sha256: str | None
    emptied: bool


class SignerAnswer(Shape):
    """Who signed a trust list."""

    subject: str
    issuer: str
    serial: str


class ListAnswer(Shape):
    """A CTL (``node`` null) or the ITL of a node, decoded."""

    kind: Literal["CTL", "ITL"]
    node: str | None
    version: str
    filename: str
    timestamp: datetime | None
    digest: str
    signer: SignerAnswer
    signature: str
    bytes: int
    sha1: Annotated[str, Field(description="In upper-case hex: how phones tell a list, and /phones/counts counts it.")]
    sha256: str
    records: list[RecordAnswer]


class ListsAnswer(Shape):
    """All trust lists of a cluster."""

    items: list[ListAnswer]


class DeletedAnswer(Shape):
    """What was deleted."""

    deleted: str
