"""``certferry dhcp set`` and ``undo``: option 150 of a running Kea, through its control channel."""

import os
import ssl
from pathlib import Path
from typing import Annotated

import typer

from certferry.cli.dhcp import TftpOption, app
from certferry.cli.exit_codes import ExitCode
from certferry.cli.options import JsonOption, YesOption, confirm, output
from certferry.cli.output import Output
from certferry.cli.passwords import PasswordMissingError, first_line
from certferry.dhcp.kea import Applied, Kea, Plan
from certferry.dhcp.kea_channel import kea_channel
from certferry.dhcp.kea_undo import UndoRecord
from certferry.dhcp.scope import tftp_addresses
from certferry.errors import UsageError

__all__ = ["KEA_VARIABLE", "app", "difference", "open_kea"]

KEA_VARIABLE = "CERTFERRY_KEA_PASSWORD"

KeaOption = Annotated[
    str, typer.Option("--kea", metavar="SOCKET|URL", help="kea-dhcp4's control socket, or the control agent's URL.")
]
SubnetOption = Annotated[str, typer.Option("--subnet", metavar="CIDR|ID", help="The phones' subnet, as Kea has it.")]
PlanOption = Annotated[
    bool, typer.Option("--plan", help="Show the difference, change nothing; exit 3 if there is one.")
]
WriteOption = Annotated[
    bool, typer.Option("--write/--no-write", help="Write Kea's file too, so that its restart keeps the change.")
]
StateOption = Annotated[
    Path | None, typer.Option("--state", metavar="FILE", help="Where the former value is kept, for undo.")
]
UserOption = Annotated[str, typer.Option("--user", help="The user at the control agent.")]
PasswordOption = Annotated[
    Path | None, typer.Option("--password-file", help=f"The user's password; else ${KEA_VARIABLE}, or it is asked for.")
]
CaOption = Annotated[
    Path | None, typer.Option("--ca", metavar="PEM", help="Who signed the control agent's certificate.")
]
CertificateOption = Annotated[
    Path | None, typer.Option("--client-certificate", metavar="PEM", help="A certificate to show, with its key.")
]


class TlsMaterialError(UsageError):
    """A CA or client certificate for TLS cannot be used."""

    code = "dhcp.tls-material"
    remedy = "Give PEM files: the CA's certificate, and the client certificate together with its unencrypted key."


@app.command("set")
def set_(
    kea: KeaOption,
    subnet: SubnetOption,
    tftp: TftpOption,
    plan: PlanOption = False,
    yes: YesOption = False,
    write: WriteOption = True,
    state: StateOption = None,
    user: UserOption = "",
    password_file: PasswordOption = None,
    ca: CaOption = None,
    client_certificate: CertificateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let one subnet of a running Kea name other TFTP servers; the former value is kept for undo.

    Exit 3 with --plan when there is something to change, 5 when the change is in force but Kea's restart takes it back.
    """
    out = output(as_json)
    addresses = tftp_addresses(tftp)
    server = open_kea(out, kea, state, user, password_file, ca, client_certificate, write=write)
    _carry_out(out, server, server.plan(subnet, addresses), only_plan=plan, yes=yes)


@app.command("undo")
def undo(
    kea: KeaOption,
    subnet: SubnetOption,
    plan: PlanOption = False,
    yes: YesOption = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Even if somebody else changed the option since.")] = False,
    write: WriteOption = True,
    state: StateOption = None,
    user: UserOption = "",
    password_file: PasswordOption = None,
    ca: CaOption = None,
    client_certificate: CertificateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put back what the subnet's option 150 was before certferry's latest change of it."""
    out = output(as_json)
    server = open_kea(out, kea, state, user, password_file, ca, client_certificate, write=write)
    _carry_out(out, server, server.plan_undo(subnet, anyway=anyway), only_plan=plan, yes=yes)


def open_kea(
    out: Output,
    place: str,
    state: Path | None,
    user: str,
    password_file: Path | None,
    ca: Path | None,
    certificate: Path | None,
    *,
    write: bool = True,
) -> Kea:
    """Make ready to talk to Kea: over its socket, or over HTTP as ``user``."""
    password = _password(out, password_file) if user else ""
    channel = kea_channel(place, user=user, password=password, tls=_tls(ca, certificate))
    return Kea(channel, UndoRecord(state) if state else UndoRecord.usual(channel.name), write)


def _password(out: Output, file: Path | None) -> str:
    if file is not None:
        return first_line(file)
    if KEA_VARIABLE in os.environ:
        return os.environ[KEA_VARIABLE]
    if not out.can_ask:
        remedy = f"Give --password-file FILE, set {KEA_VARIABLE}, or run it on a terminal."
        raise PasswordMissingError("no password for Kea was given", remedy=remedy)
    asked: str = typer.prompt("Kea password", hide_input=True, err=True)
    return asked


def _tls(ca: Path | None, certificate: Path | None) -> ssl.SSLContext | None:
    if ca is None and certificate is None:
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate, password="")  # never ask on the terminal
    except (OSError, ValueError) as error:
        raise TlsMaterialError(f"TLS: {error}") from error
    return context


def difference(plan: Plan, kea: Kea) -> str:
    """Write what a plan changes, as people compare texts."""
    lines = [f"subnet {plan.place.in_words()} of Kea at {kea.channel.name}"]
    if plan.is_pending:
        lines += [f"- option 150: {plan.before_text}", f"+ option 150: {plan.after_text}"]
    else:
        lines.append(f"  option 150: {plan.after_text}; nothing to change")
    return "\n".join([*lines, *(["+ a definition of option 150, which Kea has not"] if plan.defines else [])])


def _carry_out(out: Output, kea: Kea, plan: Plan, *, only_plan: bool, yes: bool) -> None:
    out.text(difference(plan, kea))
    for warning in plan.warnings:
        out.warn(warning)
    if only_plan:
        out.data(_described(plan, None))
        raise typer.Exit(ExitCode.CHANGES_PENDING if plan.is_pending else ExitCode.DONE)
    if plan.is_pending:
        confirm(out, f"Change option 150 of {plan.place.subnet}?", yes=yes)
    applied = kea.apply(plan)
    out.data(_described(plan, applied))
    if plan.is_pending and applied.written:
        out.text("Changed, also in Kea's file.")
    for warning in applied.warnings:
        out.warn(warning)
    if not applied.written:
        raise typer.Exit(ExitCode.PARTLY_DONE)


def _described(plan: Plan, applied: Applied | None) -> dict[str, object]:
    return {
        "ok": applied is None or applied.written,
        "subnet": plan.place.subnet,
        "subnet_id": plan.place.subnet_id,
        "before": plan.before_text,
        "after": plan.after_text,
        "pending": plan.is_pending and applied is None,
        "changed": plan.is_pending and applied is not None,
        "defines_option": plan.defines,
        "written": None if applied is None else applied.written,
        "warnings": [*plan.warnings, *(applied.warnings if applied else ())],
    }
