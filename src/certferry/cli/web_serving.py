"""Serving the pages until SIGTERM: apart from the command, for what it imports takes long to import."""

import asyncio
import signal
import socket
import sys

import typer
import uvloop

from certferry.cli.exit_codes import ExitCode
from certferry.cli.output import Output
from certferry.serve.notify import READY, STOPPING, notify
from certferry.trust.purpose import Purpose
from certferry.web.addresses import hosts_of, openable
from certferry.web.app import create_app
from certferry.web.context import WebContext
from certferry.web.server import WebServer, check_loopback, listen, tls_context

__all__ = ["WebContext", "serve_pages"]


def serve_pages(out: Output, world: WebContext, host: str, port: int) -> None:
    """Serve the pages of a world; raises ``WebListenError``, ``PlainHttpError``."""
    if not world.https:
        check_loopback(host)
    uvloop.run(_serve(out, world, host, port))


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
    telling = asyncio.create_task(tell_ready(out, world, server, host))
    try:
        await server.run_until_stopped()
    finally:
        telling.cancel()
    if ended:
        raise typer.Exit(ended)


async def tell_ready(out: Output, world: WebContext, server: WebServer, host: str) -> None:
    """Say where the pages are opened once they are served, and what stands in the way."""
    await server.ready.wait()
    names = hosts_of(world.cluster.identity(Purpose.TOMCAT).certificate) if world.https else None
    there = openable(host, server.address, socket.gethostname(), names)
    urls = there.urls("https" if world.https else "http", server.port)
    clusters = [cluster.name for cluster in world.clusters]
    ready = {"ready": True, "url": urls[0], "urls": urls, "port": server.port, "clusters": clusters}
    out.data(ready, f"{', '.join(clusters)}: {'  '.join(urls)}")
    if there.warning:
        out.warn(there.warning)
    if not world.cluster.accounts.users():
        place = world.cluster.location.text
        out.say("Nobody can log in yet. Add the first user in another terminal, this once:")
        out.say(f"  certferry web user add NAME --role operator --cluster {place}")
    out.note("Running. Stop with Ctrl-C or SIGTERM.")
    sys.stdout.flush()
    notify(READY)
