"""``certferry serve``: run the services of a cluster's nodes until SIGTERM."""

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Annotated, Any

import typer
import uvloop

from certferry.cli.exit_codes import ExitCode
from certferry.cli.given import given
from certferry.cli.logs import LogLevel, LogLevelOption, log_on_stderr
from certferry.cli.options import ClusterOption, JsonOption, open_cluster, output
from certferry.cli.output import Output
from certferry.cli.serve_limits import MostFromOne, MostHttp, MostPhones, MostTvs, words_of
from certferry.cluster.cluster import Cluster
from certferry.cluster.nodes import find_node
from certferry.serve.http import CONNECTION_LIMIT
from certferry.serve.inherited import inherited_sockets, take_over_from_parent
from certferry.serve.limits import raise_file_limit
from certferry.serve.node import Listening, ServeOptions
from certferry.serve.notify import READY, STOPPING, notify
from certferry.serve.ports import claim
from certferry.serve.running import RunningCluster
from certferry.serve.tvs import MOST_CONNECTIONS
from certferry.serve.workers import Workers

MOST_WORKERS = 64


def serve(
    node: Annotated[
        list[str] | None, typer.Option("--node", help="Only this node; may be given several times.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=MOST_WORKERS, help="Processes that share the ports, one for each core.")
    ] = 1,
    allow_tls10: Annotated[
        bool, typer.Option("--allow-tls10", help="Let 7900 phones in, which know nothing above TLS 1.0.")
    ] = False,
    until_eof: Annotated[
        bool, typer.Option("--until-eof", help="End when standard input closes, too: with whoever started it.")
    ] = False,
    log_level: LogLevelOption = LogLevel.WARNING,
    max_tvs: MostTvs = MOST_CONNECTIONS,
    max_http: MostHttp = CONNECTION_LIMIT,
    max_phones: MostPhones = None,
    max_from_one_address: MostFromOne = None,
    worker: Annotated[str | None, typer.Option(hidden=True)] = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run TVS, TFTP, HTTP 6970 and the SIP registrar of the cluster's nodes until SIGTERM."""
    out, names = output(as_json), node or []
    opened = open_cluster(cluster)
    raise_file_limit()
    log_on_stderr(log_level)
    options = ServeOptions(allow_tls10, worker is not None, max_phones, max_tvs, max_http, max_from_one_address)
    if worker is not None:
        take_over_from_parent()
        told = _WorkersCluster.open(opened.location.text)
        given.clusters.append(told)
        _run(_work(told, names, options, is_first=worker == "first"))
    elif workers == 1:
        _run(_serve(out, opened, names, options, until_eof=until_eof))
    else:
        words = ["--log-level", log_level, *words_of(options)]
        _run(_supervise(out, opened, names, words, workers, until_eof=until_eof))


def _run(service: Coroutine[Any, Any, None]) -> None:
    """Run it to its end. Whoever asks for the end again does not cut short the process that is ending already."""
    is_own_process = callable(signal.getsignal(signal.SIGTERM))  # it has a handler, which the loop takes away
    try:
        uvloop.run(service)
    finally:
        if is_own_process:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


async def _serve(
    out: Output, cluster: Cluster, names: Sequence[str], options: ServeOptions, *, until_eof: bool
) -> None:
    stopped = _on_signals(until_eof=until_eof)
    running = RunningCluster(cluster, names, options)
    listening = await running.start()
    try:
        _tell_ready(out, cluster, [_describe(each) for each in listening], workers=1)
        await _until(stopped, running.follow)
    finally:
        notify(STOPPING)
        await running.close()


async def _supervise(
    out: Output, cluster: Cluster, names: Sequence[str], options: Sequence[str], count: int, *, until_eof: bool
) -> None:
    stopped = _on_signals(until_eof=until_eof)
    chosen = [word for name in names for word in ("--node", name)]
    place = cluster.location.text
    command = [sys.executable, "-m", "certferry", "serve", "--cluster", place, "--json", *chosen, *options]
    workers = Workers(command, count, cluster.report_served, inherited_sockets().numbers)
    ready = await workers.start()
    try:
        _tell_ready(out, cluster, ready["services"], workers=count)
        await _until(stopped, workers.keep)
    finally:
        notify(STOPPING)
        await workers.close()


class _WorkersCluster(Cluster):
    """The cluster as a worker sees it: what it serves goes to its parent, which tells what all workers serve."""

    def report_served(self, served: Mapping[str, int]) -> None:
        _write_line({"served": dict(served)})


async def _work(cluster: Cluster, names: Sequence[str], options: ServeOptions, *, is_first: bool) -> None:
    stopped = _on_signals(until_eof=True)
    if is_first:
        nodes = cluster.nodes()
        claim([find_node(nodes, name) for name in names] or nodes, cluster.security_mode)
    running = RunningCluster(cluster, names, options)
    listening = await running.start()
    _write_line({"ready": True, "services": [_describe(each) for each in listening]})
    try:
        await _until(stopped, running.follow)
    finally:
        await running.close()


def _on_signals(*, until_eof: bool) -> "asyncio.Future[ExitCode]":
    """Learn of SIGTERM, the usual end, and of Ctrl-C."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[ExitCode] = loop.create_future()
    loop.add_signal_handler(signal.SIGTERM, _stop, stopped, ExitCode.DONE)
    loop.add_signal_handler(signal.SIGINT, _stop, stopped, ExitCode.INTERRUPTED)
    if until_eof:
        loop.add_reader(sys.stdin, _stop, stopped, ExitCode.DONE)
    return stopped


def _stop(stopped: "asyncio.Future[ExitCode]", code: ExitCode) -> None:
    if not stopped.done():
        stopped.set_result(code)


async def _until(stopped: "asyncio.Future[ExitCode]", follow: Callable[[], Awaitable[None]]) -> None:
    """Keep up with what changes until told to stop; what breaks ``follow`` ends the service, not in silence."""
    following = asyncio.ensure_future(follow())
    either: set[asyncio.Future[Any]] = {stopped, following}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if following.done():
        await following
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    if code := stopped.result():
        raise typer.Exit(code)


def _tell_ready(out: Output, cluster: Cluster, services: Sequence[Mapping[str, Any]], *, workers: int) -> None:
    out.data({"ready": True, "cluster": cluster.name, "workers": workers, "services": services})
    for each in services:
        out.text(f"{each['node']:<20} {each['service']:<5} {each['address']}:{each['port']}")
    out.note("Running. Stop with Ctrl-C or SIGTERM.")
    sys.stdout.flush()
    notify(READY)


def _describe(listening: Listening) -> dict[str, Any]:
    return {
        "node": listening.node,
        "service": listening.service.value,
        "address": listening.address,
        "port": listening.port,
    }


def _write_line(value: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
