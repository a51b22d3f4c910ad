"""The configuration that a phone gets: its CallManager group as call control members and as TVS members, in order."""

from collections.abc import Iterable, Mapping, Sequence

from certferry.cluster.phones import DEFAULT_GROUP
from certferry.cluster.values import CallManagerGroup, Node, NodeRole, Phone, SecurityMode, Service
from certferry.wire.default_config import default_config
from certferry.wire.phone_config import CallManagerMember, DeviceSecurityMode, PhoneConfig, Transport, TvsMember


def phone_config(phone: Phone, group: CallManagerGroup, nodes: Mapping[str, Node], mode: SecurityMode) -> PhoneConfig:
    """Compose the configuration of ``phone``; its TVS servers are the members of its group (phone-trust 3.7)."""
    members = [nodes[name] for name in group.members if name in nodes]
    secure = phone.secure and mode is SecurityMode.MIXED
    return PhoneConfig(
        device=phone.device,
        callmanagers=_callmanagers(members),
        tvs=_tvs(members),
        security_mode=DeviceSecurityMode.ENCRYPTED if secure else DeviceSecurityMode.NON_SECURE,
        transport=Transport.TLS if secure else Transport.TCP,
        model=phone.model,
    )


def phone_configs(
    phones: Iterable[Phone], groups: Sequence[CallManagerGroup], nodes: Sequence[Node], mode: SecurityMode
) -> Iterable[PhoneConfig]:
    """Compose the configurations of all ``phones``."""
    by_name = {node.name: node for node in nodes}
    by_group = {group.name: group for group in groups}
    return (phone_config(phone, by_group[phone.group], by_name, mode) for phone in phones)


def default_phone_config(groups: Sequence[CallManagerGroup], nodes: Sequence[Node]) -> bytes:
    """Compose ``XMLDefault.cnf.xml``: the group that new phones get, else the first, for those nobody knows."""
    by_name = {node.name: node for node in nodes}
    group = next((each for each in groups if each.name == DEFAULT_GROUP), next(iter(groups), None))
    members = [by_name[name] for name in group.members if name in by_name] if group else []
    return default_config(_callmanagers(members))


def _callmanagers(members: Sequence[Node]) -> tuple[CallManagerMember, ...]:
    able = [node for node in members if NodeRole.CALLMANAGER in node.roles]
    return tuple(
        CallManagerMember(node.name, node.address, node.ports[Service.SIP], node.ports[Service.SIPS]) for node in able
    )


def _tvs(members: Sequence[Node]) -> tuple[TvsMember, ...]:
    able = [node for node in members if NodeRole.TVS in node.roles]
    return tuple(TvsMember(priority, node.address, node.ports[Service.TVS]) for priority, node in enumerate(able))
