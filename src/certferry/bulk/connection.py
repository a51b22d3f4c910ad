"""One login to the SFTP server, from TCP to the exchange directory; every way it can fail has its own sentence."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import asyncssh
from asyncssh.constants import FILEXFER_TYPE_DIRECTORY, FILEXFER_TYPE_UNKNOWN

from certferry.bulk.host_keys import HostKeyCheck
from certferry.bulk.refusals import (
    AlgorithmsError,
    ClientKeyError,
    ConnectionDroppedError,
    DirectoryDeniedError,
    DirectoryMissingError,
    LoginRefusedError,
    NoSftpError,
    NotAnSshServerError,
    UnreachableError,
)
from certferry.bulk.settings import SftpSettings

LOST = (asyncssh.DisconnectError, asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, ConnectionError, TimeoutError)
"""Exceptions after which the same request may succeed on a new connection."""


@dataclass(frozen=True, slots=True)
class Login:
    """An open connection with its SFTP session.

    ``accepted_host_key`` is set when the server's key was new and taken over; save it with the settings.
    """

    connection: asyncssh.SSHClientConnection
    sftp: asyncssh.SFTPClient
    fingerprint: str
    accepted_host_key: str = ""

    async def close(self) -> None:
        """Log out; a connection that is gone already is fine."""
        self.connection.close()
        await self.connection.wait_closed()

    def abort(self) -> None:
        """Drop the connection at once."""
        self.connection.abort()


async def log_in(settings: SftpSettings, *, accept_new_host_key: bool = False) -> Login:
    """Connect, verify the host key, log in, start SFTP, and find the directory.

    Raises one of the classes of ``bulk.refusals``.
    """
    check = HostKeyCheck(settings, accept_new=accept_new_host_key)
    with _ssh_failures(settings, check), _network_failures(settings):
        async with asyncio.timeout(settings.connect_timeout):
            connection, _ = await asyncssh.create_connection(lambda: check, **_options(settings, check))
    try:
        async with asyncio.timeout(settings.connect_timeout):
            sftp = await _start_sftp(connection, settings)
            await _find_directory(sftp, settings)
        check.remember()
    except BaseException as error:
        connection.abort()
        if isinstance(error, TimeoutError):
            raise ConnectionDroppedError(f"{settings.host}:{settings.port} stopped answering") from error
        raise
    key = connection.get_server_host_key()
    return Login(connection, sftp, key.get_fingerprint() if key else "", check.accepted)


def _options(settings: SftpSettings, check: HostKeyCheck) -> dict[str, Any]:
    """Ask for nothing that the user's own SSH configuration, agent or keys would bring in unasked."""
    algorithms = {
        "kex_algs": settings.algorithms.kex,
        # asyncssh prefers chacha20, done in Python by way of ctypes; AES-GCM is faster (benchmarks/bulk_exchange.py).
        # "^" moves names to the front and leaves the rest.
        "encryption_algs": settings.algorithms.ciphers or "^aes256-gcm@openssh.com,aes128-gcm@openssh.com",
        "mac_algs": settings.algorithms.macs,
        "server_host_key_algs": settings.algorithms.host_keys or check.algorithms(),
    }
    return {
        "host": settings.host,
        "port": settings.port,
        "username": settings.user,
        "password": settings.password or None,
        "client_keys": [_client_key(settings)] if settings.client_key else None,
        "known_hosts": check.known,
        "config": None,
        "agent_path": None,
        "gss_host": None,
        "x509_trusted_certs": None,
        "login_timeout": settings.connect_timeout,
        "keepalive_interval": settings.request_timeout,
    } | {option: names for option, names in algorithms.items() if names}


def _client_key(settings: SftpSettings) -> asyncssh.SSHKey:
    try:
        return asyncssh.read_private_key(str(settings.client_key))
    except OSError as error:
        raise ClientKeyError(f"{settings.client_key}: {error.strerror}") from error
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise ClientKeyError(f"{settings.client_key}: {error}") from error


@contextmanager
def _ssh_failures(settings: SftpSettings, check: HostKeyCheck) -> Iterator[None]:
    place = f"{settings.host}:{settings.port}"
    try:
        yield
    except asyncssh.HostKeyNotVerifiable as error:
        raise check.refusal() from error
    except asyncssh.PermissionDenied as error:
        raise LoginRefusedError(f"{place} does not let user {settings.user!r} in") from error
    except asyncssh.KeyExchangeFailed as error:
        raise AlgorithmsError(f"{place}: {error.reason}") from error
    except asyncssh.ConnectionLost as error:
        raise ConnectionDroppedError(f"{place} closed the connection before the login") from error
    except asyncssh.Error as error:
        raise NotAnSshServerError(f"{place}: {error.reason}") from error
    except UnicodeError as error:
        raise UnreachableError(f"{settings.host!r} is no host name: {error}") from error
    except ValueError as error:
        raise AlgorithmsError(f"the algorithm lists cannot be used: {error}") from error


@contextmanager
def _network_failures(settings: SftpSettings) -> Iterator[None]:
    place = f"{settings.host}:{settings.port}"
    try:
        yield
    except TimeoutError as error:
        raise UnreachableError(f"{place} did not answer within {settings.connect_timeout:g} seconds") from error
    except ConnectionResetError as error:
        raise ConnectionDroppedError(f"{place} reset the connection") from error
    except OSError as error:
        raise UnreachableError(f"{place}: {error.strerror or error}") from error


async def _start_sftp(connection: asyncssh.SSHClientConnection, settings: SftpSettings) -> asyncssh.SFTPClient:
    try:
        return await connection.start_sftp_client()
    except asyncssh.DisconnectError as error:
        raise ConnectionDroppedError(f"{settings.host}:{settings.port} closed the connection") from error
    except (asyncssh.Error, OSError) as error:
        raise NoSftpError(f"{settings.host}:{settings.port} accepts the login but offers no SFTP") from error


async def _find_directory(sftp: asyncssh.SFTPClient, settings: SftpSettings) -> None:
    try:
        attributes = await sftp.stat(settings.directory)
    except asyncssh.SFTPPermissionDenied as error:
        raise DirectoryDeniedError(f"user {settings.user!r} may not look into {settings.directory}") from error
    except asyncssh.SFTPError as error:
        raise DirectoryMissingError(f"{settings.directory} does not exist on {settings.host}") from error
    if attributes.type not in (FILEXFER_TYPE_DIRECTORY, FILEXFER_TYPE_UNKNOWN):
        raise DirectoryMissingError(f"{settings.directory} on {settings.host} is a file, not a directory")
