"""A cluster, opened: what it is, and the one way in which it is changed.

Every change is one transaction: what was asked, the trust lists that follow from it, the audit line and the change
version that tells running nodes to load anew.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import Connection

from certferry.cluster import audit, database, identities, nodes, parameters, phones, trust_lists
from certferry.cluster.acting import actor
from certferry.cluster.database import Database
from certferry.cluster.issuing import FreshKeys, KeySource
from certferry.cluster.location import ClusterLocation
from certferry.cluster.sealing import Seal
from certferry.cluster.values import CallManagerGroup, Node, NodeRole, SecurityMode
from certferry.trust.release import Release


def whole_seconds() -> datetime:
    """What time it is, as a cluster keeps times."""
    return datetime.now(UTC).replace(microsecond=0)


class OpenedCluster:
    """A part of ``Cluster``, which everything else that an administrator can do is built on."""

    def __init__(
        self, location: ClusterLocation, *, keys: KeySource | None = None, clock: Callable[[], datetime] = whole_seconds
    ) -> None:
        self.location = location
        self._keys: KeySource = keys or FreshKeys()
        self._clock = clock
        self._database = Database(location)
        try:
            self._look()
        except BaseException:
            self._database.close()
            raise

    def _look(self) -> None:
        self._database.check()
        self._seal = Seal.load(self.location.key_file)
        with self._database.read() as connection:
            self.name = database.fact(connection, "name") or ""
            self.release = Release.parse(database.fact(connection, "release") or "")
            identities.check_seal(connection, self._seal)

    def close(self) -> None:
        """Give back what the database holds open."""
        self._database.close()

    def nodes(self) -> tuple[Node, ...]:
        """All nodes, the publisher first."""
        with self._database.read() as connection:
            return nodes.read_nodes(connection)

    def node(self, name: str) -> Node:
        """The node called ``name``; raises ``NodeUnknownError``."""
        return nodes.find_node(self.nodes(), name)

    @property
    def publisher(self) -> Node:
        """The publisher."""
        return self.nodes()[0]

    def tftp_nodes(self) -> tuple[Node, ...]:
        """The nodes that run TFTP, in cluster order."""
        return tuple(node for node in self.nodes() if NodeRole.TFTP in node.roles)

    def parameters(self) -> dict[str, str]:
        """All enterprise parameters with their values."""
        with self._database.read() as connection:
            return parameters.read_parameters(connection)

    @property
    def security_mode(self) -> SecurityMode:
        """Whether the cluster is in mixed mode."""
        return SecurityMode(self.parameters()[parameters.SECURITY_MODE])

    def groups(self) -> tuple[CallManagerGroup, ...]:
        """The CallManager groups."""
        with self._database.read() as connection:
            return phones.read_groups(connection)

    def version(self) -> int:
        """The change version: it grows with every change that nodes have to learn of."""
        with self._database.read() as connection:
            return database.version(connection)

    def _rebuild(self, connection: Connection) -> tuple[str, ...]:
        return trust_lists.rebuild(connection, self._seal, self.release, self._clock())

    @contextmanager
    def _change(self, action: str, details: Mapping[str, object]) -> Iterator[Connection]:
        with self._database.write() as connection:
            yield connection
            audit.append(connection, actor=actor(), action=action, details=details, now=self._clock())
            database.advance_version(connection)
