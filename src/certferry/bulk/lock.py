"""One writer at a time for each cluster's files, and for the consolidated ones: a lock file with owner and expiry.

Locks save work and confusion, not correctness: files appear whole by rename, and manifests tell any mixture.
A lock whose owner died on this machine is taken over at once, any other after it expired, or by ``break_lock``.
"""

import asyncio
import json
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from certferry.bulk.exchange import Exchange
from certferry.bulk.files import lock_name
from certferry.bulk.refusals import ExchangeError, FileMissingError
from certferry.errors import Refusal

LEASE = timedelta(minutes=10)
WAIT_SECONDS = 10.0
POLL_SECONDS = 0.25
_LARGEST = 4096
"""Bytes; a lock file has some 500."""

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


class LockHeldError(Refusal):
    """Somebody else is writing the same files."""

    code = "bulk.locked"
    remedy = (
        "Wait until it is done. If that process is gone for good, repeat the step and break the lock: --break-lock."
    )


@dataclass(frozen=True, slots=True)
class Lock:
    """Who holds a lock: ``machine``, ``pid`` and ``started`` name the process, ``token`` this one acquisition."""

    cluster: str
    operation: str
    host: str
    machine: str
    pid: int
    started: str
    token: str
    acquired_at: str
    expires_at: str

    @classmethod
    def mine(cls, cluster: str, operation: str, now: datetime) -> "Lock":
        """Describe this process as an owner."""
        return cls(
            cluster=cluster,
            operation=operation,
            host=socket.gethostname(),
            machine=_machine(),
            pid=os.getpid(),
            started=_started(os.getpid()),
            token=secrets.token_hex(8),
            acquired_at=now.isoformat(timespec="seconds"),
            expires_at=(now + LEASE).isoformat(timespec="seconds"),
        )

    @classmethod
    def parse(cls, data: bytes) -> "Lock | None":
        """Read a lock file; None for one that its writer did not finish."""
        if len(data) > _LARGEST:
            return None
        try:
            lock = cls(**json.loads(data))
        except (ValueError, TypeError, RecursionError):
            return None
        return lock if lock._is_sound() else None

    def _is_sound(self) -> bool:
        """Whether each value is of its kind: anybody who may write into the directory may write a lock file."""
        texts = {name: value for name, value in asdict(self).items() if name != "pid"}
        if type(self.pid) is not int or not all(isinstance(value, str) for value in texts.values()):
            return False
        try:
            "".join(texts.values()).encode()
            return datetime.fromisoformat(self.expires_at).tzinfo is not None
        except ValueError:
            return False

    def encode(self) -> bytes:
        """Write the lock file."""
        return json.dumps(asdict(self), indent=1).encode() + b"\n"

    def is_over(self, now: datetime) -> bool:
        """Whether it expired, or its owner ran on this machine and does not any more."""
        return now >= datetime.fromisoformat(self.expires_at) or self._owner_is_dead()

    def _owner_is_dead(self) -> bool:
        return bool(self.machine) and self.machine == _machine() and _started(self.pid) != self.started

    def __str__(self) -> str:
        return f"{self.operation} of {self.cluster} on {self.host} (process {self.pid}), until {self.expires_at}"


@asynccontextmanager
async def locked(
    exchange: Exchange,
    scope: str | None,
    owner: str,
    operation: str,
    *,
    wait: float = WAIT_SECONDS,
    clock: Clock = utc_now,
) -> AsyncIterator[None]:
    """Hold the lock of cluster ``scope`` (None: of consolidation) for the length of a ``with`` block.

    Waits up to ``wait`` seconds for another owner; then raises ``LockHeldError``.
    """
    name = lock_name(scope)
    mine = await _acquire(exchange, name, lambda: Lock.mine(owner, operation, clock()), wait, clock)
    try:
        yield
    finally:
        with suppress(ExchangeError):
            await _release(exchange, name, mine)


async def holder(exchange: Exchange, scope: str | None, clock: Clock = utc_now) -> Lock | None:
    """Tell who holds a lock that is not over."""
    with suppress(FileMissingError):
        lock = Lock.parse(await exchange.read(lock_name(scope)))
        return lock if lock and not lock.is_over(clock()) else None
    return None


async def break_lock(exchange: Exchange, scope: str | None) -> bool:
    """Remove a lock, whoever holds it; say whether there was one."""
    return await exchange.remove(lock_name(scope))


async def _acquire(exchange: Exchange, name: str, make: Callable[[], Lock], wait: float, clock: Clock) -> Lock:
    deadline = asyncio.get_running_loop().time() + wait
    while True:
        mine = make()
        if await exchange.create_exclusive(name, mine.encode()):
            return mine
        if await _remove_if_over(exchange, name, clock()):
            continue
        if asyncio.get_running_loop().time() >= deadline:
            raise LockHeldError(await _described(exchange, name))
        await asyncio.sleep(POLL_SECONDS)


async def _remove_if_over(exchange: Exchange, name: str, now: datetime) -> bool:
    """Clear away a lock nobody holds. One without readable content was cut short: it lasts a lease by its age."""
    try:
        lock = Lock.parse(await exchange.read(name))
    except FileMissingError:
        return True
    over = lock.is_over(now) if lock else now >= await _age_limit(exchange, name)
    if over:
        await exchange.remove(name)
    return over


async def _age_limit(exchange: Exchange, name: str) -> datetime:
    for entry in await exchange.entries():
        if entry.name == name:
            return entry.modified + LEASE
    return datetime.min.replace(tzinfo=UTC)


async def _release(exchange: Exchange, name: str, mine: Lock) -> None:
    """Remove our own lock, never the one of somebody who took over from us."""
    with suppress(FileMissingError):
        if await exchange.read(name) == mine.encode():
            await exchange.remove(name)


async def _described(exchange: Exchange, name: str) -> str:
    with suppress(ExchangeError):
        lock = Lock.parse(await exchange.read(name))
        if lock:
            return f"the exchange directory is locked: {lock}"
    return f"the exchange directory is locked by {name}"


def _machine() -> str:
    """Name this boot of this machine and its process numbering; empty where that cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Tell when a process started, in clock ticks since boot; empty when there is no such process."""
    try:
        fields: Any = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return str(fields[19])
    except (OSError, IndexError):
        return ""
