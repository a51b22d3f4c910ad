"""What the ``migrate`` commands share: both clusters, the migration, and what its end means."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from certferry.cli.exit_codes import ExitCode
from certferry.cli.options import ClusterUnnamedError, cluster_place, open_place
from certferry.cluster.cluster import Cluster
from certferry.cluster.migrations import Migration, State
from certferry.migrate.waves.sides import Sides
from certferry.migrate.waves.status import Status

_PLACE = "FOLDER|URL"
MigrationArgument = Annotated[str | None, typer.Argument(metavar="MIGRATION", help="Its id; the latest if left out.")]
SourceOption = Annotated[
    str | None, typer.Option("--source", metavar=_PLACE, help="The cluster the phones leave; else --cluster.")
]
DestinationOption = Annotated[
    str | None,
    typer.Option("--destination", metavar=_PLACE, help="The cluster they go to, if not where it was planned."),
]
LinesOption = Annotated[
    bool, typer.Option("--lines", help="Print what happens and how it stands as lines of JSON, while it runs.")
]


def open_source(option: str | None) -> Cluster:
    """Open the cluster that phones leave, which keeps their migrations; raises ``ClusterUnnamedError``."""
    place = option or cluster_place(None)
    if place is None:
        raise ClusterUnnamedError("the source was not named", remedy="Give --source FOLDER, or --cluster.")
    return open_place(place)


def open_sides(source: Cluster, destination: str | None, migration: Migration) -> Sides:
    """Open the destination, where it was said or planned to be."""
    return Sides(source, open_place(destination or migration.destination))


def place_of(cluster: Cluster) -> str:
    """Write where a cluster is so that it is found from every directory."""
    text = cluster.location.text
    return text if "://" in text else str(Path(text).expanduser().resolve())


def to_type(command: str, migration: str, source: Cluster) -> str:
    """Write the command that goes on with a migration so that it works from every directory."""
    return f"certferry migrate {command} {migration} --source {place_of(source)}"


def now() -> datetime:
    """Read the clock."""
    return datetime.now(UTC)


def exit_code(status: Status) -> ExitCode:
    """Say by exit code how a migration stands after a run."""
    totals = status.totals
    if status.state != State.DONE.value:
        return ExitCode.PARTLY_DONE
    if totals.failed == 0:
        return ExitCode.DONE
    return ExitCode.PARTLY_DONE if totals.moved else ExitCode.FAILED
