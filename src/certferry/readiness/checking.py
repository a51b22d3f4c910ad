"""All checks of this host, one after the other."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from certferry.cluster.cluster import Cluster
from certferry.cluster.location import ClusterLocation
from certferry.cluster.nodes import find_node
from certferry.cluster.values import NodeRole, Service
from certferry.errors import Refusal
from certferry.readiness.cluster_checks import cluster_checks
from certferry.readiness.limit_checks import buffer_check, files_check
from certferry.readiness.place_checks import database_check, opened, place_checks
from certferry.readiness.port_checks import nodes_here, port_checks
from certferry.readiness.variables import variable_checks
from certferry.serve.ports import ports_of
from certferry.trust.list_check import Check

DEFAULT_WINDOW = timedelta(days=30)


def check_host(
    location: ClusterLocation,
    *,
    now: datetime,
    environment: Mapping[str, str],
    known_variables: Collection[str],
    nodes: Sequence[str] = (),
    phones: int | None = None,
    window: timedelta = DEFAULT_WINDOW,
) -> Iterator[Check]:
    """Look at everything the services of ``nodes`` (all, by default) need here; ``phones`` is how many to expect.

    Raises ``NodeUnknownError``.
    """
    yield from variable_checks(environment, known_variables)
    yield from place_checks(location)
    cluster, check = opened(location)
    yield check
    if cluster is None:
        return
    try:
        yield database_check(cluster)
        yield from cluster_checks(cluster, now, window)
        yield from _services(cluster, nodes, phones)
    except Refusal as refusal:
        if not refusal.code.startswith("cluster.database"):
            raise
        yield Check("config.database", "The database answers", "fail", refusal.sentence, refusal.remedy)
    finally:
        cluster.close()


def _services(cluster: Cluster, names: Sequence[str], phones: int | None) -> Iterator[Check]:
    every, mode = cluster.nodes(), cluster.security_mode
    named = tuple(find_node(every, name) for name in names)
    here, check = nodes_here(named or every, are_named=bool(named))
    yield check
    yield from port_checks(here, mode)
    registrars = sum(NodeRole.CALLMANAGER in node.roles for node in every)
    if any(NodeRole.CALLMANAGER in node.roles for node in here):
        yield files_check(len(cluster.phones()) if phones is None else phones, registrars)
    tftp = [port for node in here for port in ports_of(node, mode) if port.service is Service.TFTP]
    if buffer := buffer_check(tftp):
        yield buffer
