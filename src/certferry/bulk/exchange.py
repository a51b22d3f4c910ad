"""What the bulk operations need of the exchange directory; ``bulk.transport`` offers it over SFTP."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

READ_LIMIT = 16 * 1024 * 1024
"""Bytes; a consolidated file of twenty clusters with 21 nodes each stays below 4 MiB."""

Progress = Callable[[str, int, int], None]
"""Told a step's name, how many of its parts are done, and how many there are."""


def silent(_step: str, _done: int, _total: int) -> None:
    """Report no progress."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One regular file in the directory: size in bytes, modification time by the server's clock."""

    name: str
    size: int
    modified: datetime


class Exchange(Protocol):
    """A directory that several clusters read and write at once.

    A file appears under its name whole or not at all. Every method raises a class of ``bulk.refusals``.
    """

    async def entries(self) -> Sequence[Entry]:
        """List the regular files, sorted by name, temporaries included."""
        ...

    async def read(self, name: str, limit: int = READ_LIMIT) -> bytes:
        """Read a whole file; raise ``FileMissingError`` or, above ``limit`` bytes, ``FileTooLargeError``."""
        ...

    async def read_many(
        self, names: Iterable[str], progress: Progress = silent, limit: int = READ_LIMIT
    ) -> Mapping[str, bytes]:
        """Read files with many requests in flight; those gone meanwhile are left out."""
        ...

    async def write(self, name: str, data: bytes) -> None:
        """Put a file under its name, replacing what was there."""
        ...

    async def write_many(self, files: Mapping[str, bytes], progress: Progress = silent) -> None:
        """Upload all files under temporary names first, then rename them."""
        ...

    async def remove(self, name: str) -> bool:
        """Remove a file; say whether it was there."""
        ...

    async def remove_many(self, names: Iterable[str]) -> None:
        """Remove files; those gone already are fine."""
        ...

    async def create_exclusive(self, name: str, data: bytes) -> bool:
        """Create a file unless the name is taken; say whether it was created."""
        ...
