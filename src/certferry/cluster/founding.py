"""Founding a cluster: its folder, key file and database, with everything a new cluster has. All of it or nothing."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime

from certferry.cluster import audit, database, identities, nodes, parameters, phones, trust_lists, trust_stores
from certferry.cluster.acting import actor
from certferry.cluster.database import Database
from certferry.cluster.identities import OwnCertificate
from certferry.cluster.issuing import KeySource, Organisation
from certferry.cluster.location import ClusterLocation
from certferry.cluster.sealing import Seal
from certferry.cluster.values import CallManagerGroup, Node, NodeRole, SecurityMode
from certferry.trust.release import Release


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """What a new cluster is to be."""

    name: str
    release: Release
    nodes: Sequence[Node]
    secure: bool = False
    organisation: Organisation = field(default_factory=Organisation)
    itl_recovery_per_node: bool = False


def found(location: ClusterLocation, spec: ClusterSpec, keys: KeySource, now: datetime) -> None:
    """Make the cluster; raises ``SealError`` where another cluster's key file stands, and then leaves it alone."""
    due = identities.due_identities(
        spec.release, nodes.publisher_first(spec.nodes), itl_recovery_per_node=spec.itl_recovery_per_node
    )
    owned = identities.generate(due, spec.organisation, keys, now)
    with _new_folder(location) as seal:
        _write(Database(location.database), seal, spec, owned, now)


@contextmanager
def _new_folder(location: ClusterLocation) -> Iterator[Seal]:
    """Make the folder and its key file, both for the owner alone; take away again what was made when it fails."""
    is_new = not location.folder.exists()
    location.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    seal = Seal.create(location.key_file)  # refuses where a key file stands: that one is another cluster's
    try:
        yield seal
    except BaseException:
        for path in (location.key_file, *location.folder.glob(f"{location.database.name}*")):
            path.unlink(missing_ok=True)
        if is_new:
            location.folder.rmdir()
        raise


def _write(store: Database, seal: Seal, spec: ClusterSpec, owned: Sequence[OwnCertificate], now: datetime) -> None:
    ordered = nodes.publisher_first(spec.nodes)
    store.create()
    with store.write() as connection:
        facts = {"name": spec.name, "release": str(spec.release), "organisation": json.dumps(asdict(spec.organisation))}
        for key, value in facts.items():
            database.put_fact(connection, key, value)
        mode = SecurityMode.MIXED if spec.secure else SecurityMode.NON_SECURE
        parameters.set_parameter(connection, parameters.SECURITY_MODE, mode.value)
        nodes.add_nodes(connection, ordered)
        identities.put_identities(connection, seal, owned)
        trust_stores.refresh_own_copies(connection, identities.read_identities(connection), now)
        phones.put_group(connection, _default_group(ordered), [node.name for node in ordered])
        trust_lists.rebuild(connection, seal, spec.release, now)
        audit.append(connection, actor=actor(), action="create-cluster", details={"name": spec.name}, now=now)
    store.close()


def _default_group(ordered: Sequence[Node]) -> CallManagerGroup:
    # Subscribers take calls, the publisher only where there is nobody else: the usual design.
    able = [node.name for node in ordered if NodeRole.TVS in node.roles or NodeRole.CALLMANAGER in node.roles]
    last = [ordered[0].name] if ordered[0].name in able else []
    members = [name for name in able if name not in last] + last
    return CallManagerGroup(phones.DEFAULT_GROUP, tuple((members or [ordered[0].name])[: phones.MAXIMUM_MEMBERS]))
