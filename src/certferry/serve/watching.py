"""What the servers of a process see phones do, told to the cluster in batches of about a second.

Servers call the hooks of a ``NodeWatch`` on their hot path: a hook only appends to a queue. Everything else, such as
reading which phone asked TVS about whom, is done in a thread, a batch at a time. Nothing grows without bound: a phone
and a step are kept once, and only phones that the cluster knows, beside a few strangers that a registrar refused.
A database that is away is told later; phones are served on meanwhile.
"""

import asyncio
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from struct import Struct
from typing import TypeVar
from uuid import uuid4

from certferry.cluster.cluster import Cluster
from certferry.cluster.counters import ALIVE
from certferry.cluster.heartbeats import BEAT
from certferry.cluster.sightings import RAN_OUT, HeldLists, Sighting, Step
from certferry.errors import Refusal
from certferry.serve.registrar import Leaving, Registration
from certferry.wire.certificate import Certificate
from certferry.wire.phone_alarm import DeviceTLInfo
from certferry.wire.sip import REASONS
from certferry.wire.tvs import HEADER_SIZE, CertificateQueryRequest, CertificateVerificationRequest, parse_message

FLUSH_SECONDS = 1.0
COUNT_SECONDS = 5.0
MOST_EVENTS = 20_000
"""Events kept until the next batch; the oldest give way."""
MOST_PENDING = 400_000
"""Phones times steps kept while the database is away."""
MOST_STRANGERS = 1000
"""Unknown phones whose refusal is told, in the life of a process: anybody can make up names."""

_STATUS_AT = HEADER_SIZE + 3
_DEVICE_ELEMENT = 1
_LENGTH_AT = HEADER_SIZE + 1
_NAME_AT = _LENGTH_AT + 3
"""Where a question's first element has its length, and after one byte more the device's name (phone-trust 3.3)."""
_HEADER = Struct(">BBB5xH")
_DEVICE = re.compile(r"SEP[0-9A-F]{12}")
_FILE = re.compile(
    r"/*(?:(?P<list>CTL|ITL)(?P<of>SEP[0-9A-F]{12})\.tlv|(?P<phone>SEP[0-9A-F]{12})\.cnf\.xml(?:\.enc)?(?:\.sgn)?)",
    re.IGNORECASE,
)
_Seen = tuple[str, Step, str]
"""Device, step, detail."""
_Event = tuple[Callable[..., _Seen | None], str, float, str, object, object]
"""How it is read, node, time, address, and what is read."""
K = TypeVar("K")
V = TypeVar("V")
Counts = Mapping[tuple[str, str], Mapping[str, int]]

logger = logging.getLogger(__name__)


class NodeWatch:
    """The hooks of one node's servers. Called in the event loop; none waits or fails."""

    __slots__ = ("_events", "_held", "node")

    def __init__(self, node: str, events: "deque[_Event]", held: dict[str, HeldLists]) -> None:
        self.node = node
        self._events = events
        self._held = held

    def answered(self, request: bytes, reply: bytes, host: str) -> None:
        """TVS answered a question."""
        self._events.append((_question, self.node, time.time(), host, request, reply[_STATUS_AT]))

    def served_by_tftp(self, name: str, host: str) -> None:
        """A file was sent whole over TFTP."""
        self._events.append((_file, self.node, time.time(), host, name, "TFTP"))

    def served_by_http(self, name: str, host: str) -> None:
        """A file was sent whole over HTTP."""
        self._events.append((_file, self.node, time.time(), host, name, "HTTP"))

    def registered(self, registration: Registration) -> None:
        """A phone registered or renewed. The detail begins with the seconds, which ``Sightings`` reads."""
        self.saw(registration.device, Step.REGISTERED, registration.address,
                 f"{registration.expires} s over {'TLS' if registration.secure else 'TCP'}")  # fmt: skip

    def unregistered(self, registration: Registration, why: Leaving) -> None:
        """A registration ended."""
        detail = RAN_OUT if why is Leaving.RAN_OUT else why.value
        self.saw(registration.device, Step.UNREGISTERED, registration.address, detail)

    def refused(self, device: str, address: str, status: int) -> None:
        """A registration was refused."""
        self.saw(device, Step.REFUSED, address, f"{status} {REASONS.get(status, '')}".rstrip())

    def reset(self, device: str, *, answered: bool) -> None:
        """A phone was told to reset."""
        self.saw(device, Step.RESET, "", "answered" if answered else "no answer")

    def alarm(self, info: DeviceTLInfo, address: str) -> None:
        """A registered phone said which lists it holds."""
        del address
        at = datetime.now(UTC)
        self._held[info.device] = HeldLists(info.device, info.ctl, info.itl, info.status_code, at)

    def saw(self, device: str, step: Step, address: str, detail: str) -> None:
        """Note what needs no reading."""
        self._events.append((_as_told, self.node, time.time(), address, (device, step), detail))


class Watcher:
    """Gathers what all nodes of this process see, and tells the cluster while ``run`` runs, and in ``close``.

    ``phones`` are the devices the cluster knows; ``count`` tells what the services counted since the process began.
    """

    def __init__(self, cluster: Cluster, count: Callable[[], Counts] = dict) -> None:
        self.phones: Container[str] = ()
        self.process = uuid4().hex
        self._cluster = cluster
        self._count = count
        self._events: deque[_Event] = deque(maxlen=MOST_EVENTS)
        self._held: dict[str, HeldLists] = {}
        self._telling = threading.Lock()
        self._pending: dict[tuple[str, Step], Sighting] = {}
        self._pending_held: dict[str, HeldLists] = {}
        self._strangers: set[str] = set()
        self._odometer = _Odometer()
        self._next_count = 0.0
        self._nodes: set[str] = set()
        self._next_beat = 0.0
        self._is_closed = False
        self._told = ""

    def at(self, node: str) -> NodeWatch:
        """The hooks of the servers of ``node``."""
        self._nodes.add(node)
        return NodeWatch(node, self._events, self._held)

    async def run(self) -> None:
        """Tell the cluster until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def close(self) -> None:
        """Tell what is left, and that no node is served from here any more."""
        self._next_count = 0
        await self.flush()
        with suppress(Refusal):  # then it falls silent
            await asyncio.to_thread(self._say_stopped)

    async def beat(self) -> None:
        """Say now and then that this process runs; a database that is away is told later."""
        if time.monotonic() < self._next_beat:
            return
        with suppress(Refusal):
            await asyncio.to_thread(self._say_alive)
            self._next_beat = time.monotonic() + BEAT.total_seconds()

    def _say_alive(self) -> None:
        with self._telling:  # a thread that was begun before the server stopped may not have the last word
            if not self._is_closed:
                self._cluster.heartbeats.beat(self.process, self._nodes)

    def _say_stopped(self) -> None:
        with self._telling:
            self._is_closed = True
            self._cluster.heartbeats.stop(self.process)

    async def flush(self) -> None:
        """Tell the cluster what was seen; what cannot be told now is kept."""
        events, held = list(self._events), dict(self._held)
        self._events.clear()
        self._held.clear()
        if len(events) == MOST_EVENTS:
            logger.warning("more was seen in %g s than is kept; the oldest is not told", FLUSH_SECONDS)
        counted = self._due_counts()
        if events or held or counted or self._pending or self._pending_held:
            await asyncio.to_thread(self._tell, events, held, counted)

    def _due_counts(self) -> Counts:
        now = time.monotonic()
        if now < self._next_count:
            return {}
        self._next_count = now + COUNT_SECONDS
        return self._odometer.read(self._count())

    def _tell(self, events: list[_Event], held: Mapping[str, HeldLists], counted: Counts) -> None:
        with self._telling:
            self._gather(events, held)
            try:
                self._cluster.sightings.note(self._pending.values(), self._pending_held.values())
                self._pending.clear()
                self._pending_held.clear()
                if changed := self._odometer.changed(counted):
                    self._cluster.counters.report_all(self.process, changed)
                    self._odometer.reported(changed)
                self._told = ""
            except Refusal as refusal:
                if str(refusal) != self._told:  # once, not with every batch
                    logger.warning("cannot tell the cluster what phones do: %s", refusal)
                self._told = str(refusal)

    def _gather(self, events: list[_Event], held: Mapping[str, HeldLists]) -> None:
        for read, node, at, address, first, second in events:
            seen = read(first, second)
            if seen is not None and self._is_known(seen):
                device, step, detail = seen
                moment = datetime.fromtimestamp(at, UTC)
                # Put last: the oldest of a dictionary is what was put first.
                self._pending.pop((device, step), None)
                self._pending[device, step] = Sighting(device, step, moment, node, address, detail)
        self._pending_held.update(held)
        _bound(self._pending)
        _bound(self._pending_held)

    def _is_known(self, seen: _Seen) -> bool:
        device, step, _ = seen
        if device in self.phones or step is Step.UNREGISTERED:  # who leaves may have been removed, but was known
            return True
        if step is not Step.REFUSED or not _DEVICE.fullmatch(device):
            return False
        if len(self._strangers) < MOST_STRANGERS:
            self._strangers.add(device)
        return device in self._strangers


def _bound(kept: dict[K, V]) -> None:
    while len(kept) > MOST_PENDING:
        del kept[next(iter(kept))]


class _Odometer:
    """Counts that only grow, made of those of servers that begin anew when one is replaced."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str, str], int] = {}
        self._before: dict[tuple[str, str, str], int] = {}
        self._reported: dict[tuple[str, str], Mapping[str, int]] = {}
        self._alive_until = 0.0

    def read(self, counts: Counts) -> dict[tuple[str, str], dict[str, int]]:
        """Add what was counted before a server began anew; what never counted anything is left out."""
        return {
            service: {name: total for name, value in values.items() if (total := self._total((*service, name), value))}
            for service, values in counts.items()
        }

    def changed(self, counts: Counts) -> dict[tuple[str, str], Mapping[str, int]]:
        """What has to be reported: what is new, and now and then all, as a sign of life."""
        if time.monotonic() >= self._alive_until:
            self._alive_until = time.monotonic() + ALIVE.total_seconds()
            return {service: values for service, values in counts.items() if values}
        return {service: values for service, values in counts.items() if values != self._reported.get(service, {})}

    def reported(self, counts: Counts) -> None:
        """Remember what the cluster knows."""
        self._reported.update(counts)

    def _total(self, key: tuple[str, str, str], value: int) -> int:
        last = self._last.get(key, 0)
        if value < last:
            self._before[key] = self._before.get(key, 0) + last
        self._last[key] = value
        return self._before.get(key, 0) + value


# How events are read, in the thread: bytes of peers, of which nothing may be believed.


def _as_told(subject: tuple[str, Step], detail: str) -> _Seen:
    return (*subject, detail)


def _file(name: str, over: str) -> _Seen | None:
    found = _FILE.fullmatch(name)
    if found is None:
        return None
    device = (found["of"] or found["phone"]).upper()
    step = Step[found["list"].upper()] if found["list"] else Step.CONFIGURATION
    return device, step, f"{name.lstrip('/')} over {over}"


def _question(request: bytes, status: int) -> _Seen | None:
    """Read a question without parsing it whole: thousands of phones ask the same, each with its name in front."""
    if len(request) < _NAME_AT or request[HEADER_SIZE] != _DEVICE_ELEMENT:
        return None
    end = _LENGTH_AT + 2 + int.from_bytes(request[_LENGTH_AT : _NAME_AT - 1])
    subject = _subject_asked(request[2], request[end:])
    if subject is None:
        return None
    device = request[_NAME_AT:end].decode("ascii", "replace").rpartition("-")[2].upper()
    return device, Step.TVS, f"{'invalid' if status else 'valid'} {subject}"


@lru_cache(maxsize=256)
def _subject_asked(command: int, elements: bytes) -> str | None:
    """Whom a question is about, from what follows the device in it."""
    try:
        message = parse_message(_HEADER.pack(0x57, 1, command, len(elements)) + elements)
        if isinstance(message, CertificateQueryRequest):
            return _printable(message.subject)
        if isinstance(message, CertificateVerificationRequest):
            return _printable(Certificate.parse(message.certificate).subject)
    except Refusal:
        pass
    return None


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)
