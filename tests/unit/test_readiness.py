"""``certferry config check``: each thing the services need has a verdict, what was seen, and what to do."""

import errno
import os
import re
import resource
import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certferry.bulk.settings import SftpSettings
from certferry.cli.config import VARIABLES
from certferry.cluster.accounts import Role
from certferry.cluster.cluster import Cluster
from certferry.cluster.values import Phone, SecurityMode, Service
from certferry.lab.keys import PooledKeys
from certferry.readiness import limit_checks, port_checks
from certferry.readiness.checking import check_host
from certferry.readiness.cluster_checks import cluster_checks
from certferry.readiness.kernel import Holder, holder_of, is_here, unit_that_opens
from certferry.readiness.limit_checks import buffer_check, files_check
from certferry.readiness.port_checks import nodes_here
from certferry.readiness.variables import variable_checks
from certferry.serve.ports import Port, ports_of
from certferry.trust.list_check import Check
from certferry.trust.purpose import Purpose
from command_line import certferry, loopback_cluster
from conftest import CLUSTER_BORN, MakeCluster, usual_nodes
from product import ROOT

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
WINDOW = timedelta(days=30)
SOON = CLUSTER_BORN + timedelta(days=1)
UNITS = ROOT / "deploy" / "systemd"


def only(checks: object, wanted: str) -> Check:
    """The one check with an id."""
    (found,) = [check for check in checks if check.id == wanted]  # type: ignore[attr-defined]
    assert isinstance(found, Check)
    assert found.verdict == "pass" or found.remedy, "what is wrong has a remedy"
    return found


@pytest.fixture
def cluster(tmp_path: Path, key_pool: PooledKeys) -> Cluster:
    return loopback_cluster(tmp_path / "cluster", key_pool)


def checked(cluster: Cluster, environment: Mapping[str, str] | None = None, **options: object) -> tuple[Check, ...]:
    now = datetime.now(UTC)
    given = {"now": now, "environment": environment or {}, "known_variables": VARIABLES, **options}
    return tuple(check_host(cluster.location, **given))  # type: ignore[arg-type]


# --- the command


def test_a_host_that_is_ready_is_told_so_in_the_shape_of_verify(cluster: Cluster) -> None:
    done = certferry("config", "check", "--cluster", cluster.location.text, "--json")
    assert done.code == 0
    assert done.json["ok"] is True
    assert {frozenset(check) for check in done.json["checks"]} == {
        frozenset({"id", "title", "verdict", "evidence", "remedy"})
    }
    assert {check["verdict"] for check in done.json["checks"]} <= {"pass", "warn", "unknown"}
    names = (
        "addresses certificates clock cluster database files folder key ports receive-buffer sftp variables web-user"
    )
    assert {check["id"] for check in done.json["checks"]} == {f"config.{name}" for name in names.split()}


def test_what_fails_ends_with_exit_code_4_and_says_what_to_do(cluster: Cluster) -> None:
    cluster.location.key_file.chmod(0o644)
    done = certferry("config", "check", "--brief", "--cluster", cluster.location.text)
    assert done.code == 4
    assert f"chmod 600 {cluster.location.key_file}" in done.stdout
    assert "not ready" in done.stdout
    assert "pass " not in done.stdout


def test_checking_leaves_every_file_of_the_cluster_as_it_is(cluster: Cluster) -> None:
    def state() -> list[tuple[str, int, bytes]]:
        files = sorted(path for path in cluster.location.folder.iterdir() if not path.name.endswith(("-shm", "-wal")))
        return [(path.name, path.stat().st_mode, path.read_bytes()) for path in files]

    before = state()
    assert certferry("config", "check", "--cluster", cluster.location.text).code == 0
    assert state() == before


def test_a_cluster_that_is_not_there_fails_and_the_rest_is_left_out(tmp_path: Path) -> None:
    done = certferry("config", "check", "--cluster", tmp_path / "nowhere", "--json")
    assert done.code == 4
    told = {check["id"]: check["verdict"] for check in done.json["checks"]}
    assert told == {"config.variables": "pass", "config.key": "fail", "config.cluster": "fail"}


def test_a_node_that_the_cluster_has_not_is_refused(cluster: Cluster) -> None:
    done = certferry("config", "check", "--node", "unheard", "--cluster", cluster.location.text, "--json")
    assert done.error["code"] == "cluster.node-unknown"


# --- variables


def test_a_mistyped_variable_is_told_with_the_one_that_was_meant() -> None:
    environment = {"CERTFERRY_SEALKEY": "/secret/place", "CERTFERRY_CLUSTER": "x", "HOME": "/"}
    found = only(variable_checks(environment, VARIABLES), "config.variables")
    assert (found.verdict, found.remedy) == ("warn", "Did you mean CERTFERRY_SEAL_KEY?")
    assert "CERTFERRY_SEALKEY" in found.evidence
    assert "/secret/place" not in found.evidence


def test_a_variable_like_no_other_is_told_with_all_there_are() -> None:
    found = only(variable_checks({"certferry_zzz": ""}, VARIABLES), "config.variables")
    assert found.verdict == "warn"
    assert all(name in found.remedy for name in VARIABLES)


def test_every_variable_that_the_program_names_is_known() -> None:
    sources = (ROOT / "src" / "certferry").rglob("*.py")
    named = {name for path in sources for name in re.findall(r'"(CERTFERRY_[A-Z_]+)"', path.read_text())}
    assert named - {"CERTFERRY_"} == VARIABLES


# --- where the cluster is kept


@pytest.mark.parametrize(
    ("name", "mode", "verdict"), [("", 0o755, "warn"), ("cluster.sqlite", 0o640, "warn"), ("seal.key", 0o640, "fail")]
)
def test_files_that_others_can_read_are_told(cluster: Cluster, name: str, mode: int, verdict: str) -> None:
    path = cluster.location.folder / name
    path.chmod(mode)
    told = [check for check in checked(cluster) if check.verdict == verdict and str(path) in check.remedy]
    assert told
    assert f"{mode:04o}" in told[0].evidence


def test_a_folder_of_somebody_else_is_told_with_its_owner(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, _mode: path != cluster.location.folder)
    found = [check for check in checked(cluster) if check.verdict == "fail"]
    assert [check.id for check in found] == ["config.folder"]
    assert cluster.location.folder.owner() in found[0].remedy


def test_a_database_that_is_far_away_is_told(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(checked(cluster), "config.database").verdict == "pass"
    monkeypatch.setattr("certferry.readiness.place_checks.FAR", 0)
    assert only(checked(cluster), "config.database").verdict == "warn"


# --- addresses and ports


def test_loopback_is_here_and_a_documentation_address_is_not() -> None:
    assert is_here("127.0.0.9")
    assert not is_here("192.0.2.1")
    assert not is_here("2001:db8::1")


def test_nodes_of_other_hosts_are_a_warning_and_how_to_serve_those_that_are_here() -> None:
    nodes = usual_nodes("tokyo", 3)
    found, check = nodes_here(nodes, are_named=False, here=lambda address: address == "127.0.2.2")
    assert [node.name for node in found] == ["tokyo-sub1"]
    assert check.verdict == "warn"
    assert "certferry serve --node tokyo-sub1" in check.remedy


@pytest.mark.parametrize("are_named", [True, False])
def test_a_node_that_is_to_be_served_and_is_not_here_fails(are_named: bool) -> None:
    nodes = usual_nodes("tokyo", 2)
    _, check = nodes_here(nodes, are_named=are_named, here=lambda address: are_named and address == "127.0.2.1")
    assert check.verdict == "fail"
    assert "tokyo-sub1 (127.0.2.2)" in check.evidence


def test_the_ports_follow_from_the_roles_and_the_security_mode(cluster: Cluster) -> None:
    node = cluster.publisher
    plain = {port.service for port in ports_of(node, SecurityMode.NON_SECURE)}
    assert plain == {Service.TVS, Service.TFTP, Service.HTTP, Service.SIP}
    assert {port.service for port in ports_of(node, SecurityMode.MIXED)} - plain == {Service.SIPS}


def tvs(cluster: Cluster) -> Port:
    return next(port for port in ports_of(cluster.publisher, SecurityMode.NON_SECURE) if port.service is Service.TVS)


def port_verdict(port: Port, units: Path) -> Check:
    return port_checks._port(port, [units])


def test_a_port_that_another_program_holds_fails_and_names_it(cluster: Cluster, tmp_path: Path) -> None:
    port = tvs(cluster)
    assert port_verdict(port, tmp_path).verdict == "pass"
    with port.open():
        found = port_verdict(port, tmp_path)
    assert found.verdict == "fail"
    assert f"process {os.getpid()}" in found.evidence
    assert "cluster set port.source-pub.tvs" in found.remedy


@pytest.mark.parametrize(
    ("holder", "has_unit", "verdict"),
    [
        (Holder(0, 1, "/sbin/init"), True, "pass"),
        (Holder(0, 0), True, "unknown"),
        (Holder(0, 0), False, "fail"),
        (Holder(999_999, 0), True, "fail"),
        (Holder(0, 77, "python -m certferry serve --cluster x"), False, "warn"),
        (Holder(0, 77, ""), False, "fail"),
        (None, False, "fail"),
    ],
)
def test_who_holds_a_port_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: Holder | None, has_unit: bool, verdict: str
) -> None:
    monkeypatch.setattr(port_checks, "holder_of", lambda *_: holder)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = Port("pub", Service.TVS, held.getsockname())
        if has_unit:
            (tmp_path / "certferry@.socket").write_text(f"[Socket]\nListenStream={port.address[1]}\n")
        assert port_verdict(port, tmp_path).verdict == verdict


def test_a_port_that_needs_a_privilege_is_systemds_to_open(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_port: Port) -> socket.socket:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Port, "open", refused)
    low = Port("pub", Service.TFTP, ("127.0.0.1", 69))
    assert port_verdict(low, tmp_path).verdict == "fail"
    found = port_verdict(low, UNITS)
    assert (found.verdict, "certferry@.socket" in found.evidence) == ("pass", True)


def test_the_units_of_the_repository_open_the_standard_ports() -> None:
    assert unit_that_opens(UDP, ("192.0.2.1", 69), [UNITS]) == "certferry@.socket"
    assert unit_that_opens(TCP, ("192.0.2.1", 2445), [UNITS]) == "certferry@.socket"
    assert unit_that_opens(TCP, ("192.0.2.1", 8443), [UNITS]) == "certferry-web@.socket"
    assert unit_that_opens(TCP, ("192.0.2.1", 69), [UNITS]) is None


def test_what_was_set_for_one_unit_counts(tmp_path: Path) -> None:
    (tmp_path / "certferry@tokyo.socket.d").mkdir()
    (tmp_path / "certferry@tokyo.socket.d" / "override.conf").write_text("[Socket]\nListenDatagram=192.0.2.1:1069\n")
    assert unit_that_opens(UDP, ("192.0.2.1", 1069), [tmp_path]) == "certferry@tokyo.socket"
    assert unit_that_opens(UDP, ("192.0.2.2", 1069), [tmp_path, tmp_path / "absent"]) is None


@pytest.mark.parametrize("kind", [TCP, UDP])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1"])
def test_the_kernel_tells_who_holds_a_socket(kind: socket.SocketKind, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as held:
        try:
            held.bind((host, 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        if kind is TCP:
            held.listen()
        where = "127.0.0.1" if host == "0.0.0.0" else host
        found = holder_of(kind, (where, held.getsockname()[1]))
    assert found is not None
    assert (found.uid, found.pid) == (os.getuid(), os.getpid())
    assert "python" in found.command


def test_a_port_that_nobody_holds_has_no_holder(tmp_path: Path) -> None:
    assert holder_of(TCP, ("127.0.0.1", 1), tmp_path) is None


# --- limits


@pytest.mark.parametrize(("phones", "verdict"), [(100, "pass"), (15_000, "warn"), (30_000, "fail")])
def test_open_files_are_compared_with_the_phones(phones: int, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (1024, 20_000))
    found = files_check(phones, registrars=2)
    assert found.verdict == verdict
    assert "10,000" in found.evidence


def test_a_narrow_receive_buffer_is_a_warning_unless_systemd_makes_it_wide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def narrow(sock: socket.socket, _size: int) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)

    monkeypatch.setattr(limit_checks, "widen_receive_buffer", narrow)
    tftp = Port("pub", Service.TFTP, ("127.0.0.1", 69))
    found = buffer_check([tftp], [tmp_path])
    assert found is not None
    assert (found.verdict, "net.core.rmem_max=4194304" in found.remedy) == ("warn", True)
    by_systemd = buffer_check([tftp], [UNITS])
    assert by_systemd is not None
    assert by_systemd.verdict == "pass"
    assert buffer_check([], [UNITS]) is None


# --- the cluster itself


def test_a_certificate_that_ends_soon_is_a_warning_and_one_that_has_ended_fails(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    end = min(identity.certificate.not_after for identity in cluster.identities())
    for now, verdict in [(SOON, "pass"), (end - timedelta(days=29), "warn"), (end + timedelta(days=1), "fail")]:
        assert only(cluster_checks(cluster, now, WINDOW), "config.certificates").verdict == verdict


def test_a_clock_that_is_behind_fails(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    assert only(cluster_checks(cluster, SOON, WINDOW), "config.clock").verdict == "pass"
    behind = only(cluster_checks(cluster, CLUSTER_BORN - timedelta(days=400), WINDOW), "config.clock")
    assert (behind.verdict, "is valid from" in behind.evidence) == ("fail", True)


def test_a_clock_that_is_behind_the_last_change_fails(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1, clock=lambda: CLUSTER_BORN)
    cluster._clock = lambda: CLUSTER_BORN + timedelta(days=9)
    cluster.add_phones([Phone("SEP001122334455")])
    found = only(cluster_checks(cluster, SOON, WINDOW), "config.clock")
    assert (found.verdict, "last change" in found.evidence) == ("fail", True)
    cluster.regenerate(Purpose.TVS)


def test_the_sftp_server_and_its_host_key_are_looked_for(
    make_cluster: MakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    cluster = make_cluster(nodes=1)

    def sftp() -> tuple[str, str]:
        found = only(cluster_checks(cluster, SOON, WINDOW), "config.sftp")
        return found.verdict, found.evidence

    assert sftp()[0] == "warn"
    settings = SftpSettings("192.0.2.9", "bulk", "/exchange", known_hosts=tmp_path / "known_hosts")
    settings.save(cluster)
    assert "no host key" in sftp()[1]
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
    (tmp_path / "known_hosts").write_text(f"192.0.2.9 {key}\n")
    assert sftp()[0] == "pass"
    (tmp_path / "known_hosts").write_text("no such file, nor ssh\n")
    assert sftp()[0] == "warn"
    settings.with_host_key(key).save(cluster)
    assert sftp() == ("pass", "sftp://bulk@192.0.2.9:22/exchange, host key accepted")


def test_pages_that_nobody_can_log_in_to_are_a_warning(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    assert only(cluster_checks(cluster, SOON, WINDOW), "config.web-user").verdict == "warn"
    cluster.accounts.put_user("ann", Role.OPERATOR, "hash")
    assert only(cluster_checks(cluster, SOON, WINDOW), "config.web-user").evidence == "ann"
