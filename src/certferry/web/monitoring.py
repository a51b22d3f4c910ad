"""For machines that watch: /livez (the process answers), /readyz (its clusters can be read), /metrics (Prometheus)."""

from collections.abc import Iterator, Sequence

from fastapi import APIRouter
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from certferry.cluster.cluster import Cluster
from certferry.cluster.searching import Slice, TrustQuery
from certferry.web.context import WebContext, context_of
from certferry.web.jobs import Jobs

PREFIX = "certferry"
MOST_ENTRIES = 100_000
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LABELS = ("cluster", "node", "purpose", "store", "subject", "serial")

router = APIRouter(include_in_schema=False)


@router.get("/livez")
async def livez() -> PlainTextResponse:
    """Say that the process answers."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
def readyz(request: Request) -> PlainTextResponse:
    """Say that every cluster's database can be read; answers 503 with the reason otherwise."""
    for cluster in context_of(request).clusters:
        cluster.version()
    return PlainTextResponse("ok\n")


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Give the metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Watched(context_of(request), request.app.state.jobs))
    return Response(generate_latest(registry), media_type=_CONTENT_TYPE)


class _Watched(Collector):
    """What can be told of the clusters and of this server."""

    def __init__(self, context: WebContext, jobs: Jobs) -> None:
        self._context = context
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        """Read everything anew."""
        clusters = self._context.clusters
        yield _expiries(clusters)
        yield from _counts(clusters)
        ended = CounterMetricFamily(f"{PREFIX}_jobs", "Jobs that ended.", labels=("kind", "state"))
        for (kind, state), count in sorted(self._jobs.ended.items()):
            ended.add_metric((kind, state), count)
        yield ended


def _expiries(clusters: Sequence[Cluster]) -> Metric:
    family = GaugeMetricFamily(
        f"{PREFIX}_certificate_not_after_timestamp_seconds", "End of validity of a certificate.", labels=_LABELS
    )
    for cluster in clusters:
        for own in cluster.identities():
            labels = cluster.name, own.node or "", own.purpose.value, "", own.certificate.subject
            family.add_metric((*labels, own.certificate.serial_hex), own.certificate.not_after.timestamp())
        for entry in cluster.find_trust(TrustQuery(), Slice(0, MOST_ENTRIES)).items:
            labels = cluster.name, "", "", entry.store.value, entry.subject
            family.add_metric((*labels, entry.serial), entry.not_after.timestamp())
    return family


def _counts(clusters: Sequence[Cluster]) -> Iterator[Metric]:
    version = GaugeMetricFamily(f"{PREFIX}_change_version", "Change version of the cluster.", labels=("cluster",))
    served = GaugeMetricFamily(
        f"{PREFIX}_served_version", "Change version that a node's services answer from.", labels=("cluster", "node")
    )
    counted = {
        name: GaugeMetricFamily(f"{PREFIX}_{name}", f"Number of {name.replace('_', ' ')}.", labels=("cluster",))
        for name in ("phones", "trust_entries", "audit_lines")
    }
    for cluster in clusters:
        version.add_metric((cluster.name,), cluster.version())
        for node, number in cluster.served().items():
            served.add_metric((cluster.name, node), number)
        for name, number in cluster.counts().items():
            counted[name].add_metric((cluster.name,), number)
    yield from (version, served, *counted.values())
