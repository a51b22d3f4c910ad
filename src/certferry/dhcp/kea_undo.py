"""What stood in Kea before certferry changed it: a file for each Kea, the latest change last, its owner's alone."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from certferry.errors import Refusal


class UndoRecordUnreadableError(Refusal):
    """The record of earlier changes cannot be read or written."""

    code = "dhcp.undo-record"
    remedy = "See that the file is certferry's and yours; name another one with --state."


class NothingToUndoError(Refusal):
    """Certferry has changed nothing here that is still to be undone."""

    code = "dhcp.nothing-to-undo"
    remedy = "Set the former servers with: certferry dhcp set --tftp IP,IP"


@dataclass(frozen=True, slots=True)
class Change:
    """One change: option 150 of the subnet before and after, as Kea has it, and the whole configuration's SHA-256."""

    subnet: str
    subnet_id: int
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    defined: bool
    config_before: str
    config_after: str
    at: str


@dataclass(frozen=True, slots=True)
class UndoRecord:
    """The changes made to one Kea."""

    path: Path

    @classmethod
    def usual(cls, kea: str) -> "UndoRecord":
        """Place the record where the user's programs keep their state."""
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        return cls(home / "certferry" / f"dhcp-{sha256(kea.encode()).hexdigest()[:16]}.json")

    def changes(self) -> tuple[Change, ...]:
        """Read what was changed; raises ``UndoRecordUnreadableError``."""
        try:
            return tuple(Change(**each) for each in json.loads(self.path.read_bytes())["changes"])
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise UndoRecordUnreadableError(f"cannot read {self.path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UndoRecordUnreadableError(f"{self.path} is not a record of changes") from error

    def latest(self, subnet: str, subnet_id: int) -> Change:
        """Return the latest change of a subnet; raises ``NothingToUndoError``."""
        changes = [each for each in self.changes() if (each.subnet, each.subnet_id) == (subnet, subnet_id)]
        if not changes:
            raise NothingToUndoError(f"no change of {subnet} is recorded in {self.path}")
        return changes[-1]

    def add(self, change: Change) -> None:
        """Add a change, before it is made: whoever is stopped in between can still undo."""
        self._write((*self.changes(), change))

    def drop(self, change: Change) -> None:
        """Forget a change that is undone."""
        changes = list(self.changes())
        at = max((index for index, each in enumerate(changes) if each == change), default=len(changes))
        del changes[at : at + 1]
        self._write(tuple(changes))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other certferry of this user from changing the same Kea meanwhile."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise UndoRecordUnreadableError(f"cannot write beside {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, changes: tuple[Change, ...]) -> None:
        text = json.dumps({"changes": [asdict(change) for change in changes]}, indent=1)
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            beside.unlink(missing_ok=True)
            with open(beside, "x", opener=_private, encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
        except OSError as error:
            raise UndoRecordUnreadableError(f"cannot write {self.path}: {error.strerror}") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
