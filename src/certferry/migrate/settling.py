"""A moment of patience before a cluster is looked at: its nodes take a change over soon after it was made."""

import time
from collections.abc import Callable, Mapping
from typing import Protocol

SETTLE_SECONDS = 3.0
"""How long nodes that answer from an older change are waited for: ten looks of a node at a SQLite cluster."""
LOOK_SECONDS = 0.1


class Served(Protocol):
    """What of a cluster is looked at: its latest change, and from which change each node answers."""

    def version(self) -> int:
        """Give the number of the latest change."""

    def served(self) -> Mapping[str, int]:
        """Give the number of the change that each node answers from, as it last said."""


def settle(
    cluster: Served,
    within: float = SETTLE_SECONDS,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait until every node that ever reported answers from the latest change; return whether all do.

    Nodes that do not run, or do not learn of the change, are waited for ``within`` seconds: what is then seen is
    what phones are given. Blocks; call it in a thread.
    """
    until = clock() + within
    while _lags(cluster):
        if clock() >= until:
            return False
        sleep(LOOK_SECONDS)
    return True


def _lags(cluster: Served) -> bool:
    latest = cluster.version()
    return any(version < latest for version in cluster.served().values())
