"""What TVS answers, from memory.

Building takes of each certificate its serial and no more; what shares a serial is read when one of them is first asked
about by name. Answering is a dict look-up and a join of pieces that were ready, with no database, and no X.509 and no
name comparison for a question met before. What an index answers never changes: when stores change, a new one is made,
of the one before and of what changed, and swapped in whole.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from certferry.cluster.layered import Layered
from certferry.errors import MalformedError
from certferry.wire.certificate import Certificate, serial_of
from certferry.wire.names import comparable
from certferry.wire.roles import Role
from certferry.wire.tvs import (
    DEFAULT_TTL,
    HEADER_SIZE,
    CertificateQueryReply,
    CertificateQueryRequest,
    CertificateVerificationReply,
    CertificateVerificationRequest,
    Status,
    TvsMalformedError,
    parse_message,
)

_COMMAND = slice(2, 3)
_SESSION = slice(4, 8)
_DEVICE_TAG = 1
_DEVICE_AT = HEADER_SIZE + 3
_MOST_MET = 1024
_LONGEST_MET = 4096
"""Bounds of what is remembered of questions met before: 4 MB, should strangers spell one in a thousand ways."""
_LONGEST_NAMES = 2048
"""Issuer and subject above this are only looked up as spelled: comparing them is work a stranger could ask for."""
_CROWD = 16
"""So many certificates with one serial are read before anybody asks."""
_Roles = Layered[bytes, tuple[Role, ...]]
_comparable = lru_cache(maxsize=4096)(comparable)


@dataclass(frozen=True, slots=True)
class _Answer:
    """A reply in pieces around the session id, which alone differs from one request to the next.

    ``certificate`` is the DER that the index holds anyway, so that an answer costs few bytes of memory.
    """

    before: bytes
    after: bytes
    certificate: bytes = b""
    end: bytes = b""

    def to(self, session_id: bytes) -> bytes:
        return b"".join((self.before, session_id, self.after, self.certificate, self.end))


class TvsIndex:
    """Answers to every question about the certificates of one cluster, as of ``version`` of its stores."""

    __slots__ = ("_by_serial", "_met", "_namesakes", "_roles", "ttl", "version")

    def __init__(
        self,
        version: int,
        ttl: int = DEFAULT_TTL,
        roles: _Roles | None = None,
        by_serial: "Layered[bytes, tuple[bytes, ...]] | None" = None,
        namesakes: "dict[bytes, _Namesakes] | None" = None,
    ) -> None:
        """Make an empty index; ``build``, ``of`` and ``changed`` make useful ones."""
        self.version = version
        self.ttl = ttl
        self._roles: _Roles = Layered({}) if roles is None else roles
        self._by_serial: Layered[bytes, tuple[bytes, ...]] = Layered({}) if by_serial is None else by_serial
        self._namesakes: dict[bytes, _Namesakes] = namesakes or {}
        self._met: dict[bytes, _Answer] = {}

    @classmethod
    def build(
        cls, entries: Iterable[tuple[Certificate, frozenset[Role]]], ttl: int = DEFAULT_TTL, version: int = 0
    ) -> Self:
        """Take over certificates and the roles their stores give them.

        A certificate given several times has all its roles united; one without any role is still known, with
        status 0 and no role, as Unified CM answers for what is only in CallManager-trust. ``ttl`` is how many
        seconds a phone may keep an answer.
        """
        united: dict[bytes, frozenset[Role]] = {}
        for certificate, roles in entries:
            united[certificate.der] = united.get(certificate.der, frozenset()) | roles
        return cls.of(united, ttl, version)

    @classmethod
    def of(cls, roles: Mapping[bytes, frozenset[Role]], ttl: int = DEFAULT_TTL, version: int = 0) -> Self:
        """Make an index of certificates in DER and the roles of each."""
        return cls(version, ttl).changed(roles, version)

    def changed(self, changes: Mapping[bytes, frozenset[Role] | None], version: int) -> Self:
        """Make an index of this one and of what changed: certificates in DER, None for those known no longer."""
        ordered = {der: None if given is None else _in_order(given) for der, given in changes.items()}
        roles = self._roles.changed(ordered)
        moved: dict[bytes, list[bytes]] = {}
        for der in changes:
            moved.setdefault(serial_of(der), []).append(der)
        sharing = {
            serial: _known((*self._by_serial.get(serial, ()), *ders), roles) or None for serial, ders in moved.items()
        }
        namesakes = {serial: each for serial, each in self._namesakes.copy().items() if serial not in moved}
        for serial, ders in sharing.items():
            if ders is not None and len(ders) > _CROWD:  # read now: that takes too long for an event loop
                namesakes[serial] = _Namesakes.of(ders, roles, self.ttl)
        return type(self)(version, self.ttl, roles, self._by_serial.changed(sharing), namesakes)

    def __len__(self) -> int:
        return len(self._roles)

    def reply(self, message: bytes) -> bytes:
        """Answer one whole request; raise ``TvsMalformedError`` for what is no request.

        A cluster's phones all ask the same few questions, so one met before is answered without being read again.
        """
        question = _question_of(message)
        answer = self._met.get(question)
        if answer is None:
            answer = self._answer(message)
            self._remember(question, answer)
        return answer.to(message[_SESSION])

    def _answer(self, message: bytes) -> _Answer:
        request = parse_message(message)
        match request:
            case CertificateVerificationRequest(certificate=der):
                roles = self._roles.get(der)
                return _UNKNOWN_VERIFICATION if roles is None else _verified(roles, self.ttl)
            case CertificateQueryRequest():
                return self._find(request)
        raise TvsMalformedError(f"command {request.command.value} at offset 2 is an answer, not a request")

    def _remember(self, question: bytes, answer: _Answer) -> None:
        if not question or len(question) > _LONGEST_MET or answer in (_UNKNOWN_VERIFICATION, _UNKNOWN_QUERY):
            return
        if len(self._met) >= _MOST_MET:
            self._met.clear()
        self._met[question] = answer

    def _find(self, request: CertificateQueryRequest) -> _Answer:
        serial = request.serial.lstrip(b"\0")
        namesakes = self._namesakes.get(serial)
        if namesakes is None:
            sharing = self._by_serial.get(serial)
            if sharing is None:
                return _UNKNOWN_QUERY
            namesakes = self._namesakes[serial] = _Namesakes.of(sharing, self._roles, self.ttl)
        return namesakes.find(request.issuer, request.subject)


class _Namesakes:
    """The certificates that share a serial, and the answers about them."""

    __slots__ = ("_by_issuer", "_by_name", "_by_spelling")

    def __init__(self, entries: Iterable[tuple[Certificate, _Answer]]) -> None:
        self._by_spelling: dict[tuple[str, str], _Answer] = {}
        self._by_name: dict[tuple[str, str], _Answer] = {}
        self._by_issuer: dict[str, _Answer] = {}
        for certificate, answer in entries:
            issuer, subject = certificate.issuer, certificate.subject
            self._by_spelling.setdefault((issuer, subject), answer)
            self._by_name.setdefault((_comparable(issuer), _comparable(subject)), answer)
            self._by_issuer.setdefault(_comparable(issuer), answer)

    @classmethod
    def of(cls, ders: Iterable[bytes], roles: _Roles, ttl: int) -> "_Namesakes":
        """Read certificates.

        Where serial and issuer are shared, the one with more roles is the likelier one meant; all nodes answer alike,
        however they came by what they know.
        """
        likely = sorted(ders, key=lambda der: (-len(roles[der]), der))
        return cls((Certificate.parse(der), _found(der, roles[der], ttl)) for der in likely)

    def find(self, issuer: str, subject: str) -> _Answer:
        """Look up by spelling, then by names compared, then without the subject, as Unified CM does.

        Unified CM goes by serial and issuer alone (phone-trust 3.5).
        """
        found = self._by_spelling.get((issuer, subject))
        if found is not None:
            return found
        if len(issuer) + len(subject) > _LONGEST_NAMES:
            return _UNKNOWN_QUERY
        issuer = _comparable(issuer)
        known = self._by_issuer.get(issuer, _UNKNOWN_QUERY)
        if known is _UNKNOWN_QUERY:
            return known
        return self._by_name.get((issuer, _comparable(subject)), known)


def _question_of(message: bytes) -> bytes:
    """Cut out what all phones that ask the same have in common: the command, and the elements after the device.

    Empty for a message whose header does not fit it or that begins otherwise; equal only for messages that are
    read alike.
    """
    size = len(message)
    if size < _DEVICE_AT or message[10] != _DEVICE_TAG or message[:2] != b"\x57\x01":
        return b""
    if HEADER_SIZE + (message[8] << 8 | message[9]) != size:
        return b""
    return message[_COMMAND] + message[_DEVICE_AT + (message[11] << 8 | message[12]) :]


def _known(ders: Iterable[bytes], roles: _Roles) -> tuple[bytes, ...]:
    """Leave out those known no longer, and what is there twice."""
    return tuple(der for der in dict.fromkeys(ders) if der in roles)


@lru_cache(maxsize=256)
def _in_order(roles: frozenset[Role]) -> tuple[Role, ...]:
    return tuple(sorted(roles))


@lru_cache(maxsize=256)
def _verified(roles: tuple[Role, ...], ttl: int) -> _Answer:
    encoded = CertificateVerificationReply(0, Status.VALID, roles, ttl).encode()
    return _Answer(encoded[:4], encoded[8:])


def _found(der: bytes, roles: tuple[Role, ...], ttl: int) -> _Answer:
    try:
        encoded = CertificateQueryReply(0, Status.VALID, der, roles, ttl).encode()
    except MalformedError:
        # No message holds a certificate of 64 KB, so asking for it by name finds nothing.
        return _UNKNOWN_QUERY
    start = encoded.index(der, HEADER_SIZE)
    return _Answer(encoded[:4], encoded[8:start], der, encoded[start + len(der) :])


def _refusal(reply: CertificateVerificationReply | CertificateQueryReply) -> _Answer:
    encoded = reply.encode()
    return _Answer(encoded[:4], encoded[8:])


_UNKNOWN_VERIFICATION = _refusal(CertificateVerificationReply(0, Status.INVALID))
_UNKNOWN_QUERY = _refusal(CertificateQueryReply(0, Status.INVALID))
