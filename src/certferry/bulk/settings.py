"""Where the exchange directory is and how to log in: the SFTP form of Bulk Certificate Management (bulk 1.2)."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from certferry.bulk.participant import Participant
from certferry.errors import UsageError

SSH_PORT = 22
LAST_PORT = 65535
DEFAULT_PKCS12_PASSWORD = "certferry"  # noqa: S105 -- guards public certificates against accidents, not a secret
"""What all clusters use unless told otherwise. The files hold certificates only, so this keeps nothing secret;
who wrote them is proven by the signed manifest."""


class SettingsMissingError(UsageError):
    """The cluster has no SFTP settings yet."""

    code = "bulk.settings-missing"
    remedy = "Save them first: certferry bulk sftp --host HOST --user USER --directory DIRECTORY."


class SettingsWrongError(UsageError):
    """A setting of the SFTP server cannot be meant so."""

    code = "bulk.settings-wrong"
    remedy = "Give host, user and directory, and a port from 1 to 65535."


@dataclass(frozen=True, slots=True)
class Algorithms:
    """SSH algorithm lists in preference order, comma separated, for old servers; empty means the current defaults.

    A list that begins with ``+`` adds to the defaults.
    """

    kex: str = ""
    ciphers: str = ""
    macs: str = ""
    host_keys: str = ""


@dataclass(frozen=True, slots=True)
class SftpSettings:
    """The SFTP server and directory that all clusters share, and this cluster's way in.

    ``known_hosts`` None means the user's own ``~/.ssh/known_hosts``. ``host_key`` is a host key accepted for this
    server (``ssh-rsa AAAA...``), trusted beside that file. Times are in seconds.
    """

    host: str
    user: str
    directory: str
    port: int = SSH_PORT
    password: str = field(default="", repr=False)
    client_key: Path | None = None
    known_hosts: Path | None = None
    host_key: str = field(default="", repr=False)
    pkcs12_password: str = field(default=DEFAULT_PKCS12_PASSWORD, repr=False)
    algorithms: Algorithms = field(default_factory=Algorithms)
    connect_timeout: float = 15.0
    request_timeout: float = 30.0

    def __post_init__(self) -> None:
        for name in ("host", "user", "directory"):
            if not getattr(self, name).strip():
                raise SettingsWrongError(f"the SFTP {name} is empty")
        if not 1 <= self.port <= LAST_PORT:
            raise SettingsWrongError(f"SFTP port {self.port} is outside 1 to {LAST_PORT}")

    @property
    def url(self) -> str:
        """Server and directory for messages, without the password."""
        return f"sftp://{self.user}@{self.host}:{self.port}/{self.directory.lstrip('/')}"

    @classmethod
    def load(cls, participant: Participant) -> Self:
        """Read the settings that the cluster saved; raise ``SettingsMissingError`` when there are none."""
        saved = {key: value for key, value in participant.settings(_KEYS).items() if value}
        if "sftp.host" not in saved:
            raise SettingsMissingError(f"cluster {participant.name} has no SFTP settings")
        return cls(
            host=saved["sftp.host"],
            user=saved.get("sftp.user", ""),
            directory=saved.get("sftp.directory", ""),
            port=_port(saved.get("sftp.port", str(SSH_PORT))),
            password=saved.get("sftp.password", ""),
            client_key=_path(saved.get("sftp.client-key")),
            known_hosts=_path(saved.get("sftp.known-hosts")),
            host_key=saved.get("sftp.host-key", ""),
            pkcs12_password=saved.get("sftp.pkcs12-password", DEFAULT_PKCS12_PASSWORD),
            algorithms=Algorithms(*(saved.get(key, "") for key in _ALGORITHM_KEYS)),
            connect_timeout=_seconds(saved.get("sftp.connect-timeout", "15")),
            request_timeout=_seconds(saved.get("sftp.request-timeout", "30")),
        )

    def save(self, participant: Participant) -> None:
        """Save the settings in the cluster, all or none; both passwords are sealed."""
        algorithms = self.algorithms
        plain = {
            "sftp.host": self.host,
            "sftp.user": self.user,
            "sftp.directory": self.directory,
            "sftp.port": str(self.port),
            "sftp.client-key": str(self.client_key or ""),
            "sftp.known-hosts": str(self.known_hosts or ""),
            "sftp.host-key": self.host_key,
            "sftp.connect-timeout": f"{self.connect_timeout:g}",
            "sftp.request-timeout": f"{self.request_timeout:g}",
        } | dict(
            zip(
                _ALGORITHM_KEYS,
                (algorithms.kex, algorithms.ciphers, algorithms.macs, algorithms.host_keys),
                strict=True,
            )
        )
        secrets = {"sftp.password": self.password, "sftp.pkcs12-password": self.pkcs12_password}
        participant.put_settings(plain, secrets)

    def with_host_key(self, host_key: str) -> Self:
        """Return these settings with ``host_key`` accepted."""
        return replace(self, host_key=host_key)


_ALGORITHM_KEYS = ("sftp.kex", "sftp.ciphers", "sftp.macs", "sftp.host-key-algorithms")
_KEYS = (
    "sftp.host",
    "sftp.user",
    "sftp.directory",
    "sftp.port",
    "sftp.password",
    "sftp.client-key",
    "sftp.known-hosts",
    "sftp.host-key",
    "sftp.pkcs12-password",
    "sftp.connect-timeout",
    "sftp.request-timeout",
    *_ALGORITHM_KEYS,
)


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _port(text: str) -> int:
    if not text.isdecimal():
        raise SettingsWrongError(f"SFTP port {text!r} is not a number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError as error:
        raise SettingsWrongError(f"{text!r} is not a number of seconds") from error
    if not seconds > 0:
        raise SettingsWrongError(f"a time-out of {text} seconds lets nothing happen")
    return seconds
