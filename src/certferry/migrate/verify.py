"""Verifying a migration beforehand: look at both clusters, ask every TVS about every signer, rehearse, judge.

Looking comes first and runs side by side, so that a dead node costs its one time-out while everything else is
answered; judging is plain functions over what was seen (``verify_reach``, ``verify_lists``, ``verify_tvs``,
``verify_stores``, ``verify_emcc``).
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from certferry.migrate.gather import Looking, gather_phones, gather_side
from certferry.migrate.place import Place
from certferry.migrate.rehearse import LOOKED_AT, Rehearsed, rehearse_phones
from certferry.migrate.result import PhoneResult, Verification
from certferry.migrate.seen import EXPIRY_WINDOW, Seen
from certferry.migrate.survey import survey_tvs
from certferry.migrate.verify_emcc import emcc_checks, probe_tomcat
from certferry.migrate.verify_lists import list_checks
from certferry.migrate.verify_reach import reach_checks
from certferry.migrate.verify_stores import store_checks
from certferry.migrate.verify_tvs import tvs_checks
from certferry.phone.decision import Kind
from certferry.trust.list_check import Check

OLD_MODELS = ("79",)
"""How the numbers of models begin that know SHA-1 and RSA-2048 only (phone-trust 4.7)."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user told: expiry window, old phones (None: not said), option 150, lists that phones really hold."""

    window: timedelta = EXPIRY_WINDOW
    old_phones: bool | None = None
    option150: tuple[str, ...] | None = None
    held: Mapping[Kind, bytes] = field(default_factory=dict, repr=False)


async def verify(
    source: Place,
    destination: Place,
    phones: Sequence[Rehearsed],
    looking: Looking,
    *,
    now: datetime,
    wish: Wish = Wish(),
) -> Verification:
    """Look at everything that can be seen, and judge it."""
    seen, results = await look(source, destination, phones, looking, now=now, wish=wish)
    return Verification.of(judge(seen), results, source=source.text, destination=destination.text, at=now)


async def look(
    source: Place, destination: Place, phones: Sequence[Rehearsed], looking: Looking, *, now: datetime, wish: Wish
) -> tuple[Seen, tuple[PhoneResult, ...]]:
    """See both clusters, then ask TVS, shake hands and rehearse, all at the same time."""
    named = [phone.device for phone in phones if not phone.made_up]
    sample = named[:LOOKED_AT]
    here, there = await asyncio.gather(
        gather_side(source, sample, looking, held=wish.held), gather_side(destination, sample, looking)
    )
    everybody = await gather_phones(here, named, looking)
    survey, tomcat, results = await asyncio.gather(
        survey_tvs(here, there, looking),
        probe_tomcat(here, there, looking),
        rehearse_phones(everybody, there, phones, looking),
    )
    old = wish.old_phones if wish.old_phones is not None else _old_phones(source, phones)
    return Seen(here, there, survey, now, wish.window, old, wish.option150, tomcat), results


def judge(seen: Seen) -> tuple[Check, ...]:
    """Judge everything seen, in the order in which a phone meets it."""
    groups: Iterable[Iterable[Check]] = (
        reach_checks(seen),
        list_checks(seen),
        tvs_checks(seen),
        store_checks(seen),
        emcc_checks(seen),
    )
    return tuple(check for group in groups for check in group)


def _old_phones(source: Place, phones: Sequence[Rehearsed]) -> bool | None:
    """Say whether old models are among the phones of the source's database; None when it was not given."""
    if source.inside is None:
        return None
    wanted = {phone.device for phone in phones}
    models = [phone.model for phone in source.inside.phones if phone.device in wanted or not wanted]
    return any(model.upper().removeprefix("CP-").startswith(OLD_MODELS) for model in models)
