"""Everything that nodes' services answer from, read at one moment in one transaction.

With an earlier reading at hand, only what was touched since then is read: a change of 200 certificates among 100,000
costs a few milliseconds. Certificates stay bytes here; few of them are ever asked about.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import Connection, func, select

from certferry.cluster import database, identities, nodes, parameters, phones, schema, trust_lists
from certferry.cluster.database import Database
from certferry.cluster.issuing import PrivateKey
from certferry.cluster.layered import Layered
from certferry.cluster.sealing import Seal
from certferry.cluster.touched import Mark, Touched, is_all_touched, is_followed, keys_since, mark
from certferry.cluster.values import CallManagerGroup, Identity, Node, NodeRole, Phone
from certferry.trust.purpose import Purpose, Store

SERVED_PURPOSES = (Purpose.CALLMANAGER, Purpose.TVS)
"""Whose private keys a node's services use."""
_ROWS_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class Reading:
    """A cluster at one moment, as the nodes ``names`` need it.

    ``trust`` has the stores of every certificate that is in one, by its DER. ``touched_trust`` and ``touched_phones``
    are what may differ from the reading before, None for everything.
    """

    names: frozenset[str]
    version: int
    mark: Mark
    parameters: Mapping[str, str]
    nodes: tuple[Node, ...]
    identities: tuple[Identity, ...]
    keys: Mapping[tuple[str, Purpose], tuple[Identity, PrivateKey]]
    groups: tuple[CallManagerGroup, ...]
    trust: Layered[bytes, frozenset[Store]]
    touched_trust: frozenset[bytes] | None
    phones: Mapping[str, Phone]
    touched_phones: frozenset[str] | None
    ctl: bytes | None
    itl: Mapping[str, bytes]


class Readings:
    """How running nodes read a cluster; a part of ``Cluster``."""

    _database: Database
    _seal: Seal

    def reading(self, names: Iterable[str], before: Reading | None = None) -> Reading:
        """Read what the nodes called ``names`` need; only what is new when ``before`` was read for the same nodes."""
        with self._database.read() as connection:
            return _read(connection, self._seal, frozenset(names), before)


def _read(connection: Connection, seal: Seal, names: frozenset[str], before: Reading | None) -> Reading:
    if before is not None and (before.names != names or not is_followed(connection, before.mark)):
        before = None
    all_nodes, owned = nodes.read_nodes(connection), identities.read_identities(connection)
    wanted = [node for node in all_nodes if node.name in names]
    trust, touched_trust = _trust(connection, before)
    known, touched_phones = _phones(connection, before)
    return Reading(
        names=names,
        version=database.version(connection),
        mark=mark(connection),
        parameters=parameters.read_parameters(connection),
        nodes=all_nodes,
        identities=owned,
        keys=_keys(connection, seal, owned, wanted, before),
        groups=phones.read_groups(connection),
        trust=trust,
        touched_trust=touched_trust,
        phones=known,
        touched_phones=touched_phones,
        ctl=trust_lists.read_list(connection, "CTL", None),
        itl=_itls(connection, wanted),
    )


def _keys(
    connection: Connection, seal: Seal, owned: tuple[Identity, ...], wanted: Iterable[Node], before: Reading | None
) -> dict[tuple[str, Purpose], tuple[Identity, PrivateKey]]:
    keys: dict[tuple[str, Purpose], tuple[Identity, PrivateKey]] = {}
    for node in wanted:
        for purpose in SERVED_PURPOSES:
            identity = identities.find_identity(owned, purpose, node.name)
            known = before.keys.get((node.name, purpose)) if before else None
            is_same = known is not None and known[0] == identity
            keys[node.name, purpose] = (
                known if known and is_same else (identity, identities.read_key(connection, seal, identity))
            )
    return keys


def _itls(connection: Connection, wanted: Iterable[Node]) -> dict[str, bytes]:
    with_tftp = [node.name for node in wanted if NodeRole.TFTP in node.roles]
    lists = {name: trust_lists.read_list(connection, "ITL", name) for name in with_tftp}
    return {name: data for name, data in lists.items() if data is not None}


# Trust stores


def _trust(
    connection: Connection, before: Reading | None
) -> tuple[Layered[bytes, frozenset[Store]], frozenset[bytes] | None]:
    if before is None or is_all_touched(connection, before.mark, Touched.TRUST):
        return Layered(_all_trust(connection)), None
    changed = _changed_trust(connection, before.mark)
    if not changed:
        return before.trust, frozenset()
    return before.trust.changed({der: frozenset(stores) or None for der, stores in changed.items()}), frozenset(changed)


def _all_trust(connection: Connection) -> dict[bytes, frozenset[Store]]:
    entry, certificate = schema.trust_entry, schema.certificate
    stores = func.aggregate_strings(entry.c.store, ",").label("stores")
    held = select(entry.c.sha256, stores).group_by(entry.c.sha256).subquery()
    query = select(certificate.c.der, held.c.stores).join(held, held.c.sha256 == certificate.c.sha256)
    rows = connection.execute(query.execution_options(yield_per=_ROWS_AT_ONCE))
    return {der: _stores(text) for der, text in rows}


@lru_cache(maxsize=1024)
def _stores(text: str) -> frozenset[Store]:
    return frozenset(map(Store, text.split(",")))


def _changed_trust(connection: Connection, since: Mark) -> dict[bytes, set[Store]]:
    entry, certificate = schema.trust_entry, schema.certificate
    query = (
        select(certificate.c.der, entry.c.store)
        .outerjoin(entry, entry.c.sha256 == certificate.c.sha256)
        .where(certificate.c.sha256.in_(keys_since(since, Touched.TRUST)))
    )
    changed: dict[bytes, set[Store]] = {}
    for der, store in connection.execute(query):
        held = changed.setdefault(der, set())
        if store is not None:
            held.add(Store(store))
    return changed


# Phones


def _phones(connection: Connection, before: Reading | None) -> tuple[Mapping[str, Phone], frozenset[str] | None]:
    if before is None or is_all_touched(connection, before.mark, Touched.PHONE):
        return {phone.device: phone for phone in phones.read_phones(connection)}, None
    devices = frozenset(device for (device,) in connection.execute(keys_since(before.mark, Touched.PHONE)))
    if not devices:
        return before.phones, devices
    known = {device: phone for device, phone in before.phones.items() if device not in devices}
    found = phones.read_phones(connection, schema.phone.c.device.in_(keys_since(before.mark, Touched.PHONE)))
    return known | {phone.device: phone for phone in found}, devices
