"""The audit log: every change leaves a line, and tampering with the lines is found."""

import json
import sqlite3
from collections.abc import Callable
from getpass import getuser

import pytest

from certferry.cluster import audit
from certferry.cluster.audit import AuditBrokenError
from certferry.cluster.cluster import Cluster
from certferry.cluster.parameters import TVS_CACHE
from certferry.cluster.values import CallManagerGroup, Phone, Service, TrustChange
from certferry.trust.purpose import Purpose, Store
from conftest import CLUSTER_BORN, MakeCertificate, MakeCluster

DEVICE = "SEP001122334455"


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    """A cluster with four lines in its log."""
    made = make_cluster(nodes=1)
    for seconds in ("10", "20", "30"):
        made.set_parameter(TVS_CACHE, seconds)
    return made


def tamper(cluster: Cluster, statement: str, *values: object) -> None:
    """Change the database by hand, as a stranger with access to the file would."""
    connection = sqlite3.connect(cluster.location.database, isolation_level=None)
    connection.execute(statement, values)
    connection.close()


def tell(cluster: Cluster) -> list[str]:
    return [json.loads(line)["action"] for line in cluster.audit_lines()]


# --- what stands in it


def test_a_line_tells_who_did_what_and_when(cluster: Cluster) -> None:
    line = json.loads(cluster.audit_lines()[-1])
    assert line["at"] == CLUSTER_BORN.isoformat()
    assert line["actor"] == getuser()
    assert line["action"] == "set-parameter"
    assert (line["key"], line["value"]) == (TVS_CACHE, "30")


def test_the_log_begins_with_the_making_of_the_cluster(cluster: Cluster) -> None:
    assert json.loads(cluster.audit_lines()[0])["action"] == "create-cluster"
    assert json.loads(cluster.audit_lines()[0])["previous"] == "0" * 64


def test_every_kind_of_change_leaves_one_line(make_cluster: MakeCluster, make_certificate: MakeCertificate) -> None:
    cluster = make_cluster(nodes=1)
    cluster.set_parameter(TVS_CACHE, "60")
    cluster.set_port("source-pub", Service.TVS, 12445)
    cluster.regenerate(Purpose.TVS)
    cluster.request_certificate(Purpose.TOMCAT)
    undo = cluster.change_trust([TrustChange("add", Store.TOMCAT_TRUST, make_certificate())], action="upload")
    cluster.undo(undo)
    cluster.add_phones([Phone(DEVICE)])
    cluster.remove_phones([DEVICE])
    cluster.put_group(CallManagerGroup("East", ("source-pub",)))
    assert tell(cluster) == [
        "create-cluster",
        "set-parameter",
        "set-port",
        "regenerate",
        "request-certificate",
        "upload",
        "undo",
        "add-phones",
        "remove-phones",
        "put-group",
    ]
    assert cluster.verify_audit() == audit.verify(cluster.audit_lines()) == 10


def test_a_regenerated_certificate_is_told_with_the_one_before(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    old = cluster.identity(Purpose.TVS).certificate
    new, _ = cluster.regenerate(Purpose.TVS)
    line = json.loads(cluster.audit_lines()[-1])
    assert (line["before"], line["after"]) == (old.sha256, new.certificate.sha256)
    assert (line["purpose"], line["node"]) == ("TVS", "source-pub")


def test_a_change_that_was_refused_leaves_no_line(cluster: Cluster) -> None:
    before = cluster.audit_lines()
    with pytest.raises(Exception, match="not a number of seconds"):
        cluster.set_parameter(TVS_CACHE, "never")
    assert cluster.audit_lines() == before


def test_reading_leaves_no_line(cluster: Cluster) -> None:
    before = cluster.audit_lines()
    cluster.identities(), cluster.trust_entries(), cluster.history(), cluster.phones(), cluster.version()
    cluster.report_served({"source-pub": 3})
    assert cluster.audit_lines() == before


def test_names_of_any_script_stay_readable(cluster: Cluster) -> None:
    cluster.put_group(CallManagerGroup("東京", ("source-pub",)))
    assert '"東京"' in cluster.audit_lines()[-1]


# --- tampering is found


def test_an_untouched_log_verifies(cluster: Cluster) -> None:
    assert cluster.verify_audit() == 4
    assert audit.verify(cluster.audit_lines()) == 4


def test_an_empty_log_has_no_lines() -> None:
    assert audit.verify([]) == 0


TAMPERING: dict[str, tuple[str, str]] = {
    "a line changed": ("UPDATE audit SET line = replace(line, '\"20\"', '\"21\"') WHERE position = 3", "line 4"),
    "a line removed": ("DELETE FROM audit WHERE position = 2", "line 2"),
    "the first line removed": ("DELETE FROM audit WHERE position = 1", "line 1"),
    "two lines swapped": ("UPDATE audit SET position = 5 - position + 10 WHERE position IN (2, 3)", "line 2"),
    "a line put in": ('INSERT INTO audit (position, line) VALUES (0, \'{"previous": ""}\')', "line 1"),
    "no JSON": ("UPDATE audit SET line = 'gone' WHERE position = 3", "line 3"),
    "no object": ("UPDATE audit SET line = '[]' WHERE position = 3", "line 3"),
    "the last line changed": ("UPDATE audit SET line = replace(line, '\"30\"', '\"31\"') WHERE position = 4", "line 4"),
    "the last line removed": ("DELETE FROM audit WHERE position = 4", "line 3"),
    "everything removed": ("DELETE FROM audit", "line 0"),
}


@pytest.mark.parametrize(("statement", "told"), TAMPERING.values(), ids=TAMPERING.keys())
def test_tampering_is_found_and_the_line_named(cluster: Cluster, statement: str, told: str) -> None:
    tamper(cluster, statement)
    with pytest.raises(AuditBrokenError, match=told):
        cluster.verify_audit()


CONTINUED: dict[str, str] = {
    "the last line changed": "UPDATE audit SET line = replace(line, '\"30\"', '\"31\"') WHERE position = 4",
    "the last line removed": "DELETE FROM audit WHERE position = 4",
    "everything removed": "DELETE FROM audit",
}


@pytest.mark.parametrize("statement", CONTINUED.values(), ids=CONTINUED.keys())
def test_lines_written_later_do_not_hide_it(cluster: Cluster, statement: str) -> None:
    tamper(cluster, statement)
    cluster.set_parameter(TVS_CACHE, "40")
    with pytest.raises(AuditBrokenError):
        cluster.verify_audit()


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [*lines[:1], *lines[2:]],
        lambda lines: lines[::-1],
        lambda lines: [lines[0].replace("create", "delete"), *lines[1:]],
        lambda lines: ["", *lines],
    ],
    ids=["one missing", "reversed", "first changed", "one too many"],
)
def test_lines_that_were_exported_are_verified_alike(
    cluster: Cluster, change: Callable[[list[str]], list[str]]
) -> None:
    with pytest.raises(AuditBrokenError, match="does not follow from the line before it"):
        audit.verify(change(list(cluster.audit_lines())))
