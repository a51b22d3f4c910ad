"""Is the SFTP server the one we mean? Its host key against the known ones, and taking over a new one."""

from dataclasses import dataclass
from pathlib import Path

import asyncssh
from asyncssh.public_key import get_default_public_key_algs

from certferry.bulk.refusals import HostKeyChangedError, HostKeyUnknownError, KnownHostsUnreadableError
from certferry.bulk.settings import SSH_PORT, SftpSettings


class HostKeyCheck(asyncssh.SSHClient):
    """Judge the key a server shows: known, unknown, changed; with ``accept_new``, take over an unknown one.

    A key that differs from a known one is never taken over. The verdict is kept for the error message, because
    the SSH library reports no more than that verification failed. ``known`` holds all known hosts.
    """

    def __init__(self, settings: SftpSettings, *, accept_new: bool) -> None:
        self._settings = settings
        self._accept_new = accept_new
        self._file = settings.known_hosts or Path("~/.ssh/known_hosts").expanduser()
        self._verdict = _Verdict()
        self.known = self._read_known()

    @property
    def accepted(self) -> str:
        """The key taken over just now, as ``ssh-rsa AAAA...``; empty when the key was known already."""
        return self._verdict.accepted

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Decide on a key that is in no list; the SSH library asks only then."""
        self._verdict.shown = key.get_fingerprint()
        self._verdict.changed = self._knows(host, addr, port)
        if self._verdict.changed or not self._accept_new:
            return False
        self._verdict.accepted = key.export_public_key().decode().strip()
        return True

    def _knows(self, host: str, addr: str, port: int) -> bool:
        """Whether any key or authority is known for the server."""
        return any(self.known.match(host, addr, _port(port))[:2])

    def algorithms(self) -> list[str]:
        """Order host key algorithms so that a known key is shown if the server still has it, and any other if not.

        Empty, which leaves the choice to the SSH library, when nothing is known by the server's name.
        """
        keys = self.known.match(self._settings.host, "", _port(self._settings.port))[0]
        known = [algorithm for key in keys for algorithm in key.sig_algorithms]
        others = get_default_public_key_algs() if known else []
        return [algorithm.decode() for algorithm in dict.fromkeys([*known, *others])]

    def remember(self) -> None:
        """Write a key just accepted into the named file of known hosts; without one, the settings keep it."""
        if not self.accepted or self._settings.known_hosts is None:
            return
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"{_pattern(self._settings)} {self.accepted}\n")
        except OSError as error:
            raise KnownHostsUnreadableError(f"{self._file}: {error.strerror}") from error

    def refusal(self) -> HostKeyChangedError | HostKeyUnknownError:
        """Put the verdict into the error to raise."""
        place = f"{self._settings.host}:{self._settings.port}"
        if self._verdict.changed:
            return HostKeyChangedError(
                f"{place} shows the host key {self._verdict.shown}, but another one is known for it"
            )
        shown = self._verdict.shown
        return HostKeyUnknownError(f"the host key of {place} is not known: {shown}", shown)

    def _read_known(self) -> asyncssh.SSHKnownHosts:
        lines = [self._file_text()]
        if self._settings.host_key:
            lines.append(f"{_pattern(self._settings)} {self._settings.host_key}")
        try:
            return asyncssh.import_known_hosts("\n".join(lines))
        except ValueError as error:
            raise KnownHostsUnreadableError(f"{self._file}: {error}") from error

    def _file_text(self) -> str:
        try:
            return self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            if self._settings.known_hosts is None or self._accept_new:
                return ""
            raise KnownHostsUnreadableError(f"{self._file}: no such file") from None
        except (OSError, UnicodeDecodeError) as error:
            raise KnownHostsUnreadableError(f"{self._file}: {error}") from error


@dataclass(slots=True)
class _Verdict:
    shown: str = ""
    changed: bool = False
    accepted: str = ""


def _port(port: int) -> int | None:
    """Write a port as known hosts do: the standard one is not mentioned."""
    return None if port == SSH_PORT else port


def _pattern(settings: SftpSettings) -> str:
    return settings.host if settings.port == SSH_PORT else f"[{settings.host}]:{settings.port}"
