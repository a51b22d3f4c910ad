"""``certferry audit``: who did what to a cluster, as JSON lines that cannot be changed unseen."""

import typer

from certferry.cli.options import ClusterOption, JsonOption, open_cluster, output
from certferry.cluster import audit

app = typer.Typer(help="The audit log of a cluster.", no_args_is_help=True)


@app.command()
def show(cluster: ClusterOption = None) -> None:
    """Print the audit log, one JSON object a line, oldest first."""
    for line in open_cluster(cluster).audit_lines():
        typer.echo(line)


@app.command()
def verify(cluster: ClusterOption = None, as_json: JsonOption = False) -> None:
    """Check that no line of the audit log is missing or was changed."""
    count = audit.verify(open_cluster(cluster).audit_lines())
    output(as_json).data({"ok": True, "lines": count}, f"{count} lines, each follows from the one before.")
