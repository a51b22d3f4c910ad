"""``certferry cluster upgrade`` and ``certferry cluster move``: a cluster's tables and its place."""

import shlex
from datetime import UTC, datetime
from typing import Annotated

import typer

from certferry.cli.options import ClusterOption, JsonOption, cluster_given, output
from certferry.cluster.location import ClusterLocation
from certferry.cluster.moving import move as move_cluster
from certferry.cluster.upgrading import upgrade as upgrade_cluster


def upgrade(cluster: ClusterOption = None, as_json: JsonOption = False) -> None:
    """Bring a cluster that an earlier certferry made up to this one; stop what uses it before, on every machine."""
    out = output(as_json)
    done = upgrade_cluster(ClusterLocation.parse(cluster_given(cluster)), _now())
    copied = f" A copy of the database as it was: {done.backup}" if done.backup else ""
    text = f"Upgraded from schema {done.before} to {done.after}.{copied}"
    if done.before == done.after:
        text = f"It has schema {done.after} already; nothing was changed."
    out.data({"before": done.before, "after": done.after, "backup": str(done.backup) if done.backup else None}, text)


def move(
    to: Annotated[str, typer.Option("--to", metavar="PLACE", help="A new folder, or postgresql://USER@HOST/DATABASE.")],
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move a cluster from its folder into PostgreSQL, or back, with all it has; the old place is refused afterwards."""
    out = output(as_json)
    source, target = ClusterLocation.parse(cluster_given(cluster)), ClusterLocation.parse(to)
    done = move_cluster(source, target, _now)
    described = {"from": source.text, "to": target.text, "key_file": str(target.key_file), "rows": done.rows}
    out.data({**described, "audit_lines": done.audit_lines})
    rows, lines = sum(done.rows.values()), done.audit_lines
    out.text(f"Moved: {rows} rows, all compared; the audit log's {lines} lines hold together.")
    out.text(f"Its key file: {target.key_file}. Every machine that uses the cluster needs it, mode 0600.")
    out.text(f"Run its services again with: --cluster {shlex.quote(target.text)}")


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
