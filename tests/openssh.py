"""A real OpenSSH server for tests: own configuration, own keys, a free port on loopback, no PAM."""

import asyncio
import getpass
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from certferry.bulk.settings import SftpSettings
from held_ports import held_port

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
needs_sshd = pytest.mark.skipif(SSHD is None, reason="OpenSSH's server (sshd) is not installed")


@dataclass(frozen=True)
class OpenSsh:
    """A running sshd, the directory it serves, and the settings to reach it. Each session is a child of ``pid``."""

    settings: SftpSettings
    directory: Path
    host_key: str
    log: Path
    pid: int


def make_key(path: Path, kind: str = "ssh-ed25519") -> str:
    key = asyncssh.generate_private_key(kind)
    key.write_private_key(str(path))
    path.chmod(0o600)
    return key.export_public_key().decode().strip()


@asynccontextmanager
async def running_sshd(home: Path, *options: str, subsystem: str = "internal-sftp") -> AsyncIterator[OpenSsh]:
    """Run sshd in ``home`` until the block ends; ``options`` are further lines of its configuration."""
    with held_port() as port:
        async with _sshd_on(port, home, *options, subsystem=subsystem) as running:
            yield running


@asynccontextmanager
async def _sshd_on(port: int, home: Path, *options: str, subsystem: str) -> AsyncIterator[OpenSsh]:
    directory = home / "exchange"
    directory.mkdir(exist_ok=True)
    host_key = make_key(home / "host_rsa", "ssh-rsa")
    (home / "authorized_keys").write_text(make_key(home / "id") + "\n")
    configuration = [
        f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {home / 'host_rsa'}", "UsePAM no", "StrictModes no",
        f"AuthorizedKeysFile {home / 'authorized_keys'}", f"PidFile {home / 'sshd.pid'}", "PermitRootLogin yes",
        "PasswordAuthentication no", "KbdInteractiveAuthentication no", "MaxStartups 100", "LogLevel VERBOSE",
        *([f"Subsystem sftp {subsystem}"] if subsystem else []), *options,
    ]  # fmt: skip
    (home / "sshd_config").write_text("\n".join(configuration) + "\n")
    log = home / "sshd.log"
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # noqa: ASYNC240 -- sshd insists on it when run by root
    process = subprocess.Popen([str(SSHD), "-D", "-f", str(home / "sshd_config"), "-E", str(log)])  # noqa: ASYNC220
    try:
        await _answers(port, process)
        known_hosts = home / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{port} {host_key}\n")
        settings = SftpSettings(
            "127.0.0.1", getpass.getuser(), str(directory), port=port, client_key=home / "id", known_hosts=known_hosts
        )
        yield OpenSsh(settings, directory, host_key, log, process.pid)
    finally:
        process.terminate()
        process.wait(timeout=60)


async def _answers(port: int, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(60):
        while True:
            assert process.poll() is None, "sshd ended at once"
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            assert (await reader.readline()).startswith(b"SSH-2.0-OpenSSH")
            writer.close()
            await writer.wait_closed()
            return
