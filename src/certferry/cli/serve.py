"""``certferry serve``: run the services of a cluster's nodes until SIGTERM."""

import asyncio
import signal
import sys
from typing import Annotated, Any

import typer
import uvloop

from certferry.cli.options import ClusterOption, JsonOption, open_cluster, output
from certferry.cli.output import Output
from certferry.cluster.cluster import Cluster
from certferry.serve.node import Listening, ServeOptions
from certferry.serve.running import RunningCluster


def serve(
    node: Annotated[
        list[str] | None, typer.Option("--node", help="Only this node; may be given several times.")
    ] = None,
    allow_tls10: Annotated[
        bool, typer.Option("--allow-tls10", help="Let 7900 phones in, which know nothing above TLS 1.0.")
    ] = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run TVS, TFTP, HTTP 6970 and the SIP registrar of the cluster's nodes until SIGTERM."""
    out = output(as_json)
    uvloop.run(_run(out, open_cluster(cluster), node or [], ServeOptions(allow_tls10=allow_tls10)))


async def _run(out: Output, cluster: Cluster, names: list[str], options: ServeOptions) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = RunningCluster(cluster, names, options)
    listening = await running.start()
    following = asyncio.create_task(running.follow())
    out.data({"ready": True, "cluster": cluster.name, "services": [_describe(each) for each in listening]})
    for each in listening:
        out.text(f"{each.node:<20} {each.service:<5} {each.address}:{each.port}")
    out.note("Running. Stop with Ctrl-C or SIGTERM.")
    sys.stdout.flush()
    await stop.wait()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await running.close()


def _describe(listening: Listening) -> dict[str, Any]:
    return {
        "node": listening.node,
        "service": listening.service.value,
        "address": listening.address,
        "port": listening.port,
    }
