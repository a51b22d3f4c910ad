"""Options that many commands share, and what follows from them."""

import os
import shlex
from typing import Annotated

import typer

from certferry.cli.given import given
from certferry.cli.output import Output
from certferry.cluster.cluster import Cluster
from certferry.errors import Refusal, UsageError

CLUSTER_VARIABLE = "CERTFERRY_CLUSTER"


ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster", metavar="PLACE", help=f"The cluster's folder or postgresql:// URL; else ${CLUSTER_VARIABLE}."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, do it.")]


class ClusterUnnamedError(UsageError):
    """A command about a cluster was not told which."""

    code = "cli.cluster-unnamed"
    remedy = f"Give --cluster PLACE, or set {CLUSTER_VARIABLE}."


class ConfirmationError(UsageError):
    """A step that asks first was run where nobody can answer."""

    code = "cli.confirmation"
    remedy = "Run it on a terminal, or add --yes."


class DeclinedError(Refusal):
    """The person at the terminal said no."""

    code = "cli.declined"
    remedy = "Nothing was changed."


def cluster_place(option: str | None) -> str | None:
    """Tell which cluster is meant: the option after the noun, the one before it, the environment."""
    return option or given.cluster or os.environ.get(CLUSTER_VARIABLE) or None


def named_again(option: str | None) -> str:
    """What the next command needs behind it to be about the same cluster; nothing where the environment says it."""
    place = option or given.cluster
    return f" --cluster {shlex.quote(place)}" if place else ""


def cluster_given(option: str | None) -> str:
    """Tell which cluster is meant; raises ``ClusterUnnamedError`` when the command names none."""
    place = cluster_place(option)
    if place is None:
        raise ClusterUnnamedError("no cluster was named")
    return place


def open_cluster(option: str | None) -> Cluster:
    """Open the cluster the command names; raises ``ClusterUnnamedError`` when it names none."""
    return open_place(cluster_given(option))


def open_place(place: str) -> Cluster:
    """Open the cluster at ``place`` until the command ends."""
    opened = Cluster.open(place)
    given.clusters.append(opened)
    return opened


def output(as_json: bool) -> Output:
    """Make the command's output."""
    made = Output(as_json=as_json or given.as_json)
    given.outputs.append(made)
    return made


def confirm(out: Output, question: str, *, yes: bool) -> None:
    """Ask before a step that cannot be taken back unseen; raises ``ConfirmationError``, ``DeclinedError``."""
    if yes:
        return
    if not out.can_ask:
        raise ConfirmationError(f"{question} cannot be asked here: nobody is at a terminal")
    if not typer.confirm(question, err=True):
        raise DeclinedError("the answer was no")
