"""For machines that watch: /livez (the process answers), /readyz (its clusters can be read), /metrics (Prometheus)."""

from collections.abc import Iterable, Iterator, Sequence

from fastapi import APIRouter, Depends
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from certferry.cluster.cluster import Cluster
from certferry.web.context import context_of
from certferry.web.jobs import Jobs
from certferry.web.security import current_user
from certferry.web.views import served_digests

PREFIX = "certferry"
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LABELS = ("cluster", "node", "purpose", "store", "subject", "serial")

LOOKING = ["GET", "HEAD"]
"""Some that watch want to know nothing but the status."""

router = APIRouter(include_in_schema=False)


@router.api_route("/livez", methods=LOOKING)
async def livez() -> PlainTextResponse:
    """Say that the process answers."""
    return PlainTextResponse("ok\n")


@router.api_route("/readyz", methods=LOOKING)
def readyz(request: Request) -> PlainTextResponse:
    """Say that every cluster's database can be read; answers 503 with the reason otherwise."""
    for cluster in context_of(request).clusters:
        cluster.version()
    return PlainTextResponse("ok\n")


async def may_watch(request: Request) -> None:
    """Let everybody read the metrics, unless they are protected; raises ``NotLoggedInError`` then."""
    if context_of(request).protect_metrics:
        await current_user(request)


@router.api_route("/metrics", methods=LOOKING, dependencies=[Depends(may_watch)])
def metrics(request: Request) -> Response:
    """Give the metrics in Prometheus' text format."""
    state = request.app.state
    clusters = context_of(request).clusters
    text = state.expiries.text(clusters) + _text([*_counts(clusters), *_phones(clusters), _ended(state.jobs)])
    return Response(text, media_type=_CONTENT_TYPE)


class Expiries:
    """The ends of validity as text. Ten thousand certificates take half a second, so they are read anew on changes."""

    def __init__(self) -> None:
        self._versions: tuple[int, ...] = ()
        self._text = b""

    def text(self, clusters: Sequence[Cluster]) -> bytes:
        """Give the text, as of the clusters' latest changes."""
        versions = tuple(cluster.version() for cluster in clusters)
        if versions != self._versions:
            self._text = _text([_expiries(clusters)])
            self._versions = versions
        return self._text


class _Gathered(Collector):
    """Metrics that were gathered already, as the library wants them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Give them."""
        return self._families


def _text(families: Iterable[Metric]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gathered(families))
    return generate_latest(registry)


def _ended(jobs: Jobs) -> Metric:
    ended = CounterMetricFamily(f"{PREFIX}_jobs", "Jobs that ended.", labels=("kind", "state"))
    for (kind, state), count in sorted(jobs.ended.items()):
        ended.add_metric((kind, state), count)
    return ended


def _expiries(clusters: Sequence[Cluster]) -> Metric:
    family = GaugeMetricFamily(
        f"{PREFIX}_certificate_not_after_timestamp_seconds", "End of validity of a certificate.", labels=_LABELS
    )
    for cluster in clusters:
        for own in cluster.identities():
            labels = cluster.name, own.node or "", own.purpose.value, "", own.certificate.subject
            family.add_metric((*labels, own.certificate.serial_hex), own.certificate.not_after.timestamp())
        for store, subject, serial, not_after in cluster.trust_ends():
            family.add_metric((cluster.name, "", "", store, subject, serial), not_after.timestamp())
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


def _phones(clusters: Sequence[Cluster]) -> Iterator[Metric]:
    """What phones do: registered where, moving where, asking what of the services."""
    registered = GaugeMetricFamily(f"{PREFIX}_registered_phones", "Phones registered now.", labels=("cluster", "node"))
    lists = GaugeMetricFamily(
        f"{PREFIX}_phone_lists", "Phones by how their trust lists compare.", labels=("cluster", "status")
    )
    moving = GaugeMetricFamily(
        f"{PREFIX}_migration_phones", "Phones of a migration by state.", labels=("cluster", "migration", "state")
    )
    served = CounterMetricFamily(
        f"{PREFIX}_service", "What a node's service counted.", labels=("cluster", "node", "service", "what")
    )
    for cluster in clusters:
        for node, number in sorted(cluster.phone_search.registered().items()):
            registered.add_metric((cluster.name, node), number)
        for status, number in cluster.phone_search.count(served_digests(cluster)).items():
            lists.add_metric((cluster.name, status), number)
        for (migration, state), number in sorted(cluster.migration_search.counts().items()):
            moving.add_metric((cluster.name, migration, state), number)
        for (node, service, name), value in sorted(cluster.counters.totals().items()):
            served.add_metric((cluster.name, node, service, name), value)
    yield from (registered, lists, moving, served)
