"""What takes long to read of a cluster, read anew only after a change of it: pages stay fast beside 40,000 phones."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from certferry.cluster.cluster import Cluster
from certferry.trust.purpose import Store

T = TypeVar("T")


class Kept(Generic[T]):
    """A value for each cluster, computed by ``read``; kept for as long as the change version stays the same."""

    def __init__(self, read: Callable[[Cluster], T]) -> None:
        self._read = read
        self._known: WeakKeyDictionary[Cluster, tuple[int, T]] = WeakKeyDictionary()

    def of(self, cluster: Cluster) -> T:
        """Return the value for ``cluster`` as it is now."""
        return self.at(cluster, cluster.version())

    def at(self, cluster: Cluster, version: int) -> T:
        """The same for who has asked for the change version already."""
        known = self._known.get(cluster)
        if known is None or known[0] != version:
            known = self._known[cluster] = (version, self._read(cluster))
        return known[1]


DEVICES = Kept(lambda cluster: frozenset(cluster.devices()))
"""The names of all phones a cluster knows."""

NODES = Kept(lambda cluster: tuple(cluster.nodes()))
IDENTITIES = Kept(lambda cluster: tuple(cluster.identities()))
PARAMETERS = Kept(lambda cluster: cluster.parameters())


@dataclass(frozen=True, slots=True)
class Holdings:
    """Which store holds which certificate, by SHA-256, and how many of other clusters each store has."""

    held: frozenset[tuple[Store, str]]
    foreign: Mapping[str, int]

    @classmethod
    def of(cls, cluster: Cluster) -> "Holdings":
        """Read a cluster's trust stores."""
        entries = cluster.held_certificates()
        foreign = Counter(store.value for store, _, is_own in entries if not is_own)
        return cls(frozenset((store, sha256) for store, sha256, _ in entries), foreign)


Vouched = dict[tuple[str, str], bool]


def _nothing_asked(_cluster: Cluster) -> Vouched:
    return {}


VOUCHED = Kept(_nothing_asked)
"""Whether a cluster's TVS takes a signer, by subject and serial: what was asked since its last change."""

HOLDINGS = Kept(Holdings.of)
"""What the trust stores of a cluster hold."""
