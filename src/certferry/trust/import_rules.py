"""The plan of a bulk import: for every certificate in the exchange directory, what each store does with it.

A plan is pure arithmetic over what comes in and what is held; nothing happens until somebody applies it. Applied
and planned again, nothing is left to do. The order of the files in the directory changes nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from certferry.trust.purpose import STORES_OF_TYPE, BulkType, Store
from certferry.trust.store_rules import OWN, Action, Code, Decision, HeldCertificate, decide, refusal
from certferry.wire.certificate import Certificate
from certferry.wire.names import comparable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Incoming:
    """One certificate of one exported file: its bulk type, and the cluster that exported it."""

    certificate: Certificate
    bulk_type: BulkType
    from_cluster: str


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """What one store does with one certificate; the order of a plan is the order to apply it in."""

    action: Action
    store: Store
    certificate: Certificate
    from_cluster: str
    reason: str
    displaced: tuple[Certificate, ...] = ()
    code: Code = Code.NEW
    warnings: tuple[str, ...] = ()

    @property
    def changes_something(self) -> bool:
        """Whether the store is different afterwards."""
        return self.action in (Action.ADD, Action.REPLACE)


Held = Mapping[Store, Sequence[HeldCertificate]]
_Bid = tuple[str, Certificate]
"""A cluster that wants a certificate in a store."""


def plan_import(incoming: Iterable[Incoming], held: Held, now: datetime, own_cluster: str) -> tuple[PlannedChange, ...]:
    """Plan the import into the cluster ``own_cluster``, whose stores hold ``held``.

    What a cluster exports under a bulk type goes to the stores of that type (bulk-certificates 3.1); of one
    cluster's certificates with the same subject only the latest is taken. What is already this cluster's own,
    in whichever store, is skipped: no other cluster can lend it a role. Sorted by store, cluster and subject.
    """
    own = {entry.certificate for entries in held.values() for entry in entries if entry.origin == OWN}
    bids = _bids_of_stores(incoming)
    return tuple(
        PlannedChange(
            d.action, store, certificate, cluster, d.reason, displaced=d.displaced, code=d.code, warnings=d.warnings
        )
        for store in Store
        for (cluster, certificate), d in _decisions(bids[store], held.get(store, ()), own, now, own_cluster)
    )


def held_after(held: Held, plan: Iterable[PlannedChange]) -> dict[Store, tuple[HeldCertificate, ...]]:
    """Return what the stores hold once ``plan`` is applied."""
    after = {store: list(entries) for store, entries in held.items()}
    for change in plan:
        if change.changes_something:
            entries = after.setdefault(change.store, [])
            entries[:] = _with(entries, change.certificate, change.from_cluster, change.displaced)
    return {store: tuple(entries) for store, entries in after.items()}


def _bids_of_stores(incoming: Iterable[Incoming]) -> dict[Store, set[_Bid]]:
    """Sort what comes in by store; one certificate that several nodes or types export is one bid."""
    bids: dict[Store, set[_Bid]] = defaultdict(set)
    for item in incoming:
        for store in STORES_OF_TYPE[item.bulk_type]:
            bids[store].add((item.from_cluster, item.certificate))
    return bids


def _decisions(
    bids: set[_Bid], held: Sequence[HeldCertificate], own: set[Certificate], now: datetime, own_cluster: str
) -> Iterator[tuple[_Bid, Decision]]:
    latest = _latest_of_each({bid for bid in bids if bid[1] not in own}, now)
    # Only namesakes matter to one another, and a store may hold thousands of others.
    store = _namesakes(held, lambda entry: entry.certificate)
    rivals = _namesakes(latest, lambda bid: bid[1])
    for bid in sorted(bids, key=_by_cluster_and_subject):
        cluster, certificate = bid
        name = comparable(certificate.subject)
        if certificate in own or cluster == own_cluster:
            yield bid, Decision(Action.SKIP, Code.OWN, "this cluster's own")
        elif bid not in latest and refusal(certificate, now) is None:
            yield bid, _OUTRUN
        else:
            decision = decide(certificate, _yielding(store[name], cluster, rivals[name]), cluster, now)
            yield bid, decision
            if decision.action in (Action.ADD, Action.REPLACE):
                store[name] = _with(store[name], certificate, cluster, decision.displaced)


_OUTRUN = Decision(Action.SKIP, Code.OLDER, "older than another of the same name from the same cluster")


def _latest_of_each(bids: set[_Bid], now: datetime) -> set[_Bid]:
    """Of one cluster's certificates with one subject, the last to become valid among those that can be taken."""
    latest: dict[tuple[str, str], _Bid] = {}
    for bid in sorted(bids, key=lambda bid: (bid[1].not_before, bid[1].sha256)):
        cluster, certificate = bid
        if refusal(certificate, now) is None:
            latest[cluster, comparable(certificate.subject)] = bid
    return set(latest.values())


def _namesakes(items: Iterable[T], certificate: Callable[[T], Certificate]) -> defaultdict[str, list[T]]:
    """Arrange ``items`` by the name their certificates carry."""
    arranged: defaultdict[str, list[T]] = defaultdict(list)
    for item in items:
        arranged[comparable(certificate(item).subject)].append(item)
    return arranged


def _yielding(store: list[HeldCertificate], cluster: str, bids: Iterable[_Bid]) -> list[HeldCertificate]:
    """Show what is held so that a certificate which another cluster exports too is not displaced by ``cluster``."""
    wanted = {
        certificate: other for other, certificate in sorted(bids, key=_by_cluster_and_subject) if other != cluster
    }
    return [
        HeldCertificate(entry.certificate, wanted.get(entry.certificate, entry.origin))
        if entry.origin == cluster
        else entry
        for entry in store
    ]


def _with(
    entries: Iterable[HeldCertificate], certificate: Certificate, origin: str, displaced: tuple[Certificate, ...]
) -> list[HeldCertificate]:
    """Add a certificate; only what came from the same cluster makes room for it."""
    stay = [entry for entry in entries if entry.origin != origin or entry.certificate not in displaced]
    return [*stay, HeldCertificate(certificate, origin)]


def _by_cluster_and_subject(bid: _Bid) -> tuple[str, str, datetime, str]:
    cluster, certificate = bid
    return cluster, comparable(certificate.subject), certificate.not_before, certificate.sha256
