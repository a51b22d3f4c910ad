"""What is seen of a cluster from where this runs: the files its TFTP nodes serve, and whom its phones would ask.

Nothing is assumed. A file that was not served, a node that did not answer and a database that was not given are
recorded as what they are, so that every judgement built on this can say *unknown*.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from certferry.cluster.values import NodeRole, Service
from certferry.errors import MalformedError
from certferry.migrate.place import Endpoint, Inside, Place
from certferry.phone.decision import Kind
from certferry.phone.events import Address
from certferry.phone.flash import Flash
from certferry.phone.trust import KnownList, known_list
from certferry.wire.phone_config import PhoneConfig
from certferry.wire.roles import Role
from certferry.wire.signed_file import SUFFIX, SignedFile
from certferry.wire.trust_list import TrustRecord

State = Literal["served", "missing", "refused", "silent", "not asked"]
GENERIC = {Kind.CTL: "CTLFile.tlv", Kind.ITL: "ITLFile.tlv"}


def list_name(kind: Kind, device: str) -> str:
    """Name the trust list that a phone asks for."""
    return f"{kind}{device}.tlv"


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of asking for one file over one protocol; ``note`` is the refusal's sentence."""

    state: State
    data: bytes | None = field(default=None, repr=False)
    note: str = ""


NOT_ASKED = Fetched("not asked")


@dataclass(frozen=True, slots=True)
class ServedFile:
    """One file of one node, over both protocols."""

    name: str
    tftp: Fetched = NOT_ASKED
    http: Fetched = NOT_ASKED

    @property
    def data(self) -> bytes | None:
        """The file as phones get it: what TFTP says, else HTTP."""
        return self.tftp.data if self.tftp.data is not None else self.http.data

    @property
    def answered(self) -> bool:
        """Whether the node said anything, if only that there is no such file."""
        return any(fetched.state in ("served", "missing", "refused") for fetched in (self.tftp, self.http))

    @property
    def is_missing(self) -> bool:
        """Whether the node said that there is no such file, and over no protocol served one."""
        return self.data is None and "missing" in (self.tftp.state, self.http.state)


@dataclass(frozen=True, slots=True)
class TftpNode:
    """One TFTP node and its files by name; ``named`` is whether the user named it, else it was found in a list."""

    endpoint: Endpoint
    files: Mapping[str, ServedFile]
    named: bool = True

    @property
    def alive(self) -> bool:
        """Whether it answered at all."""
        return any(file.answered for file in self.files.values())

    def data(self, *names: str) -> bytes | None:
        """Return the first of ``names`` that it serves."""
        found = (self.files[name].data for name in names if name in self.files)
        return next((data for data in found if data is not None), None)

    def trust_list(self, kind: Kind, device: str | None = None) -> bytes | None:
        """Return the list that ``device`` would get, or the one for everybody."""
        names = [list_name(kind, device)] if device else []
        return self.data(*names, GENERIC[kind])

    def configuration(self, device: str) -> bytes | None:
        """Return the signed configuration of ``device``, else the plain one."""
        return self.data(f"{device}.cnf.xml{SUFFIX}", f"{device}.cnf.xml")


def readable(data: bytes | None) -> KnownList | None:
    """Parse a trust list; None when there is none or it is none."""
    try:
        return None if data is None else known_list(data)
    except MalformedError:
        return None


def plain_configuration(data: bytes) -> tuple[bytes, bool]:
    """Return a configuration's XML as a phone keeps it, and whether it was signed; raise ``MalformedError``."""
    if data.lstrip()[:1] == b"<":
        return data, False
    return SignedFile.parse(data).payload, True


@dataclass(frozen=True, slots=True)
class SideView:
    """Everything seen of one cluster; ``devices`` are those whose own files were asked for.

    ``held`` are lists that phones are known to hold, in place of those the cluster serves now.
    """

    place: Place
    nodes: tuple[TftpNode, ...]
    devices: tuple[str, ...] = ()
    held: Mapping[Kind, bytes] = field(default_factory=dict, repr=False)

    @property
    def inside(self) -> Inside | None:
        """The cluster's database, where it was given."""
        return self.place.inside

    @property
    def alive(self) -> tuple[TftpNode, ...]:
        """The nodes that answered."""
        return tuple(node for node in self.nodes if node.alive)

    def trust_list(self, kind: Kind, device: str | None = None) -> bytes | None:
        """Return the list that a phone of this cluster holds: one known to be held, else the first served."""
        if kind in self.held:
            return self.held[kind]
        served = (node.trust_list(kind, device) for node in self.alive)
        return next((data for data in served if data is not None), None)

    def lists(self, kind: Kind) -> Iterator[tuple[TftpNode, KnownList]]:
        """Give every readable list of ``kind`` with the node that serves it."""
        for node in self.alive:
            known = readable(node.trust_list(kind, self.devices[0] if self.devices else None))
            if known is not None:
                yield node, known

    def held_list(self, kind: Kind) -> KnownList | None:
        """Return the list that phones are known to hold, when it can be read."""
        return readable(self.held.get(kind))

    def knows(self, device: str) -> bool | None:
        """Whether the cluster knows ``device``, by the files it has for it; None when that was not seen."""
        names = (*(list_name(kind, device) for kind in GENERIC), f"{device}.cnf.xml{SUFFIX}", f"{device}.cnf.xml")
        files = [node.files[name] for node in self.alive for name in names if name in node.files]
        if any(file.data is not None for file in files):
            return True
        return False if any(file.is_missing for file in files) else None

    def flash(self, device: str) -> Flash:
        """Return what ``device`` holds while it lives in this cluster, broken lists as they are."""
        config, signed = self.configuration(device) or (None, False)
        return Flash(self.trust_list(Kind.CTL, device), self.trust_list(Kind.ITL, device), config, signed)

    def configuration(self, device: str) -> tuple[bytes, bool] | None:
        """Return the XML of ``device`` and whether it was signed; None when no readable one was served."""
        for node in self.alive:
            data = node.configuration(device)
            try:
                if data is not None:
                    return plain_configuration(data)
            except MalformedError:
                continue
        return None

    def tvs_list(self, device: str) -> tuple[Address, ...] | None:
        """Return the TVS servers in the configuration of ``device``, in order; None when it was not seen whole."""
        found = self.configuration(device)
        try:
            config = PhoneConfig.parse(found[0]) if found else None
            return None if config is None or config.is_short else _tvs_members(config)
        except MalformedError:
            return None

    @property
    def tvs_in_lists(self) -> tuple[Address, ...]:
        """The TVS nodes that the ITL names, by address."""
        records = (record for _, known in self.lists(Kind.ITL) for record in known.parsed.records_with_role(Role.TVS))
        ports = self._inside_ports()
        hosts = (record_host(record) for record in records)
        return tuple(dict.fromkeys((host, ports.get(host, self.place.tvs_port)) for host in hosts if host))

    @property
    def tvs_nodes(self) -> tuple[Address, ...]:
        """Every TVS node known: of the configurations first, in their order, then of the database and of the ITL."""
        lists = [members for device in self.devices if (members := self.tvs_list(device))]
        inside = [(host, port) for host, port in self._inside_ports().items()]
        return tuple(dict.fromkeys([*(member for some in lists for member in some), *inside, *self.tvs_in_lists]))

    @property
    def is_secure(self) -> bool | None:
        """Whether phones of it hold a CTL that still names somebody; None when no node answered."""
        if not self.alive and Kind.CTL not in self.held:
            return None
        ctl = readable(self.trust_list(Kind.CTL, self.devices[0] if self.devices else None))
        return ctl is not None and not ctl.is_emptied

    def _inside_ports(self) -> dict[str, int]:
        nodes = self.inside.nodes_with(NodeRole.TVS) if self.inside else ()
        return {node.address: node.ports[Service.TVS] for node in nodes}


def record_host(record: TrustRecord) -> str:
    """Return where the node of a record is: its address, else its name."""
    return record.ip_address or record.dns_name


def _tvs_members(config: PhoneConfig) -> tuple[Address, ...]:
    return tuple((member.address, member.port) for member in config.tvs)


def hosts_named(lists: Iterable[KnownList]) -> tuple[str, ...]:
    """Return the hosts that lists name as TFTP, call control or TVS: any of them may run TFTP too."""
    wanted = (Role.CALLMANAGER_TFTP, Role.TFTP, Role.TVS)
    records = (record for known in lists for record in known.parsed.records_with_role(*wanted))
    return tuple(dict.fromkeys(host for record in records if (host := record_host(record))))
