"""The shapes of what the API takes and gives; the OpenAPI description is made from them."""

from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from certferry.cluster.accounts import Role

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
