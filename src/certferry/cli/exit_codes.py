"""What a command's exit code says, the same for every command."""

from enum import IntEnum


class ExitCode(IntEnum):
    """0 done or holds; every other one says in which way not."""

    DONE = 0
    FAILED = 1
    WRONG_USAGE = 2
    CHANGES_PENDING = 3
    VERIFICATION_FAILED = 4
    PARTLY_DONE = 5
    LOCKED = 6
    INTERRUPTED = 130
