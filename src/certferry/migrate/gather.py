"""Looking at a cluster: its files over TFTP and HTTP side by side, many nodes at once, one time-out for a dead one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from certferry.errors import Refusal
from certferry.fleet import http, tftp
from certferry.migrate.place import Endpoint, Place
from certferry.migrate.side import GENERIC, NOT_ASKED, Fetched, ServedFile, SideView, TftpNode, hosts_named, list_name
from certferry.phone.decision import Kind
from certferry.phone.events import Address
from certferry.wire.signed_file import SUFFIX

_PROBE = GENERIC[Kind.ITL]
_MISSING = (http.HttpFileNotFoundError, tftp.TftpFileNotFoundError)
_SILENT = (http.HttpNoAnswerError, tftp.TftpNoAnswerError)
Fetch = Callable[[Address, str], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Reach:
    """How patiently servers are asked, in seconds, and how many questions are open at the same time."""

    tftp: float = 0.5
    tftp_tries: int = 4
    http: float = 3.0
    tvs: float = 5.0
    at_once: int = 48
    discover: bool = True


@dataclass(frozen=True, slots=True)
class Looking:
    """One round of looking: the patience, and the bound on open questions that all parts of it share."""

    reach: Reach = Reach()
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(Reach().at_once))

    @classmethod
    def with_reach(cls, reach: Reach) -> "Looking":
        """Look with ``reach``."""
        return cls(reach, asyncio.Semaphore(reach.at_once))


async def gather_side(
    place: Place, devices: Sequence[str], looking: Looking, *, held: Mapping[Kind, bytes] | None = None
) -> SideView:
    """See what the TFTP nodes of ``place`` serve to everybody and to ``devices``."""
    named = await asyncio.gather(*(_node(endpoint, devices, looking) for endpoint in place.endpoints))
    side = SideView(place, tuple(named), tuple(devices), held or {})
    if not looking.reach.discover or place.inside is not None:
        return side
    found = await asyncio.gather(*(_node(endpoint, devices, looking) for endpoint in _unnamed(side)))
    return replace(side, nodes=(*side.nodes, *(replace(node, named=False) for node in found if node.alive)))


async def gather_phones(side: SideView, devices: Sequence[str], looking: Looking) -> SideView:
    """Add the files of many phones, asked for once: of the first node that answered, over one protocol.

    What the lists of thousands of phones have in common, mostly everything, is kept once.
    """
    node = next(iter(side.alive), None)
    asked = [device for device in devices if device not in side.devices]
    if node is None or not asked:
        return side
    one_way = _over_one_protocol(node)
    kept: dict[bytes, bytes] = {}
    files = await asyncio.gather(*(_phone_files(one_way, device, looking, kept) for device in asked))
    more = {file.name: file for some in files for file in some}
    extended = replace(node, files={**node.files, **more})
    nodes = tuple(extended if each is node else each for each in side.nodes)
    return replace(side, nodes=nodes, devices=(*side.devices, *asked))


def _over_one_protocol(node: TftpNode) -> Endpoint:
    over_tftp = node.files[_PROBE].tftp.state not in ("silent", "not asked")
    return replace(node.endpoint, http_port=None) if over_tftp else replace(node.endpoint, tftp_port=None)


async def _phone_files(endpoint: Endpoint, device: str, looking: Looking, kept: dict[bytes, bytes]) -> list[ServedFile]:
    *names, plain = _names(device)
    files = [await _file(endpoint, name, looking) for name in names]
    if files[-1].data is None:
        files.append(await _file(endpoint, plain, looking))
    return [replace(file, tftp=_once(file.tftp, kept), http=_once(file.http, kept)) for file in files]


def _once(fetched: Fetched, kept: dict[bytes, bytes]) -> Fetched:
    return fetched if fetched.data is None else replace(fetched, data=kept.setdefault(fetched.data, fetched.data))


def _unnamed(side: SideView) -> Iterable[Endpoint]:
    """Say where else TFTP may run: wherever the lists name a node. Those that do not answer run none."""
    if not side.alive:
        return ()
    known = {node.endpoint.host for node in side.nodes}
    lists = [known_list for kind in GENERIC for _, known_list in side.lists(kind)]
    model = side.alive[0].endpoint
    return [replace(model, host=host) for host in hosts_named(lists) if host not in known]


async def _node(endpoint: Endpoint, devices: Sequence[str], looking: Looking) -> TftpNode:
    probe = await _file(endpoint, _PROBE, looking)
    if not probe.answered:
        return TftpNode(endpoint, {_PROBE: probe})
    # What stayed silent once is not asked again: it would cost a time-out for every file.
    endpoint_heard = replace(
        endpoint,
        tftp_port=None if probe.tftp.state == "silent" else endpoint.tftp_port,
        http_port=None if probe.http.state == "silent" else endpoint.http_port,
    )
    names = [GENERIC[Kind.CTL], *(name for device in devices for name in _names(device))]
    files = await asyncio.gather(*(_file(endpoint_heard, name, looking) for name in names))
    return TftpNode(endpoint, {file.name: file for file in (probe, *files)})


def _names(device: str) -> tuple[str, ...]:
    lists = (list_name(kind, device) for kind in GENERIC)
    return (*lists, f"{device}.cnf.xml{SUFFIX}", f"{device}.cnf.xml")


async def _file(endpoint: Endpoint, name: str, looking: Looking) -> ServedFile:
    reach = looking.reach

    async def over_tftp(address: Address, wanted: str) -> bytes:
        return await tftp.fetch(address, wanted, timeout=reach.tftp, tries=reach.tftp_tries)

    async def over_http(address: Address, wanted: str) -> bytes:
        return await http.fetch(address, wanted, timeout=reach.http)

    both = (_fetched(over_tftp, endpoint.tftp, name, looking), _fetched(over_http, endpoint.http, name, looking))
    return ServedFile(name, *await asyncio.gather(*both))


async def _fetched(fetch: Fetch, address: Address | None, name: str, looking: Looking) -> Fetched:
    if address is None:
        return NOT_ASKED
    async with looking.slots:
        try:
            return Fetched("served", await fetch(address, name))
        except _MISSING as error:
            return Fetched("missing", note=error.sentence)
        except _SILENT as error:
            return Fetched("silent", note=error.sentence)
        except Refusal as error:
            return Fetched("refused", note=error.sentence)
