"""``certferry dhcp``: option 150, which tells phones their TFTP servers."""

from dataclasses import asdict
from typing import Annotated

import typer

from certferry.cli.options import JsonOption, output
from certferry.cli.output import Output
from certferry.dhcp.scope import Scope, address_of, pool_of, subnet_of, tftp_addresses
from certferry.dhcp.snippets import Server, Snippet
from certferry.dhcp.snippets import snippet as write_snippet

app = typer.Typer(help="Option 150: what DHCP tells phones about their TFTP servers.")

TftpOption = Annotated[
    str, typer.Option("--tftp", metavar="IP[,IP]", help="The TFTP nodes that phones are to use, the preferred first.")
]


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
