"""What a phone's configuration says: its group as call control and as TVS servers, in order, and how it registers."""

import pytest

from certferry.cluster.phone_configs import phone_config, phone_configs
from certferry.cluster.values import CallManagerGroup, Node, NodeRole, Phone, SecurityMode, Service
from certferry.wire.phone_config import CallManagerMember, DeviceSecurityMode, PhoneConfig, Transport, TvsMember

BOTH = frozenset({NodeRole.CALLMANAGER, NodeRole.TVS})
PORTS = {Service.SIP: 15060, Service.SIPS: 15061, Service.TVS: 12445, Service.TFTP: 69, Service.HTTP: 6970}
NODES = {
    "pub": Node("pub", "192.0.2.1", frozenset({NodeRole.PUBLISHER, NodeRole.TVS})),
    "sub1": Node("sub1", "192.0.2.2", BOTH),
    "sub2": Node("sub2", "192.0.2.3", BOTH, PORTS),
    "calls": Node("calls", "192.0.2.4", frozenset({NodeRole.CALLMANAGER})),
}
PHONE = Phone("SEP001122334455", "8845")
MIXED, NON_SECURE = SecurityMode.MIXED, SecurityMode.NON_SECURE


def composed(*members: str, phone: Phone = PHONE, mode: SecurityMode = NON_SECURE) -> PhoneConfig:
    return phone_config(phone, CallManagerGroup("Default", members), NODES, mode)


def test_it_names_the_device_and_its_model() -> None:
    assert (composed("sub1").device, composed("sub1").model) == ("SEP001122334455", "8845")


def test_the_members_of_the_group_are_its_call_control_in_order() -> None:
    assert composed("sub2", "sub1").callmanagers == (
        CallManagerMember("sub2", "192.0.2.3", 15060, 15061),
        CallManagerMember("sub1", "192.0.2.2", 5060, 5061),
    )


def test_the_members_of_the_group_are_its_tvs_servers_in_the_same_order() -> None:
    assert composed("sub2", "sub1", "pub").tvs == (
        TvsMember(0, "192.0.2.3", 12445),
        TvsMember(1, "192.0.2.2", 2445),
        TvsMember(2, "192.0.2.1", 2445),
    )


def test_a_member_that_takes_no_calls_is_only_a_tvs_server() -> None:
    config = composed("pub", "sub1")
    assert [member.name for member in config.callmanagers] == ["sub1"]
    assert [member.address for member in config.tvs] == ["192.0.2.1", "192.0.2.2"]


def test_a_member_without_tvs_is_only_call_control_and_leaves_no_gap_in_the_priorities() -> None:
    config = composed("sub1", "calls", "pub")
    assert [member.name for member in config.callmanagers] == ["sub1", "calls"]
    assert [(member.priority, member.address) for member in config.tvs] == [(0, "192.0.2.2"), (1, "192.0.2.1")]


def test_a_member_that_is_no_node_any_more_is_left_out() -> None:
    assert [member.address for member in composed("gone", "sub1").tvs] == ["192.0.2.2"]


@pytest.mark.parametrize(
    ("secure", "mode", "registers"),
    [
        (True, MIXED, (DeviceSecurityMode.ENCRYPTED, Transport.TLS)),
        (False, MIXED, (DeviceSecurityMode.NON_SECURE, Transport.TCP)),
        (False, NON_SECURE, (DeviceSecurityMode.NON_SECURE, Transport.TCP)),
        (True, NON_SECURE, (DeviceSecurityMode.NON_SECURE, Transport.TCP)),
    ],
)
def test_only_a_secure_phone_of_a_cluster_in_mixed_mode_registers_over_tls(
    mode: SecurityMode, registers: tuple[DeviceSecurityMode, Transport], *, secure: bool
) -> None:
    config = composed("sub1", phone=Phone(PHONE.device, secure=secure), mode=mode)
    assert (config.security_mode, config.transport) == registers


def test_a_phone_reads_back_what_was_composed() -> None:
    config = composed("sub2", "sub1", "pub", phone=Phone(PHONE.device, secure=True), mode=MIXED)
    assert PhoneConfig.parse(config.encode()) == config


def test_every_phone_gets_the_servers_of_its_own_group() -> None:
    groups = [CallManagerGroup("East", ("sub1",)), CallManagerGroup("West", ("sub2",))]
    phones = [Phone("SEP000000000001", group="West"), Phone("SEP000000000002", group="East")]
    configs = list(phone_configs(phones, groups, list(NODES.values()), NON_SECURE))
    assert [(config.device, config.tvs[0].address) for config in configs] == [
        ("SEP000000000001", "192.0.2.3"),
        ("SEP000000000002", "192.0.2.2"),
    ]


def test_a_description_does_not_reach_the_phone() -> None:
    told = Phone(PHONE.device, PHONE.model, description="the director's")
    assert composed("sub1", phone=told) == composed("sub1")
