"""``certferry migrate plan`` and ``back``: which phones, in which waves."""

import math
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from certferry.cli.files import read_phones
from certferry.cli.migrate_options import (
    DestinationOption,
    MigrationArgument,
    SourceOption,
    now,
    open_sides,
    open_source,
    place_of,
    to_type,
)
from certferry.cli.migrate_view import row_of
from certferry.cli.options import ClusterUnnamedError, JsonOption, open_place, output
from certferry.cli.output import Output
from certferry.cluster.cluster import Cluster
from certferry.cluster.migrations import Migration, MigrationPhone, PhoneState
from certferry.cluster.phones import device_name
from certferry.migrate.waves.choosing import Choice, Chosen, NothingMovedError, SameClusterError, choose
from certferry.migrate.waves.planning import WAVE, Rules, Threshold, plan_waves
from certferry.migrate.waves.sides import Sides
from certferry.migrate.waves.status import WaveStatus, count_waves

DEFAULTS = Rules()
SHOWN = 10
"""Devices named in a warning."""
_MINUTE = 60
_AS_FIRST = "As for plan; else as in the first migration."
CanaryOption = Annotated[
    int | None, typer.Option("--canary", min=0, help="Phones that go first, of every kind; else 5, or 1 in 100.")
]
SizeOption = Annotated[int, typer.Option("--wave-size", min=1, help="Phones in a wave.")]
PaceOption = Annotated[float, typer.Option("--pace", min=0.01, max=1000, help="Phones reset in a second.")]
BetweenOption = Annotated[float, typer.Option("--between", min=0, help="Seconds from the end of a wave to the next.")]
StopOption = Annotated[
    str,
    typer.Option("--stop-at", metavar="N|N%", help="Pause at N failures, or at N% of a wave; in the canaries at one."),
]
PatienceOption = Annotated[
    float, typer.Option("--patience", min=1, help="Seconds after which a phone that is nowhere has failed.")
]


def plan(
    source: SourceOption = None,
    destination: DestinationOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All phones of the source.")] = False,
    group: Annotated[
        list[str] | None, typer.Option("--group", metavar="NAME", help="Phones of a CallManager group; repeatable.")
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Phones of a CSV, as for 'phone import': column device."),
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option("--device", metavar="SEP<MAC>", help="One phone; repeatable.")
    ] = None,
    failed_of: Annotated[
        str | None,
        typer.Option("--failed-of", metavar="MIGRATION", help="Only phones that failed there."),
    ] = None,
    percent: Annotated[
        int, typer.Option("--percent", min=1, max=100, help="Only a share of these; the same ones every time.")
    ] = 100,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Leave out phones that the destination does not know.")
    ] = False,
    canary: CanaryOption = None,
    wave_size: SizeOption = WAVE,
    pace: PaceOption = DEFAULTS.pace,
    between: BetweenOption = DEFAULTS.between,
    stop_at: StopOption = str(DEFAULTS.stop_at),
    patience: PatienceOption = DEFAULTS.patience,
    as_json: JsonOption = False,
) -> None:
    """Plan a migration: which phones, canaries first, then waves. No phone is touched before start."""
    out, cluster = output(as_json), open_source(source)
    rules = Rules(pace, between, patience, Threshold.parse(stop_at))
    first = cluster.migrations.find(failed_of) if failed_of is not None else None
    sides = _sides(cluster, destination, first)
    listed = [phone.device for phone in read_phones(csv)] if csv else []
    devices = [*(device_name(text) for text in device or []), *listed]
    everything = everything or (first is not None and not (devices or group))
    choice = Choice(everything, group or [], devices, percent, skip_unknown, _failed(cluster, first))
    chosen = choose(choice, sides.source.phones(), sides.destination.phones())
    _make(out, sides, chosen, rules, canary, wave_size, {"failed_of": first.id} if first else None)


def _sides(source: Cluster, destination: str | None, first: Migration | None) -> Sides:
    if first is not None:
        return open_sides(source, destination, first)
    if destination is None:
        raise ClusterUnnamedError("the destination was not named", remedy="Give --destination FOLDER.")
    sides = Sides(source, open_place(destination))
    if place_of(sides.destination) == place_of(source):
        raise SameClusterError(f"source and destination are both {place_of(source)}")
    return sides


def _failed(source: Cluster, first: Migration | None) -> frozenset[str] | None:
    if first is None:
        return None
    return frozenset(p.device for p in source.migrations.phones(first.id) if p.state is PhoneState.FAILED)


def back(
    migration: MigrationArgument = None,
    source: SourceOption = None,
    destination: DestinationOption = None,
    canary: CanaryOption = None,
    wave_size: SizeOption = WAVE,
    pace: Annotated[float | None, typer.Option("--pace", min=0.01, max=1000, help=_AS_FIRST)] = None,
    between: Annotated[float | None, typer.Option("--between", min=0, help=_AS_FIRST)] = None,
    stop_at: Annotated[str | None, typer.Option("--stop-at", metavar="N|N%", help=_AS_FIRST)] = None,
    patience: Annotated[float | None, typer.Option("--patience", min=1, help=_AS_FIRST)] = None,
    as_json: JsonOption = False,
) -> None:
    """Plan the way back: the phones that moved return to the source. --source and --destination are as they were.

    The new migration is one of the destination's phones, so its --source is the destination of the first.
    """
    out, cluster = output(as_json), open_source(source)
    first = cluster.migrations.find(migration)
    sides = open_sides(cluster, destination, first)
    old = Rules.of_json(first.plan)
    rules = Rules(
        pace or old.pace,
        old.between if between is None else between,
        patience or old.patience,
        Threshold.parse(stop_at) if stop_at else old.stop_at,
    )
    moved = {p.device for p in cluster.migrations.phones(first.id) if p.state is PhoneState.MOVED}
    if not moved:
        raise NothingMovedError(f"no phone of migration {first.id} moved, so there is none to bring back")
    returning = Sides(sides.destination, sides.source)
    known = [phone.device for phone in returning.source.phones() if phone.device in moved]
    chosen = choose(Choice(devices=known), returning.source.phones(), returning.destination.phones())
    _make(out, returning, chosen, rules, canary, wave_size, {"back_from": first.id})


def _make(
    out: Output,
    sides: Sides,
    chosen: Chosen,
    rules: Rules,
    canary: int | None,
    size: int,
    more: Mapping[str, Any] | None = None,
) -> None:
    waves = plan_waves(chosen.phones, canary=canary, size=size, registered=sides.source.sightings.registered())
    phones = [MigrationPhone(device, wave) for device, wave in waves.items()]
    settings = {**rules.to_json(), "wave_size": size, **(more or {})}
    identifier = f"{now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    made = sides.source.migrations.create(identifier, place_of(sides.destination), settings, phones)
    _tell(out, made, phones, chosen, sides)


def _tell(out: Output, made: Migration, phones: Sequence[MigrationPhone], chosen: Chosen, sides: Sides) -> None:
    waves = count_waves(phones)
    out.data(
        {
            "migration": made.id,
            "state": made.state.value,
            "source": place_of(sides.source),
            "destination": made.destination,
            "settings": made.plan,
            "waves": [wave.to_json() for wave in waves],
            "phones": [{"device": phone.device, "wave": phone.wave} for phone in phones],
            "left_out": list(chosen.left_out),
            "unlike": list(chosen.unlike),
        }
    )
    many = f"{_count(len(phones), 'phone')} in {_count(len(waves), 'wave')}"
    out.text(f"Migration {made.id}: {many}, {_duration(waves, made.plan)}")
    out.table(("wave", "phones"), [row_of(wave)[:2] for wave in waves])
    canaries = [phone.device for phone in phones if phone.wave == 0]
    if canaries:
        out.text(f"Canaries: {', '.join(canaries[:20])}{' ...' if len(canaries) > 20 else ''}")  # noqa: PLR2004 -- a line
    _warn(out, chosen.left_out, "that the destination does not know are left out")
    _warn(out, chosen.unlike, "have another model or security profile at the destination, and may not register there")
    out.say(f"Start it with: {to_type('start', made.id, sides.source)}")


def _warn(out: Output, devices: Sequence[str], what: str) -> None:
    if devices:
        more = ", ..." if len(devices) > SHOWN else ""
        out.warn(f"{len(devices)} phones {what}: {', '.join(devices[:SHOWN])}{more}")


def _duration(waves: Sequence[WaveStatus], plan: Mapping[str, Any]) -> str:
    phones = sum(wave.phones for wave in waves)
    seconds = math.ceil(phones / plan["pace"] + (len(waves) - 1) * plan["between"])
    told = _count(seconds, "second") if seconds < _MINUTE else _count(round(seconds / _MINUTE), "minute")
    return f"at least {told} and the time that the last phones of each wave take"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
