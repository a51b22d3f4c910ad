"""``certferry report``: one self-contained page for the change board from what verify or rehearse found."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from certferry.cli.diagnose import LanguageOption
from certferry.cli.files import read_file, write_file
from certferry.cli.options import JsonOption, output
from certferry.migrate.report import render_html
from certferry.migrate.result import ResultMalformedError, Verification


def report(
    result: Annotated[Path, typer.Argument(metavar="RESULT.json|-", help="What verify or rehearse wrote with --json.")],
    html: Annotated[str, typer.Option("--html", metavar="OUT", help="The page to write; - is standard output.")],
    title: Annotated[str, typer.Option(help="What stands above it, such as the change's number.")] = "",
    language: LanguageOption = "en",
    as_json: JsonOption = False,
) -> None:
    """Write the report of a verification or rehearsal as one HTML file that needs nothing else."""
    out = output(as_json)
    verification = read_verification(result)
    write_file(html, render_html(verification, title, language).encode())
    if html != "-":
        out.data({"ok": True, "written": html, "counts": verification.counts}, f"{html} written")


def read_verification(path: Path) -> Verification:
    """Read the JSON of verify or rehearse; raises ``ResultMalformedError``."""
    data = sys.stdin.buffer.read() if str(path) == "-" else read_file(path)
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ResultMalformedError(f"{path} is not JSON: {error}") from error
    return Verification.of_json(value)
