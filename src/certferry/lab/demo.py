"""The whole published procedure on a lab: two clusters exchange certificates, DHCP changes, every phone moves.

Before the exchange some of the same phones try and fail, so that the reader sees what the exchange buys.
"""

from collections import Counter
from collections.abc import Iterator
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
from certferry.cluster.values import Phone
from certferry.errors import Refusal
from certferry.fleet.device import Device
from certferry.fleet.fleet import Fleet, FleetResult
from certferry.fleet.fleet import Progress as FleetProgress
from certferry.lab.lab import Lab, tftp_servers
from certferry.phone.flash import Flash
from certferry.trust.list_check import check_list
from certferry.wire.trust_list import TrustList

TRIED_BEFORE = 20
"""How many phones try before the exchange: enough to see, few enough not to wait for."""


class PreconditionError(Refusal):
    """A precondition of the procedure does not hold."""

    code = "lab.precondition"
    remedy = "Mend what the sentence names before any phone is reset."


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What to show. ``secure`` is mixed mode; ``nodes`` is for each cluster."""

    phones: int = 20
    nodes: int = 3
    source_release: str = "10.5.2"
    destination_release: str = "11.5.1"


@dataclass(frozen=True, slots=True)
class ModeReport:
    """How one mode ended; ``seconds`` is the time from the reset of the phones to the last registration."""

    secure: bool
    phones: int
    registered_at_destination: int
    tvs_requests: int
    seconds: float
    failures: dict[str, int] = field(default_factory=dict)
    before_exchange: dict[str, int] = field(default_factory=dict)

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
        fleet = await self._phones_at_the_source()
        before = await self._try_too_early(fleet)
        await self._exchange_certificates(settings)
        self._check_preconditions(fleet)
        seconds, result = await self._migrate(fleet)
        return ModeReport(
            self._secure, result.phones, result.registered, result.tvs_requests, seconds, _failures(result), before
        )

    async def _start(self) -> SftpSettings:
        story, clusters = self._story, (self._source, self._destination)
        phones = self._lab.add_phones(clusters, self._plan.phones, secure=self._secure)
        for cluster in clusters:
            await self._lab.start(cluster)
            story.detail(f"{cluster.name}: TVS, TFTP, HTTP and SIP answer on {len(cluster.nodes())} nodes")
        settings = await self._lab.start_sftp()
        story.detail(f"SFTP server with one directory for both: {settings.url}")
        self._phones = phones
        return settings

    async def _phones_at_the_source(self) -> Fleet:
        self._story.step(f"{len(self._phones)} phones register at the source")
        fleet = Fleet(self._device(phone) for phone in self._phones)
        result = await fleet.boot(tftp_servers(self._source), progress=self._show("at the source"))
        if result.failed:
            raise PreconditionError(f"{result.failed} phones did not register at the source: {_first_failure(result)}")
        held = "CTL, ITL" if self._secure else "ITL"
        self._story.detail(
            f"{result.registered} registered; each holds {held} and a signed configuration of the source"
        )
        return fleet

    def _device(self, phone: Phone) -> Device:
        lsc = self._lab.issue_lsc(self._source, phone.device) if self._secure else None
        return Device(phone.device, Flash(), model=phone.model, lsc=lsc)

    async def _try_too_early(self, fleet: Fleet) -> dict[str, int]:
        early = Fleet(list(fleet.devices.values())[:TRIED_BEFORE])
        self._story.step(f"Without the exchange: {len(early.devices)} of them are sent to the destination")
        held = {device.name: device.flash for device in early.devices.values()}
        result = await early.boot(tftp_servers(self._destination))
        for code, count in result.codes.items():
            self._story.detail(f"{count} ended with {code}: {_first_with(result, code)}")
        kept = sum(device.flash == held[device.name] for device in early.devices.values())
        self._story.detail(f"{kept} of {len(held)} keep exactly what they had; nothing is half installed")
        for device in early.devices.values():
            device.flash = held[device.name]
        return {code.value: count for code, count in result.codes.items()}

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

    def _check_preconditions(self, fleet: Fleet) -> None:
        self._story.step("Preconditions")
        for device in fleet.devices.values():
            if not device.flash.itl or (self._secure and not device.flash.ctl):
                raise PreconditionError(f"{device.name} has no valid ITL or CTL")
        self._story.detail(f"all {len(fleet.devices)} phones hold {'a CTL and an ITL' if self._secure else 'an ITL'}")
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

    async def _migrate(self, fleet: Fleet) -> tuple[float, FleetResult]:
        servers = tftp_servers(self._destination)
        self._story.step("Option 150 names the destination; the phones are reset")
        self._story.detail(f"option 150: {', '.join(host for host, _ in servers)}")
        began = perf_counter()
        result = await fleet.boot(servers, progress=self._show("migrating"))
        seconds = perf_counter() - began
        for line in next(iter(fleet.devices.values())).journal:
            self._story.detail(f"{next(iter(fleet.devices))}: {line.text}")
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
