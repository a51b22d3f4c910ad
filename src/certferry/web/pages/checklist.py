"""The published procedure as a checklist, each step judged by facts: what both clusters hold, what the directory has.

A step is *done* when the fact holds now, whoever brought it about: certificates regenerated after an export make the
step due again. What happens outside, in DHCP or at the phones, is the administrator's word.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal

from certferry.cluster.cluster import Cluster
from certferry.cluster.parameters import ROLLBACK, SECURITY_MODE
from certferry.cluster.values import Identity, Node, NodeRole, Service
from certferry.trust.purpose import PURPOSES_OF_TYPE, STORES_OF_TYPE, BulkType, Purpose, Store
from certferry.web.pages.kept import DEVICES, HOLDINGS, IDENTITIES, NODES, PARAMETERS, Holdings
from certferry.wire.certificate import Certificate

State = Literal["done", "next", "waiting", "by-hand", "unknown"]


@dataclass(frozen=True, slots=True)
class Fact:
    """What was found for one step: whether it holds (None: cannot be seen from here), and what was seen."""

    step: str
    holds: bool | None
    values: Mapping[str, Any] = field(default_factory=dict)
    cluster: str = ""
    path: str = ""
    by_hand: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the checklist."""

    fact: Fact
    state: State


@dataclass(frozen=True)
class Side:
    """One cluster as the console shows it; each thing is read once, when it is needed."""

    cluster: Cluster
    listing: Mapping[str, Any] | None
    problem: str = ""

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.cluster.name

    @cached_property
    def version(self) -> int:
        """The change version of the cluster as the page is drawn."""
        return self.cluster.version()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes of the cluster."""
        return NODES.at(self.cluster, self.version)

    @property
    def identities(self) -> tuple[Identity, ...]:
        """The certificates of the cluster."""
        return IDENTITIES.at(self.cluster, self.version)

    @property
    def parameters(self) -> Mapping[str, str]:
        """The enterprise parameters of the cluster."""
        return PARAMETERS.at(self.cluster, self.version)

    @cached_property
    def shared(self) -> tuple[str | None, ...]:
        """What both clusters have to give alike: where the exchange directory is."""
        keys = "sftp.host", "sftp.port", "sftp.directory"
        saved = self.cluster.settings(keys)
        return tuple(saved.get(key) for key in keys)

    @property
    def devices(self) -> frozenset[str]:
        """The phones that the cluster knows."""
        return DEVICES.at(self.cluster, self.version)

    @property
    def holdings(self) -> Holdings:
        """What the trust stores hold."""
        return HOLDINGS.at(self.cluster, self.version)

    @property
    def held(self) -> frozenset[tuple[Store, str]]:
        """Which store holds which certificate."""
        return self.holdings.held

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """How many phones, trust entries and lines of audit there are."""
        return self.cluster.counts()

    @property
    def security_mode(self) -> str:
        """Whether the cluster is in mixed mode."""
        return self.parameters[SECURITY_MODE]

    @property
    def foreign(self) -> Mapping[str, int]:
        """How many certificates of other clusters each store has."""
        return self.holdings.foreign

    @cached_property
    def lagging(self) -> tuple[str, ...]:
        """The nodes that do not run, do not answer from the latest change, or never said so."""
        served, running = self.cluster.served(), self.cluster.heartbeats.running()
        current = {node for node in running if served.get(node, -1) >= self.version}
        return tuple(node.name for node in self.nodes if node.name not in current)

    @property
    def option150(self) -> tuple[str, ...]:
        """What DHCP option 150 names to bring phones here: the first two TFTP nodes, with an odd port."""
        nodes = [node for node in self.nodes if NodeRole.TFTP in node.roles][:2]
        return tuple(
            node.address if node.ports[Service.TFTP] == 69 else f"{node.address}:{node.ports[Service.TFTP]}"  # noqa: PLR2004 -- the standard port
            for node in nodes
        )


def checklist(source: Side, destination: Side, verified: Mapping[str, Any] | None) -> list[Step]:
    """Judge every step of moving phones from ``source`` to ``destination``."""
    steps: list[Step] = []
    is_open = False
    for fact in _facts(source, destination, verified):
        state = _state(fact, is_open=is_open)
        is_open = is_open or state == "next" or (fact.by_hand and state == "by-hand")
        steps.append(Step(fact, state))
    return steps


def _state(fact: Fact, *, is_open: bool) -> State:
    if fact.holds:
        return "done"
    if is_open:
        return "waiting"
    if fact.by_hand:
        return "by-hand"
    return "unknown" if fact.holds is None else "next"


def _facts(source: Side, destination: Side, verified: Mapping[str, Any] | None) -> Iterator[Fact]:
    yield _phones_known(source, destination)
    yield _rollback(source)
    for side, other in ((destination, source), (source, destination)):
        holds = _is_configured(side) and (not _is_configured(other) or side.shared == other.shared)
        yield Fact("settings", holds, {"cluster": side.name}, side.name, "/security/bulk")
    for side in (destination, source):
        yield Fact("export", _exported(side), {"cluster": side.name}, side.name, "/security/bulk")
    yield Fact("consolidate", _consolidated(source, destination), {}, "", "/security/bulk")
    yield _imported(source, destination)
    yield _imported(destination, source)
    yield Fact("served", not source.lagging, {"cluster": source.name, "nodes": ", ".join(source.lagging)})
    yield _verified(verified)
    addresses = ", ".join(destination.option150)
    yield Fact("option150", None, {"addresses": addresses, "cluster": destination.name}, by_hand=True)
    yield Fact("reset", None, {"cluster": destination.name}, by_hand=True)


def _phones_known(source: Side, destination: Side) -> Fact:
    here, missing = source.devices, missing_devices(source.devices, destination.devices)
    values = {"count": len(here), "missing": missing, "cluster": destination.name}
    return Fact("phones", bool(here) and not missing, values, destination.name, "/show/phones")


@lru_cache(maxsize=16)
def missing_devices(here: frozenset[str], there: frozenset[str]) -> int:
    """Count the phones that are known in one place and not in the other; sets keep their hash, so asking is cheap."""
    return len(here - there)


def _rollback(source: Side) -> Fact:
    holds = source.parameters[ROLLBACK] == "false"
    return Fact("rollback", holds, {"cluster": source.name}, source.name, "/settings/parameters")


def _is_configured(side: Side) -> bool:
    return bool(side.shared[0])


def _exported(side: Side) -> bool | None:
    """Whether the directory has the present certificates of a cluster, as far as its list tells."""
    if side.listing is None:
        return None if _is_configured(side) else False
    mine = [each for each in side.listing["files"] if each["cluster"] == side.name and not each["consolidated"]]
    return all(each["signed"] for each in mine) and all(_is_fresh(side, kind, mine) for kind in BulkType)


def _is_fresh(side: Side, kind: BulkType, files: list[Mapping[str, Any]]) -> bool:
    """Whether a type is exported, and no certificate of it was made since."""
    born = [each.certificate.not_before for each in side.identities if each.purpose in PURPOSES_OF_TYPE[kind]]
    written = [each["modified"] for each in files if each["type"] == kind.value]
    return not born or (bool(written) and max(born) <= max(written))


def _consolidated(source: Side, destination: Side) -> bool | None:
    listing = source.listing or destination.listing
    return None if listing is None else bool(listing["import_offered"])


def _imported(here: Side, there: Side) -> Fact:
    """Judge by what counts at last: whether the stores of one cluster hold the other's present certificates."""
    missing = missing_certificates(here, there)
    values = {"cluster": here.name, "other": there.name, "missing": len(missing)}
    return Fact("import", not missing, values, here.name, "/security/bulk")


def missing_certificates(here: Side, there: Side) -> set[tuple[Store, Certificate]]:
    """Return what an import of everything would still add to ``here`` from ``there``."""
    return {
        (store, identity.certificate)
        for identity in there.identities
        for store in _wanted(identity.purpose)
        if (store, identity.certificate.sha256) not in here.held
    }


def _wanted(purpose: Purpose) -> Iterator[Store]:
    for bulk_type, purposes in PURPOSES_OF_TYPE.items():
        if purpose in purposes:
            yield from STORES_OF_TYPE[bulk_type]


def _verified(verified: Mapping[str, Any] | None) -> Fact:
    if verified is None:
        return Fact("verify", holds=False, values={"failed": 0})
    failed = sum(check["verdict"] == "fail" for check in verified["checks"])
    return Fact("verify", bool(verified["ok"]), {"failed": failed})
