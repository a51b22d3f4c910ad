"""Where the cluster is kept: its folder, its key file, its database."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from pwd import getpwuid
from statistics import median
from time import perf_counter

from certferry.cluster.cluster import Cluster
from certferry.cluster.location import ClusterLocation
from certferry.errors import Refusal
from certferry.trust.list_check import Check

FAR = 0.05
"""Seconds to the database and back, from which on the pages feel slow."""
_ASKED = 5


def place_checks(location: ClusterLocation) -> Iterator[Check]:
    """Look at the files, before anything is opened."""
    if location.server is None and location.folder.is_dir():
        yield _folder(location.folder)
        yield from (_private(path) for path in sorted(location.folder.glob("cluster.sqlite*")))
    yield _key_file(location.key_file)


def _folder(folder: Path) -> Check:
    title = "The cluster's folder is the services' own"
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        evidence = f"{folder} belongs to {_owner(folder)}, and {_name(os.geteuid())} may not write there"
        remedy = f"Run the services, and this check, as {_owner(folder)}; or: chown -R {_name(os.geteuid())} {folder}"
        return Check("config.folder", title, "fail", evidence, remedy)
    return _private(folder)


def _private(path: Path) -> Check:
    title = "Nobody else can read the cluster's files"
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return Check("config.folder", title, "warn", f"{path} has mode {mode:04o}", f"Run: chmod go= {path}")
    return Check("config.folder", title, "pass", f"{path}: {_owner(path)}, mode {mode:04o}")


def _key_file(path: Path) -> Check:
    title = "The key file can be read by the services and by nobody else"
    try:
        found = path.stat()
    except OSError as error:
        remedy = "Bring it from where the cluster was made, mode 0600; or restore a backup that holds it."
        return Check("config.key", title, "fail", f"{path}: {error.strerror}", remedy)
    mode, me = stat.S_IMODE(found.st_mode), _name(os.geteuid())
    if mode & 0o077:
        return Check("config.key", title, "fail", f"{path} has mode {mode:04o}", f"Run: chmod 600 {path}")
    if not os.access(path, os.R_OK):
        evidence = f"{path} belongs to {_owner(path)}, and {me} may not read it"
        return Check("config.key", title, "fail", evidence, f"Run: chown {me} {path}")
    return Check("config.key", title, "pass", f"{path}: {_owner(path)}, mode {mode:04o}")


def opened(location: ClusterLocation) -> tuple[Cluster | None, Check]:
    """Open the cluster; say why that fails."""
    title = "The cluster opens, with the tables of this certferry"
    try:
        cluster = Cluster.open(location.text)
    except Refusal as refusal:
        return None, Check("config.cluster", title, "fail", refusal.sentence, refusal.remedy)
    return cluster, Check("config.cluster", title, "pass", f"{cluster.name}, release {cluster.release}")


def database_check(cluster: Cluster) -> Check:
    """Ask the database a few times, to see how far it is."""
    title = "The database answers quickly"
    took = []
    for _ in range(_ASKED):
        start = perf_counter()
        cluster.version()
        took.append(perf_counter() - start)
    seconds = median(took)
    evidence = f"{cluster.location.text} answers in {seconds * 1000:.1f} ms"
    if seconds < FAR:
        return Check("config.database", title, "pass", evidence)
    remedy = "Phones are served from memory all the same; for quicker pages and imports bring the database nearer."
    return Check("config.database", title, "warn", evidence, remedy)


def _owner(path: Path) -> str:
    return _name(path.stat().st_uid)


def _name(uid: int) -> str:
    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
