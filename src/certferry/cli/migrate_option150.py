"""Option 150 at the start of a migration: set by hand before, as somebody says, or now, by certferry in a Kea."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from certferry.cli.dhcp_kea import KEA_VARIABLE, difference, open_kea
from certferry.cli.options import DeclinedError, confirm
from certferry.cli.output import Output
from certferry.cluster.acting import actor
from certferry.cluster.cluster import Cluster
from certferry.cluster.migrations import Migration
from certferry.dhcp.kea import Plan
from certferry.dhcp.option150_step import ByKea
from certferry.dhcp.scope import MOST_SERVERS, tftp_addresses
from certferry.errors import UsageError
from certferry.migrate.waves.option150 import ByHand, Option150UnconfirmedError

ConfirmedOption = Annotated[
    bool, typer.Option("--option150-confirmed", help="DHCP names the destination's TFTP nodes already.")
]
KeaOption = Annotated[
    str | None,
    typer.Option("--kea", metavar="SOCKET|URL", help="Set option 150 in this Kea, and put it back on the way back."),
]
SubnetOption = Annotated[
    str | None, typer.Option("--subnet", metavar="CIDR|ID", help="The phones' subnet in Kea, with --kea.")
]
TftpOption = Annotated[
    str | None,
    typer.Option("--tftp", metavar="IP[,IP]", help="What option 150 is to name; else the destination's TFTP nodes."),
]
UserOption = Annotated[str, typer.Option("--kea-user", help="The user at Kea's control agent.")]
PasswordOption = Annotated[
    Path | None,
    typer.Option("--kea-password-file", help=f"The user's password; else ${KEA_VARIABLE}, or it is asked for."),
]
CaOption = Annotated[
    Path | None, typer.Option("--kea-ca", metavar="PEM", help="Who signed the control agent's certificate.")
]
CertificateOption = Annotated[
    Path | None, typer.Option("--kea-client-certificate", metavar="PEM", help="A certificate to show, with its key.")
]
StateOption = Annotated[
    Path | None, typer.Option("--kea-state", metavar="FILE", help="Where the former value is kept, for the way back.")
]


class Option150ChoiceError(UsageError):
    """It is not clear how option 150 comes to name the destination's TFTP nodes."""

    code = "cli.option150-choice"
    remedy = "Give --option150-confirmed if it does already, or --kea PLACE --subnet CIDR to let certferry set it."


@dataclass(frozen=True, slots=True)
class Said:
    """What the command line says of option 150."""

    confirmed: bool
    kea: str | None
    subnet: str | None
    tftp: str | None
    user: str
    password_file: Path | None
    ca: Path | None
    certificate: Path | None
    state: Path | None

    def check(self) -> None:
        """Raise ``Option150ChoiceError`` for what cannot be meant."""
        if self.kea is None and (self.subnet or self.tftp):
            raise Option150ChoiceError("--subnet and --tftp are for --kea")
        if self.kea is not None and not self.subnet:
            raise Option150ChoiceError("--kea needs --subnet")
        if self.kea is not None and self.confirmed:
            raise Option150ChoiceError("--kea and --option150-confirmed exclude each other")


class Option150:
    """The step, chosen and looked at before anything else is done, and taken when verification has passed."""

    def __init__(self, out: Output, said: Said, found: Migration, destination: Cluster) -> None:
        self._out, self._said = out, said
        nodes = [node.address for node in destination.tftp_nodes()[:MOST_SERVERS]]
        self._by_hand = ByHand(tuple(nodes), actor())
        self._by_kea: ByKea | None = None
        if said.kea is not None and said.subnet is not None:
            servers = tftp_addresses(said.tftp or ",".join(nodes))
            kea = open_kea(out, said.kea, said.state, said.user, said.password_file, said.ca, said.certificate)
            way_back = "back_from" in found.plan and said.tftp is None
            self._by_kea = ByKea(kea, said.subnet, servers, way_back)
            self._by_kea.plan()  # a Kea that is not there, or has no such subnet, is told before the verification

    def take(self, *, yes: bool) -> Mapping[str, Any]:
        """Show, ask and do; return what is recorded of it."""
        if self._by_kea is not None:
            return self._take_by_kea(self._by_kea, yes=yes)
        self._confirm_by_hand()
        return {"step": self._by_hand.describe(), "done": self._by_hand.apply()}

    def _take_by_kea(self, step: ByKea, *, yes: bool) -> Mapping[str, Any]:
        plan = step.plan()
        self._out.say(difference(plan, step.kea))
        for warning in plan.warnings:
            self._out.warn(warning)
        if plan.is_pending:
            confirm(self._out, f"Change option 150 of {plan.place.subnet}, and then reset phones?", yes=yes)
        done = step.apply(plan)
        self._out.say(done)
        return {"step": step.describe(), "done": done, **_details(plan, step)}

    def _confirm_by_hand(self) -> None:
        if self._said.confirmed:
            return
        if not self._out.can_ask:
            raise Option150UnconfirmedError(f"nobody said so yet: {self._by_hand.describe()}")
        if not typer.confirm(f"{self._by_hand.describe()} Is it so?", err=True):
            raise DeclinedError("option 150 does not name the destination yet")


def _details(plan: Plan, step: ByKea) -> dict[str, Any]:
    return {
        "kea": step.kea.channel.name,
        "subnet": plan.place.subnet,
        "before": plan.before_text,
        "after": plan.after_text,
        "changed": plan.is_pending,
    }
