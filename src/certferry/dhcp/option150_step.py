"""The step of a migration that lets DHCP name the destination's TFTP nodes, taken by certferry in a running Kea.

A migration plugs it in where otherwise somebody confirms that it was done by hand.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address

from certferry.dhcp.kea import Applied, Kea, Plan
from certferry.dhcp.kea_undo import NothingToUndoError
from certferry.dhcp.scope import in_words


@dataclass(frozen=True, slots=True)
class ByKea:
    """Option 150 of one subnet of a Kea, set and put back; taking the step twice changes nothing more.

    On the ``way_back`` of phones the step puts back what certferry replaced, and sets ``servers`` where it did not.
    """

    kea: Kea
    subnet: str
    servers: tuple[IPv4Address, ...]
    way_back: bool = False

    def describe(self) -> str:
        """Say what is to be set."""
        kea = self.kea.channel.name
        if self.way_back:
            return f"Option 150 of subnet {self.subnet} in Kea at {kea} is as before"
        return f"Option 150 of subnet {self.subnet} in Kea at {kea} names {in_words(self.servers)}."

    def plan(self) -> Plan:
        """Find out what is to be changed; nothing is changed yet."""
        if self.way_back:
            try:
                return self.kea.plan_undo(self.subnet)
            except NothingToUndoError:  # set by hand then, or put back already
                pass
        return self.kea.plan(self.subnet, self.servers)

    def apply(self, shown: Plan | None = None) -> str:
        """Change what was ``shown``, or is found now; return what was done. Raises a ``Refusal`` if it could not be."""
        plan = shown or self.plan()
        applied = self.kea.apply(plan)
        if not plan.is_pending:
            return f"option 150 of {plan.place.in_words()} named {plan.after_text} already"
        return _told(plan, applied)

    def undo(self) -> str:
        """Put back what stood there; return what was done."""
        plan = self.kea.plan_undo(self.subnet)
        return _told(plan, self.kea.apply(plan))


def _told(plan: Plan, applied: Applied) -> str:
    place, before, after = plan.place.in_words(), plan.before_text, plan.after_text
    words = f"option 150 of {place} was {before}, now is {after}"
    if plan.undone:
        words = f"option 150 of {place} was put back from {before}, now is {after}"
    return "; ".join([words, *plan.warnings, *applied.warnings])
