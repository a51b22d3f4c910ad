"""A cluster served by programs that are not ours: dnsmasq for TFTP, nginx for HTTP 6970, TVS by hand.

Only the files are made here; who serves them, and who answers TVS, knows nothing of certferry.
"""

import os
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certferry.cluster.cluster import Cluster
from certferry.trust.purpose import Purpose
from certferry.wire.certificate import Certificate
from certferry.wire.phone_config import CallManagerMember, DeviceSecurityMode, PhoneConfig, TvsMember
from certferry.wire.signed_file import sign_file

WHEN = 1_700_000_000
_DEADLINE = 60


def program(name: str) -> str:
    """Find a program, or skip the test."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@dataclass
class ForeignCluster:
    """One node of ``cluster`` at ``address``; its files lie in ``folder``."""

    cluster: Cluster
    address: str
    folder: Path
    stack: ExitStack
    asked: list[bytes] = field(default_factory=list)

    def write(self, device: str, *, secure: bool = False) -> None:
        """Lay the files of ``device`` and the ones for everybody into the folder."""
        node = self.cluster.publisher.name
        lists = {"ITL": self.cluster.trust_list("ITL", node), "CTL": self.cluster.trust_list("CTL")}
        for kind, data in lists.items():
            for name in (f"{kind}File.tlv", f"{kind}{device}.tlv") if data else ():
                (self.folder / name).write_bytes(data or b"")
        (self.folder / f"{device}.cnf.xml.sgn").write_bytes(self._configuration(device, secure=secure))

    def encrypt(self, device: str) -> None:
        """Lay in place of the configuration the short one of a phone with *TFTP Encrypted Config*."""
        signer, key = self._identity(Purpose.CALLMANAGER)
        short = PhoneConfig(device, (), encrypted=True, full=False, cert_hash="0" * 32).encode()
        data = sign_file(f"{device}.cnf.xml", short, signer, key, timestamp=WHEN)
        (self.folder / f"{device}.cnf.xml.sgn").write_bytes(data)

    def _configuration(self, device: str, *, secure: bool) -> bytes:
        config = PhoneConfig(
            device,
            (CallManagerMember("pub", self.address),),
            (TvsMember(0, self.address),),
            DeviceSecurityMode.ENCRYPTED if secure else DeviceSecurityMode.NON_SECURE,
        )
        signer, key = self._identity(Purpose.CALLMANAGER)
        return sign_file(f"{device}.cnf.xml", config.encode(), signer, key, timestamp=WHEN)

    def _identity(self, purpose: Purpose) -> tuple[Certificate, rsa.RSAPrivateKey]:
        identity = self.cluster.identity(purpose)
        key = self.cluster.private_key(identity)
        assert isinstance(key, rsa.RSAPrivateKey)
        return identity.certificate, key

    def serve_tftp(self) -> None:
        """Let dnsmasq serve the folder on port 69."""
        if os.geteuid() != 0:
            pytest.skip("dnsmasq serves TFTP on port 69 only, which needs root")
        command = [
            program("dnsmasq"), "--no-daemon", "--conf-file=/dev/null", "--port=0", "--enable-tftp", "--user=root",
            f"--tftp-root={self.folder}", f"--listen-address={self.address}", "--bind-interfaces",
            "--log-facility=-", f"--pid-file={self.folder.parent / 'dnsmasq.pid'}",
        ]  # fmt: skip
        process = self._run(command, stderr=subprocess.PIPE)
        assert process.stderr
        for line in process.stderr:
            if b"TFTP root" in line:
                return
        pytest.fail("dnsmasq did not start")

    def serve_http(self, port: int = 6970) -> None:
        """Let nginx serve the folder."""
        place = self.folder.parent / "nginx"
        place.mkdir()
        (place / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {place}/pid; error_log {place}/log;\n"
            "events {}\n"
            f"http {{ access_log off; client_body_temp_path {place}/a; proxy_temp_path {place}/b;\n"
            f"fastcgi_temp_path {place}/c; uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;\n"
            f"server {{ listen {self.address}:{port}; root {self.folder}; }} }}\n"
        )
        self._run([program("nginx"), "-p", str(place), "-c", str(place / "nginx.conf"), "-e", str(place / "log")])
        _wait_for((self.address, port))

    def _run(self, command: list[str], stderr: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
        self.stack.callback(_end, process)
        return process

    def serve_tvs(self, vouched: Iterable[Certificate] = (), roles: bytes = b"\0\3") -> None:
        """Answer command 3 on 2445 for ``vouched``, with sockets, ssl and struct alone."""
        certificate, key = self._identity(Purpose.TVS)
        pem = self.folder.parent / "tvs.pem"
        pem.write_bytes(certificate.pem.encode() + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        by_serial = {each.serial: each.der for each in vouched}
        self._listen(2445, lambda link: self._answer_tvs(context, link, by_serial, roles))

    def _answer_tvs(
        self, context: ssl.SSLContext, link: socket.socket, by_serial: dict[bytes, bytes], roles: bytes
    ) -> None:
        with suppress(OSError), context.wrap_socket(link, server_side=True) as talk:
            head = _exactly(talk, 10)
            body = _exactly(talk, struct.unpack(">H", head[8:])[0])
            self.asked.append(head + body)
            values = dict(_elements(body))
            der = by_serial.get(values[5]) or by_serial.get(values[4])
            answer = _element(7, b"\0" if der else b"\1")
            if der:
                answer += _element(2, der) + _element(8, roles) + _element(9, struct.pack(">I", 86400))
            talk.sendall(b"\x57\x01\x04\xf7" + head[4:8] + struct.pack(">H", len(answer)) + answer)

    def serve_call_control(self) -> None:
        """Listen on 5060 and say nothing; what is received stands in ``asked``."""

        def take(link: socket.socket) -> None:
            with suppress(OSError), link:
                data = link.recv(1000)
                self.asked += [data] if data else []

        self._listen(5060, take)

    def _listen(self, port: int, answer: object) -> None:
        listener = socket.create_server((self.address, port))
        self.stack.callback(listener.close)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    link, _ = listener.accept()
                    link.settimeout(_DEADLINE)
                    threading.Thread(target=answer, args=(link,), daemon=True).start()  # type: ignore[arg-type]

        threading.Thread(target=accept, daemon=True).start()
        self.stack.callback(lambda: _wake(self.address, port))


@contextmanager
def foreign(cluster: Cluster, address: str, folder: Path) -> Iterator[ForeignCluster]:
    """Lend a foreign cluster; everything it started ends with it."""
    files = folder / "files"
    files.mkdir(parents=True)
    with ExitStack() as stack:
        yield ForeignCluster(cluster, address, files, stack)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(_DEADLINE)
    if process.stderr:
        process.stderr.close()


def _wake(address: str, port: int) -> None:
    """Let a thread that waits in accept see that its socket will be closed."""
    with suppress(OSError), socket.create_connection((address, port), 1):
        pass


def _wait_for(address: tuple[str, int]) -> None:
    until = time.monotonic() + _DEADLINE
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(address, 1):
            return
        time.sleep(0.02)  # another program opens its port: there is nothing to await
    pytest.fail(f"nobody listens at {address}")


def _exactly(talk: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = talk.recv(size - len(data))
        if not piece:
            raise OSError("the phone hung up")
        data += piece
    return data


def _elements(body: bytes) -> Iterator[tuple[int, bytes]]:
    while body:
        tag, size = struct.unpack(">BH", body[:3])
        yield tag, body[3 : 3 + size]
        body = body[3 + size :]


def _element(tag: int, value: bytes) -> bytes:
    return struct.pack(">BH", tag, len(value)) + value
