"""``certferry web`` as a process on HTTPS, and the published procedure through its API: two clusters, real SFTP."""

import json
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from certferry.cluster.accounts import Role
from certferry.cluster.cluster import Cluster
from certferry.lab.keys import PooledKeys
from certferry.serve.lab_sftp import LabSftp
from certferry.trust.purpose import Purpose, Store
from certferry.web.passwords import Passwords, make_token
from command_line import COMMAND, Background, certferry_process, loopback_cluster
from sftp_servers import lab_sftp
from web_site import CHEAP, PASSWORD

SFTP_PASSWORD = "between-two-clusters"


class Pinned(httpx.HTTPTransport):
    """Dials the server on loopback, and holds it to the publisher's name and certificate."""

    def __init__(self, name: str, context: ssl.SSLContext) -> None:
        super().__init__(verify=context)
        self._name = name

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["sni_hostname"] = self._name
        return super().handle_request(request)


@dataclass
class Web:
    """A running ``certferry web``."""

    cluster: Cluster
    process: subprocess.Popen[str]
    ready: Any

    def client(self) -> httpx.Client:
        certificate = self.cluster.identity(Purpose.TOMCAT).certificate
        context = ssl.create_default_context(cadata=certificate.pem)
        transport = Pinned(self.cluster.publisher.name, context)
        return httpx.Client(transport=transport, base_url=f"{self.ready['url']}api/v1/", timeout=120)

    @contextmanager
    def logged_in(self, name: str = "ann") -> Iterator[httpx.Client]:
        with self.client() as client:
            answer = client.post("session", json={"name": name, "password": PASSWORD})
            assert answer.status_code == 200, answer.text
            client.headers["x-csrf-token"] = answer.json()["csrf_token"]
            yield client


@contextmanager
def running(cluster: Cluster, *words: str) -> Iterator[Web]:
    place = str(cluster.location.folder)
    command = [*COMMAND, "web", "--cluster", place, "--port", "0", "--json", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Web(cluster, process, json.loads(process.stdout.readline()))
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def background() -> Iterator[Background]:
    with closing(Background()) as loop:
        yield loop


@pytest.fixture(scope="module")
def sftp(tmp_path_factory: pytest.TempPathFactory, background: Background) -> Iterator[LabSftp]:
    with background.entered(lab_sftp(tmp_path_factory.mktemp("sftp"), "certferry", SFTP_PASSWORD)) as serving:
        yield serving


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory, key_pool: PooledKeys) -> dict[str, Cluster]:
    folder = tmp_path_factory.mktemp("clusters")
    made = {name: loopback_cluster(folder / name, key_pool, name) for name in ("source", "destination")}
    for name, role in (("ann", Role.OPERATOR), ("eve", Role.OPERATOR), ("bob", Role.READ_ONLY)):
        Passwords(made["source"].accounts, CHEAP).put_user(name, role, PASSWORD)
    return made


@pytest.fixture(scope="module")
def web(clusters: dict[str, Cluster]) -> Iterator[Web]:
    with running(clusters["source"], "--other-cluster", str(clusters["destination"].location.folder)) as site:
        yield site


def finished(client: httpx.Client, started: httpx.Response) -> Any:
    """Follow a job by its events to the end."""
    assert started.status_code == 202, started.text
    events: list[tuple[str, Any]] = []
    with client.stream("GET", f"jobs/{started.json()['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in stream.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                events.append((name, json.loads(line.removeprefix("data: "))))
    assert [name for name, _ in events[:-1]] == ["progress"] * (len(events) - 1)
    assert events[-1][0] == "end"
    return events[-1][1]


def result_of(client: httpx.Client, started: httpx.Response) -> Any:
    job = finished(client, started)
    assert job["state"] == "done", job["error"]
    return job["result"]


# --- TLS and the process


def test_the_server_shows_the_publishers_tomcat_certificate(web: Web) -> None:
    assert web.ready["clusters"] == ["source", "destination"]
    with web.client() as client:
        assert client.get("session").status_code == 401


def test_who_does_not_trust_the_certificate_gets_no_answer(web: Web) -> None:
    with httpx.Client() as stranger, pytest.raises(httpx.ConnectError):
        stranger.get(web.ready["url"])


def test_nothing_older_than_tls_1_2_is_spoken_and_no_static_rsa(web: Web) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", web.ready["port"])) as plain, context.wrap_socket(plain) as wrapped:
        cipher = wrapped.cipher()
    assert cipher is not None
    assert cipher[0].startswith("ECDHE-RSA-")
    context.set_ciphers("AES128-SHA256:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", web.ready["port"])) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain)


@pytest.mark.slow
def test_a_regenerated_tomcat_certificate_is_taken_at_the_next_start(tmp_path: Path, key_pool: PooledKeys) -> None:
    cluster = loopback_cluster(tmp_path / "alone", key_pool, "alone")
    for _ in range(2):
        cluster.regenerate(Purpose.TOMCAT)
        with running(cluster) as site:
            with site.client() as client:
                assert client.get("openapi.json").status_code == 200
            site.process.terminate()
            assert site.process.wait(60) == 0


def test_the_first_start_tells_how_to_add_a_user_and_makes_up_none(tmp_path: Path, key_pool: PooledKeys) -> None:
    cluster = loopback_cluster(tmp_path / "fresh", key_pool, "fresh")
    with running(cluster, "--insecure-http") as site:
        assert site.ready["url"].startswith("http://127.0.0.1:")
        site.process.send_signal(signal.SIGINT)
        _, told = site.process.communicate(timeout=60)
    assert site.process.returncode == 130
    assert "certferry web user add NAME --role operator" in told
    assert cluster.accounts.users() == ()


def test_metrics_that_are_protected_take_a_token(tmp_path: Path, key_pool: PooledKeys) -> None:
    cluster = loopback_cluster(tmp_path / "watched", key_pool, "watched")
    cluster.accounts.put_user("ann", Role.OPERATOR, "none that anybody could log in with")
    token, text = make_token("prometheus", Role.READ_ONLY, "ann", datetime.now(UTC), None)
    cluster.accounts.put_token(token)
    with running(cluster, "--protect-metrics") as site, site.client() as client:
        assert client.get(f"{site.ready['url']}metrics").status_code == 401
        answer = client.get(f"{site.ready['url']}metrics", headers={"authorization": f"Bearer {text}"})
        assert answer.status_code == 200
        assert 'certferry_change_version{cluster="watched"}' in answer.text


def test_a_port_that_is_taken_is_told_before_anything_else(web: Web) -> None:
    place = str(web.cluster.location.folder)
    ended = certferry_process("web", "--cluster", place, "--port", str(web.ready["port"]), "--json")
    assert (ended.code, ended.error["code"]) == (1, "web.listen")


# --- the procedure


def test_the_published_procedure_goes_through_by_the_api_alone(
    web: Web, sftp: LabSftp, clusters: dict[str, Cluster]
) -> None:
    host, port = sftp.address
    form = {"host": host, "port": port, "user": "certferry", "directory": "/exchange", "password": SFTP_PASSWORD}
    with web.logged_in() as ann:
        for name in ("source", "destination"):
            about = {"cluster": name}
            assert ann.put("bulk/settings", json=form, params=about).status_code == 200
            unknown = finished(ann, ann.post("bulk/test", json={}, params=about))
            assert unknown["error"]["code"] == "bulk.host-key-unknown"
            taken = result_of(ann, ann.post("bulk/test", json={"accept_new_host_key": True}, params=about))
            assert taken["host_key"] == sftp.fingerprint
            result_of(ann, ann.post("bulk/export", json={}, params=about))
            listed = ann.get("bulk/files", params=about).json()
            assert listed["consolidate_offered"] is (name == "destination")
            assert bool(listed["why_not"]["consolidate"]) is (name == "source")
        assert "consolidated" in listed["why_not"]["import"]
        assert result_of(ann, ann.post("bulk/consolidate", json={}))["clusters"] == ["destination", "source"]
        assert ann.get("bulk/files").json()["import_offered"]
        for name in ("destination", "source"):
            about = {"cluster": name}
            plan = result_of(ann, ann.post("bulk/plan", json={}, params=about))
            done = result_of(ann, ann.post("bulk/import", json={"plan": plan["plan"]}, params=about))
            assert done["undo"]
            assert done["pending"] == plan["pending"] > 0
            again = result_of(ann, ann.post("bulk/plan", json={}, params=about))
            assert again["pending"] == 0
    held = {entry.certificate for entry in clusters["destination"].trust_entries(Store.PHONE_SAST_TRUST)}
    assert clusters["source"].identity(Purpose.CALLMANAGER).certificate in held
    for cluster in clusters.values():
        entry = cluster.history()[-1]
        assert (entry.actor, entry.action) == ("ann", "bulk import")
        lines = [json.loads(line) for line in cluster.audit_lines()]
        assert {"save-sftp", "accept-host-key", "bulk export"} <= {e["action"] for e in lines if e["actor"] == "ann"}
        cluster.verify_audit()


def test_two_administrators_and_a_double_click_make_one_import(web: Web) -> None:
    with web.logged_in() as ann, web.logged_in("eve") as eve:
        plan = result_of(ann, ann.post("bulk/plan", json={}))["plan"]
        wanted, key = {"plan": plan}, {"idempotency-key": "one-click"}
        clicks = [client.post("bulk/import", json=wanted, headers=key) for client in (ann, ann, eve)]
        assert len({click.json()["id"] for click in clicks}) == 1
        result_of(eve, clicks[2])
        stale = ann.post("bulk/export", json={}, headers=key)
        assert (stale.status_code, stale.json()["error"]["code"]) == (409, "web.key-reused")


def test_an_import_ends_right_whoever_logs_out_meanwhile(web: Web) -> None:
    with web.logged_in() as ann, web.logged_in("eve") as eve:
        started = ann.post("bulk/export", json={"types": ["tftp"]})
        assert ann.delete("session").status_code == 204
        assert ann.get(f"jobs/{started.json()['id']}").status_code == 401
        assert result_of(eve, started)["certificates"] > 0


def test_the_server_is_not_stopped_in_the_middle_of_a_job(
    clusters: dict[str, Cluster], sftp: LabSftp, web: Web
) -> None:
    assert sftp.address
    with running(clusters["source"]) as other:
        with other.logged_in() as ann:
            assert ann.post("bulk/export", json={}).status_code == 202
        other.process.terminate()
        assert other.process.wait(60) == 0
    with web.logged_in() as ann:
        listed = ann.get("bulk/files").json()
    assert all(file["signed"] for file in listed["files"] if file["cluster"] == "source")


def test_verify_and_rehearse_tell_what_stands_against_the_migration(web: Web) -> None:
    with web.logged_in() as ann:
        wish = {"source": ["source"], "destination": ["destination"], "phones": 1, "timeout": 0.5}
        done = finished(ann, ann.post("verify", json=wish))
        assert done["result"]["ok"] is False  # nobody serves the nodes
        assert {check["verdict"] for check in done["result"]["checks"]} >= {"fail"}
        page = ann.get(f"report/{done['id']}", params={"language": "ja", "title": "CHG-1"})
        assert page.headers["content-type"].startswith("text/html")
        assert "CHG-1" in page.text
        folder = {"source": [str(web.cluster.location.folder)], "destination": ["destination"]}
        refused = finished(ann, ann.post("rehearse", json=folder))
        assert refused["error"]["code"] == "migrate.endpoint-invalid"
