"""One question about one signer, put to the TVS members of the phone's configuration in turn.

The order is that of the configuration (phone-trust 3.7); the next member is asked when one cannot be asked at all.
How long and how often real phones retry is not documented, so each member gets one try.
"""

from collections import deque
from collections.abc import Iterable

from certferry.phone.candidate import Candidate
from certferry.phone.events import Address, AskTvs, TvsFailed
from certferry.phone.outcome import Code
from certferry.phone.trust import Signer
from certferry.wire.certificate import Certificate
from certferry.wire.phone_config import PhoneConfig
from certferry.wire.tvs import CertificateQueryRequest

FIRST_SESSION = 1001
"""The session id of a phone's first question (phone-trust 3.1)."""

_TELLING = (Code.TVS_CERTIFICATE, Code.TVS_HANDSHAKE, Code.TVS_NO_ANSWER, Code.TVS_UNREACHABLE)
"""The failures of a member, the one that says most first: it becomes the code when every member failed."""


_ROLLED_BACK = "the phone's ITL was emptied: Prepare Cluster for Rollback to Pre 8.0 is True at its cluster"


def tvs_members(config: bytes | None) -> tuple[Address, ...]:
    """Return the TVS servers of a configuration in flash, in order; raise ``MalformedError`` when it is none."""
    return tuple((member.address, member.port) for member in PhoneConfig.parse(config or b"<device/>").tvs)


class Inquiry:
    """The state of one question: who is still to be asked, and how the others failed.

    ``device`` is as TVS is told it, ``CP-8861-SEP001122334455``; ``session`` is the id of the first request;
    ``rolled_back`` tells that the phone's ITL has no TVS certificates because it was emptied.
    """

    __slots__ = ("_device", "_failures", "_members", "_rolled_back", "_session", "_trusted", "candidate", "signer")

    def __init__(
        self,
        candidate: Candidate,
        signer: Signer,
        *,
        device: str,
        members: Iterable[Address],
        trusted: tuple[Certificate, ...],
        rolled_back: bool,
        session: int,
    ) -> None:
        self.candidate = candidate
        self.signer = signer
        self._device = device
        self._members = deque(members)
        self._trusted = trusted
        self._rolled_back = rolled_back
        self._session = session
        self._failures: list[TvsFailed] = []

    def obstacle(self) -> tuple[Code, str] | None:
        """Say why there is nobody to ask, or None when there is somebody."""
        if not self._members:
            return Code.TVS_NONE_KNOWN, "the phone's configuration names no TVS"
        if not self._trusted and self._rolled_back:
            return Code.LIST_ROLLED_BACK, _ROLLED_BACK
        if not self._trusted:
            return Code.TVS_NOT_IN_ITL, "the phone's ITL has no TVS certificate"
        return None

    def next_question(self) -> AskTvs | None:
        """Return the question to the next member, or None when there is no further one."""
        if not self._members:
            return None
        signer = self.signer
        request = CertificateQueryRequest(self._session, self._device, signer.subject, signer.issuer, signer.serial)
        self._session += 1
        return AskTvs(self._members.popleft(), request, self._trusted)

    def failed(self, failure: TvsFailed) -> None:
        """Note that a member could not be asked."""
        self._failures.append(failure)

    def conclusion(self) -> tuple[Code, str]:
        """Say how it went when every member failed: the failure that tells most."""
        worst = min(self._failures, key=_rank)
        return worst.code, worst.reason


def _rank(failure: TvsFailed) -> int:
    return _TELLING.index(failure.code) if failure.code in _TELLING else len(_TELLING)
