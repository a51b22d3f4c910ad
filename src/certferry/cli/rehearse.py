"""``certferry rehearse``: would the phones migrate? Virtual ones try it; nothing changes anywhere."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

import typer
import uvloop

from certferry.cli.options import JsonOption, output
from certferry.cli.verification_options import (
    DEFAULT_MODEL,
    DEFAULT_TIMEOUT,
    DestinationOption,
    DeviceOption,
    DevicesOption,
    HttpPortOption,
    ModelOption,
    PhonesOption,
    ReportOption,
    SourceOption,
    TimeoutOption,
    TvsPortOption,
    explain,
    phones_of,
    places,
    print_result,
    write_report,
)
from certferry.migrate.gather import Looking, Reach
from certferry.migrate.place import HTTP_PORT, TVS_PORT
from certferry.migrate.rehearse import rehearse as run_rehearsal


def rehearse(
    source: SourceOption,
    destination: DestinationOption,
    device: DeviceOption = None,
    devices: DevicesOption = None,
    phones: PhonesOption = None,
    model: ModelOption = DEFAULT_MODEL,
    explained: Annotated[
        bool, typer.Option("--explain", help="Tell each decision, with bytes and certificates.")
    ] = False,
    http_port: HttpPortOption = HTTP_PORT,
    tvs_port: TvsPortOption = TVS_PORT,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    report: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let virtual phones take the source's files and boot against the destination; nothing changes anywhere.

    Exit 0 when all would migrate, 4 when any would fail, 5 when that of some is not known.
    """
    out = output(as_json)
    here, there = places(source, destination, http_port=http_port, tvs_port=tvs_port)
    wanted = phones_of(here, device, devices, phones, model)
    looking = Looking.with_reach(replace(Reach(), tvs=timeout, http=timeout, discover=False))
    result = uvloop.run(run_rehearsal(here, there, wanted, looking, datetime.now(UTC).replace(microsecond=0)))
    if explained:
        for phone in result.phones:
            explain(out, phone)
    print_result(out, result, everything=explained)
    write_report(out, result, report)
    if not result.ok:
        out.say("Why, and what mends it: the same command with --json | certferry diagnose")
    if result.exit_code:
        raise typer.Exit(result.exit_code)
