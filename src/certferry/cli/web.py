"""``certferry web``: the pages and the API of a cluster, and who may use them."""

from pathlib import Path
from typing import Annotated

import typer

from certferry.cli.dhcp_kea import open_kea
from certferry.cli.given import given
from certferry.cli.migrate_option150 import CaOption, CertificateOption, PasswordOption, StateOption, UserOption
from certferry.cli.options import ClusterOption, JsonOption, YesOption, confirm, open_cluster, open_place, output
from certferry.cli.output import Output
from certferry.cli.passwords import PasswordMissingError, first_line
from certferry.cluster.accounts import Role
from certferry.cluster.cluster import Cluster
from certferry.errors import UsageError
from certferry.web.passwords import Passwords

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8443

app = typer.Typer(invoke_without_command=True)
users = typer.Typer(help="Who may use the pages and the API.")
app.add_typer(users, name="user")


class ClusterTwiceError(UsageError):
    """Two of the clusters to show have the same name."""

    code = "web.cluster-twice"
    remedy = "Name each cluster once; its own is given by --cluster, the others by --other-cluster."


@app.callback()
def web(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = DEFAULT_PORT,
    other_cluster: Annotated[
        list[str] | None,
        typer.Option("--other-cluster", metavar="PATH", help="Another cluster's folder to show beside; repeatable."),
    ] = None,
    kea: Annotated[
        str | None,
        typer.Option(metavar="SOCKET|URL", help="A Kea in which operators may let migrations change option 150."),
    ] = None,
    kea_user: UserOption = "",
    kea_password_file: PasswordOption = None,
    kea_ca: CaOption = None,
    kea_client_certificate: CertificateOption = None,
    kea_state: StateOption = None,
    protect_metrics: Annotated[
        bool, typer.Option("--protect-metrics", help="Give /metrics only to who logged in or sends an API token.")
    ] = False,
    insecure_http: Annotated[
        bool, typer.Option("--insecure-http", help="Plain HTTP, for tests on a loopback address.")
    ] = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve the pages and the API until SIGTERM, with the publisher's tomcat certificate."""
    if context.invoked_subcommand is not None:
        given.cluster, given.as_json = cluster or given.cluster, as_json or given.as_json
        return
    out, opened = output(as_json), open_cluster(cluster)
    # FastAPI takes a third of a second to import, for which no other command should wait.
    from certferry.cli.web_serving import WebContext, serve_pages  # noqa: PLC0415

    others: dict[str, Cluster] = {}
    for place in other_cluster or ():
        other = open_place(place)
        if other.name in (opened.name, *others):
            raise ClusterTwiceError(f"two clusters are called {other.name}")
        others[other.name] = other
    chosen = open_kea(out, kea, kea_state, kea_user, kea_password_file, kea_ca, kea_client_certificate) if kea else None
    world = WebContext(opened, others, https=not insecure_http, kea=chosen, protect_metrics=protect_metrics)
    serve_pages(out, world, host, port)


@users.command()
def add(
    name: Annotated[str, typer.Argument(help="The name to log in with; it stands in the audit log.")],
    role: Annotated[Role, typer.Option(help="read-only may look, operator may look and change.")] = Role.READ_ONLY,
    password_file: Annotated[Path | None, typer.Option(help="File whose first line is the password.")] = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a user, or give a known one another password and role."""
    out, opened = output(as_json), open_cluster(cluster)
    Passwords(opened.accounts).put_user(name, role, _new_password(out, password_file))
    out.data({"user": name, "role": role.value}, f"{name} may log in as {role}.")


@users.command("list")
def list_(cluster: ClusterOption = None, as_json: JsonOption = False) -> None:
    """List who may log in."""
    out, known = output(as_json), open_cluster(cluster).accounts.users()
    described = [{"user": each.name, "role": each.role.value, "created_at": each.created_at} for each in known]
    out.data({"users": described})
    out.table(("user", "role", "since (UTC)"), [(e.name, e.role, f"{e.created_at:%Y-%m-%d %H:%M}") for e in known])


@users.command()
def remove(
    name: Annotated[str, typer.Argument(help="The user's name.")],
    yes: YesOption = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a user in no more; their sessions and tokens end at once."""
    out, opened = output(as_json), open_cluster(cluster)
    user = opened.accounts.user(name)
    tokens = sum(token.created_by == name for token in opened.accounts.tokens())
    confirm(out, f"Remove {user.role} {name} of {opened.name}, with {tokens} API tokens?", yes=yes)
    opened.accounts.remove_user(name)
    out.data({"removed": name}, f"{name} may not log in any more.")


def _new_password(out: Output, file: Path | None) -> str:
    if file is not None:
        return first_line(file)
    if not out.can_ask:
        raise PasswordMissingError(
            "no password was given", remedy="Give --password-file FILE, or run it on a terminal."
        )
    asked: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return asked
