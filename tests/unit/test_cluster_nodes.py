"""Nodes: how they are written on a command line, found by name, and given other ports."""

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.nodes import NodeInvalidError, NodeUnknownError, check_nodes, find_node, parse_node
from certferry.cluster.values import STANDARD_PORTS, Node, NodeRole, Service
from conftest import MakeCluster, usual_nodes


def test_a_node_is_written_as_name_address_and_roles() -> None:
    assert parse_node("pub=192.0.2.1:publisher,tftp,tvs") == Node(
        "pub", "192.0.2.1", frozenset({NodeRole.PUBLISHER, NodeRole.TFTP, NodeRole.TVS})
    )


def test_spaces_between_roles_do_not_count() -> None:
    assert parse_node("sub=192.0.2.2:tvs, callmanager").roles == {NodeRole.TVS, NodeRole.CALLMANAGER}


def test_a_node_listens_on_the_standard_ports_unless_told_otherwise() -> None:
    assert parse_node("pub=192.0.2.1:tftp").ports == STANDARD_PORTS
    assert STANDARD_PORTS == {
        Service.TFTP: 69,
        Service.TVS: 2445,
        Service.HTTP: 6970,
        Service.SIP: 5060,
        Service.SIPS: 5061,
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pub", "is not of the form NAME=ADDRESS:ROLES"),
        ("pub=192.0.2.1", "is not of the form"),
        ("pub:tftp", "is not of the form"),
        ("", "is not of the form"),
        ("pub=192.0.2.1:", "node pub: ''"),
        ("pub=192.0.2.1:tftp,", "node pub: ''"),
        ("pub=192.0.2.1:router", "node pub: 'router'"),
    ],
)
def test_what_is_not_a_node_is_refused_with_the_form_it_should_have(text: str, told: str) -> None:
    with pytest.raises(NodeInvalidError, match=told) as caught:
        parse_node(text)
    assert "NAME=ADDRESS:ROLE,ROLE" in caught.value.remedy


@pytest.mark.parametrize("name", ["pub", "P", "cucm-1.example.com", "10-1-1-1", "a" * 63])
def test_host_names_as_they_are_in_the_field_are_taken(name: str) -> None:
    check_nodes([Node(name, "192.0.2.1", frozenset({NodeRole.PUBLISHER}))])


@pytest.mark.parametrize("name", ["", "-pub", "pub-", "pub.", "pub lisher", "pub/..", "püb", "a" * 64, "pub\n"])
def test_what_is_no_host_name_is_refused(name: str) -> None:
    with pytest.raises(NodeInvalidError, match="is not a host name"):
        check_nodes([Node(name, "192.0.2.1", frozenset({NodeRole.PUBLISHER}))])


@pytest.mark.parametrize("address", ["", "pub", "192.0.2", "192.0.2.256", "::1", "192.0.2.1/24", "192.0.2.1:69"])
def test_what_is_no_ipv4_address_is_refused(address: str) -> None:
    with pytest.raises(NodeInvalidError, match="is not an IPv4 address"):
        check_nodes([Node("pub", address, frozenset({NodeRole.PUBLISHER}))])


def test_a_cluster_has_its_publisher_and_at_most_twenty_subscribers() -> None:
    check_nodes(usual_nodes("source", 21))
    with pytest.raises(NodeInvalidError, match="more than the 21"):
        check_nodes(usual_nodes("source", 22))


def test_a_node_is_found_in_any_letter_case() -> None:
    nodes = usual_nodes("source", 3)
    assert find_node(nodes, "Source-SUB2") is nodes[2]
    with pytest.raises(NodeUnknownError, match="no node 'source-sub3'"):
        find_node(nodes, "source-sub3")


# --- in a cluster


def test_the_tftp_nodes_of_a_cluster_are_those_with_the_role(make_cluster: MakeCluster) -> None:
    nodes = [
        Node("pub", "192.0.2.1", frozenset({NodeRole.PUBLISHER, NodeRole.TVS})),
        Node("tftp2", "192.0.2.3", frozenset({NodeRole.TFTP})),
        Node("tftp1", "192.0.2.2", frozenset({NodeRole.TFTP, NodeRole.TVS})),
    ]
    cluster = make_cluster(nodes=nodes)
    assert [node.name for node in cluster.tftp_nodes()] == ["tftp2", "tftp1"]
    assert cluster.node("TFTP1").roles == {NodeRole.TFTP, NodeRole.TVS}


def test_another_port_is_remembered_for_that_service_of_that_node_alone(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=2)
    cluster.set_port("source-sub1", Service.TFTP, 6969)
    opened = Cluster.open(cluster.location.text)
    assert opened.node("source-sub1").ports == {**STANDARD_PORTS, Service.TFTP: 6969}
    assert opened.node("source-pub").ports == STANDARD_PORTS


def test_the_node_of_a_port_is_found_in_any_letter_case(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    cluster.set_port("SOURCE-PUB", Service.TVS, 12445)
    assert cluster.publisher.ports[Service.TVS] == 12445


@pytest.mark.parametrize("port", [0, -1, 65536, 1 << 40])
def test_a_number_that_is_no_port_is_refused(make_cluster: MakeCluster, port: int) -> None:
    cluster = make_cluster(nodes=1)
    with pytest.raises(NodeInvalidError, match=f"{port} is no port for tvs") as caught:
        cluster.set_port("source-pub", Service.TVS, port)
    assert caught.value.remedy == "Give a port from 1 to 65535."
    assert cluster.publisher.ports == STANDARD_PORTS


def test_a_port_of_a_node_that_does_not_exist_is_refused(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    version = cluster.version()
    with pytest.raises(NodeUnknownError):
        cluster.set_port("elsewhere", Service.TVS, 2446)
    assert cluster.version() == version


def test_a_new_port_advances_the_change_version(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    version = cluster.version()
    cluster.set_port("source-pub", Service.HTTP, 16970)
    assert cluster.version() == version + 1
