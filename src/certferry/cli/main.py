"""The command: nouns put together, and what becomes of a command that does not do what it was asked."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from certferry import __version__
from certferry.cli.ending import tell
from certferry.cli.exit_codes import ExitCode
from certferry.cli.given import given
from certferry.cli.logs import log_plainly
from certferry.cli.nouns import Nouns
from certferry.cli.output import let_any_text_out

app = typer.Typer(
    cls=Nouns,
    name="certferry",
    help="Carry certificates between Unified CM style clusters in bulk, so that phones move by themselves.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"certferry {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    cluster_place: Annotated[
        str | None,
        typer.Option(
            "--cluster", metavar="PLACE", help="The cluster's folder or postgresql:// URL, for every command."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    given.cluster = cluster_place
    given.as_json = as_json


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line of the process, or ``arguments``; ends with ``SystemExit`` and one of ``ExitCode``."""
    _open_what_is_closed()
    let_any_text_out()
    log_plainly()
    if arguments is None:
        signal.signal(signal.SIGTERM, _interrupt)
        arguments = sys.argv[1:]
    try:
        sys.exit(_outcome(arguments or ["--help"]))
    except BrokenPipeError:
        # The reader of our output went away (certferry ... | head): nothing is wrong, nothing more to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.DONE)


def _open_what_is_closed() -> None:
    """Give a process that was started without a standard stream (``certferry ... >&-``) the null device there.

    Python has None in its place. The lowest numbers are opened first, so that no database gets that of a stream.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 -- as long as the process


def _interrupt(*_: object) -> None:
    """Give whoever ends us politely what Ctrl-C gives, everything begun is put away first; also where it is ignored.

    A shell lets what it runs in the background ignore Ctrl-C.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def _outcome(arguments: Sequence[str]) -> int:
    given.begin()
    command = typer.main.get_command(app)
    try:
        with command.make_context("certferry", list(arguments)) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as ended:
        return ended.exit_code
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 -- whatever it is, nobody is shown a traceback
        return tell(error, as_json="--json" in arguments, answered=given.has_answered)
    finally:
        given.end()
    return ExitCode.DONE
