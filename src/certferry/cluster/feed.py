"""How a running node learns that its cluster changed: PostgreSQL tells it, a SQLite file is looked at again and again.

A feed only says when to compare versions. What was missed while PostgreSQL was away does not matter: whoever is
connected again compares, and so does everybody once in a while.
"""

import asyncio
from typing import Protocol

from certferry.cluster.location import ClusterLocation

POLL_SECONDS = 0.3


class Feed(Protocol):
    """Says when the change version may have moved."""

    async def changed(self, within: float) -> None:
        """Come back when it may have moved, or after ``within`` seconds; never raises for a database that is away."""

    async def close(self) -> None:
        """Give back the connection."""


def feed_of(location: ClusterLocation) -> Feed:
    """Make the feed of a cluster; it opens nothing before its first use."""
    if location.server is None:
        return PollingFeed()
    from certferry.cluster.listening import ListeningFeed  # noqa: PLC0415 -- psycopg takes 0.1 s to load

    return ListeningFeed(location.server)


class PollingFeed:
    """For a SQLite file: a look is cheap, so that there is one every ``POLL_SECONDS``."""

    async def changed(self, within: float) -> None:
        """Come back when it is time to look again."""
        await asyncio.sleep(min(within, POLL_SECONDS))

    async def close(self) -> None:
        """Hold nothing."""
