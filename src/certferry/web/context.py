"""What a web server serves: this publisher's cluster, other clusters for the migration console, its clock."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from starlette.requests import Request

from certferry.cluster.cluster import Cluster
from certferry.dhcp.kea import Kea
from certferry.errors import UsageError
from certferry.web.exchanges import Exchanges
from certferry.web.passwords import Passwords
from certferry.web.sessions import Sessions
from certferry.web.throttle import Lines, Throttle


class ClusterUnknownError(UsageError):
    """No cluster of that name is shown by this server."""

    code = "web.cluster-unknown"
    remedy = "Start 'certferry web' with --other-cluster FOLDER for each cluster it is to show beside its own."


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class WebContext:
    """One server's world. ``https`` False is for tests on loopback: cookies are then not marked Secure.

    ``kea`` is the DHCP server in which migrations may change option 150. With ``protect_metrics``, ``/metrics`` is for
    those alone who may look at the pages.
    """

    cluster: Cluster
    others: Mapping[str, Cluster] = field(default_factory=dict)
    clock: Callable[[], datetime] = _now
    https: bool = True
    kea: Kea | None = None
    protect_metrics: bool = False
    passwords: Passwords = field(init=False)
    sessions: Sessions = field(init=False)
    exchanges: Exchanges = field(default_factory=Exchanges)
    throttle: Throttle = field(init=False)
    refused_lines: Lines = field(default_factory=Lines)
    streams: Counter[str] = field(default_factory=Counter)
    """How many streams of events each user follows."""

    def __post_init__(self) -> None:
        self.passwords = Passwords(self.cluster.accounts)
        self.sessions = Sessions(self.cluster.web_sessions)
        self.throttle = Throttle(self.cluster.web_tries)

    @property
    def clusters(self) -> Sequence[Cluster]:
        """The publisher's own cluster, then the others."""
        return (self.cluster, *self.others.values())

    def named(self, name: str | None) -> Cluster:
        """The cluster of that name, this publisher's own by default; raises ``ClusterUnknownError``."""
        if name is None or name == self.cluster.name:
            return self.cluster
        if name not in self.others:
            raise ClusterUnknownError(f"there is no cluster {name!r} here")
        return self.others[name]


def context_of(request: Request) -> WebContext:
    """Return the world of the server that got ``request``."""
    context: WebContext = request.app.state.context
    return context
