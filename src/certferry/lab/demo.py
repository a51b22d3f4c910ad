"""The whole published procedure on a lab: two clusters exchange certificates, DHCP changes, every phone moves.

Before the exchange some of the same phones try and fail, so that the reader sees what the exchange buys.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Protocol

from certferry.bulk import importing
from certferry.bulk.consolidating import consolidate
from certferry.bulk.directory import list_directory
from certferry.bulk.exporting import export
from certferry.bulk.settings import SftpSettings
from certferry.bulk.transport import SftpExchange
from certferry.cluster.cluster import Cluster
from certferry.cluster.issuing import KeySource
from certferry.cluster.parameters import ROLLBACK
from certferry.cluster.trust_lists import Kind
from certferry.errors import Refusal
from certferry.fleet.crew import Handset
from certferry.fleet.fleet import Fleet, FleetResult, Phones
from certferry.fleet.fleet import Progress as FleetProgress
from certferry.fleet.processes import FleetProcesses, processes_for
from certferry.lab.lab import Lab, tftp_servers
from certferry.serve.limits import raise_file_limit
from certferry.trust.list_check import check_list
from certferry.wire.trust_list import TrustList

TRIED_BEFORE = 20
"""How many phones try before the exchange: enough to see, few enough not to wait for."""

_SHOWN = 50
"""After so many certificates the bar moves."""


class PreconditionError(Refusal):
    """A precondition of the procedure does not hold."""

    code = "lab.precondition"
    remedy = "Mend what the sentence names before any phone is reset."


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What to show. ``nodes`` is for each cluster, ``processes`` how many the phones have: None for as many as fit."""

    phones: int = 20
    nodes: int = 3
    source_release: str = "10.5.2"
    destination_release: str = "11.5.1"
    processes: int | None = None


@dataclass(frozen=True, slots=True)
class ModeReport:
    """How one mode ended; ``seconds`` is the time from the reset of the phones to the last registration.

    ``bytes_each`` is by how much the processes of phones grew for each; None when the phones were in this one.
    """

    secure: bool
    phones: int
    registered_at_destination: int
    tvs_requests: int
    seconds: float
    failures: dict[str, int] = field(default_factory=dict)
    before_exchange: dict[str, int] = field(default_factory=dict)
    bytes_each: int | None = None

    @property
    def failed(self) -> int:
        """How many phones did not make it."""
        return self.phones - self.registered_at_destination

    @property
    def ok(self) -> bool:
        """Whether every phone moved, and none could before the exchange."""
        return self.failed == 0 and "phone.registered" not in self.before_exchange


class Story(Protocol):
    """Who is told what happens."""

    def step(self, title: str) -> None:
        """Say that a step of the procedure begins."""
        ...

    def detail(self, text: str) -> None:
        """Say what was seen."""
        ...

    def progress(self, what: str, done: int, total: int) -> None:
        """Say how far a long step is."""
        ...


async def demonstrate(
    plan: DemoPlan,
    folder: Path,
    story: Story,
    *,
    secure: bool,
    keys: KeySource | None = None,
    in_processes: bool = True,
) -> ModeReport:
    """Run the procedure once, in one mode, in ``folder``; raises a ``Refusal`` where it cannot go on."""
    async with Lab(folder, keys=keys, in_processes=in_processes) as lab:
        return await _Demonstration(lab, plan, story, secure=secure).run()


class _Demonstration:
    def __init__(self, lab: Lab, plan: DemoPlan, story: Story, *, secure: bool) -> None:
        self._lab, self._plan, self._story, self._secure = lab, plan, story, secure
        story.step("Two clusters")
        self._source = self._cluster("source", plan.source_release)
        self._destination = self._cluster("destination", plan.destination_release)

    def _cluster(self, name: str, release: str) -> Cluster:
        made = self._lab.create_cluster(name, release, nodes=self._plan.nodes, secure=self._secure)
        self._story.detail(f"{name}, release {made.release}: {', '.join(node.name for node in made.nodes())}")
        return made

    async def run(self) -> ModeReport:
        settings = await self._start()
        async with AsyncExitStack() as stack:
            phones = await self._unpack(stack)
            await self._register_at_the_source(phones)
            before = await self._try_too_early(phones)
            await self._exchange_certificates(settings)
            await self._check_preconditions(phones)
            seconds, result = await self._migrate(phones)
            grown = phones.grown if isinstance(phones, FleetProcesses) else None
        return ModeReport(
            self._secure,
            result.phones,
            result.registered,
            result.tvs_requests,
            seconds,
            _failures(result),
            before,
            None if grown is None else grown // result.phones,
        )

    async def _start(self) -> SftpSettings:
        raise_file_limit()
        story, clusters = self._story, (self._source, self._destination)
        self._known = self._lab.add_phones(clusters, self._plan.phones, secure=self._secure)
        for cluster in clusters:
            await self._lab.start(cluster)
            story.detail(f"{cluster.name}: TVS, TFTP, HTTP and SIP answer on {len(cluster.nodes())} nodes")
        settings = await self._lab.start_sftp()
        story.detail(f"SFTP server with one directory for both: {settings.url}")
        return settings

    async def _unpack(self, stack: AsyncExitStack) -> Phones:
        """Make the phones: in this process when they are few, else in processes of their own."""
        self._story.step(f"{len(self._known)} phones register at the source")
        handsets = [handset async for handset in self._handsets()]
        processes = self._plan.processes or processes_for(len(handsets))
        if processes == 1:
            return Fleet(handset.unpacked() for handset in handsets)
        self._story.detail(f"the phones have {processes} processes")
        return await stack.enter_async_context(FleetProcesses(handsets, processes))

    async def _handsets(self) -> AsyncIterator[Handset]:
        if not self._secure:
            for phone in self._known:
                yield Handset(phone.device, phone.model)
            return
        told, total = self._show("certificates by CAPF"), len(self._known)
        lscs = self._lab.issue_lscs(self._source, [phone.device for phone in self._known])
        for number, (phone, lsc) in enumerate(zip(self._known, lscs, strict=True), 1):
            yield Handset(phone.device, phone.model, lsc)
            if number % _SHOWN == 0 or number == total:
                told.story.progress(told.what, number, total)
                await asyncio.sleep(0)

    async def _register_at_the_source(self, phones: Phones) -> None:
        result = await phones.boot(tftp_servers(self._source), progress=self._show("at the source"))
        if result.failed:
            raise PreconditionError(f"{result.failed} phones did not register at the source: {_first_failure(result)}")
        held = "CTL, ITL" if self._secure else "ITL"
        self._story.detail(
            f"{result.registered} registered; each holds {held} and a signed configuration of the source"
        )

    async def _try_too_early(self, phones: Phones) -> dict[str, int]:
        self._story.step(
            f"Without the exchange: {min(TRIED_BEFORE, len(phones.names))} of them are sent to the destination"
        )
        attempt = await phones.attempt(TRIED_BEFORE, tftp_servers(self._destination))
        for code, many in attempt.result.codes.items():
            self._story.detail(f"{many} ended with {code}: {_first_with(attempt.result, code)}")
        tried = attempt.result.phones
        self._story.detail(f"{attempt.kept} of {tried} keep exactly what they had; nothing is half installed")
        return {code.value: many for code, many in attempt.result.codes.items()}

    async def _exchange_certificates(self, settings: SftpSettings) -> None:
        self._story.step("Bulk certificate management")
        for cluster in (self._source, self._destination):
            settings.save(cluster)
        async with SftpExchange.opened(settings) as exchange:
            for cluster in (self._destination, self._source):
                exported = await export(cluster, exchange, now=_now())
                self._story.detail(
                    f"{cluster.name}: exported {exported.certificates} certificates in {len(exported.files)} files"
                )
            done = await consolidate(self._destination, exchange, now=_now())
            self._story.detail(f"consolidated into one file for each of: {', '.join(done.files)}")
            listing = await list_directory(exchange)
            self._story.detail(f"the directory lists {len(listing.files)} files of {', '.join(listing.clusters)}")
            for cluster in (self._destination, self._source):
                await self._import(cluster, exchange)

    async def _import(self, cluster: Cluster, exchange: SftpExchange) -> None:
        made = await importing.plan(cluster, exchange, now=_now())
        importing.apply(cluster, made)
        await self._lab.settled(cluster)
        stores = Counter(change.store.value for change in made.pending)
        told = ", ".join(f"{count} into {store}" for store, count in sorted(stores.items()))
        self._story.detail(f"{cluster.name}: imported {told}; every node serves them")

    async def _check_preconditions(self, phones: Phones) -> None:
        self._story.step("Preconditions")
        for name in await phones.lacking(ctl=self._secure):
            raise PreconditionError(f"{name} has no valid ITL or CTL")
        self._story.detail(f"all {len(phones.names)} phones hold {'a CTL and an ITL' if self._secure else 'an ITL'}")
        if self._source.parameters()[ROLLBACK] != "false":
            raise PreconditionError("Prepare Cluster for Rollback to Pre 8.0 is True at the source")
        self._story.detail("Prepare Cluster for Rollback to Pre 8.0 is False at the source")
        for name, data in self._destination_lists():
            faults = [check for check in check_list(data, _now()) if check.verdict in ("fail", "unknown")]
            if faults:
                raise PreconditionError(f"{name}: {faults[0].title}: {faults[0].evidence}")
            header = TrustList.parse(data).header
            self._story.detail(f"{name} is valid, {len(data)} bytes, signed by {header.subject.split(';')[0]}")

    def _destination_lists(self) -> Iterator[tuple[str, bytes]]:
        wanted: list[tuple[Kind, str | None]] = [("ITL", node.name) for node in self._destination.tftp_nodes()]
        if self._secure:
            wanted.insert(0, ("CTL", None))
        for kind, node in wanted:
            data = self._destination.trust_list(kind, node)
            if data is None:
                raise PreconditionError(f"the destination has no {kind}" + (f" on {node}" if node else ""))
            yield f"the destination's {kind}" + (f" of {node}" if node else ""), data

    async def _migrate(self, phones: Phones) -> tuple[float, FleetResult]:
        servers = tftp_servers(self._destination)
        self._story.step("Option 150 names the destination; the phones are reset")
        self._story.detail(f"option 150: {', '.join(host for host, _ in servers)}")
        began = perf_counter()
        result = await phones.boot(servers, progress=self._show("migrating"))
        seconds = perf_counter() - began
        for text in await phones.journal(phones.names[0]):
            self._story.detail(f"{phones.names[0]}: {text}")
        self._story.detail(f"{result.registered} of {result.phones} phones registered at the destination")
        return seconds, result

    def _show(self, what: str) -> "_Show":
        return _Show(self._story, what)


@dataclass(frozen=True, slots=True)
class _Show:
    story: Story
    what: str

    def __call__(self, progress: FleetProgress) -> None:
        self.story.progress(self.what, progress.done, progress.phones)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _failures(result: FleetResult) -> dict[str, int]:
    return dict(Counter(outcome.code.value for outcome in result.outcomes.values() if not outcome.ok))


def _first_failure(result: FleetResult) -> str:
    return next(f"{name}: {outcome.reason}" for name, outcome in result.outcomes.items() if not outcome.ok)


def _first_with(result: FleetResult, code: object) -> str:
    return next(outcome.reason for outcome in result.outcomes.values() if outcome.code == code)
