"""``certferry serve`` as a process, and the commands that talk to a running node: trustlist, tvs ask, curl."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.values import Phone, Service
from certferry.lab.keys import PooledKeys
from certferry.wire.trust_list import TrustList
from command_line import COMMAND, certferry, certferry_process, loopback_cluster, wait_until
from conftest import MakeCertificate

PHONE = "SEP001B54AABBCC"
PATIENCE = 60
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@dataclass
class Served:
    """A cluster, the process that serves it, and what that said when it was ready."""

    cluster: Cluster
    folder: Path
    process: subprocess.Popen[str]
    ready: Any

    def at(self, service: Service, node: int = 0) -> str:
        chosen = self.cluster.nodes()[node]
        return f"{chosen.address}:{chosen.ports[service]}"

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[Served]:
    command = [*COMMAND, "serve", "--cluster", str(folder), "--json", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Served(Cluster.open(folder), folder, process, json.loads(process.stdout.readline()))
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, key_pool: PooledKeys) -> Path:
    folder = tmp_path_factory.mktemp("served") / "cluster"
    cluster = loopback_cluster(folder, key_pool, count=2, secure=True)
    cluster.add_phones([Phone(PHONE)])
    cluster.close()
    return folder


@pytest.fixture(scope="module")
def served(template: Path) -> Iterator[Served]:
    with serving(template) as running:
        yield running


@pytest.fixture
def callmanager(served: Served, tmp_path: Path) -> Path:
    file = tmp_path / "callmanager.pem"
    words = ["CallManager", "--node", "source-sub1", "--to", file]
    assert certferry("cert", "download", *words, "--cluster", served.folder).code == 0
    return file


@pytest.fixture
def stranger(make_certificate: MakeCertificate, tmp_path: Path) -> Path:
    file = tmp_path / "stranger.pem"
    file.write_text(make_certificate("CN=stranger;O=Elsewhere").pem)
    return file


# --- serve


def test_one_line_says_that_every_service_of_every_node_is_there(served: Served) -> None:
    assert served.ready["ready"] is True
    services = {(each["node"], each["service"]) for each in served.ready["services"]}
    assert services == {
        (node, service) for node in ("source-pub", "source-sub1") for service in ("tvs", "tftp", "http", "sip", "sips")
    }
    assert all({"address", "port"} <= set(each) for each in served.ready["services"])


@needs_curl
@pytest.mark.parametrize("service", [Service.HTTP, Service.TFTP])
def test_curl_gets_the_trust_list_that_the_cluster_has(served: Served, service: Service) -> None:
    url = f"{service.value}://{served.at(service)}/ITL{PHONE}.tlv"
    got = subprocess.run(["curl", "-sS", "--max-time", str(PATIENCE), url], capture_output=True, check=True)
    assert got.stdout == served.cluster.trust_list("ITL", "source-pub")


def test_a_port_that_is_taken_gives_one_sentence(served: Served) -> None:
    again = certferry_process("serve", "--cluster", served.folder, "--json")
    assert again.code == 1
    assert again.error["code"] == "serve.listen"
    assert served.at(Service.TVS) in again.error["sentence"]
    assert len(again.stderr.splitlines()) == 2


def test_sigterm_is_the_usual_end_and_ctrl_c_an_interruption(
    template: Path, tmp_path: Path, key_pool: PooledKeys
) -> None:
    loopback_cluster(tmp_path / "own", key_pool).close()
    with serving(tmp_path / "own", "--node", "source-pub") as running:
        running.process.send_signal(signal.SIGTERM)
        assert running.stop(signal.SIGTERM) == 0  # asked twice, it ends no worse
        assert running.process.communicate() == ("", "")
    with serving(tmp_path / "own") as running:
        assert running.stop(signal.SIGINT) == 130


def test_an_unknown_node_is_wrong_usage(template: Path) -> None:
    ended = certferry("serve", "--cluster", template, "--node", "nobody", "--json")
    assert (ended.code, ended.error["code"]) == (2, "cluster.node-unknown")


@pytest.mark.slow
def test_workers_share_the_ports_and_all_take_over_a_change(
    tmp_path: Path, key_pool: PooledKeys, stranger: Path
) -> None:
    folder = tmp_path / "own"
    loopback_cluster(folder, key_pool).close()
    with serving(folder, "--workers", "2") as running:
        assert running.ready["workers"] == 2
        assert len(running.ready["services"]) == 4
        assert len(_children(running.process.pid)) == 2
        again = certferry_process("serve", "--workers", "2", "--cluster", folder, "--json")
        assert (again.code, again.error["code"]) == (1, "serve.worker")
        assert "cannot listen" in again.error["sentence"]
        assert certferry("cert", "upload", stranger, "--store", "Phone-SAST-trust", "--cluster", folder).code == 0
        _settled(running.cluster)
        for _ in range(8):  # the kernel chooses which worker answers
            assert certferry("tvs", "ask", running.at(Service.TVS), stranger).code == 0
        workers = _children(running.process.pid)
        assert running.stop() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


@pytest.mark.slow
def test_a_worker_that_dies_is_started_again_and_none_outlives_its_parent(tmp_path: Path, key_pool: PooledKeys) -> None:
    folder = tmp_path / "own"
    loopback_cluster(folder, key_pool).close()
    with serving(folder, "--workers", "2") as running:
        first = _children(running.process.pid)
        os.kill(first[0], signal.SIGKILL)
        assert running.process.stderr is not None
        assert "starting it again" in running.process.stderr.readline()
        wait_until(lambda: len(_children(running.process.pid)) == 2)
        now = _children(running.process.pid)
        assert now != first
        running.process.kill()
        running.process.wait(PATIENCE)
        wait_until(lambda: all(map(_is_gone, now)))


# --- what a phone's files say


@pytest.mark.parametrize("service", [Service.HTTP, Service.TFTP])
def test_a_trust_list_is_shown_straight_from_a_node_with_the_agreed_keys(served: Served, service: Service) -> None:
    place = f"{service.value}://{served.at(service)}/CTL{PHONE}.tlv"
    shown = certferry("trustlist", "show", place, "--json").json
    data = served.cluster.trust_list("CTL")
    assert data is not None
    assert {key: shown[key] for key in ("kind", "version", "filename", "signature", "bytes")} == {
        "kind": "CTL", "version": "1.2", "filename": "CTLFile.tlv", "signature": "valid", "bytes": len(data),
    }  # fmt: skip
    assert set(shown["signer"]) == {"subject", "issuer", "serial"}
    assert {"timestamp", "digest"} <= set(shown)
    record = TrustList.parse(data).records[0]
    assert shown["records"][0] | {"emptied": False} == shown["records"][0]
    agreed = {"role", "subject", "issuer", "serial", "dns_name", "ip_address", "sha256"}
    assert all(agreed <= set(each) for each in shown["records"])
    assert shown["records"][0]["sha256"] == record.parsed.sha256
    people = certferry("trustlist", "show", place).stdout
    assert "The CTL file was verified successfully." in people


def test_a_file_the_node_does_not_have_is_a_failure(served: Served) -> None:
    for service in (Service.HTTP, Service.TFTP):
        ended = certferry(
            "trustlist", "show", f"{service.value}://{served.at(service)}/CTLSEP000000000000.tlv", "--json"
        )
        assert ended.code == 1
        assert ended.error["code"] in {"fleet.http-not-found", "fleet.tftp-not-found"}


# --- tvs ask


@pytest.mark.parametrize("query", [[], ["--query"]], ids=["command 1", "command 3"])
def test_tvs_vouches_for_what_its_cluster_trusts(served: Served, callmanager: Path, query: list[str]) -> None:
    ended = certferry("tvs", "ask", served.at(Service.TVS), callmanager, *query, "--json")
    assert ended.code == 0
    assert ended.json["status"] == "valid"
    assert "TFTP" in ended.json["roles"]
    assert ended.json["ttl"] == 86400
    assert ended.json["tls"]["version"].startswith("TLSv1.")
    tvs = next(each for each in served.cluster.identities() if (each.purpose, each.node) == ("TVS", "source-pub"))
    assert ended.json["tvs_certificate_sha256"] == tvs.certificate.sha256
    people = certferry("tvs", "ask", served.at(Service.TVS), callmanager, *query)
    assert "vouches for CN=source-sub1" in people.stdout


@pytest.mark.parametrize("query", [[], ["--query"]], ids=["command 1", "command 3"])
def test_tvs_that_does_not_vouch_ends_with_4(served: Served, stranger: Path, query: list[str]) -> None:
    ended = certferry("tvs", "ask", served.at(Service.TVS), stranger, *query, "--json")
    assert ended.code == 4
    assert (ended.json["status"], ended.json["roles"]) == ("invalid", [])
    assert "A phone would refuse" in certferry("tvs", "ask", served.at(Service.TVS), stranger, *query).stdout


def test_a_phone_that_holds_the_right_itl_gets_its_answer(served: Served, callmanager: Path) -> None:
    place = f"tftp://{served.at(Service.TFTP)}/ITL{PHONE}.tlv"
    assert certferry("tvs", "ask", served.at(Service.TVS), callmanager, "--trusted", place).code == 0


def test_a_phone_that_holds_another_itl_breaks_off(
    served: Served, callmanager: Path, tmp_path: Path, key_pool: PooledKeys
) -> None:
    other = loopback_cluster(tmp_path / "other", key_pool, "other")
    (tmp_path / "ITL.tlv").write_bytes(other.trust_list("ITL", "other-pub") or b"")
    words = ["--trusted", tmp_path / "ITL.tlv", "--json"]
    ended = certferry("tvs", "ask", served.at(Service.TVS), callmanager, *words)
    assert (ended.code, ended.error["code"]) == (1, "fleet.tvs-certificate-unknown")


def test_an_address_without_a_tvs_is_a_failure(callmanager: Path) -> None:
    ended = certferry("tvs", "ask", "127.0.0.1:1", callmanager, "--json")
    assert (ended.code, ended.error["code"]) == (1, "fleet.tvs-unreachable")


def test_a_certificate_uploaded_by_another_process_is_vouched_for_a_moment_later(
    served: Served, make_certificate: MakeCertificate, tmp_path: Path
) -> None:
    new = tmp_path / "new.pem"
    new.write_text(make_certificate("CN=new-signer;O=Elsewhere").pem)
    assert certferry("tvs", "ask", served.at(Service.TVS), new, "--query").code == 4
    words = ["--store", "Phone-SAST-trust", "--cluster", served.folder]
    assert certferry_process("cert", "upload", new, *words).code == 0
    _settled(served.cluster)
    for node in (0, 1):
        answer = certferry("tvs", "ask", served.at(Service.TVS, node), new, "--query", "--json").json
        assert (answer["status"], answer["roles"]) == ("valid", ["SAST", "TFTP"])


def _settled(cluster: Cluster) -> None:
    """Wait until every node says that it serves the latest change."""
    wait_until(lambda: min(cluster.served().values()) >= cluster.version())


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_gone(pid: int) -> bool:
    """Whether a process is no more; one that nobody reaps counts as gone."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"
