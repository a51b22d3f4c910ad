"""One node's services: TVS, TFTP with HTTP 6970, and the SIP registrar, as its roles say, fed from snapshots."""

import asyncio
import errno
import logging
import ssl
from collections.abc import Iterable
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certferry.cluster.nodes import find_node
from certferry.cluster.values import Node, NodeRole, Phone, Service
from certferry.errors import Refusal
from certferry.serve.authorities import Authorities
from certferry.serve.files import FileLibrary
from certferry.serve.http import CONNECTION_LIMIT, HttpFileServer
from certferry.serve.limits import places_for_phones
from certferry.serve.registrar import Registrar
from certferry.serve.signatures import Signatures
from certferry.serve.snapshot import Credentials, Snapshot
from certferry.serve.tftp import TftpServer
from certferry.serve.tls import server_context
from certferry.serve.tvs import MOST_CONNECTIONS, MOST_FROM_ONE_ADDRESS, TvsServer
from certferry.serve.watching import NodeWatch
from certferry.trust.purpose import Purpose

logger = logging.getLogger(__name__)


class ListenError(Refusal):
    """A service cannot have its address or port."""

    code = "serve.listen"
    remedy = (
        "See who uses it (ss -lntup), or choose another: certferry cluster set port.NODE.SERVICE NUMBER. "
        "Below 1024 it needs a privilege: 'Serve on standard ports' has the ways."
    )


_AT_THE_MOMENT = frozenset({"in_progress", "open"})


class _Server(Protocol):
    async def start(self) -> None: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Listening:
    """A service that runs: where it listens."""

    node: str
    service: Service
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Settings of the services that are not the cluster's.

    Old TLS for old phones; several workers on one port; phones that a registrar keeps connected at most, None: as many
    as the process may have files for; connections to TVS and to HTTP, and those of both, and of a registrar as long as
    no phone is registered over them, that one address may hold, None: what is usual for each.
    """

    allow_tls10: bool = False
    reuse_port: bool = False
    most_phones: int | None = None
    most_tvs: int = MOST_CONNECTIONS
    most_http: int = CONNECTION_LIMIT
    most_from_one_address: int | None = None


class NodeServices:
    """The services of one node in this process. Made from a snapshot, started once, fed with later snapshots."""

    def __init__(
        self,
        node: Node,
        snapshot: Snapshot,
        options: ServeOptions = ServeOptions(),
        *,
        watch: NodeWatch,
        signatures: Signatures | None = None,
        authorities: Authorities | None = None,
    ) -> None:
        self.node = node
        self.watch = watch
        self._options = options
        self._servers: dict[Service, _Server] = {}
        self._places: dict[Service, tuple[str, int]] = {}
        self._library = FileLibrary(signatures)
        self._snapshot = snapshot
        self._authorities = authorities or Authorities()
        self._prepared = self._prepare(snapshot)
        for service in self._wanted():
            self._servers[service], self._places[service] = self._server(service), self._at(service)
        self.version = snapshot.version

    def _wanted(self) -> tuple[Service, ...]:
        """Which services are to run."""
        roles, wanted = self.node.roles, list[Service]()
        if NodeRole.TVS in roles:
            wanted.append(Service.TVS)
        if NodeRole.TFTP in roles:
            wanted += [Service.TFTP, Service.HTTP]
        if NodeRole.CALLMANAGER in roles:
            wanted += [Service.SIP, *([Service.SIPS] if self._prepared.sips is not None else [])]
        return tuple(wanted)

    def _server(self, service: Service) -> _Server:
        match service:
            case Service.TVS:
                return self._tvs()
            case Service.TFTP:
                reuse_port, told = self._options.reuse_port, self.watch.served_by_tftp
                return TftpServer(
                    self._at(service),
                    self._library,
                    limit_from_one_address=self._options.most_from_one_address,
                    reuse_port=reuse_port,
                    on_served=told,
                )
            case Service.HTTP:
                return self._http()
            case Service.SIP:
                return self._registrar(service, None)
            case Service.SIPS:
                assert self._prepared.sips is not None  # noqa: S101 -- else it is not wanted
                return self._registrar(service, self._prepared.sips.context)

    def _tvs(self) -> TvsServer:
        return TvsServer(
            self._at(Service.TVS),
            self._prepared.tvs_context,
            self._snapshot.tvs_index,
            max_connections=self._options.most_tvs,
            max_from_one_address=self._options.most_from_one_address or MOST_FROM_ONE_ADDRESS,
            reuse_port=self._options.reuse_port,
            on_answered=self.watch.answered,
        )

    def _http(self) -> HttpFileServer:
        return HttpFileServer(
            self._at(Service.HTTP),
            self._library,
            connection_limit=self._options.most_http,
            limit_from_one_address=self._options.most_from_one_address,
            reuse_port=self._options.reuse_port,
            on_served=self.watch.served_by_http,
        )

    def _registrar(self, service: Service, context: ssl.SSLContext | None) -> Registrar:
        return Registrar(
            self._at(service),
            known=self._known,
            context=context,
            on_register=self.watch.registered,
            on_unregister=self.watch.unregistered,
            on_refused=self.watch.refused,
            on_alarm=self.watch.alarm,
            max_connections=self._options.most_phones or places_for_phones(),
            max_from_one_address=self._options.most_from_one_address,
            reuse_port=self._options.reuse_port,
        )

    def _at(self, service: Service) -> tuple[str, int]:
        return self.node.address, self.node.ports[service]

    def _known(self, device: str) -> Phone | None:
        return self._snapshot.phone(device)

    async def start(self) -> tuple[Listening, ...]:
        """Open every port; raises ``ListenError`` naming the one that cannot be had, and then holds none."""
        try:
            listening = tuple([await self._open(service, server) for service, server in self._servers.items()])
        except BaseException:
            await self.close()
            raise
        self._library.sign_ahead()
        return listening

    async def _open(self, service: Service, server: _Server) -> Listening:
        address, port = place = self._at(service)
        try:
            self._refuse_own(service, place)
            await server.start()
        except OSError as error:
            stays = self._places.get(service, place)
            still = "; it stays on {}:{}".format(*stays) if stays != place else ""
            sentence = f"{self.node.name}: {service} cannot listen on {address}:{port}: {error}{still}"
            raise ListenError(sentence) from error
        self._places[service] = place
        return Listening(self.node.name, service, address, port)

    def _refuse_own(self, service: Service, place: tuple[str, int]) -> None:
        """Raise ``OSError`` when another service of the node is there: with ``reuse_port`` both could open the port."""
        for other, taken in self._places.items():
            if taken == place and other is not service and Service.TFTP not in {service, other}:  # which is UDP
                raise OSError(errno.EADDRINUSE, f"{other} is there")

    async def apply(self, snapshot: Snapshot) -> None:
        """Answer from ``snapshot`` from now on. What is costly is made in a thread; the swap itself takes no time.

        A service whose port or address changed opens the new one, then closes the old one. Raises ``ListenError`` for
        one that cannot: it stays where it is, and everything else is done. The snapshot may be applied again.
        """
        self.node = find_node(snapshot.nodes, self.node.name)
        self._prepared = await asyncio.to_thread(self._prepare, snapshot, self._prepared)
        self._library.sign_ahead()
        self._snapshot = snapshot
        for server in self._servers.values():
            if isinstance(server, TvsServer):
                server.replace_index(snapshot.tvs_index)
                server.replace_context(self._prepared.tvs_context)
            elif isinstance(server, Registrar):
                server.replace_known(self._known)
        if self._prepared.sips and isinstance(secure := self._servers.get(Service.SIPS), Registrar):
            secure.replace_context(self._prepared.sips.context)
        await self._go_where_wanted()
        self.version = snapshot.version

    def _prepare(self, snapshot: Snapshot, before: "_Prepared | None" = None) -> "_Prepared":
        return _Prepared.of(self.node, snapshot, self._options, self._library, self._authorities, before=before)

    async def _go_where_wanted(self) -> None:
        """Open what is to run elsewhere or anew, and then close what ran; raises the first ``ListenError``."""
        wanted, refused = self._wanted(), list[ListenError]()
        for service in self._servers.keys() - set(wanted):
            del self._places[service]
            await self._servers.pop(service).close()
        for service in wanted:
            if self._places.get(service) != self._at(service):
                try:
                    await self._move(service)
                except ListenError as error:
                    refused.append(error)
        if refused:
            raise refused[0]

    async def _move(self, service: Service) -> None:
        before, server = self._servers.get(service), self._server(service)
        listening = await self._open(service, server)
        self._servers[service] = server
        logger.info("%s: %s listens on %s:%d now", self.node.name, service, listening.address, listening.port)
        if before is not None:
            await before.close()

    async def close(self) -> None:
        """Close every port."""
        self._library.close()
        for server in self._servers.values():
            await server.close()

    def server(self, service: Service) -> _Server | None:
        """The running server of ``service``, for its counters."""
        return self._servers.get(service)

    @property
    def registrars(self) -> tuple[Registrar, ...]:
        """Where the node's phones are registered."""
        return tuple(server for server in self._servers.values() if isinstance(server, Registrar))

    def counted(self) -> dict[tuple[str, str], dict[str, int]]:
        """What the node's services counted since they were made; what they hold at the moment is left out."""
        return {(self.node.name, service.value): counts_of(server) for service, server in self._servers.items()}


def counts_of(server: object) -> dict[str, int]:
    """What a server's counters say, by name, without those that go down again."""
    parts = (getattr(server, name, None) for name in ("counters", "connections"))
    counters = (asdict(part) for part in parts if is_dataclass(part) and not isinstance(part, type))
    return {name: value for counts in counters for name, value in counts.items() if name not in _AT_THE_MOMENT}


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is costly to make of a snapshot, made before the swap. What did not change is taken over from ``before``."""

    tvs: Credentials
    tvs_context: ssl.SSLContext
    sips: "_SecureRegistration | None"

    @classmethod
    def of(
        cls,
        node: Node,
        snapshot: Snapshot,
        options: ServeOptions,
        library: FileLibrary,
        authorities: Authorities,
        *,
        before: "_Prepared | None",
    ) -> "_Prepared":
        tvs = snapshot.credentials[node.name, Purpose.TVS]
        if NodeRole.TFTP in node.roles:
            library.rebuild(node.name, snapshot, int(datetime.now(UTC).timestamp()))
        is_secure = NodeRole.CALLMANAGER in node.roles and snapshot.callmanager_trust is not None
        sips = before.sips if before else None
        return cls(
            tvs,
            before.tvs_context if before and before.tvs.certificate == tvs.certificate else _context(tvs, options),
            _SecureRegistration.of(node, snapshot, options, authorities, sips) if is_secure else None,
        )


@dataclass(frozen=True, slots=True)
class _SecureRegistration:
    """The TLS side of the registrar: its certificate, and whose phones it lets in."""

    callmanager: Credentials
    generation: int
    context: ssl.SSLContext

    @classmethod
    def of(
        cls,
        node: Node,
        snapshot: Snapshot,
        options: ServeOptions,
        authorities: Authorities,
        before: "_SecureRegistration | None",
    ) -> "_SecureRegistration":
        callmanager = snapshot.credentials[node.name, Purpose.CALLMANAGER]
        trusted = authorities.of(snapshot.callmanager_trust or frozenset())
        is_same = before is not None and before.callmanager.certificate == callmanager.certificate
        if before and is_same and before.generation == authorities.generation:
            return before
        return cls(callmanager, authorities.generation, _context(callmanager, options, client_ca=trusted))


def _context(
    credentials: Credentials, options: ServeOptions, client_ca: Iterable[bytes] | Path | None = None
) -> ssl.SSLContext:
    return server_context(
        credentials.certificate.pem,
        _key_pem(credentials),
        allow_tls10=options.allow_tls10,
        client_ca=client_ca,
        require_client=client_ca is not None,
    )


def _key_pem(credentials: Credentials) -> bytes:
    return credentials.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
