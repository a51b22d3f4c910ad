"""Option 150 at the start of a migration: set by hand before, as somebody says, or now, in this server's Kea.

Which Kea that is, and the password for it, is said where the server starts; no browser names a place to talk to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from certferry.cluster.migrations import Migration
from certferry.dhcp.kea import Kea, KeaChangedError, Plan
from certferry.dhcp.option150_step import ByKea
from certferry.dhcp.scope import MOST_SERVERS, tftp_addresses
from certferry.errors import UsageError
from certferry.migrate.waves.option150 import ByHand
from certferry.migrate.waves.sides import Sides


class NoKeaError(UsageError):
    """Option 150 is to be changed in Kea, and this server was given none."""

    code = "web.no-kea"
    remedy = "Start 'certferry web' with --kea SOCKET|URL; else set option 150 by hand, and say so."


class Option150BothError(UsageError):
    """Option 150 is said to be set already, and is to be changed as well."""

    code = "web.option150-both"
    remedy = "Send option150_confirmed or kea, not both."


@dataclass(frozen=True, slots=True)
class KeaWish:
    """Which subnet of Kea is to name which servers; ``tftp`` empty: the destination's TFTP nodes.

    ``before`` and ``after`` are what somebody was shown; the change is refused when it has become another one.
    """

    subnet: str
    tftp: str = ""
    before: str | None = None
    after: str | None = None


class Step(Protocol):
    """One way that option 150 comes to name the destination."""

    def look(self) -> None:
        """Raise a ``Refusal`` when the step could not be taken now; change nothing."""

    def take(self) -> Mapping[str, Any]:
        """Take the step; return what is recorded of it."""
        ...


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Somebody says that it was done."""

    by: ByHand

    def look(self) -> None:
        """Nobody asks DHCP."""

    def take(self) -> Mapping[str, Any]:
        """Record who said so."""
        return {"step": self.by.describe(), "done": self.by.apply()}


@dataclass(frozen=True, slots=True)
class InKea:
    """The server changes it in its Kea."""

    step: ByKea
    wish: KeaWish

    def look(self) -> None:
        """Raise what ``plan`` raises."""
        self.plan()

    def plan(self) -> Plan:
        """Find out what would be changed; raises ``KeaChangedError`` when that is not what was shown."""
        plan, wish = self.step.plan(), self.wish
        if wish.before not in (None, plan.before_text):
            raise KeaChangedError(f"option 150 is {plan.before_text}, not {wish.before} as it was shown")
        if wish.after not in (None, plan.after_text):
            raise KeaChangedError(f"option 150 would become {plan.after_text}, not {wish.after} as it was shown")
        return plan

    def take(self) -> Mapping[str, Any]:
        """Change what is planned now."""
        plan = self.plan()
        done = self.step.apply(plan)
        return {"step": self.step.describe(), "done": done, **described(self.step.kea, plan)}


def in_kea(kea: Kea | None, sides: Sides, found: Migration, wish: KeaWish) -> InKea:
    """Make the step; raises ``NoKeaError``, ``TftpServersInvalidError``."""
    if kea is None:
        raise NoKeaError("this server was given no Kea to change option 150 in")
    nodes = [node.address for node in sides.destination.tftp_nodes()[:MOST_SERVERS]]
    servers = tftp_addresses(wish.tftp or ",".join(nodes))
    way_back = "back_from" in found.plan and not wish.tftp
    return InKea(ByKea(kea, wish.subnet, servers, way_back), wish)


def described(kea: Kea, plan: Plan) -> dict[str, Any]:
    """Describe a change of Kea, planned or made."""
    return {
        "kea": kea.channel.name,
        "subnet": plan.place.subnet,
        "before": plan.before_text,
        "after": plan.after_text,
        "changed": plan.is_pending,
    }
