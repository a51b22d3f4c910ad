"""Open files: each connection of a phone is one, and the system bounds how many a process may have."""

import resource

MOST_PHONES = 60_000
"""Phones that one node takes at most; a cluster has 40,000, and one node may be all that is left of it."""
_OTHERS = 20_480
"""Files left for TVS, TFTP, HTTP and the database, where there are that many."""


def raise_file_limit() -> int:
    """Allow this process as many open files as it may allow itself; return how many. A phone is one, or two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def places_for_phones() -> int:
    """Tell how many phones a registrar may keep connected: few enough that other services have files left."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        return MOST_PHONES
    return min(MOST_PHONES, max(hard - _OTHERS, hard // 2))
