"""Asking every TVS of the source about every signer of the destination, as its phones would."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from certferry.errors import MalformedError, Refusal
from certferry.fleet.tvs import TvsAnswer, ask
from certferry.migrate.gather import Looking
from certferry.migrate.side import SideView, TftpNode, readable
from certferry.phone.decision import SIGNER_ROLES, Kind
from certferry.phone.events import Address
from certferry.phone.trust import KnownList, Signer
from certferry.wire.certificate import Certificate
from certferry.wire.roles import Role
from certferry.wire.signed_file import SUFFIX, SignedFile
from certferry.wire.tvs import CertificateQueryReply, CertificateQueryRequest, Status

DEVICE = "CP-8861-SEP001B54000000"
_FIRST_SESSION = 1001
_SIGNING = (Role.SAST, Role.TFTP, Role.CALLMANAGER_TFTP)


@dataclass(frozen=True, slots=True)
class Asked:
    """One signer of the destination.

    ``needed`` are the files whose acceptance hangs on TVS knowing it; without any, the signer stands by: it is named
    in a list and signs nothing today. ``uses`` tell in words where it was seen, ``der`` is its certificate there.
    """

    signer: Signer
    needed: frozenset[Kind] = frozenset()
    uses: tuple[str, ...] = ()
    der: bytes = field(default=b"", repr=False)

    def also(self, needed: frozenset[Kind], use: str, der: bytes) -> "Asked":
        """Return this signer with one more use."""
        uses = self.uses if use in self.uses else (*self.uses, use)
        return Asked(self.signer, self.needed | needed, uses, self.der or der)

    @property
    def is_recovery(self) -> bool:
        """Whether it is an ITLRecovery certificate, by its name."""
        return "CN=ITLRECOVERY" in self.signer.subject.upper()

    @property
    def name(self) -> str:
        """The certificate's common name, or what stands for it."""
        return self.signer.subject.partition(";")[0].removeprefix("CN=")


def signers_of(side: SideView) -> tuple[Asked, ...]:
    """List everybody who signs files of ``side`` or stands in its lists as one who may."""
    found: dict[Signer, Asked] = {}
    for signer, needed, use, der in _uses(side):
        found[signer] = found.get(signer, Asked(signer)).also(needed, use, der)
    return tuple(found.values())


_Use = tuple[Signer, frozenset[Kind], str, bytes]
"""A signer, what a phone has to believe it for, where it was met, and its certificate."""


def _uses(side: SideView) -> Iterator[_Use]:
    for node in side.alive:
        device = side.devices[0] if side.devices else None
        ctl = readable(node.trust_list(Kind.CTL, device))
        itl = readable(node.trust_list(Kind.ITL, device))
        yield from _list_signers(node, ctl, itl)
        yield from _configuration_signers(node, side.devices, ctl, itl)
        for kind, known in ((Kind.CTL, ctl), (Kind.ITL, itl)):
            if known:
                yield from _named_in(known, f"named in the {kind} of {node.endpoint}")


def _list_signers(node: TftpNode, ctl: KnownList | None, itl: KnownList | None) -> Iterator[_Use]:
    if ctl:
        yield ctl.signer, frozenset({Kind.CTL}), f"signs the CTL of {node.endpoint}", _der(ctl, ctl.signer)
    if itl:
        covered = ctl is not None and _names(ctl, itl.signer, Kind.ITL, Kind.CTL)
        needed = frozenset[Kind]() if covered else frozenset({Kind.ITL})
        yield itl.signer, needed, f"signs the ITL of {node.endpoint}", _der(itl, itl.signer)


def _named_in(known: KnownList, use: str) -> Iterator[_Use]:
    for record in known.parsed.records_with_role(*_SIGNING):
        if record.certificate:
            yield Signer.of(record), frozenset(), use, record.certificate


def _configuration_signers(
    node: TftpNode, devices: Iterable[str], ctl: KnownList | None, itl: KnownList | None
) -> Iterator[_Use]:
    for device in devices:
        data = node.data(f"{device}.cnf.xml{SUFFIX}")
        try:
            signer = None if data is None else Signer.of(SignedFile.parse(data).header)
        except MalformedError:
            continue
        if signer is None:
            continue
        covered = any(
            known is not None and _names(known, signer, Kind.CONFIGURATION, kind)
            for kind, known in ((Kind.CTL, ctl), (Kind.ITL, itl))
        )
        needed = frozenset[Kind]() if covered else frozenset({Kind.CONFIGURATION})
        yield signer, needed, f"signs configurations of {node.endpoint}", b""


def _names(known: KnownList, signer: Signer, kind: Kind, among: Kind) -> bool:
    named = known.signers.get(signer)
    return named is not None and bool(named.roles & SIGNER_ROLES[kind, among])


def _der(known: KnownList, signer: Signer) -> bytes:
    record = known.parsed.find(signer.subject, signer.issuer, signer.serial)
    return record.certificate if record else b""


@dataclass(frozen=True, slots=True)
class Answered:
    """What one TVS said about one signer; ``note`` tells why it said nothing."""

    status: Status | None
    roles: frozenset[int] = frozenset()
    der: bytes = field(default=b"", repr=False)
    note: str = ""

    @property
    def said(self) -> tuple[Status | None, frozenset[int], bytes]:
        """What counts when two nodes are compared."""
        return self.status, self.roles, self.der


@dataclass(frozen=True, slots=True)
class TvsNode:
    """One TVS node: the certificate it presented, or the ``failure`` (a code) and ``note`` of reaching it."""

    address: Address
    presented: Certificate | None = None
    tls: str = ""
    failure: str = ""
    note: str = ""
    answers: Mapping[Signer, Answered] = field(default_factory=dict, repr=False)

    @property
    def answered(self) -> bool:
        """Whether it said anything about anybody."""
        return any(answer.status is not None for answer in self.answers.values())

    def __str__(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"


@dataclass(frozen=True, slots=True)
class Survey:
    """Every TVS node of the source and what it said about every signer of the destination."""

    signers: tuple[Asked, ...] = ()
    nodes: tuple[TvsNode, ...] = ()


async def survey_tvs(source: SideView, destination: SideView, looking: Looking) -> Survey:
    """Ask all nodes at once; a node that cannot be reached is asked one question and no more."""
    signers = signers_of(destination)
    nodes = await asyncio.gather(*(_ask_node(address, signers, looking) for address in source.tvs_nodes))
    return Survey(signers, tuple(nodes))


async def _ask_node(address: Address, signers: tuple[Asked, ...], looking: Looking) -> TvsNode:
    first, *others = signers or (Asked(Signer.named("CN=nobody", "CN=nobody", b"\1")),)
    try:
        answer = await _ask(address, first.signer, 0, looking)
    except Refusal as error:
        return TvsNode(address, failure=error.code, note=error.sentence)
    answers = {first.signer: _answered(answer)} if signers else {}
    further = await asyncio.gather(*(_try(address, one.signer, n, looking) for n, one in enumerate(others, 1)))
    answers |= {one.signer: said for one, said in zip(others, further, strict=True)}
    return TvsNode(
        address, _certificate(answer.server_certificate), f"{answer.tls_version} {answer.cipher}", answers=answers
    )


async def _try(address: Address, signer: Signer, number: int, looking: Looking) -> Answered:
    try:
        return _answered(await _ask(address, signer, number, looking))
    except Refusal as error:
        return Answered(None, note=error.sentence)


async def _ask(address: Address, signer: Signer, number: int, looking: Looking) -> TvsAnswer:
    request = CertificateQueryRequest(_FIRST_SESSION + number, DEVICE, signer.subject, signer.issuer, signer.serial)
    async with looking.slots:
        # Any certificate and any TLS: what the node presents is judged afterwards, against the ITL.
        return await ask(address, request, trusted=None, timeout=looking.reach.tvs, allow_tls10=True)


def _answered(answer: TvsAnswer) -> Answered:
    reply = answer.reply
    assert isinstance(reply, CertificateQueryReply)  # noqa: S101 -- ask checks that the answer fits
    return Answered(reply.status, frozenset(reply.roles), reply.certificate or b"")


def _certificate(der: bytes) -> Certificate | None:
    try:
        return Certificate.parse(der)
    except MalformedError:
        return None
