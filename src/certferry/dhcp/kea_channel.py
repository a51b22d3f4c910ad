"""Kea's control channel: the unix socket of kea-dhcp4, or HTTP to its control agent.

What passes here holds secrets and is never printed.
"""

import http.client
import ipaddress
import json
import socket
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from certferry.errors import Refusal, UsageError

PATIENCE = 30.0
"""Seconds for one command: Kea reads a large configuration in a few."""
LARGEST_ANSWER = 64 * 1024 * 1024
_UNSUPPORTED = 2
_MOST_WORDS = 300


class KeaAddressError(UsageError):
    """Not the path of a socket, nor a URL of a control agent."""

    code = "dhcp.kea-address"
    remedy = "Write the path of kea-dhcp4's control socket, such as /run/kea/kea4-ctrl-socket, or https://HOST:8000/."


class KeaPasswordExposedError(UsageError):
    """A password would cross the network unencrypted."""

    code = "dhcp.kea-plain-password"
    remedy = "Use https://, or run certferry on Kea's own host with http://127.0.0.1:8000/ or the unix socket."


class KeaUnreachableError(Refusal):
    """Nobody at the control channel answers as Kea does."""

    code = "dhcp.kea-unreachable"
    remedy = "See that Kea runs, that its configuration has this control socket, and that you may open it."


class KeaUnauthorizedError(Refusal):
    """The control agent wants another user, password or client certificate."""

    code = "dhcp.kea-unauthorized"
    remedy = "Give --user and its password as in the control agent's authentication, or --client-certificate."


class KeaRefusedError(Refusal):
    """Kea answered a command with an error."""

    code = "dhcp.kea-refused"
    remedy = "Read Kea's own words; its log has more. Nothing was changed by this command."


class KeaCommandUnknownError(KeaRefusedError):
    """Kea does not know a command, or does not let it be used."""

    code = "dhcp.kea-command"
    remedy = "Use Kea 1.8 or later, and let its control channel take config-get, config-test and config-set."


class KeaChannel(Protocol):
    """One Kea's control channel; ``name`` tells one Kea from another and holds no secret."""

    @property
    def name(self) -> str:
        """Which Kea."""
        ...

    def call(self, command: str, arguments: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Give a command; return the arguments of its answer.

        Raises ``KeaUnreachableError``, ``KeaUnauthorizedError``, ``KeaCommandUnknownError``, ``KeaRefusedError``.
        """
        ...


@dataclass(frozen=True, slots=True)
class UnixChannel:
    """The control socket of kea-dhcp4 itself."""

    path: Path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path.absolute())

    def call(self, command: str, arguments: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Give a command; Kea answers it and closes the connection."""
        asked = json.dumps(_question(command, arguments)).encode()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(PATIENCE)
                connection.connect(str(self.path))
                connection.sendall(asked)
                answer = _to_the_end(connection)
        except OSError as error:
            raise KeaUnreachableError(f"{self.path}: {error.strerror or error}") from error
        return _arguments(command, answer)


@dataclass(frozen=True, slots=True)
class HttpChannel:
    """A control agent, or a server of Kea 2.7 and later that speaks HTTP itself."""

    url: SplitResult
    user: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.user and self.url.scheme == "http" and not _is_here(self.url.hostname or ""):
            raise KeaPasswordExposedError(f"a password for {self.url.hostname} would go unencrypted")

    @property
    def name(self) -> str:
        """The URL."""
        return self.url.geturl().rstrip("/")

    def call(self, command: str, arguments: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Give a command to the DHCPv4 server behind the agent."""
        body = json.dumps({**_question(command, arguments), "service": ["dhcp4"]}).encode()
        headers = {"Content-Type": "application/json"}
        if self.user:
            headers["Authorization"] = "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode()
        connection = self._connection()
        try:
            connection.request("POST", self.url.path or "/", body, headers)
            answered = connection.getresponse()
            answer = answered.read(LARGEST_ANSWER + 1)
        except (OSError, http.client.HTTPException) as error:
            raise KeaUnreachableError(f"{self.name}: {error}") from error
        finally:
            connection.close()
        if answered.status in (401, 403):
            raise KeaUnauthorizedError(f"{self.name} answered {answered.status}")
        if answered.status != 200:  # noqa: PLR2004 -- OK
            raise KeaUnreachableError(f"{self.name} answered {answered.status}")
        return _arguments(command, answer)

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self.url.hostname or "", self.url.port
        if self.url.scheme == "https":
            context = self.tls or ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=PATIENCE, context=context)
        return http.client.HTTPConnection(host, port, timeout=PATIENCE)


def kea_channel(place: str, *, user: str = "", password: str = "", tls: ssl.SSLContext | None = None) -> KeaChannel:
    """Choose the channel by what ``place`` looks like; raises ``KeaAddressError``, ``KeaPasswordExposedError``."""
    if "://" not in place:
        if not place:
            raise KeaAddressError("no place of Kea was named")
        return UnixChannel(Path(place))
    try:
        url = urlsplit(place)
        good = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError as error:
        raise KeaAddressError("the URL is none") from error
    if url.username is not None or url.password is not None:
        raise KeaAddressError(
            "the URL holds a user", remedy="Give the user with --user, and never a password in a URL."
        )
    if not good:
        raise KeaAddressError(f"{place!r} is neither http:// nor https:// and a host")
    return HttpChannel(url, user, password, tls)


def _question(command: str, arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"command": command} if arguments is None else {"command": command, "arguments": arguments}


def _to_the_end(connection: socket.socket) -> bytes:
    answer = bytearray()
    while piece := connection.recv(65536):
        answer += piece
        if len(answer) > LARGEST_ANSWER:
            break
    return bytes(answer)


def _arguments(command: str, answer: bytes) -> Mapping[str, Any]:
    """Read Kea's answer, which the control agent wraps in a list."""
    read = _read(command, answer)
    # Kea repeats a configuration it refuses, with its passwords, behind the reason.
    result, text = read.get("result"), str(read.get("text", "")).split(", params:")[0][:_MOST_WORDS]
    if result == _UNSUPPORTED:
        raise KeaCommandUnknownError(f"Kea does not take {command}: {text}")
    if result != 0:
        raise KeaRefusedError(f"Kea refused {command}: {text}")
    arguments = read.get("arguments", {})
    return arguments if isinstance(arguments, dict) else {"": arguments}


def _read(command: str, answer: bytes) -> Mapping[str, Any]:
    if len(answer) > LARGEST_ANSWER:
        raise KeaUnreachableError(f"the answer to {command} has more than {LARGEST_ANSWER} bytes")
    try:
        read = json.loads(answer)
        read = read[0] if isinstance(read, list) else read
    except (ValueError, IndexError, RecursionError):
        read = None
    if not isinstance(read, dict) or "result" not in read:
        raise KeaUnreachableError(f"the answer to {command} is not Kea's")
    return read


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
