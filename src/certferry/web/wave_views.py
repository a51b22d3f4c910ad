"""From migrations in waves to the shapes of the API; the pages draw the same."""

from collections.abc import Mapping, Sequence

from certferry.cluster.cluster import Cluster
from certferry.cluster.migrations import Event, Migration, MigrationPhone
from certferry.cluster.sightings import Sighting, Step
from certferry.web import wave_models
from certferry.web.context import WebContext
from certferry.web.wave_standing import Standing
from certferry.web.waves import destination_of

LOGGED = (
    "option150",
    "started",
    "resumed",
    "wave",
    "stopping",
    "paused",
    "finished",
    "cancelled",
    "failed",
    "diagnosis",
    "clock-set-back",
)
"""Events that people read; resets and arrivals are in the phones' rows."""


def waves_view(
    context: WebContext, cluster: Cluster, standing: Standing, job: str | None = None
) -> wave_models.WavesAnswer:
    """Describe how a migration stands."""
    migration = standing.migration
    there = destination_of(context, migration)
    return wave_models.WavesAnswer(
        **standing.to_json(),
        source=cluster.name,
        destination=migration.destination,
        destination_cluster=there.name if there else None,
        created_at=migration.created_at,
        actor=migration.actor,
        settings=dict(migration.plan),
        failures=dict(cluster.migration_search.failures(migration.id)),
        job=job,
    )


def waves_line(migration: Migration, counts: Mapping[tuple[str, str], int]) -> wave_models.WavesLine:
    """Describe a migration in a list."""
    return wave_models.WavesLine(
        id=migration.id,
        destination=migration.destination,
        created_at=migration.created_at,
        actor=migration.actor,
        state=migration.state.value,
        reason=migration.reason,
        counts={state: number for (each, state), number in counts.items() if each == migration.id},
    )


def phone_lines(
    source: Cluster, destination: Cluster | None, phones: Sequence[MigrationPhone]
) -> dict[str, wave_models.WavePhoneAnswer]:
    """Describe phones, with where both clusters saw them last."""
    devices = [phone.device for phone in phones]
    here = source.sightings.of(devices)
    there = destination.sightings.of(devices) if destination else {}
    return {
        phone.device: wave_models.WavePhoneAnswer(
            device=phone.device,
            wave=phone.wave,
            state=phone.state.value,
            code=phone.code,
            reason=phone.reason,
            reset_at=phone.reset_at,
            ended_at=phone.ended_at,
            seen_at_source=_last(here.get(phone.device, {})),
            seen_at_destination=_last(there.get(phone.device, {})),
        )
        for phone in phones
    }


def wave_event(event: Event) -> wave_models.WaveEventAnswer:
    """Describe something that happened."""
    return wave_models.WaveEventAnswer(
        position=event.position, kind=event.kind, at=event.at, details=dict(event.details)
    )


def _last(steps: Mapping[Step, Sighting]) -> str:
    """Tell the last step of a phone at a cluster: ``registered n1 2026-06-01 08:00:00``."""
    if not steps:
        return ""
    last = max(steps.values(), key=lambda each: each.at)
    return f"{last.step.value} {last.node} {last.at:%Y-%m-%d %H:%M:%S}"
