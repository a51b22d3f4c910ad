"""Who steers a migration: a name that tells people the process, and lets this machine see that it is dead.

``ann@host pid 4711 <boot>:<process namespace>:<start of the process>:<chance>``. What stands behind the last blank
is for certferry: only a process of the same boot and namespace can be looked for, elsewhere the lease has to run out.
"""

import os
import secrets
from pathlib import Path
from socket import gethostname

from certferry.cluster.acting import actor

SECONDS = 15.0
"""A runner that says nothing for so long is taken for dead."""
_PROC = Path("/proc")
_START = 19
"""Where the start of a process stands in its ``stat``, counted behind its name."""


def this_runner() -> str:
    """Name the runner that is about to steer in this process."""
    pid = os.getpid()
    return f"{actor()}@{gethostname()} pid {pid} {_world()}:{_started(pid)}:{secrets.token_hex(4)}"


def is_gone(runner: str) -> bool:
    """Whether a runner was a process of this machine that lives no more."""
    people, _, trace = runner.rpartition(" ")
    world, _, started = trace.rpartition(":")[0].rpartition(":")
    pid = people.rpartition(" ")[2]
    return bool(world) and world == _world() and pid.isdecimal() and _started(int(pid)) != started


def _world() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{(_PROC / 'self/ns/pid').readlink().name}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Tell when a process began, so that another one of the same number is not taken for it; a dead one never did."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[_START]
