"""What bulk certificate management asks of a cluster, whether ours or a real one reached over the network."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from certferry.cluster.values import HistoryEntry, Identity, Node, TrustChange, TrustEntry
from certferry.trust.purpose import Store
from certferry.trust.release import Release
from certferry.wire.certificate import Certificate


class Participant(Protocol):
    """One cluster that takes part in the exchange, seen from its publisher."""

    @property
    def name(self) -> str:
        """The cluster's name; unique among those that share an exchange directory."""
        ...

    @property
    def release(self) -> Release:
        """The release all its nodes run."""
        ...

    def identities(self) -> Sequence[Identity]:
        """Return the certificates the cluster owns; ``node`` is None for one that all nodes share."""
        ...

    def nodes(self) -> Sequence[Node]:
        """Return its nodes, exactly one of them the publisher."""
        ...

    def trust_entries(self, store: Store | None = None) -> Sequence[TrustEntry]:
        """Return what its trust stores hold, or one store."""
        ...

    def trust_entries_about(self, certificates: Iterable[Certificate]) -> Sequence[TrustEntry]:
        """Return the entries with the subject of one of ``certificates``, and the copies of the cluster's own."""
        ...

    def change_trust(self, changes: Sequence[TrustChange], *, action: str, details: Mapping[str, object]) -> str:
        """Carry out all ``changes`` or none, in one transaction with its undo record; return the undo id."""
        ...

    def undo(self, undo_id: str) -> Sequence[TrustChange]:
        """Put the stores back to what they were before ``undo_id``; return the steps taken."""
        ...

    def history(self) -> Sequence[HistoryEntry]:
        """Return every change of the trust stores, oldest first."""
        ...

    def setting(self, key: str) -> str | None:
        """Return a saved setting, or None; secrets come back opened."""
        ...

    def settings(self, keys: Sequence[str]) -> Mapping[str, str]:
        """Return those of ``keys`` that are saved, read at one moment; secrets come back opened."""
        ...

    def put_settings(self, plain: Mapping[str, str], secrets: Mapping[str, str]) -> None:
        """Save settings that belong together, all or none; ``secrets`` are sealed at rest."""
        ...

    def set_setting(self, key: str, value: str, *, secret: bool = False) -> None:
        """Save a setting; a ``secret`` one is sealed at rest."""
        ...

    def sign(self, data: bytes) -> tuple[bytes, Certificate]:
        """Sign with the publisher's tomcat key (RSA PKCS#1 v1.5, SHA-256); return signature and certificate."""
        ...
