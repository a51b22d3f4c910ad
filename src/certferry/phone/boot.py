"""The boot of a phone, from the first file to the registration, without a socket or a clock.

The order is that of phone-trust 4.1 and 4.3::

    CTLSEP<MAC>.tlv ──► ITLSEP<MAC>.tlv ──► [ITLFile.tlv] ──► SEP<MAC>.cnf.xml[.sgn] ──► registration
        │ judged            │ judged, against     after both      │ judged with            CallManagers of the
        │                   │ a new CTL first     missed          │ the lists in flash;    new configuration
        │                   │                                     │ see ``configuration``
        └── TVS of the OLD configuration, when the signer is unknown ──┘

A CTL that was accepted is only on trial until the ITL that comes with it is accepted too: then both go to flash at
once. When either is rejected, both lists and the configuration stay as they were. The configuration follows in a
step of its own; when it fails, the phone has the new lists and the old configuration, as real phones do. A cluster
that does not know the phone gives it the default configuration; that replaces the old one and names no TVS.
"""

from collections import deque
from collections.abc import Iterable

from certferry.errors import MalformedError
from certferry.phone.call_control import registrations, taken_by_none
from certferry.phone.candidate import Candidate, Rejection, read_candidate
from certferry.phone.configuration import (
    configuration_names,
    encrypted_name,
    is_encrypted_name,
    open_configuration,
    why_not_ours,
)
from certferry.phone.decision import TVS_TABLE, Decision, Finding, Kind, Verdict, decide
from certferry.phone.events import (
    Action,
    Address,
    Event,
    Fetch,
    FetchFailed,
    FileMissing,
    FileReceived,
    Finish,
    Question,
    Register,
    Registered,
    RegistrationFailed,
    ShowStatus,
    TvsAnswered,
    TvsFailed,
    address_text,
    answers,
    overdue,
)
from certferry.phone.flash import Flash
from certferry.phone.identity import Own, no_identity
from certferry.phone.inquiry import FIRST_SESSION, Inquiry, tvs_members
from certferry.phone.limits import DEFAULT_LIMITS, Limits
from certferry.phone.models import asks_for_itl
from certferry.phone.notes import Notes
from certferry.phone.outcome import Code, Journal, Outcome, Step
from certferry.phone.status import Status, installed_text, list_failure_texts, loaded_text, rejected_text
from certferry.phone.trust import Match, PhoneTrust, Signer
from certferry.phone.vouching import TvsMemory, Voucher
from certferry.wire.default_config import is_default_config
from certferry.wire.phone_config import PhoneConfig

_STEP_OF = {Kind.CTL: Step.CTL, Kind.ITL: Step.ITL, Kind.CONFIGURATION: Step.CONFIGURATION}
_ADVANCED = "the list says 1.1: newer phones fetch the configuration over HTTPS 6971 first, which was not tried"
_DEFAULT_INSTALLED = "the default configuration was installed, which names no TVS"


class BootMachine:
    """One boot of one phone.

    Call ``start``, carry out the actions it returns, tell what came of them with ``receive`` and do the actions
    that this returns, until ``Finish``; call ``tick`` when ``next_deadline`` has passed. Times are seconds on any
    one clock. ``device`` is ``SEP<MAC>``; ``memory`` is the phone's TVS cache, which outlives a boot; ``own``
    looks up its certificate and key when a configuration is encrypted. The constructor raises ``MalformedError`` when
    a list in ``flash`` is none; everything else ends in an ``Outcome``.
    """

    def __init__(
        self,
        device: str,
        flash: Flash,
        *,
        model: str = "8861",
        memory: TvsMemory | None = None,
        limits: Limits = DEFAULT_LIMITS,
        own: Own = no_identity,
    ) -> None:
        self.device = device
        self.flash = flash
        self.model = model
        self.outcome: Outcome | None = None
        self._notes = Notes()
        self._note = self._notes.add
        self._own = own
        self._memory = TvsMemory() if memory is None else memory
        self._limits = limits
        self._trial = PhoneTrust.of(flash)
        self._actions: list[Action] = []
        self._waiting: Question | None = None
        self._deadline: float | None = None
        self._now = 0.0
        self._kind = Kind.CTL
        self._names: deque[str] = deque()
        self._transport = ""
        self._missed_ctl = False
        self._inquiry: Inquiry | None = None
        self._session = FIRST_SESSION
        self._is_default = False
        self._callmanagers: deque[Register] = deque()

    @property
    def journal(self) -> Journal:
        """What happened so far, with the evidence of each decision."""
        return self._notes.journal

    def start(self, now: float) -> tuple[Action, ...]:
        """Begin the boot: ask for the CTL."""
        self._now = self._notes.at = now
        self._fetch(Kind.CTL, f"CTL{self.device}.tlv")
        return self._take_actions()

    def receive(self, event: Event, now: float) -> tuple[Action, ...]:
        """Take what came of the open action and return what to do next; an event about anything else is ignored."""
        if not answers(event, self._waiting):
            return ()
        self._now = self._notes.at = now
        self._waiting = self._deadline = None
        self._handle(event)
        return self._take_actions()

    def next_deadline(self) -> float | None:
        """When ``tick`` should be called, or None when nothing is open."""
        return self._deadline

    def tick(self, now: float) -> tuple[Action, ...]:
        """Give up on the open action if its time is over."""
        if self._waiting is None or self._deadline is None or now < self._deadline:
            return ()
        return self.receive(overdue(self._waiting), now)

    def _handle(self, event: Event) -> None:
        match event:
            case FileReceived():
                self._received(event)
            case FileMissing():
                self._missing(event.name)
            case FetchFailed():
                self._fetch_failed(event)
            case TvsAnswered():
                self._answered(event)
            case TvsFailed():
                self._tvs_failed(event)
            case Registered():
                self._registered(event.server)
            case RegistrationFailed():
                self._registration_failed(event)

    # Files

    def _fetch(self, kind: Kind, *names: str) -> None:
        self._kind, self._notes.step = kind, _STEP_OF[kind]
        self._names = deque(names)
        self._fetch_next()

    def _fetch_next(self) -> None:
        self._wait_for(Fetch(self._names.popleft()), self._limits.fetch)

    def _fetch_itl(self) -> None:
        if not asks_for_itl(self.model):
            self._note(f"a {self.model} asks for no ITL", step=Step.ITL)
            self._install_lists()
            return
        generic = ("ITLFile.tlv",) if self._missed_ctl else ()
        self._fetch(Kind.ITL, f"ITL{self.device}.tlv", *generic)

    def _fetch_config(self) -> None:
        self._fetch(Kind.CONFIGURATION, *configuration_names(self.device, self._trial.held, self.flash))

    def _missing(self, name: str) -> None:
        self._note(f"the server has no {name}", file=name)
        if self._names:
            self._fetch_next()
        elif self._kind is Kind.CTL:
            self._missed_ctl = True
            self._show(Status.CTL_NOT_FOUND)
            self._fetch_itl()
        elif self._kind is Kind.ITL:
            self._itl_missing()
        elif is_encrypted_name(name):
            self._fail(Code.CONFIG_MISSING, f"the server has no {name}, which the phone's short configuration names")
        else:
            self._show(Status.CONFIG_NOT_FOUND)
            self._fail(Code.CONFIG_MISSING, f"the server has no configuration for {self.device} and no default one")

    def _itl_missing(self) -> None:
        """Go on with the lists that the phone has; but a new CTL does not go beside the ITL of another cluster."""
        ctl = self._trial.ctl
        if ctl and ctl.data != self.flash.ctl and self.flash.itl is not None:
            self._fail(Code.ITL_MISSING, "the server has a new CTL and no ITL to go with it")
        else:
            self._install_lists()

    def _fetch_failed(self, event: FetchFailed) -> None:
        self._show(event.shown)
        self._fail(Code.FILE_SERVER_FAILED, f"{event.name} could not be fetched: {event.reason}")

    def _received(self, event: FileReceived) -> None:
        self._transport = event.transport
        held = None if self._kind is Kind.CONFIGURATION else self._trial.get(self._kind)
        if held is not None and held.data == event.data:
            self._note(f"{event.name} is the {self._kind} that the phone holds", file=event.name)
            self._list_settled()
            return
        candidate = read_candidate(self._kind, event.name, event.data)
        if isinstance(candidate, Rejection):
            if candidate.shown:
                self._show(candidate.shown)
            self._reject(event.name, candidate.code, candidate.reason)
        else:
            self._judge(candidate)

    # Decisions

    def _judge(self, candidate: Candidate) -> None:
        signer = candidate.signer
        match = Match(Finding.UNSIGNED) if signer is None else self._trial.find(candidate.kind, signer)
        decision = decide(candidate.kind, self._trial.held, match.finding)
        self._note(f"{candidate.name}: {decision.reason}", candidate, found=match.finding, roles=match.roles)
        if signer is not None and decision.verdict is Verdict.ASK_TVS:
            self._ask(candidate, signer)
        else:
            self._settle(candidate, decision, match.public_keys)

    def _settle(self, candidate: Candidate, decision: Decision, public_keys: tuple[bytes, ...]) -> None:
        if decision.code is not None:
            self._reject(candidate.name, decision.code, f"{candidate.name} was rejected: {decision.reason}")
        elif decision.verify and not candidate.is_signed_with(public_keys):
            code = Code.CONFIG_SIGNATURE if candidate.kind is Kind.CONFIGURATION else Code.LIST_SIGNATURE
            self._reject(candidate.name, code, f"the signature of {candidate.name} is not that of {candidate.signer}")
        elif candidate.known is not None:
            self._trial = self._trial.replacing(candidate.kind, candidate.known)
            self._list_settled()
        else:
            self._install_config(candidate)

    def _list_settled(self) -> None:
        if self._kind is Kind.CTL:
            self._fetch_itl()
        else:
            self._install_lists()

    # TVS

    def _ask(self, candidate: Candidate, signer: Signer) -> None:
        device, trusted = f"CP-{self.model}-{self.device}", self._trial.tvs_certificates
        members = self._old_tvs_members()
        itl = self._trial.itl
        inquiry = Inquiry(
            candidate,
            signer,
            device=device,
            members=members,
            trusted=trusted,
            rolled_back=itl is not None and itl.is_emptied,
            session=self._session,
        )
        remembered = self._memory.recall(signer, self._now)
        if remembered is not None:
            self._weigh(inquiry, remembered, "TVS cache")
        elif obstacle := inquiry.obstacle():
            self._reject(candidate.name, obstacle[0], f"nobody can vouch for {signer}: {obstacle[1]}")
        else:
            self._ask_next(inquiry)

    def _old_tvs_members(self) -> Iterable[Address]:
        try:
            return tvs_members(self.flash.config)
        except MalformedError as error:
            self._note(f"the configuration in flash cannot be read: {error}", step=Step.TVS)
            return ()

    def _ask_next(self, inquiry: Inquiry) -> None:
        self._inquiry = inquiry
        question = inquiry.next_question()
        if question is None:
            code, reason = inquiry.conclusion()
            self._reject(inquiry.candidate.name, code, f"no TVS could be asked about {inquiry.signer}: {reason}")
        else:
            self._session = question.request.session_id + 1
            self._wait_for(question, self._limits.tvs)

    def _answered(self, event: TvsAnswered) -> None:
        if self._inquiry is not None:
            voucher = Voucher.of(event.reply)
            self._memory.keep(self._inquiry.signer, voucher, event.reply.ttl, self._now)
            self._weigh(self._inquiry, voucher, address_text(event.member))

    def _weigh(self, inquiry: Inquiry, voucher: Voucher, member: str) -> None:
        candidate = inquiry.candidate
        decision = TVS_TABLE[voucher.weigh(candidate.kind, inquiry.signer)]
        text = f"{candidate.name}: {decision.reason}"
        self._note(text, candidate, step=Step.TVS, found="in TVS", roles=voucher.roles, member=member)
        self._settle(candidate, decision, (voucher.certificate.public_key,) if voucher.certificate else ())

    def _tvs_failed(self, event: TvsFailed) -> None:
        if self._inquiry is not None:
            text = f"TVS could not be asked: {event.reason}"
            self._note(text, self._inquiry.candidate, step=Step.TVS, member=address_text(event.member))
            self._inquiry.failed(event)
            self._ask_next(self._inquiry)

    # Flash

    def _install_lists(self) -> None:
        before, ctl, itl = self.flash, self._trial.ctl, self._trial.itl
        self.flash = before.with_lists(ctl.data if ctl else None, itl.data if itl else None)
        if (before.ctl, before.itl) != (self.flash.ctl, self.flash.itl):
            self._memory.flush()
            self._note("the trust lists were installed")
            if self._trial.is_advanced:
                self._note(_ADVANCED)
        if text := installed_text(before, self.flash):
            self._show(text)
        self._fetch_config()

    def _install_config(self, candidate: Candidate) -> None:
        opened = open_configuration(candidate, self._own)
        if isinstance(opened, Rejection):
            self._reject(candidate.name, opened.code, opened.reason)
        elif opened.config.is_short:
            self._go_on_to_encrypted(candidate, opened.config)
        else:
            self._is_default = is_default_config(candidate.name)
            self.flash = self.flash.with_config(opened.xml, signed=candidate.signer is not None)
            self._show(loaded_text(candidate.name, self._transport))
            self._note(_DEFAULT_INSTALLED if self._is_default else "the configuration was installed", candidate)
            self._register(opened.config)

    def _go_on_to_encrypted(self, candidate: Candidate, short: PhoneConfig) -> None:
        if obstacle := why_not_ours(short, self._own):
            self._reject(candidate.name, Code.CONFIG_ENCRYPTED, obstacle)
        else:
            self._note("the configuration is encrypted for the phone's certificate", candidate)
            self._fetch(Kind.CONFIGURATION, encrypted_name(self.device))

    # Registration

    def _register(self, config: PhoneConfig) -> None:
        self._callmanagers = deque(registrations(config, self._trial, by_default=self._is_default))
        if self._callmanagers:
            self._register_next()
        else:
            self._finish(Step.REGISTRATION, Code.NO_CALL_CONTROL, "the configuration names no CallManager")

    def _register_next(self) -> None:
        self._wait_for(self._callmanagers.popleft(), self._limits.register)

    def _registered(self, server: Address) -> None:
        self._finish(Step.REGISTRATION, Code.REGISTERED, f"registered with {address_text(server)}", server)

    def _registration_failed(self, event: RegistrationFailed) -> None:
        member = address_text(event.server)
        self._note(f"not registered: {event.reason}", step=Step.REGISTRATION, member=member)
        if self._callmanagers:
            self._register_next()
        else:
            self._finish(Step.REGISTRATION, *taken_by_none(event.reason, by_default=self._is_default))

    # Endings

    def _reject(self, name: str, code: Code, reason: str) -> None:
        if self._kind is Kind.CONFIGURATION and (text := rejected_text(name, code)):
            self._show(text)
        self._fail(code, reason)

    def _fail(self, code: Code, reason: str) -> None:
        if self._kind is not Kind.CONFIGURATION:
            for text in list_failure_texts(code):
                self._show(text)
        self._finish(Step.TVS if code.startswith("tvs.") else _STEP_OF[self._kind], code, reason)

    def _finish(self, step: Step, code: Code, reason: str, server: Address | None = None) -> None:
        self.outcome = Outcome(code is Code.REGISTERED, step, code, reason)
        self._note(reason, step=step, member=address_text(server) if server else "")
        self._actions.append(Finish(self.outcome))

    # Bookkeeping

    def _wait_for(self, question: Question, limit: float) -> None:
        self._waiting = question
        self._deadline = self._now + limit
        self._actions.append(question)

    def _take_actions(self) -> tuple[Action, ...]:
        actions, self._actions = tuple(self._actions), []
        return actions

    def _show(self, text: str) -> None:
        self._actions.append(ShowStatus(str(text)))
