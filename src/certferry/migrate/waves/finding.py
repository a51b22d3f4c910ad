"""Finding out why the first phones failed: each is rehearsed against the live servers, and the sightings are read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from certferry.cluster.migrations import MigrationPhone
from certferry.cluster.sightings import Sighting, Step
from certferry.errors import Refusal
from certferry.migrate.diagnose import Diagnosis, Hints, diagnose
from certferry.migrate.gather import Looking, Reach
from certferry.migrate.rehearse import Rehearsed, rehearse
from certferry.migrate.result import PhoneResult
from certferry.migrate.signs import Certainty
from certferry.migrate.waves.judging import Seen, WaveCode
from certferry.migrate.waves.sides import Sides

FIRST = 3
"""So many failed phones are looked into; the others mostly failed for the same."""
_FILES = (Step.CTL, Step.ITL, Step.CONFIGURATION)
_WOULD_MIGRATE = "a virtual phone with what the source serves for it would migrate, so look at what this one holds"


@dataclass(frozen=True, slots=True)
class Found:
    """Why one phone failed: its row with the cause in it, and every diagnosis, the surest first."""

    phone: MigrationPhone
    diagnoses: tuple[Diagnosis, ...]

    def to_json(self) -> dict[str, Any]:
        """Give what an event keeps."""
        return {
            "device": self.phone.device,
            "code": self.phone.code,
            "reason": self.phone.reason,
            "diagnoses": [each.to_json() for each in self.diagnoses],
        }


async def find_out(
    sides: Sides,
    phones: Sequence[MigrationPhone],
    seen: Mapping[str, Seen],
    now: datetime,
    reach: Reach | None = None,
) -> tuple[Found, ...]:
    """Rehearse these very phones, and put together what both say."""
    models = {phone.device: phone.model for phone in sides.source.phones()}
    wanted = [Rehearsed(phone.device, models.get(phone.device, "8861")) for phone in phones]
    looking = Looking.with_reach(reach or Reach())
    try:
        rehearsed = await rehearse(*sides.places(), wanted, looking, now.replace(microsecond=0))
    except Refusal:
        results: Mapping[str, PhoneResult] = {}
    else:
        results = {result.device: result for result in rehearsed.phones}
    return tuple(conclude(phone, results.get(phone.device), seen.get(phone.device, Seen())) for phone in phones)


def conclude(phone: MigrationPhone, rehearsal: PhoneResult | None, seen: Seen) -> Found:
    """Say why a phone failed, from its rehearsal and where it was seen."""
    told = [rehearsal.to_json()] if rehearsal else []
    hints = Hints(phone.device, tvs=_node(seen.source.get(Step.TVS)))
    lost = rehearsal is not None and rehearsal.outcome == "would-fail"
    found = diagnose(json.dumps([*told, *signs_of(phone, seen, would_fail=lost)]), hints)
    causes = tuple(each for each in found if not each.cause.fine)
    would = rehearsal is not None and rehearsal.outcome == "would-migrate"
    first = causes[0] if causes and causes[0].certainty is not Certainty.POSSIBLE else None
    if first is None or first.code == phone.code:
        return Found(replace(phone, reason=f"{phone.reason}; {_WOULD_MIGRATE}") if would else phone, causes)
    reason = f"{phone.reason}; {first.cause.cause.en} ({first.evidence[0]})"
    return Found(replace(phone, code=first.code, reason=reason), causes)


def signs_of(phone: MigrationPhone, seen: Seen, *, would_fail: bool = False) -> list[dict[str, str]]:
    """Read what both clusters saw of a phone since its reset, as outcomes that a diagnosis understands.

    That the destination saw nothing of it is no proof that it never came when a rehearsal has another explanation:
    nodes tell nothing of phones that their cluster does not know.
    """
    since = phone.reset_at
    here, there = (
        {step: each for step, each in steps.items() if since is None or each.at >= since}
        for steps in (seen.source, seen.destination)
    )
    signs = [_sign(phone, "unknown", phone.code, phone.reason)]
    if Step.REFUSED in there:
        told = there[Step.REFUSED]
        signs.append(_sign(phone, "failed", "registration.failed", f"{told.node} refused it: {told.detail}"))
    if Step.TVS in here and "invalid" in here[Step.TVS].detail:
        told = here[Step.TVS]
        signs.append(_sign(phone, "failed", "tvs.invalid", f"TVS on {told.node} answered: {told.detail}"))
    came = [step for step in _FILES if step in there]
    if not came and phone.code in (WaveCode.CAME_BACK, WaveCode.NOWHERE):
        sure = "unknown" if would_fail else "failed"
        signs.append(_sign(phone, sure, WaveCode.NEVER_CAME, "no node of the destination saw it ask for a file"))
    if came and Step.TVS not in here and Step.CONFIGURATION not in there:
        files = " and ".join(step.value.upper() for step in came)
        reason = f"it took {files} from the destination and asked no TVS of the source about them"
        signs.append(_sign(phone, "unknown", "tvs.unreachable", reason))
    return signs


def _sign(phone: MigrationPhone, outcome: str, code: str, reason: str) -> dict[str, str]:
    return {"device": phone.device, "outcome": outcome, "code": code, "reason": reason}


def _node(sighting: Sighting | None) -> str:
    return sighting.node if sighting else ""
