"""Two clusters on paper for the phone's tests: their lists and configurations, and a world that answers a phone."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from hashlib import md5
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import rsa

from certferry.phone.boot import BootMachine
from certferry.phone.events import (
    Action,
    AskTvs,
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
)
from certferry.phone.flash import Flash
from certferry.wire.certificate import Certificate
from certferry.wire.default_config import DEFAULT_NAME, default_config
from certferry.wire.encrypted_file import encrypt_file
from certferry.wire.phone_config import CallManagerMember, DeviceSecurityMode, PhoneConfig, TvsMember
from certferry.wire.roles import Role
from certferry.wire.signed_file import sign_file
from certferry.wire.trust_list import ListKind, TrustRecord, build_trust_list
from certferry.wire.tvs import CertificateQueryReply, Status
from conftest import MakeCertificate

DEVICE = "SEP001122334455"
WHEN = 1_700_000_000


@dataclass(frozen=True)
class PaperCluster:
    """What the TFTP node of one cluster signs and serves. ``recovery`` signs lists from 12.0 on."""

    name: str
    key: rsa.RSAPrivateKey
    callmanager: Certificate
    subscriber: Certificate
    recovery: Certificate
    tvs: Certificate
    capf: Certificate

    @classmethod
    def of(cls, name: str, key: rsa.RSAPrivateKey, make: MakeCertificate, more: str = "") -> Self:
        """Make one whose certificates all have one key; ``more`` follows the common name in their subjects."""
        purposes = ("callmanager", "subscriber", "recovery", "tvs", "capf")
        return cls(name, key, *(make(f"CN={name}-{purpose}{more}", key=key) for purpose in purposes))

    @property
    def ctl_name(self) -> str:
        return f"CTL{DEVICE}.tlv"

    def record(self, certificate: Certificate, role: Role) -> TrustRecord:
        return TrustRecord.of_certificate(certificate, role, self.name, "192.0.2.1")

    def itl(self, signer: Certificate | None = None, *, tftp_role: Role = Role.TFTP, padding: int = 0) -> bytes:
        records = [
            self.record(self.recovery, Role.SAST),
            self.record(self.callmanager, Role.SAST),
            self.record(self.callmanager, tftp_role),
            self.record(self.tvs, Role.TVS),
            self.record(self.capf, Role.CAPF),
            *[self.record(self.capf, Role.CAPF)] * padding,
        ]
        return self.signed("ITL", records, signer)

    def rollback_itl(self) -> bytes:
        emptied = [TrustRecord.emptied(self.name, role, "192.0.2.1") for role in (Role.TFTP, Role.TVS)]
        return self.signed("ITL", [self.record(self.callmanager, Role.SAST), *emptied])

    def ctl(self, signer: Certificate | None = None) -> bytes:
        records = [
            self.record(self.callmanager, Role.SAST),
            self.record(self.recovery, Role.SAST),
            self.record(self.callmanager, Role.CALLMANAGER_TFTP),
            self.record(self.subscriber, Role.CALLMANAGER_TFTP),
            self.record(self.capf, Role.CAPF),
        ]
        return self.signed("CTL", records, signer)

    def emptied_ctl(self) -> bytes:
        records = [
            self.record(self.callmanager, Role.SAST),
            TrustRecord.emptied(self.name, Role.CALLMANAGER_TFTP, "192.0.2.1"),
            self.record(self.capf, Role.CAPF),
        ]
        return self.signed("CTL", records)

    def signed(self, kind: ListKind, records: Iterable[TrustRecord], signer: Certificate | None = None) -> bytes:
        return build_trust_list(kind, records, signer or self.callmanager, self.key, timestamp=WHEN)

    def xml(self, *, secure: bool = False, tvs: int = 2, callmanagers: int = 2) -> bytes:
        mode = DeviceSecurityMode.ENCRYPTED if secure else DeviceSecurityMode.NON_SECURE
        return PhoneConfig(
            device=DEVICE,
            callmanagers=tuple(CallManagerMember(f"cm{n}", f"{self.name}{n}") for n in range(callmanagers)),
            tvs=tuple(TvsMember(n, f"{self.name}{n}") for n in range(tvs)),
            security_mode=mode,
        ).encode()

    def tvs_roles(self) -> list[tuple[Certificate, frozenset[Role]]]:
        """What its TVS reports of its own signers."""
        roles = frozenset({Role.SAST, Role.TFTP})
        return [(self.callmanager, roles), (self.recovery, roles)]

    def config(self, xml: bytes | None = None, signer: Certificate | None = None) -> bytes:
        name = f"{DEVICE}.cnf.xml"
        return sign_file(name, xml or self.xml(), signer or self.callmanager, self.key, timestamp=WHEN)

    def short_config(self, phone: Certificate | None, **changes: Any) -> bytes:
        """The short file that says for which certificate the whole one is encrypted."""
        told = "" if phone is None else md5(phone.der, usedforsecurity=False).hexdigest()
        short = replace(PhoneConfig(DEVICE, (), encrypted=True, full=False, cert_hash=told), **changes)
        return self.config(short.encode())

    def encrypted_config(self, phone: Certificate, xml: bytes | None = None) -> bytes:
        """The whole configuration, which only the phone can read."""
        whole = replace(PhoneConfig.parse(self.xml()), encrypted=True).encode()
        name, key, iv = f"{DEVICE}.cnf.xml", bytes(16), bytes(range(16))
        return encrypt_file(name, xml or whole, self.callmanager, self.key, phone, aes_key=key, iv=iv, timestamp=WHEN)

    def default_xml(self) -> bytes:
        return default_config(CallManagerMember(f"cm{n}", f"{self.name}{n}") for n in range(2))

    def default(self) -> bytes:
        """The configuration for phones that the cluster does not know."""
        return sign_file(DEFAULT_NAME, self.default_xml(), self.callmanager, self.key, timestamp=WHEN)

    def files(self, *, secure: bool = False, signer: Certificate | None = None) -> dict[str, bytes]:
        """What its TFTP node serves to a phone it knows."""
        role = Role.CALLMANAGER_TFTP if secure else Role.TFTP
        files = {
            f"ITL{DEVICE}.tlv": self.itl(signer, tftp_role=role),
            f"{DEVICE}.cnf.xml.sgn": self.config(self.xml(secure=secure)),
            f"{DEVICE}.cnf.xml": self.xml(secure=secure),
        }
        return {self.ctl_name: self.ctl(signer), **files} if secure else files

    def flash(self, *, secure: bool = False) -> Flash:
        """What a phone of this cluster holds."""
        return Flash(self.ctl() if secure else None, self.itl(), self.xml(secure=secure), config_signed=True)


def vouching(
    *certificates: Certificate, roles: tuple[int, ...] = (Role.SAST, Role.TFTP)
) -> Callable[[AskTvs], TvsAnswered]:
    """Be a TVS whose stores hold ``certificates``."""

    def answer(question: AskTvs) -> TvsAnswered:
        request = question.request
        found = next((one for one in certificates if one.serial == request.serial), None)
        if found is None:
            return TvsAnswered(question.member, CertificateQueryReply(request.session_id, Status.INVALID))
        reply = CertificateQueryReply(request.session_id, Status.VALID, found.der, roles, 86_400)
        return TvsAnswered(question.member, reply)

    return answer


@dataclass
class PaperWorld:
    """Everything around a phone: the files it finds, the TVS it asks, the CallManagers that take it."""

    files: dict[str, bytes]
    tvs: Callable[[AskTvs], TvsAnswered | TvsFailed] = field(default_factory=vouching)
    silent_files: frozenset[str] = frozenset()
    refusing: frozenset[str] = frozenset()
    done: list[Action] = field(default_factory=list)

    def boot(self, machine: BootMachine) -> None:
        """Let the phone run to its end; what it did is in ``done``."""
        now = 0.0
        actions = list(machine.start(now))
        while actions:
            action = actions.pop(0)
            self.done.append(action)
            if isinstance(action, Question):
                now += 1
                actions += machine.receive(self.answer(action), now)

    def answer(self, question: Question) -> Event:
        match question:
            case Fetch(name):
                return self._file(name)
            case AskTvs():
                return self.tvs(question)
            case Register(server):
                refused = server[0] in self.refusing
                return RegistrationFailed(server, "503") if refused else Registered(server)

    def _file(self, name: str) -> Event:
        if name in self.silent_files:
            return FetchFailed(name, "no answer")
        return FileReceived(name, self.files[name]) if name in self.files else FileMissing(name)

    @property
    def told(self) -> list[str]:
        """What the phone did, one short word after the other."""
        return [_word(action) for action in self.done]

    @property
    def shown(self) -> list[str]:
        return [action.text for action in self.done if isinstance(action, ShowStatus)]


def _word(action: Action) -> str:
    match action:
        case Fetch(name):
            return f"GET {name}"
        case AskTvs(member, request):
            return f"TVS {member[0]} {request.subject.partition(';')[0]}"
        case Register(server, secure):
            return f"REGISTER {server[0]}:{server[1]}{' secure' if secure else ''}"
        case ShowStatus(text):
            return f"SHOW {text}"
        case Finish(outcome):
            return f"END {outcome.step} {outcome.code}"
