"""``certferry migrate``: phones move to another cluster in waves."""

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.live import Live

from certferry.cli import migrate_plan, migrate_report, migrate_run
from certferry.cli.migrate_options import MigrationArgument, SourceOption, now, open_source
from certferry.cli.migrate_view import picture, print_status, say_next
from certferry.cli.options import JsonOption, output
from certferry.cluster.cluster import Cluster
from certferry.cluster.migrations import Migration, PhoneState, State
from certferry.migrate.waves.status import Status, state_in_words

app = typer.Typer(help="Move phones to another cluster in waves: canaries first, with a stop and a way back.")
app.command("plan")(migrate_plan.plan)
app.command("start")(migrate_run.start)
app.command("resume")(migrate_run.resume)
app.command("pause")(migrate_run.pause)
app.command("cancel")(migrate_run.cancel)


@app.command("list")
def list_(source: SourceOption = None, as_json: JsonOption = False) -> None:
    """List every migration of the source's phones, the oldest first: its state, and how many phones are where."""
    out, cluster = output(as_json), open_source(source)
    counts = cluster.migration_search.counts()
    found = [
        (each, {state: counts.get((each.id, state.value), 0) for state in PhoneState})
        for each in cluster.migrations.all()
    ]
    out.data({"migrations": [_described(each, counted) for each, counted in found]})
    rows = [(*_line(each), sum(counted.values()), *counted.values()) for each, counted in found]
    out.table(("migration", "state", "destination", "by", "phones", *PhoneState), rows)


def _line(migration: Migration) -> tuple[str, ...]:
    state, reason = state_in_words(migration, now())
    return migration.id, f"{state} ({reason})" if reason else state, migration.destination, migration.actor


def _described(migration: Migration, counted: Mapping[PhoneState, int]) -> dict[str, Any]:
    state, reason = state_in_words(migration, now())
    return {
        "migration": migration.id,
        "state": state,
        "reason": reason,
        "created_at": migration.created_at.isoformat(),
        "actor": migration.actor,
        "destination": migration.destination,
        "steered": migration.is_steered(now()),
        "phones": sum(counted.values()),
        **{state.value: number for state, number in counted.items()},
    }


@app.command()
def status(
    migration: MigrationArgument = None,
    source: SourceOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it until it pauses or ends.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Show how a migration stands, from the database; the runner may be anywhere."""
    out, cluster = output(as_json), open_source(source)
    identifier = cluster.migrations.find(migration).id
    seen = _status(cluster, identifier)
    if watch:
        with Live(picture(seen), console=out.console, transient=True) as live:
            while cluster.migrations.find(identifier).state is State.RUNNING:
                time.sleep(interval)
                seen = _status(cluster, identifier)
                live.update(picture(seen))
    out.data(seen.to_json())
    print_status(out, seen)
    say_next(out, seen, cluster)


def _status(cluster: Cluster, identifier: str) -> Status:
    ledger = cluster.migrations
    return Status.of(ledger.find(identifier), ledger.phones(identifier), now())


app.command("report")(migrate_report.report)
app.command("back")(migrate_plan.back)
