"""``certferry migrate report``: every phone of a migration, totals, plots, failures with cause and fix."""

from typing import Annotated

from typer import Option

from certferry.cli.diagnose import LanguageOption
from certferry.cli.files import write_file
from certferry.cli.migrate_options import MigrationArgument, SourceOption, now, open_source
from certferry.cli.migrate_view import print_status
from certferry.cli.options import JsonOption, output
from certferry.cli.output import Output
from certferry.migrate.waves.report import Report
from certferry.migrate.waves.status import Status


def report(
    migration: MigrationArgument = None,
    source: SourceOption = None,
    html: Annotated[str | None, Option("--html", metavar="OUT", help="Write one page; - is standard output.")] = None,
    csv: Annotated[
        str | None, Option("--csv", metavar="OUT", help="Write a line for each phone; - is standard output.")
    ] = None,
    language: LanguageOption = "en",
    as_json: JsonOption = False,
) -> None:
    """Write the report of a migration, ended or not."""
    out, cluster = output(as_json), open_source(source)
    ledger, at = cluster.migrations, now()
    found = ledger.find(migration)
    status = Status.of(found, ledger.phones(found.id), at)
    made = Report(found, status, ledger.events(found.id), cluster.location.text, at)
    if html:
        _write(out, html, made.to_html(language))
    if csv:
        _write(out, csv, made.to_csv())
    out.data(made.to_json())
    if "-" not in (html, csv):
        print_status(out, status)


def _write(out: Output, to: str, text: str) -> None:
    write_file(to, text.encode())
    if to != "-":
        out.say(f"Wrote {to}.")
