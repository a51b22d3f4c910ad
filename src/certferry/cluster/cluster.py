"""One cluster: what an administrator of a publisher can see and do, without any network.

This is the whole, put together from its parts: what a cluster is and how it is changed (``opened``), its own
certificates (``certificate_management``), what can be searched (``searching``), what nodes read (``reading``), and what
is kept beside it (``ledgers``). Here are creation, trust stores, trust lists, phones, settings and the audit log.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

from certferry.cluster import audit, certificate_text, nodes, parameters, phones, schema, trust_lists, trust_stores
from certferry.cluster.acting import actor
from certferry.cluster.certificate_management import CertificateManagement
from certferry.cluster.certificate_search import find_entry
from certferry.cluster.feed import Feed, feed_of
from certferry.cluster.founding import ClusterSpec, found
from certferry.cluster.issuing import FreshKeys, KeySource
from certferry.cluster.ledgers import Ledgers
from certferry.cluster.location import ClusterLocation
from certferry.cluster.opened import whole_seconds
from certferry.cluster.reading import Readings
from certferry.cluster.searching import Searches
from certferry.cluster.upserting import upsert
from certferry.cluster.values import CallManagerGroup, HistoryEntry, Phone, Service, TrustChange, TrustEntry
from certferry.trust.purpose import Store
from certferry.wire.certificate import Certificate

__all__ = ["Cluster", "ClusterSpec"]


class Cluster(CertificateManagement, Searches, Readings, Ledgers):
    """A cluster, opened. Safe to use from several threads and processes; each call is its own transaction."""

    @classmethod
    def create(
        cls,
        place: str | Path,
        spec: ClusterSpec,
        *,
        keys: KeySource | None = None,
        clock: Callable[[], datetime] = whole_seconds,
    ) -> Self:
        """Make a cluster in a folder or PostgreSQL database: key file, certificates, stores, trust lists.

        Raises ``ClusterExistsError``, ``NodeInvalidError``. Nothing is left behind when it fails.
        """
        nodes.check_nodes(spec.nodes)
        location = ClusterLocation.parse(place)
        found(location, spec, keys or FreshKeys(), clock())
        return cls(location, keys=keys, clock=clock)

    @classmethod
    def open(cls, location: str | Path) -> Self:
        """Open the cluster at a place; raises ``ClusterMissingError``, ``DatabaseForeignError``, ``SealError``."""
        return cls(ClusterLocation.parse(location))

    # --- parameters and ports

    def set_parameter(self, key: str, value: str) -> tuple[str, ...]:
        """Set an enterprise parameter; return the trust lists that were rebuilt for it."""
        with self._change("set-parameter", {"key": key, "value": value}) as connection:
            parameters.set_parameter(connection, key, value)
            return self._rebuild(connection)

    def set_port(self, node: str, service: Service, port: int) -> None:
        """Let a service of one node listen on another port than the standard one."""
        with self._change("set-port", {"node": node, "service": service.value, "port": port}) as connection:
            nodes.set_port(connection, node, service, port)

    # --- trust stores

    def trust_entries(self, store: Store | None = None) -> tuple[TrustEntry, ...]:
        """What the trust stores hold."""
        with self._database.read() as connection:
            return trust_stores.read_entries(connection, store)

    def trust_entries_about(self, certificates: Iterable[Certificate]) -> tuple[TrustEntry, ...]:
        """What decides about ``certificates``: the entries with the subject of one of them, and the cluster's own."""
        with self._database.read() as connection:
            are_named = certificate_text.are_names_there(connection)
        if not are_named:
            with self._database.write() as connection:
                certificate_text.put_missing_names(connection)
        with self._database.read() as connection:
            return trust_stores.read_entries_about(connection, certificates)

    def find_trust_entry(self, reference: str, store: Store) -> TrustEntry:
        """The one entry of a store that ``reference`` means: a common name, serial, fingerprint or file name.

        Raises ``CertificateNotFoundError``, ``CertificateAmbiguousError``.
        """
        self.prepare_searches()
        with self._database.read() as connection:
            called = trust_stores.read_entries_called(connection, store, reference)
        return find_entry(called, reference, self.release)

    def change_trust(
        self, changes: Sequence[TrustChange], *, action: str, details: Mapping[str, object] | None = None
    ) -> str:
        """Carry out ``changes`` in one transaction; return the id by which they can be undone.

        Raises ``TrustEntryOwnError`` for the removal of a copy of one of the cluster's own certificates.
        """
        with self._change(action, {"changes": len(changes), **(details or {})}) as connection:
            trust_stores.spare_own(connection, changes)
            done = trust_stores.apply_changes(connection, changes, self._clock())
            return trust_stores.record(
                connection, actor=actor(), action=action, changes=done, details=details or {}, now=self._clock()
            )

    def undo(self, identifier: str) -> tuple[TrustChange, ...]:
        """Take a change back; return what that changed. Raises ``UndoImpossibleError``."""
        with self._change("undo", {"undone": identifier}) as connection:
            return trust_stores.take_back(connection, identifier, self._clock())

    def undoable(self, identifier: str) -> HistoryEntry:
        """The change of that id, which can be taken back; raises ``UndoImpossibleError``."""
        with self._database.read() as connection:
            return trust_stores.read_undoable(connection, identifier)

    def history(self) -> tuple[HistoryEntry, ...]:
        """The changes to the trust stores, oldest first."""
        with self._database.read() as connection:
            return trust_stores.read_history(connection)

    # --- trust lists and phones

    def trust_list(self, kind: trust_lists.Kind, node: str | None = None) -> bytes | None:
        """The CTL, or the ITL of a TFTP node; None where the cluster has none."""
        with self._database.read() as connection:
            return trust_lists.read_list(connection, kind, node)

    def deletable_ctl(self) -> bytes:
        """The CTL that is left of mixed mode and can go; raises ``CtlNeededError``, ``CtlMissingError``."""
        with self._database.read() as connection:
            return trust_lists.read_deletable_ctl(connection)

    def delete_ctl(self, seen: str | None = None) -> None:
        """Serve no CTL any more once mixed mode was left; ``seen`` is the SHA-256 of the one that is meant.

        Raises ``CtlNeededError``, ``CtlMissingError``, ``CtlReplacedError``.
        """
        with self._change("delete-ctl", {}) as connection:
            trust_lists.delete_ctl(connection, seen)

    def phones(self) -> tuple[Phone, ...]:
        """The phones the cluster knows."""
        with self._database.read() as connection:
            return phones.read_phones(connection)

    def add_phones(self, new: Sequence[Phone]) -> None:
        """Add phones, or change known ones."""
        with self._change("add-phones", {"phones": len(new)}) as connection:
            phones.put_phones(connection, new)

    def remove_phones(self, devices: Sequence[str]) -> None:
        """Forget phones; raises ``PhoneUnknownError`` and then forgets none."""
        with self._change("remove-phones", {"devices": list(devices)}) as connection:
            phones.remove_phones(connection, devices)

    def put_group(self, group: CallManagerGroup) -> None:
        """Add or change a CallManager group; raises ``GroupInvalidError``."""
        with self._change("put-group", {"group": group.name, "members": list(group.members)}) as connection:
            phones.put_group(connection, group, [node.name for node in nodes.read_nodes(connection)])

    # --- settings, audit, change feed

    def setting(self, key: str) -> str | None:
        """One of certferry's own settings, opened when it is a secret."""
        with self._database.read() as connection:
            return parameters.read_settings(connection, self._seal, [key]).get(key)

    def settings(self, keys: Sequence[str]) -> dict[str, str]:
        """Those of ``keys`` that are set, read at one moment; secrets are opened."""
        with self._database.read() as connection:
            return parameters.read_settings(connection, self._seal, keys)

    def set_setting(self, key: str, value: str | None, *, secret: bool = False) -> None:
        """Keep a setting; a secret is sealed. None takes it away."""
        with self._database.write() as connection:
            parameters.set_setting(connection, self._seal, key, value, secret=secret)

    def put_settings(self, plain: Mapping[str, str], secrets: Mapping[str, str]) -> None:
        """Keep settings that belong together, all or none; ``secrets`` are sealed."""
        with self._database.write() as connection:
            for values, secret in ((plain, False), (secrets, True)):
                for key, value in values.items():
                    parameters.set_setting(connection, self._seal, key, value, secret=secret)

    def audit_lines(self) -> tuple[str, ...]:
        """The audit log, oldest line first."""
        with self._database.read() as connection:
            return audit.read_lines(connection)

    def verify_audit(self) -> int:
        """Return how many lines the audit log has; raises ``AuditBrokenError``."""
        with self._database.read() as connection:
            return audit.check(connection)

    def feed(self) -> Feed:
        """Make a feed that says when the change version may have moved."""
        return feed_of(self.location)

    def report_served(self, served: Mapping[str, int]) -> None:
        """Note which change version each node's services now answer from."""
        with self._database.write() as connection:
            rows = [{"node": node, "version": version} for node, version in served.items()]
            upsert(connection, schema.served, rows, keys=["node"], update=["version"])

    def served(self) -> dict[str, int]:
        """Which change version each node's services answered from when they last said so."""
        with self._database.read() as connection:
            return {row.node: row.version for row in connection.execute(schema.served.select())}
