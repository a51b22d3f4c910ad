"""``certferry phone``: the phones a cluster knows."""

import asyncio
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Any

import typer

from certferry.cli.exit_codes import ExitCode
from certferry.cli.files import read_phones
from certferry.cli.options import ClusterOption, JsonOption, open_cluster, output
from certferry.cli.progress import progress_bars
from certferry.cluster.acting import actor
from certferry.cluster.hand_resets import WAIT_SECONDS, reset_by_hand
from certferry.cluster.phones import DEFAULT_GROUP, device_name
from certferry.cluster.values import DEFAULT_MODEL, Phone

app = typer.Typer(help="The phones a cluster knows.")


@app.command()
def add(
    device: Annotated[list[str], typer.Argument(help="SEP<MAC> or a MAC address; several are taken.")],
    model: Annotated[str, typer.Option(help="Model number, such as 8861 or 7962.")] = DEFAULT_MODEL,
    group: Annotated[str, typer.Option(help="CallManager group.")] = DEFAULT_GROUP,
    secure: Annotated[bool, typer.Option("--secure", help="Registers over mutual TLS with its LSC.")] = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add phones, or change known ones."""
    phones = [Phone(device_name(text), model, group, secure) for text in device]
    _add(phones, cluster, as_json=as_json)


@app.command("import")
def import_(
    csv: Annotated[Path, typer.Argument(help="CSV with columns device,model,group,secure,description.")],
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add all phones of a CSV file; one faulty line adds none."""
    _add(read_phones(csv), cluster, as_json=as_json)


@app.command("list")
def list_(cluster: ClusterOption = None, as_json: JsonOption = False) -> None:
    """List the phones."""
    out = output(as_json)
    phones = open_cluster(cluster).phones()
    out.data({"phones": [_describe(phone) for phone in phones]})
    rows = [
        (phone.device, phone.model, phone.group, "secure" if phone.secure else "", phone.description)
        for phone in phones
    ]
    out.table(("device", "model", "group", "profile", "description"), rows)


@app.command()
def remove(
    device: Annotated[list[str], typer.Argument(help="SEP<MAC> or a MAC address; several are taken.")],
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forget phones; when one of them is not known, none is forgotten."""
    names = [device_name(text) for text in device]
    open_cluster(cluster).remove_phones(names)
    output(as_json).data({"removed": names}, f"Removed {len(names)} phones.")


@app.command()
def reset(
    device: Annotated[list[str], typer.Argument(help="SEP<MAC> or a MAC address; several are taken.")],
    wait: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds without news after which a phone counts as absent.")
    ] = WAIT_SECONDS,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have registered phones reset, each once, and wait until it is known of each whether it does.

    Exit 0 when all reset, 5 when some do, 1 when none does. What no node takes is withdrawn, also by Ctrl-C.
    """
    out, opened = output(as_json), open_cluster(cluster)
    with progress_bars(out) as report:
        coming = reset_by_hand(
            opened.resets,
            f"hand-{token_hex(8)}",
            device,
            actor(),
            wait=wait,
            progress=lambda done, total: report("reset", done, total),
        )
        ended = asyncio.run(coming)
    done = sum(each.done for each in ended)
    told = [{"device": each.device, "outcome": each.word, "node": each.node} for each in ended]
    out.data({"ok": done == len(ended), "reset": done, "phones": told})
    rows = [(each.device, each.word, each.sentence) for each in ended]
    out.table(("device", "outcome", ""), rows, sentences=True)
    if done < len(ended):
        raise typer.Exit(ExitCode.PARTLY_DONE if done else ExitCode.FAILED)


def _add(phones: list[Phone], cluster: str | None, *, as_json: bool) -> None:
    open_cluster(cluster).add_phones(phones)
    added = {"added": len(phones), "phones": [_describe(phone) for phone in phones]}
    output(as_json).data(added, f"Added or changed: {len(phones)}.")


def _describe(phone: Phone) -> dict[str, Any]:
    return {
        "device": phone.device,
        "model": phone.model,
        "group": phone.group,
        "secure": phone.secure,
        "description": phone.description,
    }
