"""Where a cluster is looked at: addresses of its TFTP nodes, or the folder of a cluster that certferry keeps."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from certferry.cluster.cluster import Cluster
from certferry.cluster.server_address import SCHEMES
from certferry.cluster.values import Identity, Node, NodeRole, Phone, Service, TrustEntry
from certferry.errors import UsageError
from certferry.migrate.settling import settle
from certferry.phone.events import Address
from certferry.trust.purpose import Purpose, Store
from certferry.trust.release import Release
from certferry.wire.certificate import Certificate

TFTP_PORT, HTTP_PORT, TVS_PORT = 69, 6970, 2445
_LAST_PORT = 65535


class EndpointInvalidError(UsageError):
    """Not HOST, HOST:PORT or the folder of a cluster."""

    code = "migrate.endpoint-invalid"
    remedy = "Write HOST, HOST:PORT (its TFTP port), tftp://HOST:PORT, http://HOST:PORT, or a cluster's folder."


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One TFTP node: its host and the ports of its file services. No port means: not to be asked so."""

    host: str
    tftp_port: int | None = TFTP_PORT
    http_port: int | None = HTTP_PORT

    @classmethod
    def parse(cls, text: str, http_port: int = HTTP_PORT) -> Self:
        """Read ``HOST[:PORT]``; PORT is that of TFTP, unless it is the HTTP port or the scheme says ``http``."""
        scheme, separator, rest = text.strip().partition("://")
        if not separator:
            scheme, rest = "", text.strip()
        host, port = _host_and_port(rest.rstrip("/"), text)
        if scheme not in ("", "tftp", "http"):
            raise EndpointInvalidError(f"{text!r}: {scheme}:// is neither tftp:// nor http://")
        if scheme == "http":
            return cls(host, None, port or http_port)
        if scheme == "" and port == http_port:
            return cls(host, TFTP_PORT, http_port)
        return cls(host, port or TFTP_PORT, http_port)

    @property
    def tftp(self) -> Address | None:
        """Where its TFTP service is."""
        return None if self.tftp_port is None else (self.host, self.tftp_port)

    @property
    def http(self) -> Address | None:
        """Where it serves the same files over HTTP."""
        return None if self.http_port is None else (self.host, self.http_port)

    def __str__(self) -> str:
        if self.tftp_port is None:
            return f"http://{self.host}:{self.http_port}"
        return self.host if self.tftp_port == TFTP_PORT else f"{self.host}:{self.tftp_port}"


def _host_and_port(text: str, whole: str) -> tuple[str, int | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        fits = bool(bracket) and (not rest or colon == ":")
    else:
        host, colon, port = text.partition(":")
        fits = True
    if not fits or not host or any(sign in host for sign in "/ ") or (colon and not _is_port(port)):
        raise EndpointInvalidError(f"{whole!r} is no address")
    return host, int(port) if port else None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text) <= _LAST_PORT


@dataclass(frozen=True, slots=True)
class Inside:
    """What a cluster's own database tells that nobody sees from outside."""

    name: str
    release: Release
    nodes: tuple[Node, ...]
    parameters: Mapping[str, str]
    identities: tuple[Identity, ...]
    entries: tuple[TrustEntry, ...]
    phones: tuple[Phone, ...]
    version: int
    served: Mapping[str, int]
    regenerated: tuple[tuple[datetime, str, str], ...] = ()
    """When, for which node, which purpose."""

    @classmethod
    def of(cls, cluster: Cluster) -> Self:
        """Read a cluster once."""
        return cls(
            cluster.name,
            cluster.release,
            cluster.nodes(),
            cluster.parameters(),
            cluster.identities(),
            cluster.trust_entries(),
            cluster.phones(),
            cluster.version(),
            cluster.served(),
            tuple(_regenerated(cluster.audit_lines())),
        )

    def held_in(self, store: Store) -> frozenset[Certificate]:
        """The certificates of one trust store."""
        return frozenset(entry.certificate for entry in self.entries if entry.store is store)

    def own(self, *purposes: Purpose) -> tuple[Identity, ...]:
        """The cluster's own certificates of these purposes."""
        return tuple(identity for identity in self.identities if identity.purpose in purposes)

    def nodes_with(self, role: NodeRole) -> tuple[Node, ...]:
        """The nodes that have a role."""
        return tuple(node for node in self.nodes if role in node.roles)


def _regenerated(lines: Iterable[str]) -> Iterable[tuple[datetime, str, str]]:
    for line in lines:
        entry: dict[str, Any] = json.loads(line)
        if entry.get("action") == "regenerate":
            yield datetime.fromisoformat(entry["at"]), str(entry.get("node") or ""), str(entry.get("purpose"))


@dataclass(frozen=True, slots=True)
class Place:
    """A cluster as the user named it: ``text``, its TFTP nodes in order, and its inside where that was given."""

    text: str
    endpoints: tuple[Endpoint, ...]
    inside: Inside | None = field(default=None, repr=False)
    tvs_port: int = TVS_PORT

    @classmethod
    def parse(cls, texts: Iterable[str], *, http_port: int = HTTP_PORT, tvs_port: int = TVS_PORT) -> Self:
        """Read one or several ``HOST[:PORT]`` (also ``A,B``), or the folder or URL of one cluster.

        Such a cluster is given a moment to settle. Raise ``EndpointInvalidError``, and what ``Cluster.open`` raises.
        """
        parts = [part for text in texts for part in text.split(",") if part.strip()]
        if len(parts) == 1 and _is_cluster(parts[0]):
            cluster = Cluster.open(parts[0])
            try:
                settle(cluster)
                return cls.of_cluster(cluster, parts[0])
            finally:
                cluster.close()
        return cls.of_addresses(parts, http_port=http_port, tvs_port=tvs_port)

    @classmethod
    def of_addresses(cls, texts: Iterable[str], *, http_port: int = HTTP_PORT, tvs_port: int = TVS_PORT) -> Self:
        """Read one or several ``HOST[:PORT]`` (also ``A,B``) and nothing else; raise ``EndpointInvalidError``."""
        parts = [part for text in texts for part in text.split(",") if part.strip()]
        if not parts:
            raise EndpointInvalidError("no address was given")
        return cls(",".join(parts), tuple(Endpoint.parse(part, http_port) for part in parts), None, tvs_port)

    @classmethod
    def of_cluster(cls, cluster: Cluster, text: str = "") -> Self:
        """Look at a cluster from inside as well as at its nodes."""
        inside = Inside.of(cluster)
        endpoints = tuple(
            Endpoint(node.address, node.ports[Service.TFTP], node.ports[Service.HTTP])
            for node in inside.nodes_with(NodeRole.TFTP)
        )
        return cls(text or inside.name, endpoints, inside)


def _is_cluster(text: str) -> bool:
    is_url = text.partition("://")[0] in SCHEMES
    return is_url or Path(text).expanduser().is_dir() or text.startswith(("/", "./", "../", "~"))
