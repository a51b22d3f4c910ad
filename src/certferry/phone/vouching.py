"""What TVS said about signers: how an answer is weighed, and for how long it is remembered."""

from dataclasses import dataclass, field
from typing import Self

from certferry.errors import MalformedError
from certferry.phone.decision import TVS_ROLES, Answer, Kind
from certferry.phone.trust import Signer
from certferry.wire.certificate import Certificate
from certferry.wire.tvs import DEFAULT_TTL, CertificateQueryReply, Status


@dataclass(frozen=True, slots=True)
class Voucher:
    """What TVS says of one signer; ``certificate`` is None when it does not vouch or sent nothing readable."""

    is_valid: bool
    certificate: Certificate | None = field(default=None, repr=False)
    roles: frozenset[int] = frozenset()

    @classmethod
    def of(cls, reply: CertificateQueryReply) -> Self:
        """Take the statement out of a reply."""
        return cls(reply.status is Status.VALID, _certificate(reply.certificate), frozenset(reply.roles))

    def weigh(self, kind: Kind, signer: Signer) -> Answer:
        """Say what the statement is worth for a file of ``kind`` by ``signer``."""
        if not self.is_valid:
            return Answer.INVALID
        if self.certificate is None or Signer.of(self.certificate) != signer:
            return Answer.OTHER_CERTIFICATE
        return Answer.VOUCHED if self.roles & TVS_ROLES[kind] else Answer.WITHOUT_ROLE


def _certificate(der: bytes | None) -> Certificate | None:
    try:
        return None if der is None else Certificate.parse(der)
    except MalformedError:
        return None


class TvsMemory:
    """A phone's TVS cache: an answer is kept for its time to live, and all are forgotten when a trust list changes.

    Only what TVS vouched for is kept (phone-trust 3.7: the log tells of adding certificates, of nothing else).
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[Signer, tuple[float, Voucher]] = {}

    def keep(self, signer: Signer, voucher: Voucher, ttl: int | None, now: float) -> None:
        """Remember ``voucher`` for ``ttl`` seconds, for a day when TVS named no time."""
        if voucher.is_valid:
            self._kept[signer] = (now + (DEFAULT_TTL if ttl is None else ttl), voucher)

    def recall(self, signer: Signer, now: float) -> Voucher | None:
        """Return what TVS said about ``signer``, unless that is forgotten or out of date."""
        until, voucher = self._kept.get(signer, (now, None))
        return voucher if now < until else None

    def flush(self) -> None:
        """Forget everything."""
        self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)
