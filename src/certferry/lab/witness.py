"""One fault put on purpose into a pair of clusters, and what comes of it: the verification and a real migration."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from certferry.cluster.cluster import Cluster
from certferry.cluster.issuing import KeySource
from certferry.lab.lab import tftp_servers
from certferry.lab.pair import Pair
from certferry.migrate.gather import Looking
from certferry.migrate.place import Place
from certferry.migrate.rehearse import Rehearsed
from certferry.migrate.result import Verification
from certferry.migrate.verify import Wish, verify
from certferry.phone.decision import Kind
from certferry.phone.flash import Flash
from certferry.phone.outcome import Code, Outcome, Step
from certferry.trust.purpose import BulkType

Injection = Callable[[Pair], Awaitable[None]]
ALL = tuple(BulkType)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    ``fails`` and ``warns`` are the ids of checks of which at least one must say so. ``step`` and ``code`` are how the
    phone's real migration ends. ``before`` is injected before the certificates are exchanged (``types`` of them),
    ``after`` once they were; the phone settles at the source before ``after`` when ``phone_first``. ``held`` verifies
    with the lists that the phone really holds; ``rehearsed`` is whether a rehearsal foretells the end. ``cause`` is
    what ``diagnose`` makes of the verification, ``code`` when it is empty.
    """

    name: str
    what: str
    fails: tuple[str, ...]
    step: Step
    code: Code
    warns: tuple[str, ...] = ()
    before: Injection | None = field(default=None, repr=False)
    after: Injection | None = field(default=None, repr=False)
    types: tuple[BulkType, ...] = ALL
    secure: bool = False
    releases: tuple[str, str] = ("10.5.2", "11.5.1")
    model: str = "8861"
    phone_first: bool = True
    held: bool = False
    rehearsed: bool = True
    first_server: int = 0
    slow: bool = False
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Witnessed:
    """What came of one fault: the verification, and the real migration with the phone's flash before and after.

    ``outside`` is a verification that was given addresses only, as of clusters that are not ours.
    """

    verification: Verification
    outside: Verification
    outcome: Outcome
    before: Flash
    after: Flash

    def says(self, verdict: str) -> frozenset[str]:
        """The ids of the checks that came to ``verdict``."""
        return frozenset(check.id for check in self.verification.checks if check.verdict == verdict)


async def witness(fault: Fault, folder: Path, keys: KeySource) -> Witnessed:
    """Inject ``fault`` into a new pair, verify, then let the phone move for real."""
    async with Pair.opened(folder, keys, secure=fault.secure, releases=fault.releases, model=fault.model) as pair:
        if fault.before:
            await fault.before(pair)
        if fault.types:
            await pair.exchange(*fault.types)
        flash = await pair.settle_phone() if fault.phone_first else Flash()
        if fault.after:
            await fault.after(pair)
            await pair.settled()
        if not fault.phone_first:
            flash = await pair.settle_phone()
        held = flash if fault.held else Flash()
        verification = await _verify(pair, held, Place.of_cluster)
        outside = await _verify(pair, held, _address_of)
        device = await pair.move(flash, fault.first_server)
    assert device.outcome is not None  # noqa: S101 -- it has booted
    return Witnessed(verification, outside, device.outcome, flash, device.flash)


async def _verify(pair: Pair, held: Flash, place: Callable[[Cluster], Place]) -> Verification:
    lists = {kind: data for kind, data in ((Kind.CTL, held.ctl), (Kind.ITL, held.itl)) if data is not None}
    phones = [Rehearsed(pair.phone.device, pair.phone.model)]
    now = datetime.now(UTC) + timedelta(seconds=1)
    here, there = place(pair.source), place(pair.destination)
    return await verify(here, there, phones, Looking(), now=now, wish=Wish(held=lists))


def _address_of(cluster: Cluster) -> Place:
    host, port = tftp_servers(cluster)[0]
    return Place.parse([f"{host}:{port}"])
