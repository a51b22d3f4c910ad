"""What a cluster's database keeps beside the cluster itself: each ledger is a class with short transactions.

A ledger changes nothing that nodes serve, so it does not touch the change version.
"""

from collections.abc import Callable
from datetime import datetime

from certferry.cluster.accounts import Accounts
from certferry.cluster.counters import Counters
from certferry.cluster.database import Database
from certferry.cluster.heartbeats import Heartbeats
from certferry.cluster.migration_search import MigrationSearch
from certferry.cluster.migrations import Migrations
from certferry.cluster.phone_search import PhoneSearch
from certferry.cluster.resets import Resets
from certferry.cluster.sealing import Seal
from certferry.cluster.sightings import Sightings
from certferry.cluster.web_jobs import WebJobs
from certferry.cluster.web_outcomes import WebOutcomes
from certferry.cluster.web_plans import WebPlans
from certferry.cluster.web_sessions import WebSessions
from certferry.cluster.web_tries import WebTries


class Ledgers:
    """The ledgers of one cluster."""

    _database: Database
    _seal: Seal
    _clock: Callable[[], datetime]

    @property
    def accounts(self) -> Accounts:
        """Who may use the cluster's pages and API."""
        return Accounts(self._database, self._clock)

    @property
    def counters(self) -> Counters:
        """What the nodes' services counted."""
        return Counters(self._database, self._clock)

    @property
    def heartbeats(self) -> Heartbeats:
        """Which nodes are served by a process that runs."""
        return Heartbeats(self._database, self._clock)

    @property
    def sightings(self) -> Sightings:
        """Where phones were seen last, and which lists they hold."""
        return Sightings(self._database, self._clock)

    @property
    def resets(self) -> Resets:
        """Phones that are to be reset."""
        return Resets(self._database, self._clock)

    @property
    def migrations(self) -> Migrations:
        """Migrations of the cluster's phones to other clusters."""
        return Migrations(self._database, self._clock)

    @property
    def web_sessions(self) -> WebSessions:
        """Who is logged in to the pages."""
        return WebSessions(self._database)

    @property
    def web_jobs(self) -> WebJobs:
        """The jobs that the pages and the API started."""
        return WebJobs(self._database)

    @property
    def web_plans(self) -> WebPlans:
        """The import plans that were shown and may be carried out."""
        return WebPlans(self._database)

    @property
    def web_outcomes(self) -> WebOutcomes:
        """Which changes the pages' forms made already."""
        return WebOutcomes(self._database, self._seal)

    @property
    def web_tries(self) -> WebTries:
        """How often logins were tried lately."""
        return WebTries(self._database)

    @property
    def phone_search(self) -> PhoneSearch:
        """Phones with where they are and which lists they hold."""
        return PhoneSearch(self._database, self._clock)

    @property
    def migration_search(self) -> MigrationSearch:
        """Migrations and their phones, a page at a time."""
        return MigrationSearch(self._database)
