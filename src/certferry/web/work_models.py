"""The shapes of the API around the exchange, migration, jobs and the audit log."""

from datetime import datetime
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr

from certferry.trust.purpose import BulkType, Store
from certferry.web.models import ErrorBody, Name, Shape, Text

# --- bulk


class SftpRequest(Shape):
    """The SFTP form; left out or null: stays as it is. A password is taken and never given back."""

    host: Name | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    user: Name | None = None
    password: Annotated[SecretStr, Field(max_length=1024)] | None = None
    directory: Annotated[str, Field(min_length=1, max_length=4096)] | None = None


class SftpAnswer(Shape):
    """The SFTP settings, without the password: only whether there is one."""

    host: str
    port: int
    user: str
    directory: str
    password_set: bool
    client_key: str | None
    host_key: str


class TestRequest(Shape):
    """Whether an unknown host key is to be taken over (never a changed one)."""

    __test__ = False
    accept_new_host_key: bool = False


class ExchangeRequest(Shape):
    """*Certificate Type*: left out or empty means all."""

    types: list[BulkType] = Field(default=[], max_length=4)
    break_lock: bool = False


class ConsolidateRequest(ExchangeRequest):
    """``accept_unsigned``: take files without a manifest, from other products, on your word."""

    accept_unsigned: bool = False


class PlanRequest(Shape):
    """What to import; ``expect`` pins clusters to the SHA-256 of their manifest's signer."""

    types: list[BulkType] = Field(default=[], max_length=4)
    accept_unsigned: bool = False
    expect: dict[Name, Text] = Field(default={}, max_length=100)


class ImportRequest(Shape):
    """The id of the plan that was looked at."""

    plan: Annotated[str, Field(max_length=64)]


class FileAnswer(Shape):
    """One file of the exchange directory."""

    name: str
    cluster: str | None
    node: str | None
    type: BulkType | None
    consolidated: bool
    certificates: int | None
    modified: datetime
    bytes: int
    signed: bool
    problem: str


class DirectoryAnswer(Shape):
    """The exchange directory, which buttons are offered, and why one is not (empty: it is)."""

    files: list[FileAnswer]
    clusters: list[str]
    consolidate_offered: bool
    import_offered: bool
    stale: dict[str, list[str]]
    missing: dict[str, str]
    why_not: dict[str, str]


class HistoryAnswer(Shape):
    """One change of the trust stores."""

    id: str
    at: datetime
    actor: str
    action: str
    changes: int
    details: dict[str, Any]
    undone: bool


class UndoneChange(Shape):
    """One step that was taken back."""

    action: str
    store: Store
    sha256: str


class UndoneAnswer(Shape):
    """What an undo changed."""

    undone: str
    changes: list[UndoneChange]


# --- migration and jobs


class LookRequest(Shape):
    """Source and destination: the name of a cluster this server shows, or addresses ``HOST[:PORT]``."""

    source: list[Name] = Field(min_length=1, max_length=50)
    destination: list[Name] = Field(min_length=1, max_length=50)
    devices: list[Annotated[str, Field(max_length=32)]] = Field(default=[], max_length=10_000)
    phones: int | None = Field(default=None, ge=1, le=10_000)
    model: Annotated[str, Field(max_length=16, pattern="^[A-Za-z0-9-]+$")] = "8861"
    timeout: float = Field(default=5.0, ge=0.1, le=60)
    option150: list[IPv4Address] | None = Field(
        default=None, min_length=1, max_length=16, description="Verify: what DHCP will name in option 150."
    )


class ProgressAnswer(Shape):
    """How far a job is in its present step."""

    step: str
    done: int
    total: int


class JobAnswer(Shape):
    """A job; ``result`` when it is done, ``error`` when it failed or was broken off."""

    id: str
    kind: str
    cluster: str
    user: str
    asked: dict[str, Any]
    state: Literal["running", "done", "failed", "interrupted"]
    started_at: datetime
    ended_at: datetime | None
    progress: ProgressAnswer | None
    result: dict[str, Any] | None
    error: ErrorBody | None


class AuditAnswer(Shape):
    """One line of the audit log."""

    at: datetime
    actor: str
    action: str
    details: dict[str, Any]


class AuditCheck(Shape):
    """That no line of the audit log is missing or was changed."""

    lines: int
