"""Everything a verification looked at, before anything is judged."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from certferry.migrate.side import SideView
from certferry.migrate.survey import Survey
from certferry.trust.list_check import Check, Verdict
from certferry.wire.certificate import Certificate

SideName = Literal["source", "destination"]
EXPIRY_WINDOW = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Tomcat:
    """The tomcat certificate of one node of ``side``, and what the other cluster's TVS said about it.

    ``vouched`` is None when nobody could be asked; ``note`` tells by whom it was vouched, or why nobody said.
    """

    side: SideName
    where: str
    certificate: Certificate | None
    vouched: bool | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """Both clusters, the answers of the source's TVS, and what the user told.

    ``old_phones`` is whether there are phones that know SHA-1 and RSA-2048 only, None when nobody said;
    ``option150`` are the addresses in the DHCP scope, None when they were not given.
    """

    source: SideView
    destination: SideView
    survey: Survey
    now: datetime
    window: timedelta = EXPIRY_WINDOW
    old_phones: bool | None = None
    option150: tuple[str, ...] | None = None
    tomcat: tuple[Tomcat, ...] = field(default=())

    def sides(self) -> Iterator[tuple[SideName, SideView]]:
        """Both clusters with what they are called."""
        yield "source", self.source
        yield "destination", self.destination


def judged(
    identifier: str,
    title: str,
    verdict: Verdict | bool,  # noqa: FBT001 -- True and False read as pass and fail
    evidence: str,
    remedy: str = "",
) -> Check:
    """Make a check; a remedy only stands where something is to be done."""
    word: Verdict = verdict if isinstance(verdict, str) else "pass" if verdict else "fail"
    return Check(identifier, title, word, evidence, "" if word == "pass" else remedy)
