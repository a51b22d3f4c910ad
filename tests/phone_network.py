"""A paper cluster brought to life on loopback: its TVS, TFTP and HTTP services and its registrars, on real sockets."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certferry.cluster.values import Phone
from certferry.phone.flash import Flash
from certferry.serve.http import HttpFileServer
from certferry.serve.registrar import Registrar
from certferry.serve.tftp import TftpServer
from certferry.serve.tls import server_context
from certferry.serve.tvs import TvsServer
from certferry.serve.tvs_index import TvsIndex
from certferry.wire.certificate import Certificate
from certferry.wire.phone_config import CallManagerMember, DeviceSecurityMode, PhoneConfig, Transport, TvsMember
from certferry.wire.roles import Role
from certferry.wire.signed_file import sign_file
from phone_clusters import WHEN, PaperCluster

LOCAL = ("127.0.0.1", 0)
Known = Iterable[tuple[Certificate, frozenset[Role]]]


class Library(dict[str, bytes]):
    """Files by name, whatever its letter case."""

    def find(self, name: str) -> bytes | None:
        return self.get(name.lower())


@dataclass
class LiveCluster:
    """One node of ``paper`` that runs. ``files`` may be changed while it does."""

    paper: PaperCluster
    files: Library
    tftp: TftpServer
    http: HttpFileServer
    tvs: TvsServer
    sip: Registrar
    sips: Registrar

    def xml(self, device: str, *, secure: bool = False, tvs: Iterable[tuple[str, int]] | None = None) -> bytes:
        """The configuration of ``device``; ``tvs`` are other servers to ask than the node's own."""
        members = [self.tvs.address] if tvs is None else tvs
        return PhoneConfig(
            device=device,
            callmanagers=(CallManagerMember("pub", "127.0.0.1", self.sip.address[1], self.sips.address[1]),),
            tvs=tuple(TvsMember(number, host, port) for number, (host, port) in enumerate(members)),
            security_mode=DeviceSecurityMode.ENCRYPTED if secure else DeviceSecurityMode.NON_SECURE,
            transport=Transport.TLS if secure else Transport.TCP,
        ).encode()

    def add(self, device: str, *, secure: bool = False) -> None:
        """Let the node know ``device``: serve its files."""
        role = Role.CALLMANAGER_TFTP if secure else Role.TFTP
        name = f"{device}.cnf.xml"
        config = sign_file(
            name, self.xml(device, secure=secure), self.paper.callmanager, self.paper.key, timestamp=WHEN
        )
        self.files |= {f"itl{device}.tlv".lower(): self.paper.itl(tftp_role=role), f"{name}.sgn".lower(): config}
        if secure:
            self.files[f"ctl{device}.tlv".lower()] = self.paper.ctl()

    def flash(self, device: str, *, secure: bool = False, tvs: Iterable[tuple[str, int]] | None = None) -> Flash:
        """What ``device`` holds while it lives in this cluster."""
        ctl = self.paper.ctl() if secure else None
        return Flash(ctl, self.paper.itl(), self.xml(device, secure=secure, tvs=tvs), config_signed=True)


@asynccontextmanager
async def live(
    paper: PaperCluster, *, vouches_for: Known = (), lsc_issuers: Iterable[Certificate] = (), **tftp: Any
) -> AsyncIterator[LiveCluster]:
    """Run a node whose stores hold ``vouches_for`` and whose registrar believes LSCs of ``lsc_issuers``."""
    pem = paper.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files = Library()
    index = TvsIndex.build((*paper.tvs_roles(), *vouches_for))
    secure = server_context(paper.callmanager.pem, pem, client_ca=lsc_issuers, require_client=True)
    node = LiveCluster(
        paper,
        files,
        TftpServer(LOCAL, files, **tftp),
        HttpFileServer(LOCAL, files),
        TvsServer(LOCAL, server_context(paper.tvs.pem, pem), index),
        Registrar(LOCAL, known=Phone, context=None),
        Registrar(LOCAL, known=lambda device: Phone(device, secure=True), context=secure),
    )
    async with AsyncExitStack() as stack:
        for server in (node.tftp, node.http, node.tvs, node.sip, node.sips):
            await server.start()
            stack.push_async_callback(server.close)
        yield node
