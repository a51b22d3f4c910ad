"""One phone over real sockets. It does what the boot machine of ``certferry.phone`` says and decides nothing itself."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from certferry.errors import Refusal
from certferry.fleet import http, tftp
from certferry.fleet.dial import (
    CertificatePaths,
    HandshakeError,
    IdentityUnusableError,
    client_context,
    dial,
    lending_context,
)
from certferry.fleet.own_identity import read_identity
from certferry.fleet.sip import RegistrationReply, SipConnection
from certferry.fleet.tvs import TvsCertificateUnknownError, TvsHandshakeError, TvsUnreachableError, ask
from certferry.phone.boot import BootMachine
from certferry.phone.call_control import kept_registrations
from certferry.phone.events import (
    Action,
    Address,
    AskTvs,
    Event,
    Fetch,
    FetchFailed,
    FileMissing,
    FileReceived,
    Question,
    Register,
    Registered,
    RegistrationEvent,
    RegistrationFailed,
    ShowStatus,
    TvsAnswered,
    TvsFailed,
)
from certferry.phone.flash import Flash
from certferry.phone.identity import PhoneIdentity
from certferry.phone.limits import DEFAULT_LIMITS, Limits
from certferry.phone.outcome import Code, Journal, Outcome
from certferry.phone.status import Status
from certferry.phone.trust import PhoneTrust
from certferry.phone.vouching import TvsMemory
from certferry.wire.sip import SipMessage
from certferry.wire.tftp import ErrorCode
from certferry.wire.tvs import CertificateQueryReply

_TVS_CODES: dict[type[Refusal], Code] = {
    TvsUnreachableError: Code.TVS_UNREACHABLE,
    TvsCertificateUnknownError: Code.TVS_CERTIFICATE,
    TvsHandshakeError: Code.TVS_HANDSHAKE,
}
_MISSING = (http.HttpFileNotFoundError, tftp.TftpFileNotFoundError)
_MARGIN = 0.8
"""The part of a limit that one request may take, so that it fails under its own name before the machine gives up."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A boot that changes nothing anywhere: a CallManager is dialled, and no REGISTER is sent.

    ``made_up`` is for a device that no cluster knows: instead of its own trust lists, which no server has, it is
    given those that are served to everybody.
    """

    made_up: bool = False

    def file_name(self, name: str) -> str:
        """Return the file to ask for when the phone wants ``name``."""
        return f"{name[:3]}File.tlv" if self.made_up and name.startswith(("CTLSEP", "ITLSEP")) else name


@dataclass(frozen=True, slots=True)
class Standing:
    """A registration and the connection that it was made over."""

    connection: SipConnection
    reply: RegistrationReply


class Device:
    """A phone: its name, its flash, and how it reaches the network.

    ``lsc`` are the paths of its own certificate and key, which also open an encrypted configuration; ``http_port``
    makes it ask over HTTP before TFTP, as phones of firmware 12.5 and later do; with ``rehearsal`` it only tries
    whether it could register. A broken trust list in ``flash`` raises ``MalformedError`` here. After a boot,
    ``outcome``, ``journal``, ``statuses`` (what its screen showed) and ``tvs_requests`` tell of that boot.

    A phone that ``stays`` keeps the connection over which it registered, for ``expires`` seconds at a time: it is
    ``standing`` then, and ``on_request`` answers what the CallManager asks over it. Others register and hang up.
    """

    __slots__ = (
        "_memory",
        "_server",
        "allow_tls10",
        "expires",
        "flash",
        "http_port",
        "journal",
        "limits",
        "lsc",
        "model",
        "name",
        "on_request",
        "outcome",
        "rehearsal",
        "standing",
        "statuses",
        "stays",
        "tftp_servers",
        "tvs_requests",
    )

    def __init__(
        self,
        name: str,
        flash: Flash,
        *,
        tftp_servers: Sequence[Address] = (),
        model: str = "8861",
        lsc: CertificatePaths | None = None,
        http_port: int | None = None,
        allow_tls10: bool = False,
        limits: Limits = DEFAULT_LIMITS,
        rehearsal: Rehearsal | None = None,
    ) -> None:
        PhoneTrust.of(flash)
        self.name = name
        self.flash = flash
        self.tftp_servers = tuple(tftp_servers)
        self.model = model
        self.lsc = lsc
        self.http_port = http_port
        self.allow_tls10 = allow_tls10
        self.limits = limits
        self.rehearsal = rehearsal
        self.expires = 120
        self.stays = False
        self.standing: Standing | None = None
        self.on_request: Callable[[SipMessage], int] | None = None
        self.outcome: Outcome | None = None
        self.journal: Journal = ()
        self.statuses: tuple[str, ...] = ()
        self.tvs_requests = 0
        self._memory = TvsMemory()
        self._server = 0

    @property
    def file_server(self) -> Address | None:
        """The TFTP server that answered last; None before option 150 named any."""
        return self.tftp_servers[self._server] if self.tftp_servers else None

    def erase(self) -> None:
        """Do what *Erase* in the phone's menu does: forget the trust lists."""
        self.flash = self.flash.erased()
        self._memory.flush()
        self.statuses = (*self.statuses, str(Status.ERASING))

    async def boot(self, tftp_servers: Sequence[Address] | None = None) -> Outcome:
        """Boot once; ``tftp_servers`` are those DHCP names from now on (option 150), in order."""
        if tftp_servers is not None:
            self.tftp_servers = tuple(tftp_servers)
        self.statuses, self.tvs_requests, self._server = (), 0, 0
        machine = BootMachine(
            self.name, self.flash, model=self.model, memory=self._memory, limits=self.limits, own=self._own
        )
        outcome = await self._run(machine)
        self.flash, self.journal, self.outcome = machine.flash, machine.journal, outcome
        return outcome

    def _own(self) -> PhoneIdentity | None:
        with suppress(IdentityUnusableError):
            return read_identity(self.lsc) if self.lsc else None
        return None

    async def register_as_before(self) -> str | None:
        """Register with a CallManager of the configuration in flash; return why not, or None when one took it."""
        reason = "the phone holds no configuration that names a CallManager"
        for question in kept_registrations(self.flash):
            event = await self._register(question)
            if isinstance(event, Registered):
                return None
            reason = event.reason
        return reason

    async def _run(self, machine: BootMachine) -> Outcome:
        loop = asyncio.get_running_loop()
        actions = machine.start(loop.time())
        while (question := self._show_and_find_question(actions)) is not None:
            deadline = machine.next_deadline()
            event = await self._answer_by(question, deadline)
            now = loop.time() if event or deadline is None else max(loop.time(), deadline)
            actions = machine.receive(event, now) if event else machine.tick(now)
        assert machine.outcome is not None  # noqa: S101 -- a machine that asks for nothing more has finished
        return machine.outcome

    def _show_and_find_question(self, actions: Sequence[Action]) -> Question | None:
        self.statuses += tuple(action.text for action in actions if isinstance(action, ShowStatus))
        return next((action for action in actions if isinstance(action, Question)), None)

    async def _answer_by(self, question: Question, deadline: float | None) -> Event | None:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._answer(question)
        except TimeoutError:
            return None

    async def _answer(self, question: Question) -> Event:
        match question:
            case Fetch(name):
                return await self._fetch(name)
            case AskTvs():
                return await self._ask(question)
            case Register():
                return await self._register(question)

    async def _fetch(self, name: str) -> Event:
        """Ask the servers in order, beginning with the one that answered last; the first that answers decides."""
        reasons, shown = [], Status.TFTP_TIMEOUT
        for number in range(len(self.tftp_servers)):
            server = (self._server + number) % len(self.tftp_servers)
            try:
                event = await self._fetch_from(self.tftp_servers[server], name)
            except Refusal as error:
                reasons.append(error.sentence)
                shown = _shown_for(error)
            else:
                self._server = server
                return event
        return FetchFailed(name, "; ".join(reasons) or "the phone has no TFTP server", shown)

    async def _fetch_from(self, server: Address, name: str) -> Event:
        asked = self.rehearsal.file_name(name) if self.rehearsal else name
        try:
            data = await self._over_http(server, asked)
            if data is not None:
                return FileReceived(name, data, "HTTP")
            return FileReceived(name, await tftp.fetch(server, asked), "TFTP")
        except _MISSING:
            return FileMissing(name)

    async def _over_http(self, server: Address, name: str) -> bytes | None:
        """Return the file, or None when it is to be asked for over TFTP (phone-trust 5.3)."""
        if self.http_port is None:
            return None
        try:
            return await http.fetch((server[0], self.http_port), name)
        except (http.HttpBusyError, http.HttpNoAnswerError, http.HttpRefusedError):
            return None

    async def _ask(self, question: AskTvs) -> Event:
        self.tvs_requests += 1
        try:
            answer = await ask(
                question.member,
                question.request,
                # Without the LSC: a TVS asks for it but may not need it (phone-trust 3.7), and the settings can be
                # shared by all phones that hold the same ITL, which saves each of them about a millisecond.
                trusted=question.trusted,
                timeout=self.limits.tvs * _MARGIN,
                allow_tls10=self.allow_tls10,
            )
        except Refusal as error:
            return TvsFailed(question.member, _TVS_CODES.get(type(error), Code.TVS_NO_ANSWER), error.sentence)
        assert isinstance(answer.reply, CertificateQueryReply)  # noqa: S101 -- ask checks that the answer fits
        return TvsAnswered(question.member, answer.reply)

    async def _register(self, question: Register) -> RegistrationEvent:
        if self.rehearsal and question.by_default:
            return RegistrationFailed(question.server, "it is taken only where phones may register themselves")
        if self.rehearsal:
            return await self._try_call_control(question)
        try:
            await self._register_and_keep(question)
        except Refusal as error:
            return RegistrationFailed(question.server, error.sentence)
        return Registered(question.server)

    async def _register_and_keep(self, question: Register) -> None:
        loop, limit = asyncio.get_running_loop(), self.limits.register * _MARGIN
        deadline = loop.time() + limit
        connection = await SipConnection.opened(
            question.server,
            self.name,
            context=self._context(question),
            identity=self.lsc if question.secure else None,
            on_request=self.on_request,
            timeout=limit,
        )
        try:
            reply = await connection.register(expires=self.expires, timeout=deadline - loop.time())
        except BaseException:
            connection.close()
            raise
        if self.stays:
            self.standing = Standing(connection, reply)
        else:
            connection.close()
            await asyncio.sleep(0)  # one turn of the loop is what the transport needs to let go of its socket

    def _context(self, question: Register) -> ssl.SSLContext | None:
        if not question.secure:
            return None
        if self.lsc is None:
            return client_context(question.trusted, allow_tls10=self.allow_tls10)
        return lending_context(question.trusted, allow_tls10=self.allow_tls10)

    async def _try_call_control(self, question: Register) -> RegistrationEvent:
        """Connect, over TLS where the phone would, and hang up: enough to know the server and that it answers."""
        context = client_context(question.trusted, allow_tls10=self.allow_tls10) if question.secure else None
        deadline = asyncio.get_running_loop().time() + self.limits.register * _MARGIN
        try:
            # The server is known before it asks for the phone's LSC, which is on the phone and not here.
            with suppress(HandshakeError):
                async with dial(question.server, context, deadline):
                    pass
        except Refusal as error:
            return RegistrationFailed(question.server, error.sentence)
        return Registered(question.server)


def _shown_for(error: Refusal) -> Status:
    """Say what a phone shows of a file that a server did not send (phone-trust 4.4)."""
    if not isinstance(error, tftp.TftpRefusedError):
        return Status.TFTP_TIMEOUT
    return Status.TFTP_ACCESS if error.number == ErrorCode.ACCESS_VIOLATION else Status.TFTP_ERROR
