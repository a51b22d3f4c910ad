"""The exchange directory over real SFTP, against OpenSSH and the lab server: whole files or none, whatever happens."""

import asyncio
import logging
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from certferry.bulk import refusals
from certferry.bulk.files import temporary_name
from certferry.bulk.settings import Algorithms, SftpSettings
from certferry.bulk.transport import SftpExchange
from certferry.serve.lab_sftp import LabSftp, LabSftpFiles
from held_ports import held_port
from openssh import SSHD, needs_sshd, running_sshd
from waiting import until

PASSWORD = "correct horse battery"
QUICK = (0.01, 0.02, 0.05)


@asynccontextmanager
async def lab(tmp_path: Path, files: type[LabSftpFiles] = LabSftpFiles) -> AsyncIterator[tuple[LabSftp, SftpSettings]]:
    root = tmp_path / "root"
    (root / "exchange").mkdir(parents=True, exist_ok=True)
    server = LabSftp(root, "ferry", PASSWORD, files=files)
    await server.start()
    known_hosts = tmp_path / "known_hosts"
    host, port = server.address
    known_hosts.write_text(f"[{host}]:{port} {server.host_key_public}\n")
    try:
        yield (
            server,
            SftpSettings(host, "ferry", "/exchange", port=port, password=PASSWORD, known_hosts=known_hosts),
        )
    finally:
        await server.close()


@pytest.fixture(params=["lab", pytest.param("openssh", marks=needs_sshd)])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[SftpSettings, Path]]:
    """Yield the settings of either server and the directory behind them."""
    if request.param == "lab":
        async with lab(tmp_path) as (_, settings):
            yield settings, tmp_path / "root" / "exchange"
    else:
        async with running_sshd(tmp_path) as server:
            yield server.settings, server.directory


def opened(settings: SftpSettings) -> Any:
    return SftpExchange.opened(settings, backoff=QUICK)


async def test_a_file_written_is_listed_read_and_removed(place: tuple[SftpSettings, Path]) -> None:
    settings, directory = place
    content = os.urandom(100_001)
    async with opened(settings) as exchange:
        await exchange.write("a.p12", content)
        (entry,) = await exchange.entries()
        assert (entry.name, entry.size) == ("a.p12", len(content))
        assert abs(entry.modified.timestamp() - (directory / "a.p12").stat().st_mtime) <= 1
        assert await exchange.read("a.p12") == content
        assert await exchange.remove("a.p12")
        assert not await exchange.remove("a.p12")
    assert list(directory.iterdir()) == []


async def test_a_file_written_again_is_replaced(place: tuple[SftpSettings, Path]) -> None:
    settings, directory = place
    async with opened(settings) as exchange:
        for content in (b"first", b"second", b""):
            await exchange.write("a", content)
            assert (directory / "a").read_bytes() == content
    assert [path.name for path in directory.iterdir()] == ["a"]


async def test_many_files_travel_with_many_requests_in_flight(place: tuple[SftpSettings, Path]) -> None:
    settings, directory = place
    files = {f"file{number:03}": os.urandom(1500) for number in range(200)}
    steps: list[tuple[str, int, int]] = []
    async with opened(settings) as exchange:
        await exchange.write_many(files, lambda *step: steps.append(step))
        assert len(list(directory.iterdir())) == 200
        assert await exchange.read_many([*files, "gone"]) == files
        await exchange.remove_many([*files, "gone"])
    assert steps[-1] == ("rename", 200, 200)
    assert list(directory.iterdir()) == []


async def test_a_name_can_be_created_once_only(place: tuple[SftpSettings, Path]) -> None:
    settings, directory = place
    async with opened(settings) as one, opened(settings) as other:
        results = await asyncio.gather(
            *(
                exchange.create_exclusive("lock", f"{number}".encode())
                for number in range(8)
                for exchange in (one, other)
            )
        )
    # The two creators with equal content may both believe it is theirs; nobody else does.
    assert 1 <= results.count(True) <= 2
    assert [path.name for path in directory.iterdir()] == ["lock"]


async def test_subdirectories_are_not_listed_and_missing_files_are_named(place: tuple[SftpSettings, Path]) -> None:
    settings, directory = place
    (directory / "sub").mkdir()
    async with opened(settings) as exchange:
        assert await exchange.entries() == []
        with pytest.raises(refusals.FileMissingError, match=r"a\.p12"):
            await exchange.read("a.p12")


async def test_a_file_above_the_limit_is_not_read(place: tuple[SftpSettings, Path]) -> None:
    settings, directory = place
    (directory / "huge").write_bytes(bytes(200_000))
    async with opened(settings) as exchange:
        with pytest.raises(refusals.FileTooLargeError):
            await exchange.read("huge", limit=100_000)


async def test_the_directory_has_to_exist_and_to_be_one(place: tuple[SftpSettings, Path]) -> None:
    settings, directory = place
    (directory / "file").touch()
    with pytest.raises(refusals.DirectoryMissingError, match="does not exist"):
        await SftpExchange.connect(replace(settings, directory=settings.directory + "/none"))
    with pytest.raises(refusals.DirectoryMissingError, match="is a file"):
        await SftpExchange.connect(replace(settings, directory=settings.directory + "/file"))


async def test_an_unknown_host_key_is_refused_with_its_fingerprint(
    place: tuple[SftpSettings, Path], tmp_path: Path
) -> None:
    empty = tmp_path / "nobody_known"
    empty.touch()
    settings = replace(place[0], known_hosts=empty)
    with pytest.raises(refusals.HostKeyUnknownError, match="SHA256:"):
        await SftpExchange.connect(settings)


async def test_an_unknown_host_key_is_accepted_once_on_demand_and_kept_in_the_named_file(
    place: tuple[SftpSettings, Path], tmp_path: Path
) -> None:
    settings = replace(place[0], known_hosts=tmp_path / "new_known_hosts")
    exchange = await SftpExchange.connect(settings, accept_new_host_key=True)
    assert exchange.accepted_new_host_key
    assert exchange.fingerprint.startswith("SHA256:")
    await exchange.close()
    again = await SftpExchange.connect(settings, accept_new_host_key=True)
    assert not again.accepted_new_host_key
    await again.close()
    assert len((tmp_path / "new_known_hosts").read_text().splitlines()) == 1


async def test_an_accepted_host_key_is_kept_in_the_settings_where_no_file_is_named(
    place: tuple[SftpSettings, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    settings = replace(place[0], known_hosts=None)
    with pytest.raises(refusals.HostKeyUnknownError):
        await SftpExchange.connect(settings)
    exchange = await SftpExchange.connect(settings, accept_new_host_key=True)
    await exchange.close()
    again = await SftpExchange.connect(exchange.settings)
    await again.close()
    assert exchange.settings.host_key.startswith("ssh-rsa ")


@pytest.mark.parametrize("kind", ["ssh-rsa", "ssh-ed25519"])
async def test_a_changed_host_key_is_refused_even_when_new_ones_are_accepted(
    place: tuple[SftpSettings, Path], tmp_path: Path, kind: str
) -> None:
    other = asyncssh.generate_private_key(kind).export_public_key().decode()
    known_hosts = tmp_path / "other_known_hosts"
    known_hosts.write_text(f"[{place[0].host}]:{place[0].port} {other}")
    with pytest.raises(refusals.HostKeyChangedError):
        await SftpExchange.connect(replace(place[0], known_hosts=known_hosts), accept_new_host_key=True)


async def test_known_hosts_that_cannot_be_read_are_named(place: tuple[SftpSettings, Path], tmp_path: Path) -> None:
    with pytest.raises(refusals.KnownHostsUnreadableError, match="no such file"):
        await SftpExchange.connect(replace(place[0], known_hosts=tmp_path / "none"))
    (tmp_path / "junk").write_text("@unheard-of marker x\n")
    with pytest.raises(refusals.KnownHostsUnreadableError, match="junk"):
        await SftpExchange.connect(replace(place[0], known_hosts=tmp_path / "junk"))


async def test_a_wrong_user_is_refused(place: tuple[SftpSettings, Path], tmp_path: Path) -> None:
    with pytest.raises(refusals.LoginRefusedError, match="'nobody-here'"):
        await SftpExchange.connect(replace(place[0], user="nobody-here"))


async def test_algorithms_nobody_shares_are_named(place: tuple[SftpSettings, Path]) -> None:
    settings = replace(place[0], algorithms=Algorithms(ciphers="3des-cbc"))
    with pytest.raises(refusals.AlgorithmsError, match="3des-cbc"):
        await SftpExchange.connect(settings)
    with pytest.raises(refusals.AlgorithmsError, match="no-such-kex"):
        await SftpExchange.connect(replace(place[0], algorithms=Algorithms(kex="no-such-kex")))


async def test_chosen_algorithms_are_used(place: tuple[SftpSettings, Path]) -> None:
    algorithms = Algorithms("ecdh-sha2-nistp256", "aes128-ctr", "hmac-sha2-256", "rsa-sha2-256")
    async with opened(replace(place[0], algorithms=algorithms)) as exchange:
        connection = exchange._login.connection
        assert connection.get_extra_info("send_cipher") == "aes128-ctr"


async def test_a_wrong_password_is_refused_and_no_password_is_ever_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    asyncssh.set_log_level("DEBUG")
    asyncssh.set_debug_level(2)  # level 3 would dump the packets themselves, for which nobody asks by accident
    try:
        async with lab(tmp_path) as (_, settings):
            wrong = replace(settings, password="wrong horse")
            with pytest.raises(refusals.LoginRefusedError) as refusal:
                await SftpExchange.connect(wrong)
            async with opened(settings) as exchange:
                await exchange.write("a", b"")
    finally:
        asyncssh.set_debug_level(1)
        asyncssh.set_log_level("NOTSET")
    said = caplog.text + str(refusal.value) + refusal.value.remedy + repr(wrong) + repr(exchange)
    assert "horse" not in said


async def test_a_client_key_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    settings = SftpSettings("127.0.0.1", "u", "/", known_hosts=tmp_path / "known", client_key=tmp_path / "id")
    settings.known_hosts.touch()  # type: ignore[union-attr]
    with pytest.raises(refusals.ClientKeyError, match="No such file"):
        await SftpExchange.connect(settings)
    (tmp_path / "id").write_text("not a key")
    with pytest.raises(refusals.ClientKeyError, match="id"):
        await SftpExchange.connect(settings)


async def test_an_unreachable_server_is_named(tmp_path: Path) -> None:
    (tmp_path / "known").touch()
    with held_port() as port:
        settings = SftpSettings("127.0.0.1", "u", "/", port=port, known_hosts=tmp_path / "known")
        with pytest.raises(refusals.UnreachableError, match=f"127.0.0.1:{port}"):
            await SftpExchange.connect(settings, backoff=QUICK)
    with pytest.raises(refusals.UnreachableError, match=r"host\.invalid"):
        await SftpExchange.connect(replace(settings, host="host.invalid"), backoff=QUICK)


@asynccontextmanager
async def stranger(tmp_path: Path, greeting: bytes) -> AsyncIterator[SftpSettings]:
    """Listen like something that is no SSH server: say ``greeting``, then hear every client out."""
    (tmp_path / "known").touch()
    came = heard_out = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal came, heard_out
        came += 1
        with suppress(ConnectionError):
            writer.write(greeting)
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        heard_out += 1

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield SftpSettings("127.0.0.1", "u", "/", port=port, known_hosts=tmp_path / "known")
        await until(lambda: 0 < came == heard_out)


async def test_a_server_that_never_greets_is_given_up(tmp_path: Path) -> None:
    async with stranger(tmp_path, b"") as settings:
        with pytest.raises(refusals.UnreachableError, match=r"within 0\.5 seconds"):
            await SftpExchange.connect(replace(settings, connect_timeout=0.5), backoff=QUICK)


async def test_a_server_of_another_protocol_is_named(tmp_path: Path) -> None:
    async with stranger(tmp_path, b"HTTP/1.0 400 Bad Request\r\n" * 2000) as settings:
        with pytest.raises(refusals.NotAnSshServerError):
            await SftpExchange.connect(settings, backoff=QUICK)


@needs_sshd
async def test_a_server_without_sftp_is_named(tmp_path: Path) -> None:
    async with running_sshd(tmp_path, subsystem="") as server:
        with pytest.raises(refusals.NoSftpError):
            await SftpExchange.connect(server.settings)


@needs_sshd
async def test_a_server_that_talks_instead_of_sftp_is_named(tmp_path: Path) -> None:
    async with running_sshd(tmp_path, "ForceCommand echo no files here", subsystem="internal-sftp") as server:
        with pytest.raises(refusals.NoSftpError):
            await SftpExchange.connect(server.settings)


@needs_sshd
async def test_a_read_only_server_is_named_and_left_as_it_was(tmp_path: Path) -> None:
    async with running_sshd(tmp_path, subsystem="internal-sftp -R") as server:
        (server.directory / "there").write_text("old")
        async with opened(server.settings) as exchange:
            with pytest.raises(refusals.NotWritableError, match="may not"):
                await exchange.write("there", b"new")
            with pytest.raises(refusals.NotWritableError):
                await exchange.create_exclusive("lock", b"")
            with pytest.raises(refusals.NotWritableError):
                await exchange.remove("there")
            assert await exchange.read("there") == b"old"
        assert [path.name for path in server.directory.iterdir()] == ["there"]


@needs_sshd
async def test_a_server_without_posix_rename_or_links_still_replaces_files(tmp_path: Path) -> None:
    limited = "internal-sftp -P posix-rename,hardlink,fsync"
    async with running_sshd(tmp_path, subsystem=limited) as server, opened(server.settings) as exchange:
        with pytest.raises((asyncssh.SFTPOpUnsupported, asyncssh.SFTPPermissionDenied)):
            await exchange._login.sftp.posix_rename("a", "b")
        await exchange.write("a", b"first")
        await exchange.write("a", b"second")
        assert await exchange.create_exclusive("lock", b"mine")
        assert not await exchange.create_exclusive("lock", b"yours")
        assert await exchange.read("lock") == b"mine"
        assert sorted(path.name for path in server.directory.iterdir()) == ["a", "lock"]
        assert await exchange.read("a") == b"second"


class WithoutRename(LabSftpFiles):
    """A server that knows version 3 alone, whose renames onto an existing name fail."""

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        raise asyncssh.SFTPOpUnsupported("no such extension")

    def link(self, oldpath: bytes, newpath: bytes) -> None:
        raise asyncssh.SFTPOpUnsupported("no such extension")

    async def fsync(self, file_obj: Any) -> None:
        raise asyncssh.SFTPOpUnsupported("no such extension")


async def test_a_server_of_plain_version_3_replaces_and_locks_too(tmp_path: Path) -> None:
    async with lab(tmp_path, WithoutRename) as (_, settings), opened(settings) as exchange:
        await exchange.write("a", b"first")
        await exchange.write("a", b"second")
        assert await exchange.create_exclusive("lock", b"mine")
        assert not await exchange.create_exclusive("lock", b"yours")
        assert [entry.name for entry in await exchange.entries()] == ["a", "lock"]
        assert await exchange.read("a") == b"second"


class RenameBreaks(WithoutRename):
    """Putting the new file into place fails, after the old one stepped aside."""

    def rename(self, oldpath: bytes, newpath: bytes) -> None:
        if oldpath.endswith(b".part"):
            raise asyncssh.SFTPFailure("no")
        super().rename(oldpath, newpath)


async def test_an_old_file_comes_back_when_the_new_one_cannot_take_its_place(tmp_path: Path) -> None:
    async with lab(tmp_path, RenameBreaks) as (_, settings), opened(settings) as exchange:
        (tmp_path / "root" / "exchange" / "a").write_text("old")
        with pytest.raises(refusals.ProtocolFailureError):
            await exchange.write("a", b"new")
        assert [entry.name for entry in await exchange.entries()] == ["a"]
        assert await exchange.read("a") == b"old"


class Full(LabSftpFiles):
    """A disk with room for nothing, reported as old servers do: with a bare failure."""

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        raise asyncssh.SFTPFailure("Failure")

    def statvfs(self, path: bytes) -> Any:
        return os.statvfs_result((4096, 4096, 1000, 0, 0, 100, 100, 100, 0, 255))


class OverQuota(Full):
    """A quota: the disk itself has room."""

    def statvfs(self, path: bytes) -> Any:
        return os.statvfs_result((4096, 4096, 1000, 900, 900, 100, 100, 100, 0, 255))


@pytest.mark.parametrize(
    ("server", "refusal"), [(Full, refusals.DiskFullError), (OverQuota, refusals.WriteFailedError)]
)
async def test_a_full_disk_and_a_quota_leave_the_old_file_and_no_temporary(
    tmp_path: Path, server: type[LabSftpFiles], refusal: type[refusals.ExchangeError]
) -> None:
    async with lab(tmp_path, server) as (_, settings), opened(settings) as exchange:
        directory = tmp_path / "root" / "exchange"
        (directory / "a").write_text("old")
        with pytest.raises(refusal):
            await exchange.write("a", b"new")
        assert [path.name for path in directory.iterdir()] == ["a"]
        assert (directory / "a").read_text() == "old"


@needs_sshd
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
async def test_a_really_full_file_system_is_named(tmp_path: Path) -> None:
    small = tmp_path / "exchange"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=False).returncode:  # noqa: ASYNC221
        pytest.skip("mounting a tmpfs is not allowed here")
    try:
        async with running_sshd(tmp_path) as server, opened(server.settings) as exchange:
            await exchange.write("a", b"old")
            with pytest.raises(refusals.DiskFullError):
                await exchange.write_many({"a": bytes(40_000), "b": bytes(60_000)})
            assert [path.name for path in small.iterdir()] == ["a"]
            assert (small / "a").read_bytes() == b"old"
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)  # noqa: ASYNC221


def dropping_at(request: int, times: int = 1) -> type[LabSftpFiles]:
    """Make a server that cuts the connection at the n-th write or rename, ``times`` times."""
    seen = {"requests": 0, "cut": 0}

    class Dropping(LabSftpFiles):
        def _count(self) -> None:
            seen["requests"] += 1
            if seen["requests"] >= request and seen["cut"] < times:
                seen["cut"] += 1
                self.connection.abort()
                raise asyncssh.SFTPConnectionLost("cut")

        def write(self, file_obj: object, offset: int, data: bytes) -> Any:
            self._count()
            return super().write(file_obj, offset, data)

        def posix_rename(self, oldpath: bytes, newpath: bytes) -> Any:
            result = super().posix_rename(oldpath, newpath)
            self._count()
            return result

    return Dropping


@pytest.mark.parametrize("request_number", range(1, 14))
async def test_a_connection_dropped_once_is_restored_and_every_file_arrives(
    tmp_path: Path, request_number: int
) -> None:
    files = {f"f{number}": os.urandom(70_000) for number in range(3)}
    async with lab(tmp_path, dropping_at(request_number)) as (_, settings), opened(settings) as exchange:
        await exchange.write_many(files)
        assert await exchange.read_many(files) == files
        assert [entry.name for entry in await exchange.entries()] == sorted(files)


async def test_a_connection_dropped_again_and_again_is_given_up_and_nothing_half_written_has_a_name(
    tmp_path: Path,
) -> None:
    async with lab(tmp_path, dropping_at(2, times=1000)) as (_, settings), opened(settings) as exchange:
        with pytest.raises(refusals.ConnectionDroppedError, match="broke at: write"):
            await exchange.write("a", bytes(100_000))
    left = [path.name for path in (tmp_path / "root" / "exchange").iterdir()]
    assert "a" not in left


async def test_a_server_that_stops_answering_is_a_lost_connection(tmp_path: Path) -> None:
    gate = asyncio.Event()

    class Stalled(LabSftpFiles):
        async def read(self, file_obj: object, offset: int, size: int) -> bytes:
            await gate.wait()
            return b""

    async with lab(tmp_path, Stalled) as (_, settings):
        (tmp_path / "root" / "exchange" / "a").write_text("x")
        exchange = await SftpExchange.connect(replace(settings, request_timeout=0.3), backoff=QUICK)
        with pytest.raises(refusals.ConnectionDroppedError, match="broke at: read a"):
            await exchange.read("a")
        gate.set()
        await exchange.close()


async def test_a_server_that_comes_back_on_the_same_port_is_found_again(tmp_path: Path) -> None:
    async with lab(tmp_path) as (server, settings):
        exchange = await SftpExchange.connect(settings, backoff=(0.05, 0.1, 0.2, 0.4))
        await exchange.write("a", b"1")
        server.drop_connections()
        assert await exchange.read("a") == b"1"
        await exchange.close()


async def test_an_interrupted_upload_cleans_up_after_itself(tmp_path: Path) -> None:
    started = asyncio.Event()

    class Slow(LabSftpFiles):
        async def write(self, file_obj: object, offset: int, data: bytes) -> int:
            started.set()
            await asyncio.sleep(0.2)
            return len(data)

    async with lab(tmp_path, Slow) as (_, settings), opened(settings) as exchange:
        upload = asyncio.create_task(exchange.write("a", b"data"))
        await started.wait()
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        assert await exchange.entries() == []


class Hostile(LabSftpFiles):
    """A server that lists names which are paths."""

    async def scandir(self, path: bytes) -> Any:
        attributes = asyncssh.SFTPAttrs(type=1, size=1, mtime=2)
        for name in (b"../../etc/passwd", b"..", b".", b"a\nb", b"ok"):
            yield asyncssh.SFTPName(name, attrs=attributes)


async def test_names_that_are_paths_are_not_believed(tmp_path: Path) -> None:
    async with lab(tmp_path, Hostile) as (_, settings), opened(settings) as exchange:
        assert [entry.name for entry in await exchange.entries()] == ["ok"]


def test_temporary_names_are_hidden_and_never_end_like_an_exchange_file() -> None:
    assert temporary_name("a.p12", "0" * 16) == ".a.p12.0000000000000000.part"
    assert SSHD is None or Path(SSHD).exists()
