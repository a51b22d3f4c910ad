"""Serving the pages until SIGTERM: apart from the command, for what it imports takes long to import."""

import asyncio
import signal
import sys
from collections.abc import Mapping

import typer
import uvloop

from certferry.cli.exit_codes import ExitCode
from certferry.cli.output import Output
from certferry.cluster.cluster import Cluster
from certferry.serve.notify import READY, STOPPING, notify
from certferry.web.app import create_app
from certferry.web.context import WebContext
from certferry.web.server import WebServer, check_loopback, listen, tls_context


def serve_pages(
    out: Output, cluster: Cluster, others: Mapping[str, Cluster], host: str, port: int, *, https: bool
) -> None:
    """Serve the pages of ``cluster`` beside ``others``; raises ``WebListenError``, ``PlainHttpError``."""
    if not https:
        check_loopback(host)
    uvloop.run(_serve(out, WebContext(cluster, others, https=https), host, port))


async def _serve(out: Output, world: WebContext, host: str, port: int) -> None:
    tls = tls_context(world.cluster) if world.https else None
    server = WebServer(create_app(world), listen(host, port, only_loopback=not world.https), tls)
    ended = ExitCode.DONE

    def stop(code: ExitCode) -> None:
        nonlocal ended
        ended = code
        notify(STOPPING)
        server.stop()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop, ExitCode.DONE)
    loop.add_signal_handler(signal.SIGINT, stop, ExitCode.INTERRUPTED)
    telling = asyncio.create_task(_tell_ready(out, world, server, host))
    try:
        await server.run_until_stopped()
    finally:
        telling.cancel()
    if ended:
        raise typer.Exit(ended)


async def _tell_ready(out: Output, world: WebContext, server: WebServer, host: str) -> None:
    await server.ready.wait()
    shown = f"[{host}]" if ":" in host else host
    url = f"{'https' if world.https else 'http'}://{shown}:{server.port}/"
    clusters = [cluster.name for cluster in world.clusters]
    out.data({"ready": True, "url": url, "port": server.port, "clusters": clusters}, f"{', '.join(clusters)}: {url}")
    if not world.cluster.accounts.users():
        place = world.cluster.location.text
        out.say("Nobody can log in yet. Add the first user in another terminal, this once:")
        out.say(f"  certferry web user add NAME --role operator --cluster {place}")
    out.note("Running. Stop with Ctrl-C or SIGTERM.")
    sys.stdout.flush()
    notify(READY)
