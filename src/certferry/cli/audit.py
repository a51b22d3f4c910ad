"""``certferry audit``: who did what to a cluster, as JSON lines that cannot be changed unseen."""

import json

import typer

from certferry.cli.options import ClusterOption, JsonOption, open_cluster, output

app = typer.Typer(help="The audit log of a cluster.")


@app.command()
def show(cluster: ClusterOption = None, as_json: JsonOption = False) -> None:
    """Print the audit log, one JSON object a line, oldest first; with --json all of them in one object."""
    out = output(as_json)
    lines = open_cluster(cluster).audit_lines()
    out.data({"lines": [json.loads(line) for line in lines]})
    for line in lines:
        out.text(line)


@app.command()
def verify(cluster: ClusterOption = None, as_json: JsonOption = False) -> None:
    """Check that no line of the audit log is missing or was changed."""
    count = open_cluster(cluster).verify_audit()
    output(as_json).data({"ok": True, "lines": count}, f"{count} lines, each follows from the one before.")
