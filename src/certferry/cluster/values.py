"""The values a cluster is made of: nodes, their own certificates, trust store entries, phones, CallManager groups."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from certferry.trust.purpose import Purpose, Store
from certferry.wire.certificate import Certificate


class NodeRole(StrEnum):
    """What a node does in its cluster. TVS runs where it is said to; in Unified CM that is every node."""

    PUBLISHER = "publisher"
    TFTP = "tftp"
    TVS = "tvs"
    CAPF = "capf"
    CALLMANAGER = "callmanager"


class Service(StrEnum):
    """A phone-facing service and its name in settings (``port.tvs``)."""

    TFTP = "tftp"
    TVS = "tvs"
    HTTP = "http"
    SIP = "sip"
    SIPS = "sips"


STANDARD_PORTS: dict[Service, int] = {
    Service.TFTP: 69,
    Service.TVS: 2445,
    Service.HTTP: 6970,
    Service.SIP: 5060,
    Service.SIPS: 5061,
}


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of a cluster: short host name, IPv4 address, roles, and the ports its services listen on."""

    name: str
    address: str
    roles: frozenset[NodeRole]
    ports: Mapping[Service, int] = field(default_factory=lambda: dict(STANDARD_PORTS))

    @property
    def is_publisher(self) -> bool:
        """Whether this is the cluster's one publisher."""
        return NodeRole.PUBLISHER in self.roles


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate the cluster itself owns. ``node`` is None for one that the whole cluster shares."""

    purpose: Purpose
    node: str | None
    certificate: Certificate


OWN = ""
"""The ``origin`` of a trust entry that holds one of the cluster's own certificates."""


@dataclass(frozen=True, slots=True)
class TrustEntry:
    """One certificate in one trust store.

    ``origin`` names the cluster it was imported from, ``OWN`` for the cluster's own certificates, or ``upload``
    for one that an administrator put there by hand.
    """

    store: Store
    certificate: Certificate
    origin: str
    added_at: datetime
    description: str = ""

    @property
    def is_own(self) -> bool:
        """Whether this is a copy of one of the cluster's own certificates."""
        return self.origin == OWN


@dataclass(frozen=True, slots=True)
class TrustChange:
    """One step of a change to the trust stores; ``remove`` of what is not there, or ``add`` of what is, is no step.

    ``added_at`` is known of a removed entry, so that undoing puts back exactly what was there.
    """

    action: Literal["add", "remove"]
    store: Store
    certificate: Certificate
    origin: str = "upload"
    description: str = ""
    added_at: datetime | None = field(default=None, compare=False)


class SecurityMode(StrEnum):
    """*Cluster Security Mode*: a secure cluster is one in mixed mode, with a CTL."""

    NON_SECURE = "non-secure"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class CallManagerGroup:
    """Nodes in order of preference; a phone takes its call control and its TVS servers from here (at most 3)."""

    name: str
    members: tuple[str, ...]


DEFAULT_MODEL = "8861"


@dataclass(frozen=True, slots=True)
class Phone:
    """A phone the cluster knows: device name ``SEP<MAC>``, model number such as 8861, its CallManager group.

    ``secure`` is its device security profile: registration over mutual TLS with its LSC.
    """

    device: str
    model: str = DEFAULT_MODEL
    group: str = "Default"
    secure: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One applied change to the trust stores: who, when, what; ``changes`` lists only what really changed."""

    id: str
    at: datetime
    actor: str
    action: str
    changes: tuple[TrustChange, ...]
    details: Mapping[str, object]
    undone: bool
