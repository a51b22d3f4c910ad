"""The lab's SFTP server against OpenSSH's own client: what it shows, whom it lets in, and what it keeps inside."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from certferry.lab.loopback import free_network
from certferry.serve.lab_sftp import LabSftp

PASSWORD = "open sesame"
needs_sftp = pytest.mark.skipif(not shutil.which("sftp"), reason="OpenSSH's sftp client is not installed")


@pytest.fixture
async def client_key(tmp_path: Path) -> Path:
    key = asyncssh.generate_private_key("ssh-ed25519")
    path = tmp_path / "id"
    key.write_private_key(str(path))
    path.chmod(0o600)
    key.write_public_key(str(path.with_suffix(".pub")))
    return path


@pytest.fixture
async def server(tmp_path: Path, client_key: Path) -> AsyncIterator[LabSftp]:
    root = tmp_path / "exchange"
    root.mkdir()
    public = client_key.with_suffix(".pub").read_text()
    server = LabSftp(root, "ferry", PASSWORD, client_keys=[public])
    await server.start()
    yield server
    await server.close()


def known_hosts(server: LabSftp, tmp_path: Path) -> Path:
    path = tmp_path / "known_hosts"
    path.write_text(f"[127.0.0.1]:{server.address[1]} {server.host_key_public}\n")
    return path


async def openssh(server: LabSftp, tmp_path: Path, client_key: Path, batch: str, *options: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        "sftp", "-q", "-b", "-", "-F", "none", "-P", str(server.address[1]), "-i", str(client_key),
        "-o", f"UserKnownHostsFile={known_hosts(server, tmp_path)}", "-o", "StrictHostKeyChecking=yes",
        "-o", "IdentityAgent=none", *options, "ferry@127.0.0.1",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate(batch.encode())
    return process.returncode or 0, output.decode()


def connection(server: LabSftp, password: str = PASSWORD, user: str = "ferry") -> Any:
    return asyncssh.connect(
        *server.address, username=user, password=password, known_hosts=None, config=None, client_keys=None
    )


@needs_sftp
async def test_openssh_stores_lists_renames_fetches_and_removes(
    server: LabSftp, tmp_path: Path, client_key: Path
) -> None:
    (tmp_path / "in").write_bytes(b"certificates")
    batch = f"put {tmp_path / 'in'} a\nrename a b\nls\nget b {tmp_path / 'out'}\nrm b\n"
    status, output = await openssh(server, tmp_path, client_key, batch)
    assert status == 0, output
    assert "b" in output.splitlines()[-3].split()
    assert (tmp_path / "out").read_bytes() == b"certificates"
    assert list((tmp_path / "exchange").iterdir()) == []


@needs_sftp
async def test_openssh_accepts_the_host_key_by_rsa_sha2_256_alone(
    server: LabSftp, tmp_path: Path, client_key: Path
) -> None:
    status, output = await openssh(
        server, tmp_path, client_key, "pwd\n", "-o", "HostKeyAlgorithms=rsa-sha2-256"
    )  # fmt: skip
    assert status == 0, output
    assert "Remote working directory: /" in output


@needs_sftp
async def test_openssh_sees_nothing_above_the_directory(server: LabSftp, tmp_path: Path, client_key: Path) -> None:
    (tmp_path / "secret").write_text("outside")
    status, output = await openssh(server, tmp_path, client_key, f"get ../secret {tmp_path / 'stolen'}\n")
    assert status != 0
    assert "not found" in output or "No such file" in output
    assert not (tmp_path / "stolen").exists()


async def test_a_symbolic_link_is_refused(server: LabSftp) -> None:
    async with connection(server) as client, client.start_sftp_client() as sftp:
        with pytest.raises(asyncssh.SFTPPermissionDenied):
            await sftp.symlink("/etc/passwd", "here")


async def test_a_plain_rename_never_replaces_a_file(server: LabSftp, tmp_path: Path) -> None:
    for name in ("new", "old"):
        (tmp_path / "exchange" / name).write_text(name)
    async with connection(server) as client, client.start_sftp_client() as sftp:
        with pytest.raises(asyncssh.SFTPFailure):
            await sftp.rename("new", "old")
    assert (tmp_path / "exchange" / "old").read_text() == "old"


@pytest.mark.parametrize(("user", "password"), [("ferry", "wrong"), ("other", PASSWORD), ("ferry", "")])
async def test_a_wrong_user_or_password_is_kept_out(server: LabSftp, user: str, password: str) -> None:
    with pytest.raises(asyncssh.PermissionDenied):
        async with connection(server, password, user):
            pass


async def test_a_shell_or_a_command_is_refused(server: LabSftp) -> None:
    async with connection(server) as client:
        with pytest.raises(asyncssh.ChannelOpenError):
            await client.run("id", check=True)


async def test_garbage_and_idle_strangers_stall_nobody(server: LabSftp) -> None:
    strangers = [socket.create_connection(server.address) for _ in range(5)]
    strangers[0].sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(5000))
    strangers[1].sendall(b"SSH-2.0-\xff\xff\r\n" + b"\xff" * 5000)
    async with connection(server) as client, client.start_sftp_client() as sftp:
        assert await sftp.isdir("/")
    for stranger in strangers:
        stranger.close()


async def test_dropped_sessions_end_and_new_ones_are_welcome(server: LabSftp) -> None:
    async with connection(server) as first:
        server.drop_connections()
        await first.wait_closed()
    async with connection(server) as second, second.start_sftp_client() as sftp:
        assert await sftp.isdir("/")


async def test_a_closed_server_takes_no_connection(tmp_path: Path) -> None:
    server = LabSftp(tmp_path, "ferry", PASSWORD, host=str(free_network()[1]))  # where nobody else gets the port
    await server.start()
    await server.close()
    await server.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(server.address).close()
