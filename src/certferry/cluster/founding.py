"""Founding a cluster: its folder, key file and database, with everything a new cluster has. All of it or nothing."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
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
    with closing(Database(location)) as store:
        store.must_not_exist()  # before keys are made, which takes long
        owned = identities.generate(due, spec.organisation, keys, now)
        with new_place(location) as seal:
            _write(store, seal, spec, owned, now)


@contextmanager
def new_place(location: ClusterLocation, key: bytes | None = None) -> Iterator[Seal]:
    """Make the key file and its folder, both for the owner alone; take away again what was made when it fails.

    The key file holds ``key``, else a new one. Raises ``SealError`` where another one stands: it is another cluster's.
    """
    folder = location.key_file.parent
    is_new, key_stood = not folder.exists(), location.key_file.exists()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        seal = Seal.create(location.key_file, key)
    except BaseException:
        if is_new:
            with suppress(OSError):  # not empty: somebody else began a cluster there meanwhile
                folder.rmdir()
        raise
    try:
        yield seal
    except BaseException:
        database_files = folder.glob(f"{location.database.name}*") if location.server is None else ()
        for path in (*([] if key_stood else [location.key_file]), *database_files):
            path.unlink(missing_ok=True)
        if is_new:
            folder.rmdir()
        raise


def _write(store: Database, seal: Seal, spec: ClusterSpec, owned: Sequence[OwnCertificate], now: datetime) -> None:
    ordered = nodes.publisher_first(spec.nodes)
    with store.found() as connection:
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


def _default_group(ordered: Sequence[Node]) -> CallManagerGroup:
    # Subscribers take calls, the publisher only where there is nobody else: the usual design.
    able = [node.name for node in ordered if NodeRole.TVS in node.roles or NodeRole.CALLMANAGER in node.roles]
    last = [ordered[0].name] if ordered[0].name in able else []
    members = [name for name in able if name not in last] + last
    return CallManagerGroup(phones.DEFAULT_GROUP, tuple((members or [ordered[0].name])[: phones.MAXIMUM_MEMBERS]))
