"""``certferry fleet run`` as a process: phones stay, move when option 150 says so, and a restart continues."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.values import Phone, Service, TrustChange
from certferry.lab.keys import PooledKeys
from certferry.lab.lsc import LscFiles
from certferry.trust.purpose import Purpose, Store
from command_line import COMMAND, certferry, loopback_cluster, wait_until

PHONES = ["SEP001B54000001", "SEP001B54000002", "SEP001B54000003"]


class Running:
    """A process that writes JSON lines."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.ready = self.next()

    def next(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "it ended"
        return json.loads(line)

    def until(self, count: int, event: str) -> list[Any]:
        """Read on until ``count`` times ``event`` was told; return what was told."""
        told: list[Any] = []
        while sum(each["event"] == event for each in told) < count:
            told.append(self.next())
        return told

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode


@contextmanager
def running(*words: object) -> Iterator[Running]:
    command = [*COMMAND, *map(str, words), "--json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


def tftp(cluster: Cluster) -> str:
    (node, *_) = cluster.tftp_nodes()
    return f"{node.address}:{node.ports[Service.TFTP]}"


def outcome_of(told: list[Any]) -> set[tuple[str, str]]:
    return {(each["device"], each["event"]) for each in told}


@pytest.fixture
def source(tmp_path: Path, key_pool: PooledKeys) -> Iterator[Cluster]:
    cluster = loopback_cluster(tmp_path / "source", key_pool, "source")
    cluster.add_phones([Phone(name) for name in PHONES])
    with running("serve", "--cluster", tmp_path / "source"):
        yield cluster


def test_phones_register_and_are_switched_off_politely(source: Cluster, tmp_path: Path) -> None:
    words = ["--tftp", tftp(source), "--flash", tmp_path / "flash", "--first", PHONES[0], "--count", 3]
    with running("fleet", "run", *words) as fleet:
        assert fleet.ready == {"ready": True, "phones": 3}
        told = fleet.until(3, "registered")
        assert outcome_of(told) == {(name, event) for name in PHONES for event in ("booted", "registered")}
        booted = next(each for each in told if each["event"] == "booted")
        assert (booted["step"], booted["code"]) == ("registration", "phone.registered")
        assert booted["server"].startswith(source.nodes()[0].address)
        assert fleet.stop() == 0
    assert sorted(path.name for path in (tmp_path / "flash" / PHONES[0]).iterdir()) == [
        "ITLFile.tlv", f"{PHONES[0]}.cnf.xml", "config-signed",
    ]  # fmt: skip


def test_a_power_cut_is_one_signal_and_interrupting_has_its_exit_code(source: Cluster, tmp_path: Path) -> None:
    words = ["--tftp", tftp(source), "--flash", tmp_path / "flash", "--device", PHONES[0], "--device", "001B54000001"]
    with running("fleet", "run", *words) as fleet:
        assert fleet.ready["phones"] == 1
        fleet.until(1, "registered")
        fleet.process.send_signal(signal.SIGHUP)
        assert [each["event"] for each in fleet.until(1, "registered")] == ["reset", "booted", "registered"]
        assert fleet.stop(signal.SIGINT) == 130


def test_the_end_of_standard_input_ends_it_where_that_was_asked_for(source: Cluster, tmp_path: Path) -> None:
    words = ["--tftp", tftp(source), "--flash", tmp_path / "flash", "--device", PHONES[0], "--until-eof"]
    with running("fleet", "run", *words) as fleet:
        assert fleet.process.stdin is not None
        fleet.process.stdin.close()
        assert fleet.process.wait(60) == 0


@pytest.mark.slow
def test_killed_phones_continue_where_they_were_and_move_when_option_150_says_so(
    source: Cluster, tmp_path: Path, key_pool: PooledKeys
) -> None:
    destination = loopback_cluster(tmp_path / "destination", key_pool, "destination")
    destination.add_phones([Phone(name) for name in PHONES])
    option150 = tmp_path / "option150"
    option150.write_text(tftp(source))
    phones = ["--flash", tmp_path / "flash", "--first", PHONES[0], "--count", 3, "--option150-file", option150]
    with running("fleet", "run", *phones) as fleet:
        fleet.until(3, "registered")
        fleet.process.kill()
    option150.write_text(tftp(destination))
    with running("serve", "--cluster", tmp_path / "destination"), running("fleet", "run", *phones) as fleet:
        stayed = fleet.until(3, "registered")
        assert {each["code"] for each in stayed if each["event"] == "failed"} == {"tvs.invalid"}
        source.change_trust(
            [
                TrustChange("add", Store.PHONE_SAST_TRUST, signer.certificate, destination.name)
                for signer in destination.identities()
                if signer.purpose in (Purpose.CALLMANAGER, Purpose.ITL_RECOVERY)
            ],
            action="test",
        )
        wait_until(lambda: set(source.served().values()) == {source.version()})
        fleet.process.send_signal(signal.SIGHUP)
        moved = fleet.until(3, "registered")
        address = destination.nodes()[0].address
        assert all(each["server"].startswith(address) for each in moved if each["event"] == "registered")
        assert fleet.stop() == 0


@pytest.mark.slow
def test_secure_phones_present_the_lscs_of_a_folder(tmp_path: Path, key_pool: PooledKeys) -> None:
    cluster = loopback_cluster(tmp_path / "source", key_pool, "source", secure=True)
    cluster.add_phones([Phone(name, secure=True) for name in PHONES])
    assert len(list(LscFiles(tmp_path / "lsc").issue(cluster, PHONES))) == 3
    words = ["--tftp", tftp(cluster), "--flash", tmp_path / "flash", "--first", PHONES[0], "--count", 3]
    with running("serve", "--cluster", tmp_path / "source"):
        with running("fleet", "run", *words, "--lsc", tmp_path / "lsc") as fleet:
            told = fleet.until(3, "registered")
            assert {each["server"].rpartition(":")[2] for each in told} == {str(cluster.nodes()[0].ports[Service.SIPS])}
            assert fleet.stop() == 0
        (tmp_path / "lsc" / f"{PHONES[0]}.pem").unlink()
        with running("fleet", "run", *words, "--lsc", tmp_path / "lsc") as fleet:
            (failed, *_) = [each for each in fleet.until(1, "failed") if each["event"] == "failed"]
            assert (failed["device"], failed["code"]) == (PHONES[0], "registration.failed")
            assert f"{PHONES[0]}.pem" in failed["text"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], "cli.usage"),
        (["--flash", "F"], "cli.fleet-options"),
        (["--flash", "F", "--tftp", "192.0.2.1"], "cli.fleet-options"),
        (["--flash", "F", "--device", "SEP001B54000001"], "cli.fleet-options"),
        (
            ["--flash", "F", "--tftp", "192.0.2.1", "--device", "SEP001B54000001", "--first", "SEP001B54000001"],
            "cli.fleet-options",
        ),
        (
            ["--flash", "F", "--tftp", "192.0.2.1", "--option150-file", "X", "--device", "SEP001B54000001"],
            "cli.fleet-options",
        ),
        (["--flash", "F", "--tftp", "192.0.2.1,192.0.2.2,192.0.2.3", "--device", PHONES[0]], "cli.fleet-options"),
        (["--flash", "F", "--tftp", "192.0.2.1:x", "--device", PHONES[0]], "cli.address-invalid"),
        (["--flash", "F", "--tftp", "192.0.2.1", "--device", "phone"], "cluster.phone-invalid"),
        (["--flash", "F", "--tftp", "192.0.2.1", "--first", "SEPFFFFFFFFFFFF", "--count", "2"], "cli.fleet-options"),
        (["--flash", "/dev/null/F", "--tftp", "192.0.2.1", "--device", PHONES[0]], "fleet.flash-folder"),
    ],
)
def test_what_cannot_be_run_ends_at_once(words: list[str], code: str, tmp_path: Path) -> None:
    placed = [str(tmp_path / "F") if word == "F" else word for word in words]
    ended = certferry("fleet", "run", *placed, "--json")
    assert ended.error["code"] == code
    assert ended.code == (1 if code == "fleet.flash-folder" else 2)


def test_a_broken_list_in_flash_is_told_with_its_phone(tmp_path: Path) -> None:
    place = tmp_path / "flash" / PHONES[0]
    place.mkdir(parents=True)
    (place / "ITLFile.tlv").write_bytes(b"no list")
    ended = certferry(
        "fleet", "run", "--flash", tmp_path / "flash", "--tftp", "192.0.2.1", "--device", PHONES[0], "--json"
    )
    assert (ended.code, ended.error["code"]) == (1, "fleet.flash-folder")
    assert PHONES[0] in ended.error["sentence"]
