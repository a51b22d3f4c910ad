"""What became of one phone: decided from its reset request and from where both clusters saw it last.

A phone has **moved** when the destination registered it later than the source did; or when it signed off at the
source, and the destination registered it at about its reset or later, as the clocks of two clusters may differ. It
has **failed** when it left the source (it signed off, or asked either cluster for files or for TVS) and then
registered at the source again; when it stayed registered at the source without ever leaving; or when it is nowhere.
The last two take patience. A mere renewal of its registration at the source proves nothing: a phone with a call up
resets after the call.

What the source told by a clock that was set back since lies ahead of the clock now. It is known by this, that of the
reset the source tells by a clock that is not ahead; it then counts as seen before the reset.

A reset that a node took and never ended (the node was killed) may or may not have reached the phone. Nobody sends
it again, so the phone is *uncertain* until it is seen, for twice the patience.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from certferry.cluster.migrations import MigrationPhone, PhoneState
from certferry.cluster.resets import ResetOutcome, ResetRequest
from certferry.cluster.sightings import ABOUT_NOW, Sighting, Step

Steps = Mapping[Step, Sighting]
_LEFT_SOURCE = (Step.UNREGISTERED, Step.CTL, Step.ITL, Step.CONFIGURATION, Step.TVS)
_CAME_TO_DESTINATION = (Step.CTL, Step.ITL, Step.CONFIGURATION, Step.REFUSED)


CLOCKS = timedelta(seconds=30)
"""So far apart the clocks of nodes and of the runner may be; within one cluster they agree far better."""
_MOMENT = timedelta(microseconds=1)
DOUBT = timedelta(seconds=15)
"""A node that took a reset says within seconds how it ended; after this it is in doubt."""


class WaveCode(StrEnum):
    """Why a phone failed as far as its whereabouts tell; each is a cause of the troubleshooting table."""

    CAME_BACK = "wave.came-back"
    STAYED = "wave.stayed"
    NOWHERE = "wave.nowhere"
    ABSENT = "wave.absent"
    NEVER_CAME = "wave.never-came"


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a phone: its reset request, and its last sightings at both clusters."""

    request: ResetRequest | None = None
    source: Steps = field(default_factory=dict)
    destination: Steps = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a phone is to be taken for, and since when if that is known; ``withdraw`` its reset, which nobody has."""

    state: PhoneState
    code: str = ""
    reason: str = ""
    withdraw: bool = False
    at: datetime | None = None


def judge(phone: MigrationPhone, seen: Seen, patience: timedelta, now: datetime) -> Verdict:
    """Say what became of a phone that was reset, or that failed and may have come later."""
    seen = _by_one_clock(phone, seen, now)
    if is_at_destination(seen) or _changed_over(phone, seen) or (has_moved(seen) and _is_after_reset(phone, seen)):
        at = seen.destination[Step.REGISTERED].at
        return Verdict(PhoneState.MOVED, reason=_where(seen), withdraw=_is_open(seen.request), at=at)
    if phone.state.has_ended:
        return Verdict(phone.state, phone.code, phone.reason)
    if seen.request is not None and seen.request.outcome is ResetOutcome.ABSENT:
        return _failed(WaveCode.ABSENT, "no node of the source had it registered, so it was not reset")
    if _came_back(seen, _told_to_reset(phone, seen)):
        return _failed(WaveCode.CAME_BACK, f"it came back to the source: {_told(seen.source[Step.REGISTERED])}")
    return _by_patience(phone, seen, _since(phone, seen, now), patience, now)


def has_moved(seen: Seen) -> bool:
    """Whether the destination was the last to register the phone."""
    there, here = seen.destination.get(Step.REGISTERED), seen.source.get(Step.REGISTERED)
    return there is not None and (here is None or there.at > here.at)


def is_at_destination(seen: Seen) -> bool:
    """Whether the phone has moved and did not sign off there since."""
    return has_moved(seen) and _is_registered(seen.destination)


def _by_one_clock(phone: MigrationPhone, seen: Seen, now: datetime) -> Seen:
    """Lay before the reset what the source saw before its clock was set back."""
    if phone.reset_at is None:
        return seen
    request, since, soon = seen.request, phone.reset_at - CLOCKS, now + ABOUT_NOW
    taken = request.taken_at if request else None
    ahead = {step: each.at for step, each in seen.source.items() if each.at > soon}
    told = [each.at for each in seen.source.values()] + ([taken] if taken else [])
    if not ahead or not any(since <= at <= soon for at in told):
        return seen
    back = max(ahead.values()) - since + _MOMENT
    source = {step: replace(each, at=each.at - back) if step in ahead else each for step, each in seen.source.items()}
    if request and taken and taken > soon:
        request = replace(request, taken_at=since)
    return replace(seen, request=request, source=source)


def _by_patience(phone: MigrationPhone, seen: Seen, since: datetime, patience: timedelta, now: datetime) -> Verdict:
    waited, registered = now - since, seen.source.get(Step.REGISTERED)
    in_doubt = _is_in_doubt(seen.request) and (registered is None or registered.at <= since)
    if in_doubt and min(DOUBT, patience) <= waited < 2 * patience:
        return Verdict(PhoneState.UNCERTAIN, reason="its node took the reset and never said how it ended")
    if waited < patience:
        return Verdict(PhoneState.RESET)
    if _is_open(seen.request):
        return Verdict(phone.state, withdraw=True)
    if registered is not None and _is_registered(seen.source):
        return _failed(WaveCode.STAYED, f"it stayed at the source{_answer(seen.request)}: {_told(registered)}")
    seconds = f"{waited.total_seconds():.0f} s"
    return _failed(WaveCode.NOWHERE, f"it registered nowhere within {seconds}{_answer(seen.request)}")


def _told_to_reset(phone: MigrationPhone, seen: Seen) -> datetime:
    """Tell the moment from which a registration at the source counts, by the clock of the source's nodes if known."""
    taken = seen.request.taken_at if seen.request else None
    moment = taken or phone.reset_at
    assert moment is not None  # noqa: S101 -- only phones that were reset are judged
    return moment


def _since(phone: MigrationPhone, seen: Seen, now: datetime) -> datetime:
    """Tell the moment at which patience begins: when a node took the reset, unless its clock is ahead of ours."""
    moments = [phone.reset_at, seen.request.taken_at if seen.request else None]
    known = [moment for moment in moments if moment is not None]
    return max((moment for moment in known if moment <= now), default=min(known))


def _changed_over(phone: MigrationPhone, seen: Seen) -> bool:
    """Whether the phone signed off at the source and is registered at the destination, each by its own clock."""
    if phone.reset_at is None or not _is_registered(seen.destination) or _is_registered(seen.source):
        return False
    return seen.destination[Step.REGISTERED].at >= phone.reset_at - CLOCKS


def _came_back(seen: Seen, since: datetime) -> bool:
    registered = seen.source.get(Step.REGISTERED)
    if registered is None or registered.at <= since:
        return False
    left = [seen.source[step].at for step in _LEFT_SOURCE if step in seen.source]
    left += [seen.destination[step].at for step in _CAME_TO_DESTINATION if step in seen.destination]
    return any(since <= at <= registered.at for at in left)


def _is_registered(steps: Steps) -> bool:
    registered, left = steps.get(Step.REGISTERED), steps.get(Step.UNREGISTERED)
    return registered is not None and (left is None or left.at < registered.at)


def _is_open(request: ResetRequest | None) -> bool:
    return request is not None and request.taken_at is None and request.outcome is None


def _is_in_doubt(request: ResetRequest | None) -> bool:
    return request is not None and request.taken_at is not None and request.outcome is None


def _answer(request: ResetRequest | None) -> str:
    if request is not None and request.outcome is ResetOutcome.UNANSWERED:
        return " and did not answer the reset"
    return "; the node that took the reset never said how it ended" if _is_in_doubt(request) else ""


def _is_after_reset(phone: MigrationPhone, seen: Seen) -> bool:
    return phone.reset_at is not None and seen.destination[Step.REGISTERED].at >= phone.reset_at


def _where(seen: Seen) -> str:
    return f"registered with {seen.destination[Step.REGISTERED].node}"


def _told(sighting: Sighting) -> str:
    return f"registered with {sighting.node} at {sighting.at:%H:%M:%S}"


def _failed(code: WaveCode, reason: str) -> Verdict:
    return Verdict(PhoneState.FAILED, code.value, reason)
