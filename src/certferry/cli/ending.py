"""How a command ends that did not do what it was asked: one sentence, its remedy, an exit code; never a traceback.

With ``--json`` the same stands on stdout as the one object: ``{"ok": false, "error": {"code", "sentence", "remedy"}}``.
"""

import os
import sys
import traceback

import typer

from certferry.cli.exit_codes import ExitCode
from certferry.cli.output import Output
from certferry.errors import Refusal, UsageError

TRACEBACK_VARIABLE = "CERTFERRY_TRACEBACK"
_EXIT_CODES = {
    "bulk.locked": ExitCode.LOCKED,
    "cluster.migration-locked": ExitCode.LOCKED,
    "cluster.migration-overlap": ExitCode.LOCKED,
    "waves.preflight-failed": ExitCode.VERIFICATION_FAILED,
    "cluster.audit-broken": ExitCode.VERIFICATION_FAILED,
    "cli.interrupted": ExitCode.INTERRUPTED,
}


class WrongUsageError(UsageError):
    """The command line is not one certferry knows."""

    code = "cli.usage"
    remedy = "See the commands with: certferry --help"


class NotTextError(UsageError):
    """Something given is not text in UTF-8."""

    code = "cli.not-text"
    remedy = "Write names and descriptions in UTF-8."


class InterruptedByUserError(Refusal):
    """Somebody pressed Ctrl-C, or the system ended the command."""

    code = "cli.interrupted"
    remedy = "Run it again when it suits: nothing half done counts."


class SystemRefusedError(Refusal):
    """The operating system did not let certferry do what was needed."""

    code = "cli.system"
    remedy = "See that the path is right, that you have the rights, and that disk and memory have room."


class UnforeseenError(Refusal):
    """A defect of certferry."""

    code = "cli.unforeseen"
    remedy = f"This is a defect: run it again with {TRACEBACK_VARIABLE}=1 and report what it prints."


def refusal_of(error: BaseException) -> Refusal:
    """Put any exception into the words of a refusal."""
    match error:
        case Refusal():
            return error
        case typer.TyperException():
            return _wrong_usage(error)
        case typer.Abort() | KeyboardInterrupt() | EOFError():
            return InterruptedByUserError("interrupted")
        case UnicodeEncodeError():
            return NotTextError(f"{error.object!a} is not text in UTF-8")
        case OSError():
            place = f"{error.filename}: " if error.filename else ""
            return SystemRefusedError(f"{place}{error.strerror or error}")
        case _:
            return UnforeseenError(f"{type(error).__name__}: {error}")


def tell(error: BaseException, *, as_json: bool, answered: bool) -> ExitCode:
    """Say why the command did not do its work; on stdout only with ``as_json`` and where nothing ``answered`` yet."""
    if TRACEBACK_VARIABLE in os.environ:
        traceback.print_exception(error, file=sys.stderr)
    refusal = refusal_of(error)
    out = Output(as_json=as_json)
    out.refuse(refusal)
    if as_json and not answered:
        told = {"code": refusal.code, "sentence": refusal.sentence, "remedy": refusal.remedy}
        out.data({"ok": False, "error": told})
    return code_of(refusal)


def code_of(refusal: Refusal) -> ExitCode:
    """Choose the exit code for a refusal."""
    fallback = ExitCode.WRONG_USAGE if isinstance(refusal, UsageError) else ExitCode.FAILED
    return _EXIT_CODES.get(refusal.code, fallback)


def _wrong_usage(error: typer.TyperException) -> WrongUsageError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "certferry"
    # Values are checked by pydantic, which puts its own words before ours.
    sentence = error.format_message().replace("Value error, ", "").rstrip(".")
    return WrongUsageError(sentence, remedy=f"See how it is meant: {command} --help")
