"""The console's checklist: each step judged by what holds now, and one step that comes next."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from certferry.bulk.settings import SftpSettings
from certferry.cluster.cluster import Cluster
from certferry.cluster.values import Phone, TrustChange
from certferry.trust.purpose import BulkType
from certferry.web.pages.checklist import Side, Step, checklist, missing_certificates
from conftest import MakeCluster

NOW = datetime(2027, 1, 1, tzinfo=UTC)
CLEAN = {"ok": True, "checks": [{"verdict": "pass"}]}
Listing = dict[str, Any]


@pytest.fixture
def clusters(make_cluster: MakeCluster) -> tuple[Cluster, Cluster]:
    both = make_cluster("source", nodes=2), make_cluster("destination", "14", nodes=2)
    for cluster in both:
        cluster.add_phones([Phone("SEP001B54000001")])
    return both


def listing(*exported: str, offered: bool = False, at: datetime = NOW) -> Listing:
    files = [
        {"cluster": name, "type": kind.value, "consolidated": False, "signed": True, "modified": at}
        for name in exported
        for kind in BulkType
    ]
    return {"files": files, "import_offered": offered}


def judged(
    clusters: tuple[Cluster, Cluster], read: Listing | None = None, verified: dict[str, Any] | None = None
) -> list[Step]:
    here, there = clusters
    return checklist(Side(here, read), Side(there, read), verified)


def states(steps: list[Step]) -> list[str]:
    return [step.state for step in steps]


def next_step(steps: list[Step]) -> tuple[str, str]:
    (step,) = [step for step in steps if step.state in ("next", "by-hand")]
    return step.fact.step, step.fact.cluster


def configure(*clusters: Cluster) -> None:
    for cluster in clusters:
        SftpSettings("sftp.example", "me", "/exchange").save(cluster)


def import_everything(here: Cluster, there: Cluster) -> None:
    missing = missing_certificates(Side(here, None), Side(there, None))
    changes = [TrustChange("add", store, certificate, there.name) for store, certificate in missing]
    here.change_trust(changes, action="bulk import")


def serve(*clusters: Cluster) -> None:
    for cluster in clusters:
        cluster.report_served({node.name: cluster.version() for node in cluster.nodes()})
        cluster.heartbeats.beat("serve", [node.name for node in cluster.nodes()])


def test_the_steps_follow_one_another(clusters: tuple[Cluster, Cluster]) -> None:
    """Each block does what the list says comes next."""
    source, destination = clusters
    assert next_step(judged(clusters)) == ("settings", "destination")
    configure(destination)
    assert next_step(judged(clusters)) == ("settings", "source")
    configure(source)
    assert next_step(judged(clusters, listing())) == ("export", "destination")
    assert next_step(judged(clusters, listing("destination"))) == ("export", "source")
    both = listing("source", "destination")
    assert next_step(judged(clusters, both)) == ("consolidate", "")
    ready = listing("source", "destination", offered=True)
    assert next_step(judged(clusters, ready)) == ("import", "source")
    import_everything(source, destination)
    assert next_step(judged(clusters, ready)) == ("import", "destination")
    import_everything(destination, source)
    assert next_step(judged(clusters, ready)) == ("served", "")
    serve(source, destination)
    assert next_step(judged(clusters, ready)) == ("verify", "")
    done = judged(clusters, ready, CLEAN)
    assert next_step(done) == ("option150", "")
    assert states(done)[-1] == "waiting"


def failed(clusters: tuple[Cluster, Cluster]) -> list[Step]:
    return judged(
        clusters, listing("source", "destination", offered=True), {"ok": False, "checks": [{"verdict": "fail"}]}
    )


@pytest.mark.parametrize(
    ("spoil", "step"),
    [
        (lambda here, there: here.add_phones([Phone("SEP001B54000002")]), ("phones", "destination")),
        (lambda here, there: here.set_parameter("rollback-to-pre-8.0", "true"), ("rollback", "source")),
        (lambda here, there: SftpSettings("other.example", "me", "/x").save(here), ("settings", "destination")),
    ],
)
def test_what_is_undone_comes_next_again(
    clusters: tuple[Cluster, Cluster], spoil: Callable[[Cluster, Cluster], object], step: tuple[str, str]
) -> None:
    configure(*clusters)
    import_everything(*clusters)
    import_everything(*reversed(clusters))
    spoil(*clusters)
    serve(*clusters)
    assert next_step(judged(clusters, listing("source", "destination", offered=True), CLEAN)) == step


def test_a_certificate_made_after_the_export_makes_it_due_again(clusters: tuple[Cluster, Cluster]) -> None:
    configure(*clusters)
    born = max(identity.certificate.not_before for identity in clusters[1].identities())
    old = listing("source", "destination", offered=True, at=born - timedelta(seconds=1))
    assert next_step(judged(clusters, old)) == ("export", "destination")


def test_a_verification_that_fails_comes_next_again(clusters: tuple[Cluster, Cluster]) -> None:
    configure(*clusters)
    import_everything(*clusters)
    import_everything(*reversed(clusters))
    serve(*clusters)
    steps = failed(clusters)
    assert next_step(steps) == ("verify", "")
    assert next(step for step in steps if step.fact.step == "verify").fact.values["failed"] == 1


def test_a_directory_that_cannot_be_read_leaves_its_steps_unknown(clusters: tuple[Cluster, Cluster]) -> None:
    configure(*clusters)
    steps = judged(clusters, None)
    assert {step.fact.step for step in steps if step.state == "unknown"} == {"export", "consolidate"}


def test_option_150_names_two_tftp_nodes_and_ports_that_are_not_the_standard(clusters: tuple[Cluster, Cluster]) -> None:
    assert Side(clusters[0], None).option150 == ("127.0.2.1", "127.0.2.2")


def test_what_an_import_would_add_is_what_is_missing(clusters: tuple[Cluster, Cluster]) -> None:
    def missing() -> tuple[int, int]:
        here, there = (Side(cluster, None) for cluster in clusters)
        return len(missing_certificates(here, there)), len(missing_certificates(there, here))

    before = missing()
    assert all(before)
    import_everything(*clusters)
    assert missing() == (0, before[1])
