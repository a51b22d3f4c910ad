"""The lab's SFTP server: one directory, one user, one RSA host key, and nothing but SFTP.

Unified CM only takes RSA host keys for the bulk exchange, with rsa-sha2-256 (bulk 2), so that is what it shows.
"""

import asyncio
import hmac
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncssh

CONNECTIONS_MOST = 128
LOGIN_SECONDS = 20
BACKLOG = 1024


class LabSftpFiles(asyncssh.SFTPServer):
    """Requests of one session, kept inside the directory; links are refused, because they lead out of it."""

    def symlink(self, oldpath: bytes, newpath: bytes) -> None:  # noqa: ARG002 -- the library's signature
        """Refuse symbolic links."""
        raise asyncssh.SFTPPermissionDenied("symbolic links are not kept here")

    def rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Rename, in one step, unless the new name is taken (SFTP version 3 never replaces)."""
        source, target = self.map_path(oldpath), self.map_path(newpath)
        try:
            os.link(source, target)
        except FileExistsError:
            raise asyncssh.SFTPFailure("the name is taken") from None
        Path(os.fsdecode(source)).unlink()

    async def fsync(self, file_obj: Any) -> None:
        """Flush to disk without stalling the other sessions."""
        await asyncio.to_thread(os.fsync, file_obj.fileno())


class LabSftp:
    """An SFTP server on ``host``; port 0 picks a free one, known after ``start`` from ``address``.

    ``files`` may be a subclass of ``LabSftpFiles`` that fails in chosen ways. ``host_key`` None makes an RSA key.
    ``client_keys`` are public keys, in OpenSSH form, that may log in without the password.
    """

    def __init__(
        self,
        root: Path,
        user: str,
        password: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        host_key: asyncssh.SSHKey | None = None,
        client_keys: Sequence[str] = (),
        files: type[LabSftpFiles] = LabSftpFiles,
    ) -> None:
        self._root = root
        self._host = host
        self._port = port
        self._doorkeeper = _Doorkeeper(user, password, client_keys)
        self._host_key = host_key or asyncssh.generate_private_key("ssh-rsa", key_size=2048)
        self._files = files
        self._acceptor: asyncssh.SSHAcceptor | None = None

    async def start(self) -> None:
        """Open the port; raise ``OSError`` when it is taken."""
        self._acceptor = await asyncssh.listen(
            self._host,
            self._port,
            server_factory=self._doorkeeper.session,
            server_host_keys=[self._host_key],
            sftp_factory=self._session_files,
            backlog=BACKLOG,
            login_timeout=LOGIN_SECONDS,
            config=None,
            gss_host=None,
            allow_scp=False,
            agent_forwarding=False,
        )
        self._port = self._acceptor.get_port()

    async def close(self) -> None:
        """Stop listening and drop every session."""
        if self._acceptor:
            self._acceptor.close()
            self._doorkeeper.drop_all()
            await self._acceptor.wait_closed()
            self._acceptor = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port it listens on."""
        return self._host, self._port

    @property
    def host_key_public(self) -> str:
        """Its host key as ``ssh-rsa AAAA...``, for a file of known hosts."""
        return self._host_key.export_public_key().decode().strip()

    @property
    def fingerprint(self) -> str:
        """Its host key as ``SHA256:`` and base64."""
        return self._host_key.get_fingerprint()

    def drop_connections(self) -> None:
        """Cut every session off in mid-sentence, as a failing network does; new ones are welcome."""
        self._doorkeeper.drop_all()

    def _session_files(self, channel: Any) -> LabSftpFiles:
        return self._files(channel, os.fsencode(self._root))


class _Doorkeeper:
    """Who may come in, and how many at once."""

    def __init__(self, user: str, password: str, client_keys: Sequence[str]) -> None:
        self._user = user.encode()
        self._password = password.encode()
        self._keys = [asyncssh.import_public_key(key) for key in client_keys]
        self._connections: set[asyncssh.SSHServerConnection] = set()

    def session(self) -> "_Visitor":
        return _Visitor(self)

    def enter(self, connection: asyncssh.SSHServerConnection) -> None:
        self._connections.add(connection)
        if len(self._connections) > CONNECTIONS_MOST:
            connection.abort()

    def leave(self, connection: asyncssh.SSHServerConnection | None) -> None:
        if connection:
            self._connections.discard(connection)

    def drop_all(self) -> None:
        for connection in list(self._connections):
            connection.abort()

    def admits_password(self, user: str, password: str) -> bool:
        right_user = hmac.compare_digest(user.encode(), self._user)
        right_password = hmac.compare_digest(password.encode(), self._password)
        return right_user and right_password

    def admits_key(self, user: str, key: asyncssh.SSHKey) -> bool:
        return hmac.compare_digest(user.encode(), self._user) and key in self._keys


class _Visitor(asyncssh.SSHServer):
    """One connection at the door."""

    def __init__(self, doorkeeper: _Doorkeeper) -> None:
        self._doorkeeper = doorkeeper
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._doorkeeper.enter(conn)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- the library's signature
        self._doorkeeper.leave(self._connection)

    def begin_auth(self, username: str) -> bool:  # noqa: ARG002 -- the library's signature
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return self._doorkeeper.admits_password(username, password)

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return self._doorkeeper.admits_key(username, key)
