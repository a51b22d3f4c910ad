"""The shapes of the API around waves of phones."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from certferry.web.models import Name, Shape, Text

Seconds = Annotated[float, Field(ge=0, le=86_400)]
Threshold = Annotated[str, Field(pattern="^([1-9][0-9]{0,5}|([1-9][0-9]?|100)%)$", description="3, or 5% of a wave.")]
PhoneStateText = Literal["waiting", "reset", "uncertain", "moved", "failed"]
StateText = Literal["planned", "running", "paused", "done", "cancelled", "unknown"]


class RulesShape(Shape):
    """Resets each second, seconds between waves and of patience with a phone, failures that stop it."""

    pace: float = Field(default=5.0, ge=0.01, le=1000)
    between: Seconds = 30.0
    patience: float = Field(default=300.0, ge=1, le=86_400)
    stop_at: Threshold = "5%"


class PlanWavesRequest(RulesShape):
    """Which phones move to ``destination``, a cluster of this server; ``canary`` left out: by their number."""

    destination: Name
    everything: bool = False
    groups: list[Name] = Field(default=[], max_length=1000)
    devices: list[Annotated[str, Field(min_length=1, max_length=32)]] = Field(default=[], max_length=100_000)
    percent: int = Field(default=100, ge=1, le=100)
    skip_unknown: bool = False
    canary: int | None = Field(default=None, ge=0, le=100_000)
    wave_size: int = Field(default=200, ge=1, le=100_000)


class KeaRequest(Shape):
    """The subnet of this server's Kea that is to name the destination; ``tftp``: other servers than its TFTP nodes.

    ``before`` and ``after`` are what was shown; the change is refused when it has become another one.
    """

    subnet: Annotated[str, Field(min_length=1, max_length=64, description="As Kea has it: 198.51.100.0/24, or its id.")]
    tftp: Annotated[str, Field(max_length=64)] = ""
    before: Text | None = None
    after: Text | None = None


class Option150Answer(Shape):
    """What would be changed in Kea; nothing is yet."""

    kea: str
    subnet: str
    before: str
    after: str
    changed: bool
    defines_option: bool
    warnings: list[str]


class StartRequest(Shape):
    """``option150_confirmed``: DHCP names the destination already; ``kea``: it is changed now.

    ``override``: why to go on although checks fail.
    """

    option150_confirmed: bool = False
    kea: KeaRequest | None = None
    override: Text | None = None


class CancelRequest(Shape):
    """Why the migration is given up; it goes to the audit log."""

    reason: Text = ""


class TotalsAnswer(Shape):
    """How many phones are where; ``reset`` are all under way, ``uncertain`` some of them."""

    phones: int
    waiting: int
    reset: int
    uncertain: int
    moved: int
    failed: int


class WaveAnswer(TotalsAnswer):
    """How many phones of one wave are where; wave 0 are the canaries."""

    number: int
    canary: bool


class WavesAnswer(Shape):
    """A migration in waves. One that is running and not steered was broken off: resume it."""

    id: str
    source: str
    destination: str
    destination_cluster: str | None
    created_at: datetime
    actor: str
    settings: dict[str, Any]
    state: StateText
    wanted: Literal["run", "pause"]
    reason: str
    steered: bool
    rate: float
    current_wave: int | None
    totals: TotalsAnswer
    waves: list[WaveAnswer]
    failures: dict[str, int]
    job: str | None = None


class PlannedWavesAnswer(WavesAnswer):
    """A migration that was planned; ``left_out`` are phones that the destination does not know."""

    left_out: list[str]


class WavesLine(Shape):
    """A migration in a list."""

    id: str
    destination: str
    created_at: datetime
    actor: str
    state: StateText
    reason: str
    counts: dict[str, int]


class WavePhoneAnswer(Shape):
    """A phone of a migration: how far it is, why it failed, and where both clusters saw it last."""

    device: str
    wave: int
    state: PhoneStateText
    code: str
    reason: str
    reset_at: datetime | None
    ended_at: datetime | None
    seen_at_source: str
    seen_at_destination: str


class WaveEventAnswer(Shape):
    """Something that happened in a migration."""

    position: int
    kind: str
    at: datetime
    details: dict[str, Any]
