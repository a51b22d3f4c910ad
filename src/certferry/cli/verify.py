"""``certferry verify``: every precondition and every TVS against every signer, before a phone is touched."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from certferry.cli.files import naming, read_file
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
    phones_of,
    places,
    print_result,
    write_report,
)
from certferry.dhcp.scope import tftp_addresses
from certferry.migrate.gather import Looking, Reach
from certferry.migrate.place import HTTP_PORT, TVS_PORT
from certferry.migrate.verify import Wish
from certferry.migrate.verify import verify as run_verification
from certferry.phone.decision import Kind
from certferry.wire.trust_list import TrustList


def verify(
    source: SourceOption,
    destination: DestinationOption,
    device: DeviceOption = None,
    devices: DevicesOption = None,
    phones: PhonesOption = None,
    model: ModelOption = DEFAULT_MODEL,
    window: Annotated[int, typer.Option("--window", min=0, help="Days ahead in which expiry is a warning.")] = 30,
    old_phones: Annotated[
        bool | None, typer.Option("--old-phones/--no-old-phones", help="Are there phones that know SHA-1 only?")
    ] = None,
    option150: Annotated[
        str | None, typer.Option("--option150", metavar="IP[,IP]", help="What DHCP will name in option 150.")
    ] = None,
    held_itl: Annotated[
        Path | None, typer.Option("--held-itl", metavar="FILE", help="The ITL that phones really hold.")
    ] = None,
    held_ctl: Annotated[
        Path | None, typer.Option("--held-ctl", metavar="FILE", help="The CTL that phones really hold.")
    ] = None,
    discover: Annotated[
        bool, typer.Option("--discover/--only-named", help="Look at nodes that the lists name, too.")
    ] = True,
    brief: Annotated[bool, typer.Option("--brief", help="Leave out the checks that pass.")] = False,
    http_port: HttpPortOption = HTTP_PORT,
    tvs_port: TvsPortOption = TVS_PORT,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    report: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check everything that decides whether phones will migrate; nothing changes anywhere.

    Exit 0 when nothing fails, 4 when something fails, 5 when nothing fails but a phone's outcome is not known.
    """
    out = output(as_json)
    here, there = places(source, destination, http_port=http_port, tvs_port=tvs_port)
    wish = Wish(timedelta(days=window), old_phones, _addresses(option150), _held(held_ctl, held_itl))
    wanted = phones_of(here, device, devices, phones, model)
    looking = Looking.with_reach(replace(Reach(), tvs=timeout, http=timeout, discover=discover))
    now = datetime.now(UTC).replace(microsecond=0)
    result = uvloop.run(run_verification(here, there, wanted, looking, now=now, wish=wish))
    print_result(out, result, everything=not brief)
    write_report(out, result, report)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


def _addresses(text: str | None) -> tuple[str, ...] | None:
    """What option 150 can carry: addresses, no names and no ports; raises ``TftpServersInvalidError``."""
    if text is None:
        return None
    return tuple(map(str, tftp_addresses(text))) if text.strip() else ()


def _held(ctl: Path | None, itl: Path | None) -> dict[Kind, bytes]:
    files = {kind: path for kind, path in ((Kind.CTL, ctl), (Kind.ITL, itl)) if path}
    held = {kind: read_file(path) for kind, path in files.items()}
    for kind, path in files.items():
        with naming(path):
            TrustList.parse(held[kind])
    return held
