"""``certferry phone``: the phones a cluster knows."""

from pathlib import Path
from typing import Annotated, Any

import typer

from certferry.cli.files import read_text
from certferry.cli.options import ClusterOption, JsonOption, open_cluster, output
from certferry.cluster.phones import DEFAULT_GROUP, device_name, parse_csv
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
    _add(parse_csv(read_text(csv)), cluster, as_json=as_json)


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
