"""What a rehearsal or a verification came to: checks with their verdicts, and phones with their outcomes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self

from certferry.errors import UsageError
from certferry.phone.outcome import Journal
from certferry.trust.list_check import Check, Verdict

PhoneVerdict = Literal["would-migrate", "would-fail", "unknown"]
DONE, FAILED, PARTLY = 0, 4, 5
"""Exit codes: everything holds; something fails; nothing fails, but something could not be told."""


class ResultMalformedError(UsageError):
    """The JSON is not what ``rehearse --json`` and ``verify --json`` print."""

    code = "migrate.result-malformed"
    remedy = "Give the unchanged output of 'certferry rehearse --json' or 'certferry verify --json'."


@dataclass(frozen=True, slots=True)
class PhoneResult:
    """Whether one phone would migrate.

    ``step`` and ``code`` are those of ``phone.outcome`` (where the boot ended and why), ``reason`` is a sentence.
    ``journal`` tells every decision of the rehearsed boot; it does not go into the JSON.
    """

    device: str
    outcome: PhoneVerdict
    step: str
    code: str
    reason: str
    journal: Journal = ()

    def to_json(self) -> dict[str, str]:
        """Give the keys of the command-line contract."""
        return {
            "device": self.device,
            "outcome": self.outcome,
            "step": self.step,
            "code": self.code,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Verification:
    """Everything that was looked at between ``source`` and ``destination`` (as the user named them) at ``at``.

    ``ok`` is whether nothing fails; what could not be seen is ``unknown`` and does not make it false.
    """

    ok: bool
    checks: tuple[Check, ...]
    phones: tuple[PhoneResult, ...]
    source: str
    destination: str
    at: datetime

    @classmethod
    def of(
        cls,
        checks: tuple[Check, ...],
        phones: tuple[PhoneResult, ...],
        *,
        source: str,
        destination: str,
        at: datetime,
    ) -> Self:
        """Put a result together; whether it is ``ok`` follows from its parts."""
        failed = any(check.verdict == "fail" for check in checks) or any(
            phone.outcome == "would-fail" for phone in phones
        )
        return cls(not failed, checks, phones, source, destination, at)

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many checks came to each verdict."""
        found: dict[Verdict, int] = {"pass": 0, "warn": 0, "fail": 0, "unknown": 0}
        for check in self.checks:
            found[check.verdict] += 1
        return found

    @property
    def exit_code(self) -> int:
        """Return 4 when something fails, 5 when a phone's outcome is unknown, else 0."""
        if not self.ok:
            return FAILED
        return PARTLY if any(phone.outcome == "unknown" for phone in self.phones) else DONE

    def to_json(self) -> dict[str, Any]:
        """Give the object that ``--json`` prints."""
        return {
            "ok": self.ok,
            "checks": [
                {"id": c.id, "title": c.title, "verdict": c.verdict, "evidence": c.evidence, "remedy": c.remedy}
                for c in self.checks
            ],
            "phones": [phone.to_json() for phone in self.phones],
            "source": self.source,
            "destination": self.destination,
            "at": self.at.isoformat(),
        }

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` gave; raise ``ResultMalformedError`` for anything else."""
        try:
            return cls(
                bool(value["ok"]),
                tuple(
                    Check(c["id"], c["title"], c["verdict"], c["evidence"], c.get("remedy", ""))
                    for c in value["checks"]
                ),
                tuple(
                    PhoneResult(p["device"], p["outcome"], p["step"], p.get("code", ""), p["reason"])
                    for p in value["phones"]
                ),
                value.get("source", ""),
                value.get("destination", ""),
                datetime.fromisoformat(value["at"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ResultMalformedError(f"no result of a rehearsal or verification: {error!r}") from error
