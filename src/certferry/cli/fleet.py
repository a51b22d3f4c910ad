"""``certferry fleet``: phones that stay, for labs and for the night before."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from certferry.cli.addresses import parse_address
from certferry.cli.dhcp import source_order
from certferry.cli.exit_codes import ExitCode
from certferry.cli.options import output
from certferry.cli.output import Output
from certferry.cluster.phones import device_name
from certferry.errors import MalformedError, UsageError
from certferry.fleet.device import Device
from certferry.fleet.dhcp import TFTP_PORT, DhcpClient, by_dhcp
from certferry.fleet.flash_folder import FlashFolder, FlashFolderError
from certferry.fleet.option150 import MOST_SERVERS, from_file
from certferry.fleet.resident import Option150, PhoneEvent
from certferry.fleet.residents import AT_ONCE, Residents
from certferry.phone.events import Address, address_text
from certferry.serve.limits import raise_file_limit
from certferry.wire.phone_dhcp import DEFAULT_ORDER, TftpSource

app = typer.Typer(help="Phones that stay registered, for labs and for the night before.")
Source = Callable[[], AbstractAsyncContextManager[Callable[[Device], Option150]]]
_LAST_MAC = 0xFFFFFFFFFFFF
_MOST_PHONES = 100_000


class FleetOptionsError(UsageError):
    """Which phones, or where they learn their TFTP servers, is not said or said twice."""

    code = "cli.fleet-options"
    remedy = "Give --device (or --first with --count), and one of --tftp, --option150-file and --dhcp."


@app.command()
def run(
    flash: Annotated[Path, typer.Option(metavar="DIR", help="Where phones keep their flash; a restart continues.")],
    tftp: Annotated[
        str | None, typer.Option(metavar="IP[:PORT],..", help="One or two TFTP servers, set by hand.")
    ] = None,
    option150_file: Annotated[
        Path | None, typer.Option(help="Read the TFTP servers from this file at each boot, in place of DHCP.")
    ] = None,
    dhcp: Annotated[
        str | None, typer.Option(metavar="INTERFACE", help="Ask DHCP there at each boot, under each phone's MAC.")
    ] = None,
    order: Annotated[
        str, typer.Option("--order", help="Which comes first in a lease: option 150, option 66, siaddr.")
    ] = ",".join(DEFAULT_ORDER),
    device: Annotated[list[str] | None, typer.Option(help="SEP<MAC> or a MAC address; may be repeated.")] = None,
    first: Annotated[str | None, typer.Option(help="The first of --count devices with MAC addresses in order.")] = None,
    count: Annotated[int, typer.Option(min=1, max=_MOST_PHONES, help="How many devices from --first on.")] = 1,
    model: Annotated[str, typer.Option(help="Model number, such as 8861 or 7962.")] = "8861",
    lsc: Annotated[
        Path | None, typer.Option(metavar="DIR", help="LSCs of secure phones: SEP<MAC>.pem and SEP<MAC>.key.")
    ] = None,
    http_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Ask for files over HTTP at this port before TFTP.")
    ] = None,
    allow_tls10: Annotated[bool, typer.Option(help="Speak TLS 1.0 if need be, as 7900 phones do.")] = False,
    expires: Annotated[int, typer.Option(min=1, max=3600, help="Seconds that phones register for at a time.")] = 120,
    at_once: Annotated[int, typer.Option(min=1, help="How many phones boot at the same time.")] = AT_ONCE,
    until_eof: Annotated[bool, typer.Option(help="Also stop when standard input ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON line for each event on stdout.")] = False,
) -> None:
    """Run phones until stopped: they register, stay, obey resets, and move when option 150 says so.

    SIGHUP is a power cut: all boot anew.
    """
    out = output(as_json)
    option150 = _option150(tftp, option150_file, dhcp, order)
    names = _names(device, first, count)
    raise_file_limit()
    with closing(FlashFolder(flash)) as folder:
        devices = []
        for name in names:
            made = _unpacked(name, folder, lsc)
            made.model, made.http_port, made.allow_tls10, made.expires = model, http_port, allow_tls10, expires
            devices.append(made)

        def make(asks: Callable[[Device], Option150]) -> Residents:
            return Residents(devices, asks, tell=lambda event: _tell(out, event), flash_folder=folder, at_once=at_once)

        uvloop.run(_run(option150, make, out, until_eof=until_eof))


def _unpacked(name: str, folder: FlashFolder, lsc: Path | None) -> Device:
    identity = (lsc / f"{name}.pem", lsc / f"{name}.key") if lsc else None
    try:
        return Device(name, folder.load(name), lsc=identity)
    except MalformedError as error:
        raise FlashFolderError(
            f"what {name} keeps there is broken: {error.sentence}", remedy=f"Remove {name} there: it begins anew."
        ) from error


def _names(devices: list[str] | None, first: str | None, count: int) -> list[str]:
    if bool(devices) == bool(first):
        raise FleetOptionsError("the phones are named by --device, or by --first and --count")
    if devices:
        return list(dict.fromkeys(device_name(text) for text in devices))
    start = int(device_name(first or "")[3:], 16)
    if start + count - 1 > _LAST_MAC:
        raise FleetOptionsError(f"there are not {count} MAC addresses from {first} on")
    return [f"SEP{mac:012X}" for mac in range(start, start + count)]


def _option150(tftp: str | None, file: Path | None, dhcp: str | None, order: str) -> Source:
    if sum(each is not None for each in (tftp, file, dhcp)) != 1:
        raise FleetOptionsError("the phones need one way to learn their TFTP servers")
    if dhcp is not None:
        return partial(_asking, dhcp, source_order(order))
    if file is not None:
        read = from_file(file, _tftp_server)
        return lambda: nullcontext(lambda _: read)
    servers = [_tftp_server(word) for word in (tftp or "").split(",")]
    if len(servers) > MOST_SERVERS:
        raise FleetOptionsError(f"{len(servers)} TFTP servers: phones know {MOST_SERVERS}")
    return lambda: nullcontext(lambda _: lambda: servers)


@asynccontextmanager
async def _asking(interface: str, order: Sequence[TftpSource]) -> AsyncIterator[Callable[[Device], Option150]]:
    client = await DhcpClient.on_interface(interface)
    try:
        yield lambda device: by_dhcp(client, device.name, device.model, order)
    finally:
        client.close()


def _tftp_server(text: str) -> Address:
    return parse_address(text, TFTP_PORT)


async def _run(
    option150: Source, make: Callable[[Callable[[Device], Option150]], Residents], out: Output, *, until_eof: bool
) -> None:
    async with option150() as asks:
        await _live(make(asks), out, until_eof=until_eof)


async def _live(residents: Residents, out: Output, *, until_eof: bool) -> None:
    stopped = _listen_to_signals(residents, until_eof=until_eof)
    phones = len(residents.phones)
    out.data({"ready": True, "phones": phones}, f"{phones} phones are switched on.")
    out.note("Stop with Ctrl-C or SIGTERM; SIGHUP is a power cut.")
    await _run_until(stopped, residents)
    out.note(f"{len(residents.registered)} of {phones} phones were registered; all are switched off now.")
    if code := stopped.result():
        raise typer.Exit(code)


def _listen_to_signals(residents: Residents, *, until_eof: bool) -> "asyncio.Future[ExitCode]":
    """Return what becomes the exit code once somebody ends the command."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[ExitCode] = loop.create_future()
    loop.add_signal_handler(signal.SIGTERM, _stop, stopped, ExitCode.DONE)
    loop.add_signal_handler(signal.SIGINT, _stop, stopped, ExitCode.INTERRUPTED)
    loop.add_signal_handler(signal.SIGHUP, residents.reset)
    if until_eof:
        loop.add_reader(sys.stdin, _stop, stopped, ExitCode.DONE)
    return stopped


async def _run_until(stopped: "asyncio.Future[ExitCode]", residents: Residents) -> None:
    """Keep the phones on; raises what ends them before anybody stopped them."""
    living = asyncio.ensure_future(residents.run())
    either: set[asyncio.Future[Any]] = {stopped, living}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if living.done():
        await living
    living.cancel()
    await asyncio.gather(living, return_exceptions=True)


def _stop(stopped: "asyncio.Future[ExitCode]", code: ExitCode) -> None:
    if not stopped.done():
        stopped.set_result(code)


def _tell(out: Output, event: PhoneEvent) -> None:
    told: dict[str, object] = {"device": event.device, "event": event.happening.value, "text": event.text}
    if event.server:
        told["server"] = address_text(event.server)
    if event.outcome:
        told |= {"step": event.outcome.step.value, "code": event.outcome.code.value}
    out.data(told, f"{event.device} {event.happening}: {event.text}")
