"""The shapes of what the API takes and gives; the OpenAPI description is made from them."""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from certferry.cluster.accounts import Role
from certferry.trust.purpose import Purpose, Store

T = TypeVar("T")
Text = Annotated[str, Field(max_length=255)]
Name = Annotated[str, Field(min_length=1, max_length=255)]
Key = Annotated[str, Field(min_length=1, max_length=128)]
BIGGEST_TEXT = 1_000_000
LONGEST_TOKEN_LIFE = 3650


class Shape(BaseModel):
    """The root of every shape: nothing unknown is taken silently."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)


class ErrorBody(Shape):
    """What was refused: a stable code, a sentence, the next step, and for bad input what is wrong by field."""

    code: str
    sentence: str
    remedy: str
    fields: dict[str, str] = {}


class ErrorAnswer(Shape):
    """The form of every error."""

    error: ErrorBody


class Page(Shape, Generic[T]):
    """One page of a list: ``next`` is the cursor of the following page, null on the last; ``total`` counts all."""

    items: list[T]
    next: str | None
    total: int


# --- who


class LoginRequest(Shape):
    """User name and password."""

    name: Name
    password: SecretStr = Field(max_length=1024)


class SessionAnswer(Shape):
    """Who is logged in; ``csrf_token`` goes into the header X-CSRF-Token of every change (null for API tokens)."""

    name: str
    role: Role
    csrf_token: str | None


class UserRequest(Shape):
    """A user's password and role; the password goes nowhere but into its hash."""

    password: SecretStr = Field(max_length=1024)
    role: Role = Role.READ_ONLY


class UserAnswer(Shape):
    """A user."""

    model_config = ConfigDict(extra="ignore", from_attributes=True)

    name: str
    role: Role
    created_at: datetime


class TokenRequest(Shape):
    """A new API token; without ``days`` it lasts until it is taken back."""

    name: Name
    role: Role = Role.READ_ONLY
    days: int | None = Field(default=None, ge=1, le=LONGEST_TOKEN_LIFE)


class TokenAnswer(Shape):
    """An API token; its text is not kept."""

    id: str
    name: str
    role: Role
    created_by: str
    created_at: datetime
    expires_at: datetime | None


class NewTokenAnswer(TokenAnswer):
    """A new token with its text, which is shown this once."""

    token: str


# --- cluster


class NodeAnswer(Shape):
    """A node, whether its services run, and which change version they said they serve (null: never said)."""

    name: str
    address: str
    roles: list[str]
    ports: dict[str, int]
    served_version: int | None
    running: bool


class GroupAnswer(Shape):
    """A CallManager group with its nodes in order."""

    name: str
    members: list[str]


class GroupRequest(Shape):
    """The nodes of a CallManager group, in order of preference."""

    members: list[Name] = Field(min_length=1, max_length=3)


class PortRequest(Shape):
    """Where a service of one node listens."""

    port: int = Field(ge=1, le=65535)


class ClusterAnswer(Shape):
    """A cluster."""

    name: str
    release: str
    security_mode: str
    nodes: list[NodeAnswer]
    groups: list[GroupAnswer]
    version: int
    phones: int
    trust_entries: int
    audit_lines: int


class ParameterAnswer(Shape):
    """An enterprise parameter with its title in Unified CM."""

    key: str
    title: str
    value: str
    default: str


class ParameterRequest(Shape):
    """The new value."""

    value: Text


class RebuiltAnswer(Shape):
    """The trust lists that were rebuilt for a change."""

    rebuilt: list[str]


class ServedAnswer(Shape):
    """Which change version is current, and which each node serves."""

    version: int
    nodes: dict[str, int]


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


# --- phones


class PhoneShape(Shape):
    """A phone."""

    device: Annotated[str, Field(min_length=1, max_length=32)]
    model: Annotated[str, Field(max_length=16)] = "8861"
    group: Text = "Default"
    secure: bool = False
    description: Text = ""


ListStatusText = Literal["match", "mismatch", "not installed", "unknown"]


class PhoneAnswer(PhoneShape):
    """A phone, how its trust lists compare with those served, and where it registered last.

    ``registered`` says whether that registration lasts still. ``list_status`` is that of both lists together.
    """

    ctl_status: ListStatusText
    itl_status: ListStatusText
    list_status: ListStatusText
    lists_told_at: datetime | None
    registered: bool
    registered_node: str | None
    registered_address: str | None
    registered_at: datetime | None


class PhoneCounts(Shape):
    """How many phones have which status of their lists, and how many hold which list, by SHA-1."""

    statuses: dict[str, int]
    ctl: dict[str, int]
    itl: dict[str, int]


class ResetRequest(Shape):
    """Phones that are to be reset: device names or MAC addresses."""

    devices: list[Annotated[str, Field(min_length=1, max_length=32)]] = Field(min_length=1, max_length=1000)


class CountAnswer(Shape):
    """How many."""

    count: int
