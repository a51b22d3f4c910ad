"""Rehearsing a migration: virtual phones hold the source's real files and boot against the destination.

They ask the source's real TVS and take nothing for granted, and change nothing anywhere: they dial their CallManager
and hang up. A phone that is not known to the servers is rehearsed as far as the files for everybody reach, and what
is left is *unknown*.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from certferry.errors import MalformedError
from certferry.fleet.device import Device, Rehearsal
from certferry.migrate.gather import Looking, gather_phones, gather_side
from certferry.migrate.narrate import holding
from certferry.migrate.place import Place
from certferry.migrate.result import PhoneResult, PhoneVerdict, Verification
from certferry.migrate.side import SideView
from certferry.migrate.verify_reach import flash_checks, node_checks
from certferry.phone.events import Address
from certferry.phone.flash import Flash
from certferry.phone.limits import Limits
from certferry.phone.models import asks_for_itl
from certferry.phone.outcome import Code, Journal, Outcome, Step
from certferry.wire.phone_config import DeviceSecurityMode, PhoneConfig, TvsMember

AT_ONCE = 100
LOOKED_AT = 10
"""Of so many phones all files are fetched from all nodes, over both protocols; of the others from one."""
_FIRST_MADE_UP = 0x00_1B_54_FF_00_00
_MARGIN = 0.8


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """One phone to rehearse; ``made_up`` when no cluster can know it."""

    device: str
    model: str = "8861"
    made_up: bool = False


def choose_phones(source: Place, devices: Sequence[str], count: int | None, model: str = "8861") -> list[Rehearsed]:
    """Say which phones to rehearse: those named, else those the source's database knows, else made-up ones.

    ``count`` bounds phones from a database and says how many are made up; phones named are all rehearsed.
    """
    known = {phone.device: phone.model for phone in source.inside.phones} if source.inside else {}
    if devices:
        return [Rehearsed(device, known.get(device, model)) for device in dict.fromkeys(devices)]
    if known:
        return [Rehearsed(device, number) for device, number in list(known.items())[:count]]
    macs = range(_FIRST_MADE_UP, _FIRST_MADE_UP + (count or 1))
    return [Rehearsed(f"SEP{mac:012X}", model, made_up=True) for mac in macs]


async def rehearse(
    source: Place, destination: Place, phones: Sequence[Rehearsed], looking: Looking, now: datetime
) -> Verification:
    """Rehearse every phone; what was seen on the way stands in the checks."""
    asked = [phone.device for phone in phones if not phone.made_up]
    here, there = await asyncio.gather(
        gather_side(source, asked[:LOOKED_AT], looking), gather_side(destination, (), looking)
    )
    here = await gather_phones(here, asked, looking)
    results = await rehearse_phones(here, there, phones, looking)
    checks = (*node_checks("source", here), *node_checks("destination", there), *flash_checks(here, asked))
    return Verification.of(checks, results, source=source.text, destination=destination.text, at=now)


async def rehearse_phones(
    source: SideView, destination: SideView, phones: Sequence[Rehearsed], looking: Looking
) -> tuple[PhoneResult, ...]:
    """Boot all phones, many at the same time."""
    slots = asyncio.Semaphore(AT_ONCE)
    route = _Route.to(destination, looking)

    async def in_turn(phone: Rehearsed) -> PhoneResult:
        async with slots:
            return await _rehearse_phone(source, phone, route)

    return tuple(await asyncio.gather(*(in_turn(phone) for phone in phones)))


@dataclass(frozen=True, slots=True)
class _Route:
    """How phones reach the destination: its TFTP servers as option 150 would name them, and HTTP where TFTP is dumb."""

    servers: tuple[Address, ...]
    http_port: int | None
    limits: Limits

    @classmethod
    def to(cls, destination: SideView, looking: Looking) -> "_Route":
        nodes = [node for node in destination.nodes if node.named]
        over_tftp = any("silent" != file.tftp.state != "not asked" for node in nodes for file in node.files.values())
        ports = [node.endpoint.http_port for node in nodes if node.endpoint.http_port]
        return cls(
            tuple((node.endpoint.host, node.endpoint.tftp_port or 69) for node in nodes),
            None if over_tftp or not ports else ports[0],
            Limits(tvs=looking.reach.tvs / _MARGIN, register=looking.reach.tvs / _MARGIN),
        )


async def _rehearse_phone(source: SideView, phone: Rehearsed, route: _Route) -> PhoneResult:
    try:
        flash = _flash(source, phone)
        if not flash.has_trust_list and (asks_for_itl(phone.model) or not source.alive):
            return _not_seen(phone, source)
        assumed = flash.config is None or PhoneConfig.parse(flash.config).is_short
        flash = _with_assumed_configuration(flash, phone.device, source) if assumed else flash
        device = _device(phone, flash, route)
    except MalformedError as error:
        code, reason = "rehearsal.source-broken", f"a list of the source cannot be read: {error.sentence}"
        return PhoneResult(phone.device, "unknown", Step.ITL, code, reason)
    held = holding(device.flash, "before: it holds")
    outcome = await device.boot(route.servers)
    return _judge(phone, device, outcome, held, assumed=assumed)


def _flash(source: SideView, phone: Rehearsed) -> Flash:
    flash = source.flash(phone.device)
    return flash if asks_for_itl(phone.model) else flash.with_lists(flash.ctl, None)


def _not_seen(phone: Rehearsed, source: SideView) -> PhoneResult:
    reason = "no trust list of the source was seen, so it is not known what the phone holds"
    if not source.alive:
        reason = "the source did not answer, so it is not known what the phone holds"
    return PhoneResult(phone.device, "unknown", Step.ITL, "rehearsal.source-not-seen", reason)


def _with_assumed_configuration(flash: Flash, device: str, source: SideView) -> Flash:
    """Give a phone without a configuration the TVS nodes of its ITL to ask, in the order they stand there."""
    members = tuple(TvsMember(number, *address) for number, address in enumerate(source.tvs_in_lists[:5]))
    return flash.with_config(PhoneConfig(device, (), members).encode(), signed=False)


def _device(phone: Rehearsed, flash: Flash, route: _Route) -> Device:
    return Device(
        phone.device,
        flash,
        model=phone.model,
        http_port=route.http_port,
        allow_tls10=True,
        limits=route.limits,
        rehearsal=Rehearsal(made_up=phone.made_up),
    )


def _judge(phone: Rehearsed, device: Device, outcome: Outcome, held: Journal, *, assumed: bool) -> PhoneResult:
    verdict: PhoneVerdict = "would-migrate" if outcome.ok else "would-fail"
    code, reason = str(outcome.code), _would_register(outcome, device) if outcome.ok else outcome.reason
    if outcome.ok and assumed:
        verdict, code = "unknown", "rehearsal.configuration-assumed"
        reason = "the source has no readable configuration for it, so its TVS were assumed; with those it would move"
    elif outcome.code is Code.CONFIG_ENCRYPTED:
        verdict, code = "unknown", "rehearsal.encrypted"
        reason = "it would take the destination's lists; its configuration there is encrypted for its own key"
    elif phone.made_up and outcome.code in (Code.CONFIG_MISSING, Code.DEVICE_UNKNOWN):
        verdict, code = "unknown", "rehearsal.made-up"
        reason = "it would take the destination's lists; whether the destination knows the real phones was not asked"
    boot = tuple(replace(entry, text=reason) if entry.text == outcome.reason else entry for entry in device.journal)
    journal = (*held, *boot, *holding(device.flash, "after: it would hold", device.journal[-1].at))
    return PhoneResult(phone.device, verdict, str(outcome.step), code, reason, journal)


def _would_register(outcome: Outcome, device: Device) -> str:
    server = outcome.reason.removeprefix("registered with ")
    lsc = "; over TLS with its LSC, which was not shown" if _is_secure(device.flash) else ""
    return f"would register with {server} (reached, nothing sent){lsc}"


def _is_secure(flash: Flash) -> bool:
    return PhoneConfig.parse(flash.config or b"<device/>").security_mode is not DeviceSecurityMode.NON_SECURE
