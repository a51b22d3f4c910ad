"""``certferry dhcp set`` and ``undo`` with a real Kea: its socket, its control agent, and what phones then hear."""

import json
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certferry.dhcp import kea_config
from certferry.dhcp.kea import Kea
from certferry.dhcp.kea_channel import UnixChannel
from certferry.dhcp.kea_undo import UndoRecord
from certferry.dhcp.option150_step import ByKea
from command_line import certferry
from dhcp_network import Network, dhcp_network
from dhcp_offers import PATIENCE, listening_until
from dhcp_programs import program
from real_kea import HOST_PASSWORD, TFTP, VOICE, RealKea, running_kea

pytestmark = pytest.mark.slow

AGENT_PASSWORD = "kea-agent-secret"


@pytest.fixture
def kea(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealKea]:
    with running_kea(tmp_path_factory.mktemp("k")) as running:
        yield running


ADDRESSES = (IPv4Address("192.0.2.11"), IPv4Address("192.0.2.12"))


# --- set


def test_a_plan_shows_the_difference_and_changes_nothing(kea: RealKea) -> None:
    before = kea.config()
    done = kea.set_("--plan")
    assert done.code == 3
    assert "- option 150: none" in done.stdout
    assert f"+ option 150: {TFTP}" in done.stdout
    assert kea.config() == before
    assert not kea.state.exists()


@pytest.mark.parametrize("subnet", [VOICE, "1", "70", "203.0.113.0/24", "2"])
def test_one_subnet_names_other_servers_and_nothing_else_changes(kea: RealKea, subnet: str) -> None:
    before = kea.config()
    done = kea.set_("--yes", "--json", subnet=subnet)
    assert done.code == 0, done
    assert (done.json["after"], done.json["changed"], done.json["written"]) == (TFTP, True, True)
    assert done.json["warnings"] == []
    after = kea.config()
    place = kea_config.find_subnet(before, subnet)
    assert kea.option(subnet) == ADDRESSES
    assert kea_config.without_150(after, place) == kea_config.without_150(before, place)


def test_a_second_time_there_is_nothing_to_do(kea: RealKea) -> None:
    done = kea.set_("--yes")
    assert (done.code, "Changed, also in Kea's file." in done.stdout) == (0, True)
    assert kea.set_("--plan").code == 0
    again = kea.set_("--json")
    assert (again.code, again.json["changed"], again.json["pending"]) == (0, False, False)


def test_it_survives_a_restart_of_kea(kea: RealKea) -> None:
    assert kea.set_("--yes").code == 0
    kea.stop()
    kea.socket.unlink(missing_ok=True)
    kea.start()
    assert kea.option() == ADDRESSES


def test_without_writing_it_is_in_force_till_the_restart_and_says_so(kea: RealKea) -> None:
    before = kea.file.read_text()
    done = kea.set_("--yes", "--no-write")
    assert done.code == 5
    assert "its restart takes the change back" in done.stderr
    assert kea.option() == ADDRESSES
    assert kea.file.read_text() == before


def test_a_kea_that_cannot_write_its_file_is_told_of(kea: RealKea) -> None:
    kea.file.unlink()
    kea.file.parent.rmdir()
    done = kea.set_("--yes", "--json")
    assert (done.code, done.json["ok"], done.json["changed"], done.json["written"]) == (5, False, True, False)
    assert "Kea's restart takes it back" in done.json["warnings"][0]
    assert kea.option() == ADDRESSES


def test_nobody_is_at_a_terminal_to_say_yes(kea: RealKea) -> None:
    done = kea.set_("--json")
    assert (done.code, done.error["code"]) == (2, "cli.confirmation")
    assert kea.option() is None


def test_a_subnet_that_kea_has_not_is_refused(kea: RealKea) -> None:
    done = kea.set_("--yes", "--json", subnet="192.0.2.0/24")
    assert (done.code, done.error["code"]) == (1, "dhcp.kea-subnet")


def test_kea_s_secrets_are_told_nowhere(kea: RealKea) -> None:
    done = [kea.set_("--plan"), kea.set_("--yes"), kea.set_("--json"), kea.command("undo", "--subnet", "1", "--yes")]
    assert all(HOST_PASSWORD not in each.stdout + each.stderr for each in done)
    assert HOST_PASSWORD not in kea.state.read_text()


# --- undo


def test_undo_puts_back_what_stood_there(kea: RealKea) -> None:
    before = kea.config()
    assert kea.set_("--yes").code == 0
    plan = kea.command("undo", "--subnet", VOICE, "--plan")
    assert (plan.code, f"- option 150: {TFTP}" in plan.stdout) == (3, True)
    assert kea.command("undo", "--subnet", VOICE, "--yes").code == 0
    assert kea.config() == before
    again = kea.command("undo", "--subnet", VOICE, "--yes", "--json")
    assert (again.code, again.error["code"]) == (1, "dhcp.nothing-to-undo")


def test_undo_puts_back_the_site_s_own_servers_under_the_site_s_own_name(kea: RealKea) -> None:
    kea.stop()
    kea.socket.unlink(missing_ok=True)
    config = json.loads(kea.file.read_text().split("\n", 1)[1])
    config["Dhcp4"]["option-def"] = [{"name": "voip-tftp", "code": 150, "type": "ipv4-address", "array": True}]
    config["Dhcp4"]["subnet4"][0]["option-data"] = [{"name": "voip-tftp", "data": "192.0.2.1", "always-send": True}]
    kea.file.write_text(json.dumps(config))
    kea.start()
    before = kea.config()
    assert kea.set_("--yes", "--json").json["before"] == "192.0.2.1"
    assert kea.option() == ADDRESSES
    assert kea.command("undo", "--subnet", "1", "--yes").code == 0
    assert kea.config() == before


def test_undo_respects_what_somebody_else_did(kea: RealKea) -> None:
    assert kea.set_("--yes").code == 0
    someone = Kea(UnixChannel(kea.socket), UndoRecord(kea.folder / "other.json"))
    someone.apply(someone.plan(VOICE, [IPv4Address("192.0.2.99")]))
    done = kea.command("undo", "--subnet", VOICE, "--yes", "--json")
    assert (done.code, done.error["code"]) == (1, "dhcp.kea-changed")
    assert kea.option() == (IPv4Address("192.0.2.99"),)
    assert kea.command("undo", "--subnet", VOICE, "--yes", "--anyway").code == 0
    assert kea.option() is None


# --- the control agent


def test_the_control_agent_is_used_with_user_and_password(kea: RealKea, tmp_path: Path) -> None:
    clients = [{"user": "certferry", "password": AGENT_PASSWORD}]
    address = kea.agent(authentication={"type": "basic", "realm": "kea", "clients": clients})
    password = tmp_path / "password"
    password.write_text(f"{AGENT_PASSWORD}\n")
    done = kea.set_("--yes", "--user", "certferry", "--password-file", password, kea=f"http://{address}/")
    assert done.code == 0, done
    assert kea.option() == ADDRESSES
    assert AGENT_PASSWORD not in done.stdout + done.stderr


def test_a_wrong_password_is_told_and_not_repeated(
    kea: RealKea, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [{"user": "certferry", "password": AGENT_PASSWORD}]
    address = kea.agent(authentication={"type": "basic", "realm": "kea", "clients": clients})
    monkeypatch.setenv("CERTFERRY_KEA_PASSWORD", "not-the-secret")
    done = kea.set_("--yes", "--json", "--user", "certferry", kea=f"http://{address}/")
    assert (done.code, done.error["code"]) == (1, "dhcp.kea-unauthorized")
    assert "not-the-secret" not in done.stdout + done.stderr
    monkeypatch.delenv("CERTFERRY_KEA_PASSWORD")
    unasked = kea.set_("--yes", "--json", "--user", "certferry", kea=f"http://{address}/")
    assert (unasked.code, unasked.error["code"]) == (2, "cli.password-missing")


def test_the_agent_s_certificate_is_verified_and_ours_is_shown(
    kea: RealKea, tmp_path: Path, rsa_key: RSAPrivateKey
) -> None:
    certificate, key, both = (tmp_path / name for name in ("agent.pem", "agent.key", "client.pem"))
    made = _openssl_certificate(tmp_path, rsa_key)
    certificate.write_bytes(made)
    key.write_bytes(rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    both.write_bytes(made + key.read_bytes())
    tls = {"trust-anchor": str(certificate), "cert-file": str(certificate), "key-file": str(key)}
    url = f"https://{kea.agent(**tls, **{'cert-required': True})}/"
    unverified = kea.set_("--yes", "--json", kea=url)
    assert (unverified.code, unverified.error["code"]) == (1, "dhcp.kea-unreachable")
    assert "certificate verify failed" in unverified.error["sentence"]
    unshown = kea.set_("--yes", "--json", "--ca", certificate, kea=url)
    assert unshown.code == 1
    assert kea.option() is None
    done = kea.set_("--yes", "--json", "--ca", certificate, "--client-certificate", both, kea=url)
    assert done.code == 0, done
    assert kea.option() == ADDRESSES


def _openssl_certificate(folder: Path, key: RSAPrivateKey) -> bytes:
    """A certificate for 127.0.0.1 that signs itself."""
    openssl = program("openssl", "openssl")
    file = folder / "signing.key"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    words = ["req", "-x509", "-key", str(file), "-subj", "/CN=kea", "-addext", "subjectAltName=IP:127.0.0.1"]
    return subprocess.run([openssl, *words, "-days", "2"], capture_output=True, check=True).stdout


@pytest.mark.parametrize("name", ["--ca", "--client-certificate"])
def test_tls_files_that_are_none_are_refused(name: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing")
    done = certferry(
        "dhcp", "set", "--kea", "https://127.0.0.1:9/", "--subnet", "1", "--tftp", TFTP, name, wrong, "--json"
    )
    assert (done.code, done.error["code"]) == (2, "dhcp.tls-material")


# --- as phones see it


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with dhcp_network(tmp_path) as made:
        yield made


def test_phones_hear_of_the_change_at_once_and_of_the_way_back(
    network: Network, tmp_path_factory: pytest.TempPathFactory
) -> None:
    control = tmp_path_factory.mktemp("k") / "sock"
    server, phone = network.host("198.51.100.1/24"), network.host()
    before = [{"code": 150, "csv-format": False, "data": "C0000201"}]
    server.kea(
        {"id": 1, "option-data": before}, **{"control-socket": {"socket-type": "unix", "socket-name": str(control)}}
    )
    step = ByKea(Kea(UnixChannel(control), UndoRecord(tmp_path_factory.mktemp("u") / "undo.json")), VOICE, ADDRESSES)

    def hears(servers: str) -> bool:
        with listening_until(1):
            words = ("dhcp", "check", "--interface", "eth0", "--seconds", PATIENCE, "--expect", servers)
            return phone.certferry(*words).code == 0

    assert hears("192.0.2.1")
    step.apply()
    assert hears(TFTP)
    step.undo()
    assert hears("192.0.2.1")
