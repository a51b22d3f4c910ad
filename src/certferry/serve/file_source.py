"""What TFTP and HTTP have in common: where the files come from, and the counters of what was asked."""

from dataclasses import dataclass
from typing import Protocol

LONGEST_NAME = 255


class FileSource(Protocol):
    """The files of one node, ready to send: signed ahead and held in memory."""

    def find(self, name: str) -> bytes | None:
        """Return the file of this name, letter case aside, or None; called on the hot path, so it may not wait."""


def look_up(files: FileSource, asked: str) -> bytes | None:
    """Find the file a peer asked for; a name that no file can have is not even looked up.

    Leading slashes do not count. Names are keys of a dictionary, not paths, so ``../`` in one has no meaning.
    """
    name = asked.lstrip("/")
    if not name or len(name) > LONGEST_NAME or not (name.isascii() and name.isprintable()):
        return None
    return files.find(name)


@dataclass(slots=True)
class FileCounters:
    """What became of the requests, in the terms of RTMT (phone-trust 5.4).

    ``processed`` files were sent whole; ``not_found`` have no such file; ``overflow`` came when the service was full;
    ``aborted`` ended before the last byte; ``in_progress`` are being sent. ``malformed`` were no request for a file
    (hostile or mistaken bytes, attempts to write) and do not count as requests.
    """

    processed: int = 0
    not_found: int = 0
    overflow: int = 0
    aborted: int = 0
    in_progress: int = 0
    malformed: int = 0

    @property
    def requests(self) -> int:
        """Requests = Processed + NotFound + Overflow + Aborted + InProgress."""
        return self.processed + self.not_found + self.overflow + self.aborted + self.in_progress
