"""What a process of many phones takes of the machine."""

import resource
from pathlib import Path


def resident_bytes() -> int:
    """Tell how much memory this process has; 0 where the system does not say (it does on Linux)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return 0
