"""What TVS answers, worked out before anybody asks.

Building looks at every certificate once; answering is a dict look-up and a join of pieces that were ready, with
no X.509, no database and no name comparison for a spelling met before. What an index answers never changes: when
stores change, a new one is built and swapped in whole.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from certferry.errors import MalformedError
from certferry.wire.certificate import Certificate
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

Key = tuple[bytes, str]
"""Serial without leading zeros, and issuer: what Unified CM looks a certificate up by (phone-trust 3.5)."""

_COMMAND = slice(2, 3)
_SESSION = slice(4, 8)
_DEVICE_TAG = 1
_DEVICE_AT = HEADER_SIZE + 3
_MOST_MET = 1024
_LONGEST_MET = 4096
"""Bounds of what is remembered of questions met before: 4 MB, should strangers spell one in a thousand ways."""
_LONGEST_NAMES = 2048
"""Issuer and subject above this are only looked up as spelled: comparing them is work a stranger could ask for."""
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

    __slots__ = ("_by_der", "_by_key", "_by_named_key", "_by_spelling", "_met", "version")

    def __init__(self, version: int) -> None:
        """Make an empty index; ``build`` makes a useful one."""
        self.version = version
        self._by_der: dict[bytes, _Answer] = {}
        self._by_spelling: dict[tuple[bytes, str, str], _Answer] = {}
        self._by_named_key: dict[tuple[bytes, str, str], _Answer] = {}
        self._by_key: dict[Key, _Answer] = {}
        self._met: dict[bytes, _Answer] = {}

    @classmethod
    def build(
        cls, entries: Iterable[tuple[Certificate, frozenset[Role]]], ttl: int = DEFAULT_TTL, version: int = 0
    ) -> Self:
        """Work out the answers for certificates and the roles their stores give them.

        A certificate given several times has all its roles united; one without any role is still known, with
        status 0 and no role, as Unified CM answers for what is only in CallManager-trust. ``ttl`` is how many
        seconds a phone may keep an answer.
        """
        index = cls(version)
        # Where serial and issuer are shared, the certificate with more roles is the likelier one meant.
        for certificate, roles in sorted(_united(entries).items(), key=lambda entry: -len(entry[1])):
            index._add(certificate, tuple(sorted(roles)), ttl)
        return index

    def __len__(self) -> int:
        return len(self._by_der)

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
                return self._by_der.get(der, _UNKNOWN_VERIFICATION)
            case CertificateQueryRequest():
                return self._find(request)
        raise TvsMalformedError(f"command {request.command.value} at offset 2 is an answer, not a request")

    def _remember(self, question: bytes, answer: _Answer) -> None:
        if not question or len(question) > _LONGEST_MET or answer in (_UNKNOWN_VERIFICATION, _UNKNOWN_QUERY):
            return
        if len(self._met) >= _MOST_MET:
            self._met.clear()
        self._met[question] = answer

    def _add(self, certificate: Certificate, roles: tuple[Role, ...], ttl: int) -> None:
        serial, issuer, subject = certificate.serial.lstrip(b"\0"), certificate.issuer, certificate.subject
        verified, found = _verified(roles, ttl), _found(certificate.der, roles, ttl)
        self._by_der[certificate.der] = verified
        self._by_spelling.setdefault((serial, issuer, subject), found)
        self._by_named_key.setdefault((serial, _comparable(issuer), _comparable(subject)), found)
        self._by_key.setdefault((serial, _comparable(issuer)), found)

    def _find(self, request: CertificateQueryRequest) -> _Answer:
        """Look up by spelling, then by names compared, then without the subject, as Unified CM does."""
        serial = request.serial.lstrip(b"\0")
        found = self._by_spelling.get((serial, request.issuer, request.subject))
        if found is not None:
            return found
        if len(request.issuer) + len(request.subject) > _LONGEST_NAMES:
            return _UNKNOWN_QUERY
        issuer = _comparable(request.issuer)
        known = self._by_key.get((serial, issuer), _UNKNOWN_QUERY)
        if known is _UNKNOWN_QUERY:
            return known
        return self._by_named_key.get((serial, issuer, _comparable(request.subject)), known)


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


def _united(entries: Iterable[tuple[Certificate, frozenset[Role]]]) -> dict[Certificate, frozenset[Role]]:
    united: dict[Certificate, frozenset[Role]] = {}
    for certificate, roles in entries:
        united[certificate] = united.get(certificate, frozenset()) | roles
    return united


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
