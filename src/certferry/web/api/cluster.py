"""/cluster, /nodes, /groups, /parameters, /served: what the cluster is, its ports, groups and parameters."""

from typing import Annotated

from fastapi import Path

from certferry.cluster.values import CallManagerGroup, Service
from certferry.web.api.shared import ChosenCluster, Context, protected
from certferry.web.models import (
    ClusterAnswer,
    GroupAnswer,
    GroupRequest,
    NodeAnswer,
    ParameterAnswer,
    ParameterRequest,
    PortRequest,
    RebuiltAnswer,
    ServedAnswer,
)
from certferry.web.security import Operator
from certferry.web.views import cluster_view, parameters_view

router = protected("cluster")
ParameterKey = Annotated[str, Path(max_length=100)]


@router.get("/clusters")
def clusters(context: Context) -> list[ClusterAnswer]:
    """Describe every cluster this server shows, the publisher's own first."""
    return [cluster_view(each) for each in context.clusters]


@router.get("/cluster")
def cluster(cluster: ChosenCluster) -> ClusterAnswer:
    """Describe the cluster: release, mode, nodes, groups."""
    return cluster_view(cluster)


@router.get("/nodes")
def nodes(cluster: ChosenCluster) -> list[NodeAnswer]:
    """List the nodes, the publisher first."""
    return cluster_view(cluster).nodes


@router.put("/nodes/{node}/ports/{service}")
def set_port(
    node: Annotated[str, Path(max_length=255)],
    service: Service,
    wanted: PortRequest,
    cluster: ChosenCluster,
    _user: Operator,
) -> list[NodeAnswer]:
    """Let a service of one node listen on another port than the standard one."""
    cluster.set_port(cluster.node(node).name, service, wanted.port)
    return cluster_view(cluster).nodes


@router.put("/groups/{name}")
def put_group(
    name: Annotated[str, Path(min_length=1, max_length=255)],
    wanted: GroupRequest,
    cluster: ChosenCluster,
    _user: Operator,
) -> list[GroupAnswer]:
    """Add a CallManager group, or change a known one."""
    cluster.put_group(CallManagerGroup(name, tuple(wanted.members)))
    return cluster_view(cluster).groups


@router.get("/served")
def served(cluster: ChosenCluster) -> ServedAnswer:
    """Say which change version is current, and which each node's services answer from."""
    return ServedAnswer(version=cluster.version(), nodes=cluster.served())


@router.get("/parameters")
def parameters(cluster: ChosenCluster) -> list[ParameterAnswer]:
    """List the enterprise parameters."""
    return parameters_view(cluster)


@router.put("/parameters/{key}")
def set_parameter(
    key: ParameterKey, wanted: ParameterRequest, cluster: ChosenCluster, _user: Operator
) -> RebuiltAnswer:
    """Set an enterprise parameter; phones take rebuilt lists at their next reset."""
    return RebuiltAnswer(rebuilt=list(cluster.set_parameter(key, wanted.value)))
