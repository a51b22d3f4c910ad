"""``certferry dhcp``: option 150, which tells phones their TFTP servers."""

from dataclasses import asdict
from typing import Annotated

import typer

from certferry.cli.exit_codes import ExitCode
from certferry.cli.options import JsonOption, output
from certferry.cli.output import Output
from certferry.dhcp.asking import ask
from certferry.dhcp.judging import Judgement, describe, judge
from certferry.dhcp.scope import Scope, address_of, pool_of, subnet_of, tftp_addresses
from certferry.dhcp.snippets import Server, Snippet
from certferry.dhcp.snippets import snippet as write_snippet
from certferry.errors import UsageError
from certferry.wire.phone_dhcp import DEFAULT_MODEL, DEFAULT_ORDER, TftpSource

app = typer.Typer(help="Option 150: what DHCP tells phones about their TFTP servers.")

TftpOption = Annotated[
    str, typer.Option("--tftp", metavar="IP[,IP]", help="The TFTP nodes that phones are to use, the preferred first.")
]


class SourceOrderError(UsageError):
    """Not an order of the places a TFTP server may stand in."""

    code = "dhcp.order"
    remedy = "Write 150, 66 and siaddr, each at most once, in the order phones look: 150,66,siaddr."


class HardwareAddressError(UsageError):
    """Not the MAC address of a phone."""

    code = "dhcp.mac"
    remedy = "Write it as 00:1b:54:00:00:01 or as the phone's name, SEP001B54000001."


@app.callback()
def _dhcp() -> None:
    """Option 150: what DHCP tells phones about their TFTP servers."""


@app.command("snippet")
def snippet(
    tftp: TftpOption,
    server: Annotated[Server, typer.Option("--for", help="Whose words.")],
    subnet: Annotated[
        str | None, typer.Option("--subnet", metavar="CIDR", help="The phones' subnet; Kea, ISC, Windows need it.")
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option("--pool", metavar="FIRST-LAST", help="Its range: writes a scope that is not there yet."),
    ] = None,
    router: Annotated[str | None, typer.Option("--router", metavar="IP", help="Its router, for such a scope.")] = None,
    name: Annotated[str, typer.Option("--name", help="The IOS pool, dnsmasq tag, or new Windows scope.")] = "VOICE",
    before: Annotated[
        str | None, typer.Option("--before", metavar="IP[,IP]", help="What stands there now, for the way back.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the change for a DHCP server, the command that checks it, and the way back; nothing changes anywhere."""
    out = output(as_json)
    scope = Scope(
        subnet_of(subnet) if subnet else None,
        pool_of(pool) if pool else None,
        address_of(router) if router else None,
        name,
    )
    written = write_snippet(server, scope, tftp_addresses(tftp), tftp_addresses(before) if before else ())
    out.data({"ok": True, **asdict(written)}, _in_words(written))
    _mind_the_way_back(out, written, before)


@app.command("check")
def check(
    interface: Annotated[str, typer.Option("--interface", help="An interface in the phones' network.")],
    expect: Annotated[
        str | None, typer.Option("--expect", metavar="IP[,IP]", help="What phones are to use; exit 4 if they won't.")
    ] = None,
    order: Annotated[
        str, typer.Option("--order", help="Which comes first for the phones: option 150, option 66, siaddr.")
    ] = ",".join(DEFAULT_ORDER),
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, max=120, help="How long to listen.")] = 6,
    mac: Annotated[str | None, typer.Option("--mac", help="Ask in the name of this phone: MAC or SEP name.")] = None,
    model: Annotated[str, typer.Option("--model", help="Ask as this model.")] = DEFAULT_MODEL,
    as_json: JsonOption = False,
) -> None:
    """Ask DHCP as an IP phone does and tell which TFTP servers phones will use; no lease is taken. Needs CAP_NET_RAW.

    Exit 0 when all is well, 4 when phones will not use what --expect says, 1 when anything else is wrong.
    """
    out = output(as_json)
    expected = tftp_addresses(expect) if expect else ()
    chosen, hardware = source_order(order), _hardware(mac)
    out.note(f"asking on {interface} for {seconds:g} s")
    judgement = judge(ask(interface, seconds, hardware=hardware, model=model), expected, chosen)
    out.data(_described(judgement, interface, expect), None)
    _tell(out, judgement)
    if judgement.held is False:
        raise typer.Exit(ExitCode.VERIFICATION_FAILED)
    if judgement.fails:
        raise typer.Exit(ExitCode.FAILED)


def source_order(text: str) -> tuple[TftpSource, ...]:
    """Read an order such as ``150,66,siaddr``; raises ``SourceOrderError``."""
    words = text.replace(" ", "").lower().split(",")
    if not set(words) <= set(TftpSource) or len(set(words)) != len(words):
        raise SourceOrderError(f"{text!r} is no order")
    return tuple(map(TftpSource, words))


def _hardware(text: str | None) -> bytes | None:
    if text is None:
        return None
    digits = text.upper().removeprefix("SEP")
    for mark in ":-.":
        digits = digits.replace(mark, "")
    if len(digits) != 12 or not set(digits) <= set("0123456789ABCDEF"):  # noqa: PLR2004 -- six bytes
        raise HardwareAddressError(f"{text!r} is no MAC address")
    return bytes.fromhex(digits)


def _described(judgement: Judgement, interface: str, expect: str | None) -> dict[str, object]:
    used = judgement.phone_uses
    return {
        "ok": not judgement.fails,
        "interface": interface,
        "offers": [describe(reading) for reading in judgement.readings],
        "phone_uses": None if used is None else {"source": used.source, "servers": list(used.servers)},
        "expected": None if expect is None else [str(address) for address in tftp_addresses(expect)],
        "findings": [
            {"id": each.topic, "verdict": each.verdict, "sentence": each.sentence, "remedy": each.remedy}
            for each in judgement.findings
        ],
    }


def _tell(out: Output, judgement: Judgement) -> None:
    offers = [describe(reading) for reading in judgement.readings]
    headings = ("SERVER", "OFFERS", "OPTION 150", "OPTION 66", "SIADDR", "A PHONE USES")
    rows = [[_cell(each[key]) for key in ("server", "address", "option_150", "option_66", "siaddr")] for each in offers]
    used = [reading.phone_uses for reading in judgement.readings]
    if offers:
        out.table(
            headings, [[*row, ",".join(one.servers) if one else "-"] for row, one in zip(rows, used, strict=True)]
        )
    for finding in judgement.findings:
        out.text(f"{finding.verdict:<5} {finding.sentence}")
        if finding.remedy:
            out.text(f"      {finding.remedy}")


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return "-" if value is None else str(value)


def _in_words(snippet: Snippet) -> str:
    place = f" in {snippet.file}" if snippet.file else ""
    parts = [
        ("See what stands there now, and keep it", snippet.show),
        (f"Change{place}", snippet.change),
        ("Check", snippet.check),
        ("Bring into force", snippet.activate),
        (f"The way back{place}, then check and bring into force again", snippet.back),
    ]
    return "\n\n".join(f"# {title}\n{text}" for title, text in parts if text)


def _mind_the_way_back(out: Output, snippet: Snippet, before: str | None) -> None:
    if before is None:
        out.warn(f"without --before the way back leaves option 150 out: keep what this prints now: {snippet.show}")
