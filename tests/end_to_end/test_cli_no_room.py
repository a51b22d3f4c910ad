"""A disk without room, and a process without standard streams: nothing half done stays, and a rerun ends right."""

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from command_line import COMMAND, certferry
from conftest import MakeCertificate

pytestmark = pytest.mark.slow

NO_FILE_GROWS = 'ulimit -f 0; exec "$@"'
"""What a full disk is like, without needing one."""


def in_a_shell(script: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a command after the shell changed what it inherits."""
    shell = ["sh", "-c", script, "sh", *COMMAND, *map(str, words)]
    return subprocess.run(shell, capture_output=True, text=True, check=False, timeout=180)


@pytest.fixture
def signing(tmp_path: Path, rsa_key: rsa.RSAPrivateKey, make_certificate: MakeCertificate) -> list[object]:
    """The words that sign a file, but for where to write."""
    key = rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    (tmp_path / "signer.pem").write_text(make_certificate("CN=tftp").pem + key)
    (tmp_path / "phone.cnf.xml").write_text("<device/>")
    return ["sign", tmp_path / "phone.cnf.xml", "--key", tmp_path / "signer.pem", "--to"]


def test_what_stood_in_a_file_stands_where_the_new_one_has_no_room(signing: list[object], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "kept.sgn").write_text("what stood there")
    for name in ("kept.sgn", "new.sgn"):
        ended = in_a_shell(NO_FILE_GROWS, *signing, folder / name)
        assert ended.returncode == 1
        assert f"refused cannot write {folder / name}: " in ended.stderr
    assert [(file.name, file.read_text()) for file in folder.iterdir()] == [("kept.sgn", "what stood there")]


def test_a_file_written_anew_keeps_its_mode_and_a_link_stays_a_link(signing: list[object], tmp_path: Path) -> None:
    file, link = tmp_path / "real.sgn", tmp_path / "link.sgn"
    file.write_text("old")
    file.chmod(0o600)
    link.symlink_to(file)
    assert certferry(*signing, link).code == 0
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_bytes().endswith(b"<device/>")


def test_what_is_no_file_is_written_in_place(signing: list[object]) -> None:
    assert certferry(*signing, "/dev/null").code == 0
    assert Path("/dev/null").is_char_device()


def test_a_cluster_that_found_no_room_leaves_nothing_in_the_way_of_the_next_try(tmp_path: Path) -> None:
    place = tmp_path / "cluster"
    words = ["cluster", "create", "source", "--release", "12.5.1", "--node", "pub=127.0.0.1:publisher,tftp,tvs"]
    ended = in_a_shell(NO_FILE_GROWS, *words, "--cluster", place)
    assert ended.returncode == 1
    assert f"refused cannot write the key file {place / 'seal.key'}: " in ended.stderr
    assert not place.exists()
    assert certferry(*words, "--cluster", place).code == 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_standard_stream_is_no_reason_for_a_traceback(
    closed: str, signing: list[object], tmp_path: Path
) -> None:
    ended = in_a_shell(f'exec "$@" {closed}', *signing, tmp_path / "signed.sgn")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (tmp_path / "signed.sgn").read_bytes().endswith(b"<device/>")
    refused = in_a_shell(f'exec "$@" {closed}', "trustlist", "show", tmp_path / "nowhere", "--json")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
