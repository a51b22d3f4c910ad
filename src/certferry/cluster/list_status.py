"""Whether phones hold the trust lists that the cluster serves: match, mismatch, not installed, unknown.

As Unified CM shows it since 15SU1, an ITL matches when it is that of any TFTP node (phone-trust 4.6).
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha1
from threading import Lock

from certferry.cluster.cluster import Cluster
from certferry.cluster.sightings import HeldLists

_CACHED = 32
"""Clusters whose hashes are kept, one version each."""


class ListStatus(StrEnum):
    """How what a phone holds compares with what the cluster serves; ``UNKNOWN`` when the phone never said."""

    MATCH = "match"
    MISMATCH = "mismatch"
    NOT_INSTALLED = "not installed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PhoneLists:
    """The status of one phone's lists, that of both in one word, and what the phone said of them.

    ``overall`` leaves a CTL aside that is not installed where the cluster serves none.
    """

    ctl: ListStatus
    itl: ListStatus
    overall: ListStatus
    held: HeldLists | None = None


_NEVER_SAID = PhoneLists(ListStatus.UNKNOWN, ListStatus.UNKNOWN, ListStatus.UNKNOWN)
_WORST_FIRST = (ListStatus.MISMATCH, ListStatus.NOT_INSTALLED, ListStatus.MATCH)


@dataclass(frozen=True, slots=True)
class ServedLists:
    """SHA-1, in upper-case hex, of what a cluster serves; ``ctl`` is empty where it has none."""

    ctl: str
    itls: frozenset[str]

    @classmethod
    def of(cls, cluster: Cluster) -> "ServedLists":
        """Hash the lists of a cluster as they are now."""
        itls = (cluster.trust_list("ITL", node.name) for node in cluster.tftp_nodes())
        return cls(_sha1(cluster.trust_list("CTL")), frozenset(_sha1(data) for data in itls if data))

    def compare(self, held: HeldLists | None) -> PhoneLists:
        """Compare with what a phone said."""
        if held is None:
            return _NEVER_SAID
        ctl, itl = _status(held.ctl, {self.ctl}), _status(held.itl, self.itls)
        both = {itl, ctl} if held.ctl or self.ctl else {itl}
        return PhoneLists(ctl, itl, next(status for status in _WORST_FIRST if status in both), held)


def list_status(cluster: Cluster, devices: Iterable[str]) -> dict[str, PhoneLists]:
    """The status of the lists of ``devices``, a page of them or all."""
    wanted = list(devices)
    served, held = served_lists(cluster), cluster.sightings.held(wanted)
    return {device: served.compare(held.get(device)) for device in wanted}


_known: OrderedDict[str, tuple[int, ServedLists]] = OrderedDict()
_knowing = Lock()


def served_lists(cluster: Cluster) -> ServedLists:
    """The hashes of what ``cluster`` serves, made once for each change version."""
    place, version = cluster.location.text, cluster.version()
    with _knowing:
        if (found := _known.get(place)) and found[0] == version:
            _known.move_to_end(place)
            return found[1]
    served = ServedLists.of(cluster)
    with _knowing:
        # A change while the lists were read has another version, and is read anew next time.
        _known[place] = version, served
        _known.move_to_end(place)
        while len(_known) > _CACHED:
            _known.popitem(last=False)
    return served


def _status(held: str, served: Collection[str]) -> ListStatus:
    if not held:
        return ListStatus.NOT_INSTALLED
    return ListStatus.MATCH if held in served else ListStatus.MISMATCH


def _sha1(data: bytes | None) -> str:
    return sha1(data, usedforsecurity=False).hexdigest().upper() if data else ""
