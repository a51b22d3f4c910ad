"""Options that many commands share, and what the command line as a whole was given.

``--cluster`` and ``--json`` may stand before or after the noun: ``certferry --cluster X bulk list`` is
``certferry bulk list --cluster X``.
"""

from dataclasses import dataclass
from typing import Annotated

import typer

from certferry.cli.output import Output
from certferry.cluster.cluster import Cluster
from certferry.errors import UsageError


@dataclass(slots=True)
class Given:
    """What stood before the noun."""

    cluster: str | None = None
    as_json: bool = False


given = Given()

ClusterOption = Annotated[
    str | None,
    typer.Option("--cluster", envvar="CERTFERRY_CLUSTER", metavar="PATH", help="The cluster's folder."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, do it.")]


class ClusterUnnamedError(UsageError):
    """A command about a cluster was not told which."""

    code = "cli.cluster-unnamed"
    remedy = "Give --cluster PATH, or set CERTFERRY_CLUSTER."


class ConfirmationError(UsageError):
    """A step that asks first was run where nobody can answer."""

    code = "cli.confirmation"
    remedy = "Run it on a terminal, or add --yes."


def open_cluster(option: str | None) -> Cluster:
    """Open the cluster the command names; raises ``ClusterUnnamedError`` when it names none."""
    place = option or given.cluster
    if place is None:
        raise ClusterUnnamedError("no cluster was named")
    return Cluster.open(place)


def output(as_json: bool) -> Output:
    """Make the command's output."""
    return Output(as_json=as_json or given.as_json)


def confirm(out: Output, question: str, *, yes: bool) -> None:
    """Ask before a step that cannot be taken back unseen; raises ``ConfirmationError``, aborts on no."""
    if yes:
        return
    if not out.is_terminal:
        raise ConfirmationError(f"{question} cannot be asked here: nobody is at a terminal")
    typer.confirm(question, abort=True, err=True)
