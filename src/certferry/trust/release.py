"""Unified CM releases, as far as trust differs between them (phone-trust 1.10, bulk-certificates 8)."""

import re
from dataclasses import dataclass
from typing import Self

from certferry.errors import UsageError

SUPPORTED = ((10, 0), (15, 99))
_FORM = re.compile(r"(\d{1,2})(?:\.(\d{1,2}))?(?:\.(\d{1,2})|\((\d{1,2})\))?(?:\.\d+)*(?:SU\d+\w*)?", re.IGNORECASE)


class ReleaseUnknownError(UsageError):
    """The text does not name a release certferry knows."""

    code = "trust.release-unknown"
    remedy = "Give a release from 10.0 to 15, such as 10.5.2, 11.5.1, 12.0, 12.5.1, 14 or 15."


@dataclass(frozen=True, slots=True, order=True)
class Release:
    """One release: ``10.5.2`` is (10, 5, 2). Ordering is by number."""

    major: int
    minor: int = 0
    build: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``10.5.2``, ``10.5(2)``, ``12.5.1.13900-12``, ``14SU2`` or ``15``."""
        form = _FORM.fullmatch(text.strip().split("-")[0])
        if not form:
            raise ReleaseUnknownError(f"{text!r} is not a release number")
        major, minor, dotted, bracketed = (int(number or 0) for number in form.groups())
        if not SUPPORTED[0] <= (major, minor) <= SUPPORTED[1]:
            raise ReleaseUnknownError(f"release {text} is outside 10.0 to 15")
        return cls(major, minor, dotted or bracketed)

    def __str__(self) -> str:
        """Write it the short way Cisco does: ``10.5.2``, ``12.0``, ``14``."""
        parts = [self.major, self.minor, self.build]
        while len(parts) > 1 and parts[-1] == 0:
            parts.pop()
        text = ".".join(map(str, parts))
        return f"{text}.0" if len(parts) == 1 and self.major < _NAMED_BY_MAJOR else text

    @property
    def itl_recovery_signs(self) -> bool:
        """From 12.0 the ITLRecovery key signs ITL and CTL; before, a CallManager key does (DOC)."""
        return self >= Release(12)

    @property
    def has_ec_twins(self) -> bool:
        """From 11.0 CallManager-ECDSA and tomcat-ECDSA stand beside the RSA certificates (DOC)."""
        return self >= Release(11)

    @property
    def ctl_names_itl_recovery(self) -> bool:
        """From 10.5(2) the CTL carries ITLRecovery as a SAST beside the publisher's CallManager (DOC)."""
        return self >= Release(10, 5, 2)

    @property
    def trust_file_names_carry_serial(self) -> bool:
        """Trust store files are ``<CN>_<serial>.pem``; observed on 14, ``<CN>.pem`` on 9 (bulk 3.5)."""
        return self >= Release(14)


_NAMED_BY_MAJOR = 14
