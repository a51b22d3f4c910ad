"""``certferry bulk sftp``: the SFTP form of Bulk Certificate Management, saved once it is tested."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from certferry.bulk.settings import Algorithms
from certferry.bulk.trying import merge_settings, try_settings
from certferry.cli.addresses import check_host
from certferry.cli.options import ClusterOption, JsonOption, open_cluster, output
from certferry.cli.passwords import first_line, sftp_password


def sftp(
    host: Annotated[str | None, typer.Option(help="IP address or name of the common server.")] = None,
    port: Annotated[int | None, typer.Option(help="Port, 22 by default.")] = None,
    user: Annotated[str | None, typer.Option(help="User ID.")] = None,
    directory: Annotated[str | None, typer.Option(help="The directory all clusters share.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="File whose first line is the password.")] = None,
    client_key: Annotated[Path | None, typer.Option(help="Private key to log in with instead of a password.")] = None,
    known_hosts: Annotated[
        Path | None, typer.Option(help="Host keys to verify against; ~/.ssh/known_hosts else.")
    ] = None,
    accept_new_host_key: Annotated[
        bool, typer.Option("--accept-new-host-key", help="Take over an unknown host key and print its fingerprint.")
    ] = False,
    pkcs12_password_file: Annotated[Path | None, typer.Option(help="Password of the exchange's PKCS#12 files.")] = None,
    kex: Annotated[str, typer.Option(help="Key exchange algorithms, for old servers; +NAME adds one.")] = "",
    ciphers: Annotated[str, typer.Option(help="Ciphers, for old servers.")] = "",
    macs: Annotated[str, typer.Option(help="MACs, for old servers.")] = "",
    host_key_algorithms: Annotated[str, typer.Option(help="Host key algorithms, for old servers.")] = "",
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Save and test the SFTP settings; without options, test the saved ones."""
    out = output(as_json)
    opened = open_cluster(cluster)
    if host:
        check_host(host)
    settings = merge_settings(opened, {"host": host, "port": port, "user": user, "directory": directory})
    if password_file:
        settings = replace(settings, client_key=None)
    settings = replace(
        settings,
        client_key=_lasting(client_key) or settings.client_key,
        known_hosts=_lasting(known_hosts) or settings.known_hosts,
        pkcs12_password=first_line(pkcs12_password_file) if pkcs12_password_file else settings.pkcs12_password,
        algorithms=_algorithms(settings.algorithms, kex, ciphers, macs, host_key_algorithms),
    )
    if settings.client_key is None:
        settings = replace(settings, password=sftp_password(out, password_file, settings.password))
    tried = asyncio.run(try_settings(settings, accept_new_host_key=accept_new_host_key))
    tested, fingerprint = tried.settings, tried.fingerprint
    tested.save(opened)
    if tried.accepted_new_host_key:
        out.say(f"Took over the host key {fingerprint}. Compare it with the server's own.")
    saved = {"url": tested.url, "host_key": fingerprint, "accepted_new_host_key": tried.accepted_new_host_key}
    out.data(saved, f"{tested.url} answers; host key {fingerprint}. Saved.")


def _lasting(path: Path | None) -> Path | None:
    """Write a path so that it is found from any folder later."""
    return path.expanduser().absolute() if path else None


def _algorithms(saved: Algorithms, kex: str, ciphers: str, macs: str, host_keys: str) -> Algorithms:
    return Algorithms(kex or saved.kex, ciphers or saved.ciphers, macs or saved.macs, host_keys or saved.host_keys)
