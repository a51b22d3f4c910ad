"""Writing the journal of a boot."""

from collections.abc import Iterable

from certferry.phone.candidate import Candidate
from certferry.phone.outcome import Entry, Journal, Step


class Notes:
    """The journal of one boot, as it grows: ``at`` is the time and ``step`` the step of what is noted next."""

    def __init__(self) -> None:
        self.at = 0.0
        self.step = Step.CTL
        self._entries: list[Entry] = []

    @property
    def journal(self) -> Journal:
        """What was noted so far."""
        return tuple(self._entries)

    def add(
        self,
        text: str,
        candidate: Candidate | None = None,
        *,
        step: Step | None = None,
        file: str = "",
        found: str = "",
        roles: Iterable[int] = (),
        member: str = "",
    ) -> None:
        """Note something; a ``candidate`` tells the file and its signer, ``step`` is one beside the present one."""
        name, signer = (candidate.name, str(candidate.signer or "")) if candidate else (file, "")
        self._entries.append(Entry(self.at, step or self.step, text, name, signer, found, tuple(sorted(roles)), member))
