"""What the operating system allows one process, as far as many phones need more of it."""

import resource
from pathlib import Path


def raise_file_limit() -> int:
    """Allow this process as many open files as it may allow itself; return how many. A phone is one, or two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def resident_bytes() -> int:
    """Tell how much memory this process has; 0 where the system does not say (it does on Linux)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return 0
