"""How servers that share a cluster know each other: a name for each process, and whether that process is gone."""

import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path


def own_name() -> str:
    """Name this process: machine, space of process ids, process id, and a random part, as process ids come again."""
    return "/".join((_machine(), str(os.getpid()), secrets.token_hex(4)))


def is_gone(name: str) -> bool:
    """Whether the process is known to have ended; of one on another machine nothing is known."""
    machine, _, rest = name.rpartition("/")[0].rpartition("/")
    if machine != _machine() or not rest.isdecimal():
        return False
    if int(rest) == os.getpid():
        return True  # an earlier process that had this one's id
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # it is somebody else's, so it runs
    return False


def _machine() -> str:
    """Containers can have the name of their host, and process ids of their own."""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return f"{socket.gethostname()}/{space}"
