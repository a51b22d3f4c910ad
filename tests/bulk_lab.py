"""What the tests of bulk certificate management share: clusters without a database, a directory without a server."""

import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from certferry.bulk.exchange import READ_LIMIT, Entry, Progress, silent
from certferry.bulk.files import temporary_name
from certferry.bulk.refusals import FileMissingError, FileTooLargeError
from certferry.cluster.values import OWN, HistoryEntry, Identity, Node, NodeRole, TrustChange, TrustEntry
from certferry.trust.purpose import OWN_COPIES, Purpose, Store
from certferry.trust.release import Release
from certferry.wire.certificate import Certificate
from certferry.wire.names import comparable
from conftest import MakeCertificate

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
EVERY_NODE = (Purpose.CALLMANAGER, Purpose.TOMCAT, Purpose.TVS, Purpose.IPSEC)
PUBLISHER_ONLY = (Purpose.CAPF, Purpose.ITL_RECOVERY)


@dataclass
class Cluster:
    """A participant that keeps everything in memory, or in one file that is replaced as a whole (``path``)."""

    name: str
    release: Release
    key: RSAPrivateKey = field(repr=False)
    node_list: list[Node]
    owned: list[Identity]
    entries: list[TrustEntry] = field(default_factory=list)
    past: list[HistoryEntry] = field(default_factory=list)
    saved_settings: dict[str, str] = field(default_factory=dict)
    secret_settings: set[str] = field(default_factory=set)
    path: Path | None = None

    def identities(self) -> Sequence[Identity]:
        return tuple(self.owned)

    def nodes(self) -> Sequence[Node]:
        return tuple(self.node_list)

    def trust_entries(self, store: Store | None = None) -> Sequence[TrustEntry]:
        return tuple(entry for entry in self.entries if store in (None, entry.store))

    def trust_entries_about(self, certificates: Iterable[Certificate]) -> Sequence[TrustEntry]:
        names = {comparable(certificate.subject) for certificate in certificates}
        return tuple(e for e in self.entries if e.is_own or comparable(e.certificate.subject) in names)

    def change_trust(self, changes: Sequence[TrustChange], *, action: str, details: Mapping[str, object]) -> str:
        identifier = f"{len(self.past) + 1:04}"
        self._apply(changes)
        self.past.append(HistoryEntry(identifier, NOW, "tester", action, tuple(changes), details, undone=False))
        self.save()
        return identifier

    def undo(self, undo_id: str) -> Sequence[TrustChange]:
        index = next(i for i, entry in enumerate(self.past) if entry.id == undo_id)
        opposite = {"add": "remove", "remove": "add"}
        steps = [replace(step, action=opposite[step.action]) for step in reversed(self.past[index].changes)]  # type: ignore[arg-type]
        self._apply(steps)
        self.past[index] = replace(self.past[index], undone=True)
        self.save()
        return steps

    def history(self) -> Sequence[HistoryEntry]:
        return tuple(self.past)

    def setting(self, key: str) -> str | None:
        return self.saved_settings.get(key)

    def settings(self, keys: Sequence[str]) -> dict[str, str]:
        return {key: self.saved_settings[key] for key in keys if key in self.saved_settings}

    def set_setting(self, key: str, value: str, *, secret: bool = False) -> None:
        self.put_settings(*(({}, {key: value}) if secret else ({key: value}, {})))

    def put_settings(self, plain: Mapping[str, str], secrets: Mapping[str, str]) -> None:
        self.saved_settings |= {**plain, **secrets}
        self.secret_settings |= set(secrets)
        self.save()

    def sign(self, data: bytes) -> tuple[bytes, Certificate]:
        signature = self.key.sign(data, PKCS1v15(), SHA256())
        return signature, self.certificate(Purpose.TOMCAT)

    def certificate(self, purpose: Purpose, node: str = "") -> Certificate:
        node = node or self.node_list[0].name
        return next(i.certificate for i in self.owned if i.purpose == purpose and i.node in (node, None))

    def holds(self, store: Store) -> set[Certificate]:
        return {entry.certificate for entry in self.entries if entry.store == store}

    def foreign(self) -> set[tuple[Store, str, str]]:
        return {(e.store, e.certificate.sha256, e.origin) for e in self.entries if e.origin != OWN}

    def save(self) -> None:
        if self.path:
            temporary = self.path.with_suffix(".new")
            temporary.write_bytes(pickle.dumps((self.entries, self.past, self.saved_settings)))
            temporary.replace(self.path)

    def _apply(self, changes: Iterable[TrustChange]) -> None:
        for change in changes:
            self.entries = [e for e in self.entries if (e.store, e.certificate) != (change.store, change.certificate)]
            if change.action == "add":
                self.entries.append(
                    TrustEntry(change.store, change.certificate, change.origin, NOW, change.description)
                )


def make_cluster(
    make: MakeCertificate,
    key: RSAPrivateKey,
    name: str,
    *,
    release: str = "11.5.1",
    nodes: Sequence[str] = ("pub", "sub1"),
    host: str = "",
    start: datetime | None = None,
) -> Cluster:
    """Found a cluster whose first node is the publisher; ``host`` is what its certificates call themselves."""
    owned = []
    for node in nodes:
        for purpose in EVERY_NODE:
            subject = f"CN={node}.{host or name};OU={purpose}"
            owned.append(Identity(purpose, node, make(subject, key=key, not_before=start)))
    owned.append(Identity(Purpose.CAPF, nodes[0], make(f"CN=CAPF-{host or name}", key=key, not_before=start)))
    owned.append(
        Identity(Purpose.ITL_RECOVERY, None, make(f"CN=ITLRECOVERY_{host or name}", key=key, not_before=start))
    )
    cluster = Cluster(name, Release.parse(release), key, [], owned)
    for number, node in enumerate(nodes):
        role = NodeRole.CALLMANAGER if number else NodeRole.PUBLISHER
        cluster.node_list.append(Node(node, f"192.0.2.{number + 1}", frozenset({role, NodeRole.TFTP})))
    cluster.entries = [
        TrustEntry(store, identity.certificate, OWN, NOW)
        for identity in owned
        for store in OWN_COPIES[identity.purpose]
    ]
    return cluster


class KilledError(BaseException):
    """The process ended here: nothing after it ran, no clean-up either."""


class Directory:
    """An exchange directory in memory; ``die_at`` ends the process before the step of that number."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[bytes, datetime]] = {}
        self.steps = 0
        self.die_at: int | None = None
        self._ticks = count()

    def put(self, name: str, data: bytes) -> None:
        self.files[name] = (data, NOW + timedelta(seconds=next(self._ticks)))

    def data(self, name: str) -> bytes:
        return self.files[name][0]

    def names(self) -> list[str]:
        return sorted(self.files)

    async def entries(self) -> Sequence[Entry]:
        return [Entry(name, len(data), modified) for name, (data, modified) in sorted(self.files.items())]

    async def read(self, name: str, limit: int = READ_LIMIT) -> bytes:
        if name not in self.files:
            raise FileMissingError(f"{name} is gone")
        data = self.data(name)
        if len(data) > limit:
            raise FileTooLargeError(f"{name} is too large")
        return data

    async def read_many(
        self, names: Iterable[str], progress: Progress = silent, limit: int = READ_LIMIT
    ) -> Mapping[str, bytes]:
        return {name: await self.read(name, limit) for name in names if name in self.files}

    async def write(self, name: str, data: bytes) -> None:
        await self.write_many({name: data})

    async def write_many(self, files: Mapping[str, bytes], progress: Progress = silent) -> None:
        temporary = {name: temporary_name(name, f"{next(self._ticks):016x}") for name in files}
        for name, data in files.items():
            self._step()
            self.put(temporary[name], data[: len(data) // 2])
            self._step()
            self.put(temporary[name], data)
        for name in files:
            self._step()
            self.files[name] = self.files.pop(temporary[name])
            progress("rename", 1, len(files))

    async def remove(self, name: str) -> bool:
        self._step()
        return self.files.pop(name, None) is not None

    async def remove_many(self, names: Iterable[str]) -> None:
        for name in list(names):
            await self.remove(name)

    async def create_exclusive(self, name: str, data: bytes) -> bool:
        self._step()
        if name in self.files:
            return False
        self.put(name, data)
        return True

    def _step(self) -> None:
        # A dead process takes no further step, not even the clean-up of a "finally".
        if self.die_at is not None and self.steps >= self.die_at:
            raise KilledError
        self.steps += 1
