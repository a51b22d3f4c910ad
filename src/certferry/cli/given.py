"""What the command line as a whole was given, and what the command made and opened.

``--cluster`` and ``--json`` may stand before or after the noun: ``certferry --cluster X bulk list`` is
``certferry bulk list --cluster X``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # clusters take a third of a second to import, and not every command has one
    from certferry.cli.output import Output
    from certferry.cluster.cluster import Cluster


@dataclass(slots=True)
class Given:
    """What stood before the noun, and the outputs and clusters the command made and opened."""

    cluster: str | None = None
    as_json: bool = False
    outputs: list[Output] = field(default_factory=list)
    clusters: list[Cluster] = field(default_factory=list)

    def begin(self) -> None:
        """Forget the command before."""
        self.cluster, self.as_json, self.outputs, self.clusters = None, False, [], []

    def end(self) -> None:
        """Give back what the command held open."""
        for cluster in self.clusters:
            cluster.close()

    @property
    def has_answered(self) -> bool:
        """Whether the one JSON object stands on stdout already."""
        return any(out.answered for out in self.outputs)


given = Given()
