"""The exchange directory over SFTP: whole files or none, many requests in flight, a lost connection restored.

A file is uploaded under a temporary name, flushed to disk where the server can, and renamed. Servers without
``posix-rename@openssh.com`` cannot replace a file in one step; there the old file steps aside first and comes
back when the rename fails.
"""

import asyncio
import os
import posixpath
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Self, TypeVar

import asyncssh
from asyncssh.constants import FILEXFER_TYPE_REGULAR, FILEXFER_TYPE_UNKNOWN

from certferry.bulk.connection import LOST, Login, log_in
from certferry.bulk.exchange import READ_LIMIT, Entry, Progress, silent
from certferry.bulk.files import aside_name, is_plain_name, temporary_name
from certferry.bulk.refusals import (
    ConnectionDroppedError,
    DirectoryDeniedError,
    DirectoryTooLargeError,
    DiskFullError,
    FileMissingError,
    NotWritableError,
    ProtocolFailureError,
    UnreachableError,
    WriteFailedError,
)
from certferry.bulk.settings import SftpSettings
from certferry.bulk.turn import BLOCK, Turn, read_whole

IN_FLIGHT = 32
MOST_NAMES = 20_000
"""Files listed in one directory; twenty clusters of 21 nodes have 3,000."""
BACKOFF = (0.2, 0.8, 2.0)
"""Seconds to wait before each new connection after one was lost."""

T = TypeVar("T")
Request = Callable[[Turn], Awaitable[T]]
_MISSING = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)
_DENIED = (asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect)
_NO_LINK = (asyncssh.SFTPOpUnsupported, asyncssh.SFTPFailure, asyncssh.SFTPFileAlreadyExists)
_FULL = (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded)


class SftpExchange:
    """The exchange directory of ``settings``; open it with ``connect`` or ``opened``."""

    def __init__(self, settings: SftpSettings, login: Login, backoff: Sequence[float] = BACKOFF) -> None:
        self._settings = settings
        self._login = login
        self._backoff = backoff
        self._reconnecting = asyncio.Lock()
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    @classmethod
    async def connect(
        cls, settings: SftpSettings, *, accept_new_host_key: bool = False, backoff: Sequence[float] = BACKOFF
    ) -> Self:
        """Log in; with ``accept_new_host_key`` an unknown (never a changed) host key is taken over."""
        try:
            login = await log_in(settings, accept_new_host_key=accept_new_host_key)
        except ConnectionDroppedError:
            login = await _log_in_again(settings, backoff, accept_new_host_key=accept_new_host_key)
        if login.accepted_host_key:
            settings = settings.with_host_key(login.accepted_host_key)
        return cls(settings, login, backoff)

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: SftpSettings, backoff: Sequence[float] = BACKOFF) -> AsyncIterator[Self]:
        """Be connected for the length of a ``with`` block."""
        exchange = await cls.connect(settings, backoff=backoff)
        try:
            yield exchange
        finally:
            await exchange.close()

    @property
    def settings(self) -> SftpSettings:
        """The settings in force, with the host key that ``connect`` took over, if it did."""
        return self._settings

    @property
    def fingerprint(self) -> str:
        """The server's host key: ``SHA256:`` and base64, as ``ssh-keygen -l`` prints it."""
        return self._login.fingerprint

    @property
    def accepted_new_host_key(self) -> bool:
        """Whether the host key was unknown and taken over by ``connect``."""
        return bool(self._login.accepted_host_key)

    async def close(self) -> None:
        """Log out."""
        with suppress(*LOST, asyncssh.Error):
            async with asyncio.timeout(self._settings.request_timeout):
                await self._login.close()

    async def entries(self) -> Sequence[Entry]:
        """List the regular files, sorted by name; what a server sends as a name but is a path is left out."""

        async def scan(turn: Turn) -> list[Entry]:
            found: list[Entry] = []
            # Asked in bytes: a name that is no UTF-8 would end the list for the library.
            async for file in turn.sftp.scandir(self._settings.directory.encode()):
                turn.pulse()
                if entry := _entry(file):
                    found.append(entry)
                if len(found) > MOST_NAMES:
                    raise DirectoryTooLargeError(f"{self._settings.directory} holds more than {MOST_NAMES} files")
            return sorted(found, key=lambda entry: entry.name)

        return await self._asked(scan, f"list {self._settings.directory}")

    async def read(self, name: str, limit: int = READ_LIMIT) -> bytes:
        """Read a whole file; raise ``FileMissingError`` or, above ``limit`` bytes, ``FileTooLargeError``."""

        async def fetch(turn: Turn) -> bytes:
            async with turn.sftp.open(self._path(name), "rb") as file:
                return await read_whole(file, name, limit, turn)

        return await self._asked(fetch, f"read {name}")

    async def read_many(
        self, names: Iterable[str], progress: Progress = silent, limit: int = READ_LIMIT
    ) -> Mapping[str, bytes]:
        """Read files with many requests in flight; those gone meanwhile are left out."""
        found: dict[str, bytes] = {}

        async def fetch(name: str) -> None:
            with suppress(FileMissingError):
                found[name] = await self.read(name, limit)

        await self._each(fetch, names, "read", progress)
        return found

    async def write(self, name: str, data: bytes) -> None:
        """Put a file under its name, replacing what was there."""
        await self.write_many({name: data})

    async def write_many(self, files: Mapping[str, bytes], progress: Progress = silent) -> None:
        """Upload all files under temporary names first, then rename them; remove what is left on failure."""
        temporary = {name: temporary_name(name, secrets.token_hex(8)) for name in files}

        async def upload(name: str) -> None:
            await self._upload(temporary[name], files[name])

        async def put(name: str) -> None:
            await self._put(temporary[name], name)

        try:
            await self._each(upload, files, "upload", progress)
            await self._each(put, files, "rename", progress)
        except BaseException:
            await self._clean(temporary.values())
            raise

    async def remove(self, name: str) -> bool:
        """Remove a file; say whether it was there."""
        try:
            await self._asked(lambda turn: turn.sftp.remove(self._path(name)), f"remove {name}", writing=True)
        except FileMissingError:
            return False
        return True

    async def remove_many(self, names: Iterable[str]) -> None:
        """Remove files; those gone already are fine."""

        async def drop(name: str) -> None:
            await self.remove(name)

        await self._each(drop, names, "remove", silent)

    async def create_exclusive(self, name: str, data: bytes) -> bool:
        """Create a file unless the name is taken; say whether it was created.

        When the connection was lost in between, a file with exactly ``data`` is the one created before.
        """
        try:
            await self._asked(lambda turn: self._create(turn, name, data), f"create {name}", writing=True)
        except _NameTakenError as taken:
            return taken.content == data
        return True

    async def _create(self, turn: Turn, name: str, data: bytes) -> None:
        """Create ``name`` with its content in one step, by a link, where the server has links."""
        temporary = self._path(temporary_name(name, secrets.token_hex(8)))
        async with turn.sftp.open(temporary, "xb") as file:
            await file.write(data)
        try:
            await turn.sftp.link(temporary, self._path(name))
        except (*_NO_LINK, *_MISSING):
            await self._create_in_place(turn, name, data)
        finally:
            with suppress(asyncssh.SFTPError):
                await turn.sftp.remove(temporary)

    async def _create_in_place(self, turn: Turn, name: str, data: bytes) -> None:
        try:
            file = await turn.sftp.open(self._path(name), "xb")
        except (asyncssh.SFTPFailure, asyncssh.SFTPFileAlreadyExists) as error:
            # Servers of version 3 say no more than "failure" when the name is taken: look.
            try:
                async with turn.sftp.open(self._path(name), "rb") as there:
                    raise _NameTakenError(await read_whole(there, name, READ_LIMIT, turn)) from None
            except _MISSING:
                raise error from None
        async with file:
            await file.write(data)

    async def _upload(self, name: str, data: bytes) -> None:
        async def send(turn: Turn) -> None:
            async with turn.sftp.open(self._path(name), "wb") as file:
                for start in range(0, len(data), BLOCK):
                    await file.write(data[start : start + BLOCK], start)
                    turn.pulse()
                with suppress(asyncssh.SFTPOpUnsupported):
                    await file.fsync()

        try:
            await self._asked(send, f"write {name}", writing=True)
        except ProtocolFailureError as error:
            raise await self._why_unwritten(len(data), error) from error

    async def _why_unwritten(self, size: int, error: ProtocolFailureError) -> WriteFailedError | DiskFullError:
        """Look for free room: SFTP version 3 reports a full disk as a bare "failure"."""
        with suppress(ProtocolFailureError):
            room = await self._asked(lambda turn: turn.sftp.statvfs(self._settings.directory), "statvfs")
            if room.bavail * room.frsize < max(size, BLOCK):
                return _disk_full(self._settings)
        return WriteFailedError(str(error))

    async def _put(self, temporary: str, name: str) -> None:
        tried = False

        async def rename(turn: Turn) -> None:
            nonlocal tried
            again, tried = tried, True
            try:
                await self._replace(turn.sftp, self._path(temporary), self._path(name))
            except _MISSING:
                # Renamed already by the try before the connection was lost? Then the temporary is gone for good.
                if not again:
                    raise
                await turn.sftp.stat(self._path(name))

        await self._asked(rename, f"rename to {name}", writing=True)

    async def _replace(self, sftp: asyncssh.SFTPClient, source: str, target: str) -> None:
        try:
            await sftp.posix_rename(source, target)
        except asyncssh.SFTPOpUnsupported:
            await self._replace_in_steps(sftp, source, target, aside_name(source))

    async def _replace_in_steps(self, sftp: asyncssh.SFTPClient, source: str, target: str, aside: str) -> None:
        with suppress(*_MISSING):
            await sftp.rename(target, aside)
        try:
            await sftp.rename(source, target)
        except asyncssh.SFTPError:
            with suppress(asyncssh.SFTPError):
                await sftp.rename(aside, target)
            raise
        with suppress(*_MISSING):
            await sftp.remove(aside)

    async def _clean(self, names: Iterable[str]) -> None:
        """Remove temporaries after a failure, as far as the connection still allows."""
        sftp = self._login.sftp

        async def drop(name: str) -> None:
            with suppress(asyncssh.Error, OSError):
                await sftp.remove(self._path(name))

        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.request_timeout):
                await asyncio.gather(*map(drop, names))

    async def _each(
        self, job: Callable[[str], Awaitable[None]], names: Iterable[str], step: str, progress: Progress
    ) -> None:
        """Run ``job`` for each name, ``IN_FLIGHT`` at once; on the first failure stop the others and raise it."""
        waiting = list(names)
        done = 0

        async def one(name: str) -> None:
            nonlocal done
            async with self._slots:
                await job(name)
            done += 1
            progress(step, done, len(waiting))

        tasks = [asyncio.ensure_future(one(name)) for name in waiting]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _asked(self, request: Request[T], what: str, *, writing: bool = False) -> T:
        """Make a request that may be repeated; on a lost connection log in again and repeat it."""
        for _ in self._backoff:
            login = self._login
            try:
                return await self._asked_once(login, request, what, writing=writing)
            except LOST:
                await self._reconnect(login)
        try:
            return await self._asked_once(self._login, request, what, writing=writing)
        except LOST as error:
            raise ConnectionDroppedError(f"the connection to {self._settings.host} broke at: {what}") from error

    async def _asked_once(self, login: Login, request: Request[T], what: str, *, writing: bool) -> T:
        turn = Turn(login, self._settings.request_timeout)
        turn.pulse()
        try:
            return await request(turn)
        except LOST:
            raise
        except _MISSING as error:
            raise FileMissingError(f"{what}: no such file on {self._settings.host}") from error
        except _DENIED as error:
            refusal = NotWritableError if writing else DirectoryDeniedError
            raise refusal(f"{what}: user {self._settings.user!r} may not, says {self._settings.host}") from error
        except _FULL as error:
            raise _disk_full(self._settings) from error
        except asyncssh.Error as error:
            raise ProtocolFailureError(f"{what}: {self._settings.host} answers {error.reason!r}") from error
        finally:
            turn.end()

    async def _reconnect(self, lost: Login) -> None:
        """Log in again, once for all requests that lost the same connection."""
        async with self._reconnecting:
            if self._login is lost:
                lost.abort()
                self._login = await _log_in_again(self._settings, self._backoff)

    def _path(self, name: str) -> str:
        return posixpath.join(self._settings.directory, name)


class _NameTakenError(Exception):
    """A file of that name exists; its content tells whose it is."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content


async def _log_in_again(
    settings: SftpSettings, backoff: Sequence[float], *, accept_new_host_key: bool = False
) -> Login:
    for delay in backoff:
        await asyncio.sleep(delay)
        with suppress(ConnectionDroppedError, UnreachableError):
            return await log_in(settings, accept_new_host_key=accept_new_host_key)
    raise ConnectionDroppedError(f"the connection to {settings.host}:{settings.port} broke and cannot be restored")


def _disk_full(settings: SftpSettings) -> DiskFullError:
    return DiskFullError(f"the disk (or quota) behind {settings.directory} on {settings.host} is full")


def _entry(file: asyncssh.SFTPName) -> Entry | None:
    """Describe a regular file; None for anything else, and for what is sent as a name and is none."""
    name = os.fsdecode(file.filename)
    if file.attrs.type not in (FILEXFER_TYPE_REGULAR, FILEXFER_TYPE_UNKNOWN) or not is_plain_name(name):
        return None
    return Entry(name, file.attrs.size or 0, datetime.fromtimestamp(file.attrs.mtime or 0, UTC))
