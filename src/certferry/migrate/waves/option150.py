"""The step before the first reset: DHCP option 150 names the destination's TFTP nodes."""

from dataclasses import dataclass
from typing import Protocol

from certferry.errors import UsageError


class Option150UnconfirmedError(UsageError):
    """Nobody said that DHCP names the destination's TFTP nodes; reset phones would come back to the source."""

    code = "waves.option150-unconfirmed"
    remedy = "Set option 150 first, then start again with --option150-confirmed."


class Option150Step(Protocol):
    """One way of setting option 150."""

    def describe(self) -> str:
        """Say in one sentence what is to be set."""
        ...

    def apply(self) -> str:
        """Set it; return what was done, for the record. Raises a ``Refusal`` when it could not be."""
        ...

    def undo(self) -> str:
        """Put back what stood there before; return what was done."""
        ...


@dataclass(frozen=True, slots=True)
class ByHand:
    """Somebody set it by hand and says so."""

    servers: tuple[str, ...]
    confirmed_by: str

    def describe(self) -> str:
        """Name the servers."""
        return f"Option 150 in the scope of the phones names {', '.join(self.servers)}."

    def apply(self) -> str:
        """Record who said so."""
        return f"{self.confirmed_by} said that option 150 names {', '.join(self.servers)}"

    def undo(self) -> str:
        """Nothing was set, so somebody has to put it back."""
        return "option 150 was set by hand and has to be put back by hand"
