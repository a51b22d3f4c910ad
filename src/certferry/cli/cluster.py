"""``certferry cluster``: create a cluster, see it, set its enterprise parameters and ports."""

import shlex
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from certferry.cli import backup as backup_commands
from certferry.cli import cluster_place as cluster_place_commands
from certferry.cli.given import given
from certferry.cli.options import ClusterOption, JsonOption, cluster_place, open_cluster, output
from certferry.cluster.cluster import Cluster, ClusterSpec
from certferry.cluster.issuing import Organisation
from certferry.cluster.nodes import parse_node
from certferry.cluster.parameters import PARAMETERS
from certferry.cluster.values import CallManagerGroup, Service
from certferry.errors import UsageError
from certferry.trust.release import Release
from certferry.wire.trust_list import TrustList

app = typer.Typer(help="Create and configure a cluster.")
app.command()(cluster_place_commands.upgrade)
app.command()(cluster_place_commands.move)
app.command()(backup_commands.backup)
app.command()(backup_commands.restore)


DEFAULT_ORGANISATION = Organisation()


class PortInvalidError(UsageError):
    """A port setting that cannot be."""

    code = "cli.port-invalid"
    remedy = "Write it as 'certferry cluster set port.NODE.SERVICE NUMBER', service tftp, tvs, http, sip or sips."


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="The cluster's name; it stands in the names of exported files.")],
    node: Annotated[
        list[str], typer.Option("--node", help="NAME=ADDRESS:ROLES; roles publisher,tftp,tvs,capf,callmanager.")
    ],
    release: Annotated[str, typer.Option(help="10.0 to 15, such as 10.5.2 or 12.5.1.")],
    secure: Annotated[bool, typer.Option("--secure", help="Mixed mode: the cluster has a CTL.")] = False,
    organisation: Annotated[str, typer.Option(help="O of every certificate.")] = DEFAULT_ORGANISATION.name,
    unit: Annotated[str, typer.Option(help="OU of every certificate.")] = DEFAULT_ORGANISATION.unit,
    itl_recovery_per_node: Annotated[
        bool,
        typer.Option("--itlrecovery-per-node", help="One ITLRecovery for each node, as some clusters before 12.5."),
    ] = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a cluster: its certificates, trust stores and trust lists, at the place --cluster (else ./NAME)."""
    out = output(as_json)
    place = cluster_place(cluster) or name
    spec = ClusterSpec(
        name,
        Release.parse(release),
        [parse_node(text) for text in node],
        secure=secure,
        organisation=Organisation(unit=unit, name=organisation),
        itl_recovery_per_node=itl_recovery_per_node,
    )
    made = Cluster.create(place, spec)
    given.clusters.append(made)
    shown = f"Cluster {name} stands in {place}. See it with: certferry cluster show --cluster {shlex.quote(place)}"
    out.data(_describe(made), shown)
    if "://" in place:
        out.text(f"Its key file: {made.location.key_file}. Every machine that uses the cluster needs it, mode 0600.")


@app.command()
def show(cluster: ClusterOption = None, as_json: JsonOption = False) -> None:
    """Show a cluster: release, mode, nodes, parameters, groups, trust lists."""
    out = output(as_json)
    described = _describe(open_cluster(cluster))
    out.data(described)
    release, mode, version = described["release"], described["security_mode"], described["version"]
    out.text(f"{described['name']}  release {release}  {mode}  change {version}")
    for heads, rows in _tables(described):
        out.text("")
        out.table(heads, rows)


@app.command("set")
def set_(
    key: Annotated[str, typer.Argument(help="An enterprise parameter, port.NODE.SERVICE, or group.NAME.")],
    value: Annotated[str, typer.Argument(help="The new value; for a group its nodes in order, parted by commas.")],
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set an enterprise parameter, a service's port or a CallManager group."""
    out = output(as_json)
    opened = open_cluster(cluster)
    rebuilt: tuple[str, ...] = ()
    if key.startswith("port."):
        _set_port(opened, key, value)
    elif key.startswith("group."):
        members = tuple(member.strip() for member in value.split(","))
        opened.put_group(CallManagerGroup(key.removeprefix("group."), members))
    else:
        rebuilt = opened.set_parameter(key, value)
    text = f"{key} is now {value}."
    if rebuilt:
        text += f" Rebuilt: {', '.join(rebuilt)}. Phones take them at their next reset."
    out.data({"key": key, "value": value, "rebuilt": rebuilt}, text)


@app.command("delete-ctl")
def delete_ctl(cluster: ClusterOption = None, as_json: JsonOption = False) -> None:
    """Delete the emptied CTL that is left when a cluster leaves mixed mode (file delete tftp CTLFile.tlv).

    Wait until the phones have taken it: what a phone holds stays on it, and one that still has the whole CTL keeps it.
    """
    out = output(as_json)
    open_cluster(cluster).delete_ctl()
    out.data({"deleted": "CTL"}, "The CTL is deleted. Phones are told that there is none.")


def _set_port(opened: Cluster, key: str, value: str) -> None:
    node, dot, service = key.removeprefix("port.").rpartition(".")
    if not dot or service not in tuple(Service) or not value.isdecimal() or not 0 < int(value) < 65536:  # noqa: PLR2004
        raise PortInvalidError(f"{key} {value} does not name a node, a service and a port")
    opened.set_port(opened.node(node).name, Service(service), int(value))


def _tables(described: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], list[tuple[object, ...]]]]:
    """Put what a cluster is into tables: the heads and the rows of each."""
    served = described["served"]
    yield (
        ("node", "address", "roles", "ports", "serves change"),
        [
            (
                node["name"],
                node["address"],
                ", ".join(node["roles"]),
                _ports(node["ports"]),
                served.get(node["name"], "-"),
            )
            for node in described["nodes"]
        ],
    )
    yield (
        ("enterprise parameter", "key", "value"),
        [(PARAMETERS[key].title, key, value) for key, value in described["parameters"].items()],
    )
    groups = [(group["name"], ", ".join(group["members"])) for group in described["groups"]]
    yield ("CallManager group", "members"), [*groups]
    heads = ("node", "records", "bytes", "signer")
    lists = [(each["kind"], *(each[head] for head in heads)) for each in described["trust_lists"]]
    yield ("trust list", *heads), lists


def _ports(ports: dict[str, int]) -> str:
    return " ".join(f"{service}:{port}" for service, port in ports.items())


def _describe(opened: Cluster) -> dict[str, Any]:
    parameters = opened.parameters()
    return {
        "name": opened.name,
        "release": str(opened.release),
        "security_mode": opened.security_mode.value,
        "location": opened.location.text,
        "nodes": [
            {
                "name": node.name,
                "address": node.address,
                "roles": sorted(node.roles),
                "ports": {service.value: port for service, port in node.ports.items()},
            }
            for node in opened.nodes()
        ],
        "parameters": parameters,
        "groups": [{"name": group.name, "members": list(group.members)} for group in opened.groups()],
        "trust_lists": list(_trust_lists(opened)),
        "phones": opened.counts()["phones"],
        "version": opened.version(),
        "served": opened.served(),
    }


def _trust_lists(opened: Cluster) -> list[dict[str, Any]]:
    wanted = [("CTL", None), *(("ITL", node.name) for node in opened.tftp_nodes())]
    described = []
    for kind, node in wanted:
        data = opened.trust_list("CTL" if kind == "CTL" else "ITL", node)
        if data is not None:
            parsed = TrustList.parse(data)
            described.append(
                {
                    "kind": kind,
                    "node": node or "all",
                    "records": len(parsed.records),
                    "bytes": len(data),
                    "signer": parsed.header.subject,
                }
            )
    return described
