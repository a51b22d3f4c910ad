"""What the boot machine asks of its driver (actions) and what the driver tells it (events).

Each of ``Fetch``, ``AskTvs`` and ``Register`` is answered by one event of its kind; there is never more than one of
them open. ``ShowStatus`` and ``Finish`` want no answer.
"""

from dataclasses import dataclass, field

from certferry.phone.outcome import Code, Outcome
from certferry.phone.status import Status
from certferry.wire.certificate import Certificate
from certferry.wire.tvs import CertificateQueryReply, CertificateQueryRequest

Address = tuple[str, int]
"""Host name or address, and port."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get a file from the TFTP servers in order; answered by FileReceived, FileMissing or FetchFailed."""

    name: str


@dataclass(frozen=True, slots=True)
class AskTvs:
    """Ask one TVS, over TLS whose server certificate is one of ``trusted``; answered by TvsAnswered or TvsFailed."""

    member: Address
    request: CertificateQueryRequest
    trusted: tuple[Certificate, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Register:
    """Register with one CallManager; answered by Registered or RegistrationFailed.

    If ``secure``, over TLS with the phone's own certificate, and the server's is one of ``trusted``. ``by_default``
    is for a phone that got no configuration of its own: it is taken only where phones may register themselves.
    """

    server: Address
    secure: bool
    trusted: tuple[Certificate, ...] = field(default=(), repr=False)
    by_default: bool = False


@dataclass(frozen=True, slots=True)
class ShowStatus:
    """Show a status message."""

    text: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The boot is over; nothing follows."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class FileReceived:
    """The file came; ``transport`` is ``TFTP`` or ``HTTP``."""

    name: str
    data: bytes = field(repr=False)
    transport: str = "TFTP"


@dataclass(frozen=True, slots=True)
class FileMissing:
    """A server answered that it has no such file."""

    name: str


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """No server gave an answer that says whether there is such a file; ``shown`` is what the screen says of that."""

    name: str
    reason: str
    shown: Status = Status.TFTP_TIMEOUT


@dataclass(frozen=True, slots=True)
class TvsAnswered:
    """A TVS answered, whatever it said."""

    member: Address
    reply: CertificateQueryReply


@dataclass(frozen=True, slots=True)
class TvsFailed:
    """A TVS could not be asked; ``code`` is one of the ``tvs`` codes, ``reason`` a sentence."""

    member: Address
    code: Code
    reason: str


@dataclass(frozen=True, slots=True)
class Registered:
    """A CallManager took the registration."""

    server: Address


@dataclass(frozen=True, slots=True)
class RegistrationFailed:
    """A CallManager did not take the registration, or did not answer."""

    server: Address
    reason: str


Action = Fetch | AskTvs | Register | ShowStatus | Finish
Question = Fetch | AskTvs | Register
FileEvent = FileReceived | FileMissing | FetchFailed
TvsEvent = TvsAnswered | TvsFailed
RegistrationEvent = Registered | RegistrationFailed
Event = FileEvent | TvsEvent | RegistrationEvent


def answers(event: Event, question: Question | None) -> bool:
    """Whether ``event`` is about ``question``; one that comes late or from nowhere is not."""
    match question:
        case Fetch():
            return isinstance(event, FileEvent) and event.name == question.name
        case AskTvs():
            return isinstance(event, TvsEvent) and event.member == question.member
        case Register():
            return isinstance(event, RegistrationEvent) and event.server == question.server
        case None:
            return False


def overdue(question: Question) -> Event:
    """Return the event that stands for an answer that did not come in time."""
    match question:
        case Fetch(name):
            return FetchFailed(name, "no answer in time")
        case AskTvs(member):
            return TvsFailed(member, Code.TVS_NO_ANSWER, f"{address_text(member)} did not answer in time")
        case Register(server):
            return RegistrationFailed(server, f"{address_text(server)} did not answer in time")


def address_text(address: Address) -> str:
    """Write an address as ``host:port``."""
    return f"{address[0]}:{address[1]}"
