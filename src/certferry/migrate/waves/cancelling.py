"""Giving a migration up: no phone of it is reset any more, neither by a runner nor by a node."""

from datetime import datetime

from certferry.cluster.cluster import Cluster
from certferry.cluster.migrations import Migration
from certferry.migrate.waves import lease
from certferry.migrate.waves.sides import reset_id


def cancel(source: Cluster, identifier: str, reason: str, now: datetime) -> Migration:
    """Cancel a migration that nobody steers, and take back the resets that no node has taken. Twice is as once.

    Returns the migration as it was found. Raises ``MigrationUnknownError``, ``MigrationLockedError``,
    ``MigrationStateError``.
    """
    found = source.migrations.cancel(identifier, reason, now, is_gone=lease.is_gone)
    # One whose runner was killed may have asked for resets, written down or not.
    source.resets.withdraw([reset_id(identifier, device) for device in source.migrations.unended(identifier)])
    return found
