"""The command: nouns put together, refusals turned into one sentence, a remedy and an exit code."""

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from certferry import __version__
from certferry.cli import audit, bulk, cert, cluster, demo, phone, serve, trustlist, tvs
from certferry.cli.options import given
from certferry.errors import Refusal, UsageError

FAILED, WRONG_USAGE, LOCKED, INTERRUPTED = 1, 2, 6, 130
_EXIT_CODES = {"bulk.locked": LOCKED}

app = typer.Typer(
    name="certferry",
    help="Carry certificates between Unified CM style clusters in bulk, so that phones move by themselves.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("serve")(serve.serve)
app.add_typer(cluster.app, name="cluster")
app.add_typer(cert.app, name="cert")
app.add_typer(phone.app, name="phone")
app.add_typer(bulk.app, name="bulk")
app.add_typer(trustlist.app, name="trustlist")
app.add_typer(tvs.app, name="tvs")
app.add_typer(audit.app, name="audit")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"certferry {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    cluster_place: Annotated[
        str | None, typer.Option("--cluster", metavar="PATH", help="The cluster's folder, for every command.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    given.cluster = cluster_place
    given.as_json = as_json


def run(arguments: list[str] | None = None) -> None:
    """Run the command line; every refusal ends in one sentence and its remedy on stderr, never in a traceback."""
    try:
        code = app(args=arguments, standalone_mode=False)
    except Refusal as refusal:
        code = _tell(refusal)
    except typer.TyperException as error:
        typer.echo(error.format_message(), err=True)
        code = error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (certferry ... | head): nothing is wrong, nothing more to say.
        sys.stderr.close()
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def _tell(refusal: Refusal) -> int:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]refused[/bold red] {escape(refusal.sentence)} [dim]({refusal.code})[/dim]")
    if refusal.remedy:
        console.print(f"[bold]next[/bold]    {escape(refusal.remedy)}")
    fallback = WRONG_USAGE if isinstance(refusal, UsageError) else FAILED
    return _EXIT_CODES.get(refusal.code, fallback)
