"""One phone over real sockets: it moves between clusters, and stays where it is when something is wrong."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import md5
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certferry.errors import MalformedError
from certferry.fleet import tftp
from certferry.fleet.device import Device
from certferry.phone.events import Address
from certferry.phone.flash import Flash
from certferry.phone.limits import Limits
from certferry.phone.outcome import Code, Step
from certferry.phone.status import Status
from certferry.serve.tls import server_context
from certferry.wire.certificate import Certificate
from certferry.wire.encrypted_file import encrypt_file
from certferry.wire.phone_config import PhoneConfig
from certferry.wire.signed_file import sign_file
from certferry.wire.tftp import ErrorPacket
from conftest import MakeCertificate, x509_name
from held_ports import held_port
from phone_clusters import WHEN, PaperCluster
from phone_network import LiveCluster, live

NAME = "SEP00AA11BB22CC"


@pytest.fixture(scope="module")
def papers(
    make_certificate: MakeCertificate, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> tuple[PaperCluster, PaperCluster]:
    return PaperCluster.of("src", rsa_key, make_certificate, ";O=Example"), PaperCluster.of(
        "dst", other_rsa_key, make_certificate, ";O=Example"
    )


@pytest_asyncio.fixture
async def source(papers: tuple[PaperCluster, PaperCluster]) -> AsyncIterator[LiveCluster]:
    """The source cluster after the import: its TVS vouches for the destination's signers."""
    async with live(papers[0], vouches_for=papers[1].tvs_roles()) as node:
        yield node


@pytest_asyncio.fixture
async def destination(papers: tuple[PaperCluster, PaperCluster], capf: Certificate) -> AsyncIterator[LiveCluster]:
    async with live(papers[1], lsc_issuers=[capf]) as node:
        node.add(NAME)
        yield node


def issued(
    subject: str, key: rsa.RSAPrivateKey, issuer: str, issuer_key: rsa.RSAPrivateKey, *, ca: bool
) -> Certificate:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(x509_name(subject)).issuer_name(x509_name(issuer))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(start).not_valid_after(start + timedelta(days=3650))
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    return Certificate.of(builder.sign(issuer_key, hashes.SHA256()))


@pytest.fixture(scope="module")
def capf(other_rsa_key: rsa.RSAPrivateKey) -> Certificate:
    """The authority that issued the phone's LSC; the destination's registrar believes it."""
    return issued("CN=CAPF-src", other_rsa_key, "CN=CAPF-src", other_rsa_key, ca=True)


@pytest.fixture
def lsc(
    capf: Certificate, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey, tmp_path: Path
) -> tuple[Path, Path]:
    """The phone's own certificate and key."""
    certificate, key = tmp_path / "lsc.pem", tmp_path / "lsc.key"
    certificate.write_text(issued(f"CN={NAME}", rsa_key, capf.subject, other_rsa_key, ca=False).pem)
    key.write_bytes(rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, key


@pytest.fixture
def nobody() -> Iterator[Address]:
    """Where nobody listens, over TCP."""
    with held_port() as port:
        yield "127.0.0.1", port


@pytest.fixture
def silent() -> Iterator[Address]:
    """Where nobody answers, over UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()


async def test_a_phone_moves_between_non_secure_clusters(source: LiveCluster, destination: LiveCluster) -> None:
    device = Device(NAME, source.flash(NAME))
    outcome = await device.boot([destination.tftp.address])
    assert (outcome.ok, outcome.step, outcome.code) == (True, Step.REGISTRATION, Code.REGISTERED)
    assert device.flash.itl == destination.paper.itl()
    assert device.flash.config == destination.xml(NAME)
    assert device.tvs_requests == 1
    assert device.statuses == (
        "File Not Found <CTLFile.tlv>",
        "Trust List Updated",
        f"{NAME}.cnf.xml.sgn(TFTP)",
    )
    assert device.journal[-1].member == f"127.0.0.1:{destination.sip.address[1]}"
    assert NAME in destination.sip.registrations


async def test_a_second_boot_at_the_new_cluster_asks_nobody(source: LiveCluster, destination: LiveCluster) -> None:
    device = Device(NAME, source.flash(NAME), tftp_servers=[destination.tftp.address])
    await device.boot()
    outcome = await device.boot()
    assert outcome.ok
    assert device.tvs_requests == 0


async def test_a_secure_phone_moves_with_one_question_and_registers_with_its_lsc(
    source: LiveCluster, destination: LiveCluster, lsc: tuple[Path, Path]
) -> None:
    destination.add(NAME, secure=True)
    device = Device(NAME, source.flash(NAME, secure=True), lsc=lsc)
    outcome = await device.boot([destination.tftp.address])
    assert outcome.ok, outcome
    assert device.tvs_requests == 1
    assert device.flash.ctl == destination.paper.ctl()
    assert device.journal[-1].member == f"127.0.0.1:{destination.sips.address[1]}"
    assert destination.sips.registrations[NAME].secure


async def test_a_secure_phone_without_an_lsc_is_not_registered(source: LiveCluster, destination: LiveCluster) -> None:
    destination.add(NAME, secure=True)
    device = Device(NAME, source.flash(NAME, secure=True))
    outcome = await device.boot([destination.tftp.address])
    assert (outcome.step, outcome.code) == (Step.REGISTRATION, Code.REGISTRATION_FAILED)


async def test_a_secure_phone_whose_lsc_cannot_be_loaded_is_not_registered(
    source: LiveCluster, destination: LiveCluster, tmp_path: Path
) -> None:
    destination.add(NAME, secure=True)
    flash = destination.flash(NAME, secure=True)
    device = Device(NAME, flash, lsc=(tmp_path / "no.pem", tmp_path / "no.key"))
    outcome = await device.boot([destination.tftp.address])
    assert (outcome.step, outcome.code) == (Step.REGISTRATION, Code.REGISTRATION_FAILED)
    assert "no.pem" in outcome.reason


async def test_a_secure_phone_does_not_register_with_a_stranger(
    source: LiveCluster, destination: LiveCluster, lsc: tuple[Path, Path], rsa_key: rsa.RSAPrivateKey
) -> None:
    destination.add(NAME, secure=True)
    key = rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    destination.sips.replace_context(server_context(source.paper.capf.pem, key))
    device = Device(NAME, source.flash(NAME, secure=True), lsc=lsc)
    outcome = await device.boot([destination.tftp.address])
    assert (outcome.step, outcome.code) == (Step.REGISTRATION, Code.REGISTRATION_FAILED)


async def test_before_the_import_the_phone_stays_where_it_is(
    papers: tuple[PaperCluster, PaperCluster], destination: LiveCluster
) -> None:
    async with live(papers[0]) as unprepared:
        before = unprepared.flash(NAME)
        device = Device(NAME, before)
        outcome = await device.boot([destination.tftp.address])
    assert (outcome.step, outcome.code) == (Step.TVS, Code.TVS_INVALID)
    assert device.flash == before
    assert "Trust List Update Failed" in device.statuses


async def test_the_next_tvs_is_asked_when_the_first_is_down(
    source: LiveCluster, destination: LiveCluster, nobody: Address
) -> None:
    device = Device(NAME, source.flash(NAME, tvs=[nobody, source.tvs.address]))
    assert (await device.boot([destination.tftp.address])).ok
    assert device.tvs_requests == 2


async def test_a_tvs_that_is_down_leaves_the_phone_where_it_is(
    source: LiveCluster, destination: LiveCluster, nobody: Address
) -> None:
    device = Device(NAME, source.flash(NAME, tvs=[nobody]))
    outcome = await device.boot([destination.tftp.address])
    assert (outcome.step, outcome.code) == (Step.TVS, Code.TVS_UNREACHABLE)
    assert device.flash == source.flash(NAME, tvs=[nobody])


async def test_a_tvs_that_the_itl_does_not_name_is_not_asked(source: LiveCluster, destination: LiveCluster) -> None:
    device = Device(NAME, source.flash(NAME, tvs=[destination.tvs.address]))
    outcome = await device.boot([destination.tftp.address])
    assert (outcome.step, outcome.code) == (Step.TVS, Code.TVS_CERTIFICATE)
    assert destination.tvs.counters.trusted == 0


async def test_a_tvs_that_speaks_no_tls_is_told_apart(source: LiveCluster, destination: LiveCluster) -> None:
    destination.http.read_timeout = 0.1  # it waits for the rest of what is no request of its own
    device = Device(NAME, source.flash(NAME, tvs=[destination.http.address]))
    outcome = await device.boot([destination.tftp.address])
    assert (outcome.step, outcome.code) == (Step.TVS, Code.TVS_HANDSHAKE)


async def test_a_machine_that_waits_too_long_is_told_so(source: LiveCluster, silent: Address) -> None:
    device = Device(NAME, source.flash(NAME), limits=Limits(fetch=0.05))
    outcome = await device.boot([silent])
    assert (outcome.step, outcome.code) == (Step.CTL, Code.FILE_SERVER_FAILED)
    assert "in time" in outcome.reason
    assert "TFTP timeout" in device.statuses


async def test_the_second_tftp_server_is_asked_when_the_first_is_busy(
    papers: tuple[PaperCluster, PaperCluster],
    source: LiveCluster,
    destination: LiveCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tftp, "fetch", partial(tftp.fetch, timeout=30))  # asked once, not again while it is slow
    async with live(papers[1], serving_limit=0) as busy:
        busy.add(NAME)
        device = Device(NAME, source.flash(NAME))
        assert (await device.boot([busy.tftp.address, destination.tftp.address])).ok
        assert busy.tftp.counters.overflow == 1


@pytest.mark.slow
async def test_the_second_tftp_server_is_asked_when_the_first_is_silent(
    source: LiveCluster, destination: LiveCluster, silent: Address
) -> None:
    device = Device(NAME, source.flash(NAME))
    outcome = await device.boot([silent, destination.tftp.address])
    assert outcome.ok


async def test_a_phone_without_any_tftp_server_says_so(source: LiveCluster) -> None:
    outcome = await Device(NAME, source.flash(NAME)).boot()
    assert outcome.code is Code.FILE_SERVER_FAILED
    assert "no TFTP server" in outcome.reason


async def test_a_phone_that_prefers_http_gets_its_files_over_it(source: LiveCluster, destination: LiveCluster) -> None:
    device = Device(NAME, source.flash(NAME), http_port=destination.http.address[1])
    assert (await device.boot([destination.tftp.address])).ok
    assert f"{NAME}.cnf.xml.sgn(HTTP)" in device.statuses
    assert destination.tftp.counters.requests == 0


async def test_a_phone_that_prefers_http_falls_back_to_tftp(
    source: LiveCluster, destination: LiveCluster, nobody: Address
) -> None:
    device = Device(NAME, source.flash(NAME), http_port=nobody[1])
    assert (await device.boot([destination.tftp.address])).ok
    assert f"{NAME}.cnf.xml.sgn(TFTP)" in device.statuses


async def test_an_erased_phone_believes_the_destination_at_once(
    papers: tuple[PaperCluster, PaperCluster], destination: LiveCluster
) -> None:
    async with live(papers[0]) as unprepared:
        device = Device(NAME, unprepared.flash(NAME))
    device.erase()
    assert device.statuses == ("Erasing CTL and ITL files",)
    assert (await device.boot([destination.tftp.address])).ok
    assert device.tvs_requests == 0


async def test_a_phone_with_a_broken_list_is_refused_before_it_boots() -> None:
    with pytest.raises(MalformedError):
        Device(NAME, Flash(itl=b"broken"))


# Encrypted configurations


def encrypted_for(destination: LiveCluster, certificate: Certificate, *, cert_hash: str | None = None) -> None:
    """Let the destination encrypt the phone's configuration for ``certificate``."""
    whole = replace(PhoneConfig.parse(destination.xml(NAME)), encrypted=True)
    told = md5(certificate.der, usedforsecurity=False).hexdigest() if cert_hash is None else cert_hash
    short = PhoneConfig(NAME, (), encrypted=True, full=False, cert_hash=told)
    signer, key, name = destination.paper.callmanager, destination.paper.key, f"{NAME}.cnf.xml"
    closed = encrypt_file(
        name, whole.encode(), signer, key, certificate, aes_key=bytes(16), iv=bytes(16), timestamp=WHEN
    )
    destination.files[f"{name}.sgn".lower()] = sign_file(name, short.encode(), signer, key, timestamp=WHEN)
    destination.files[f"{name}.enc.sgn".lower()] = closed


@pytest.mark.parametrize("over_http", [False, True], ids=["TFTP", "HTTP"])
async def test_a_phone_opens_the_configuration_that_is_encrypted_for_its_certificate(
    source: LiveCluster, destination: LiveCluster, lsc: tuple[Path, Path], *, over_http: bool
) -> None:
    encrypted_for(destination, Certificate.from_pem(lsc[0].read_bytes()))
    port = destination.http.address[1] if over_http else None
    device = Device(NAME, source.flash(NAME), lsc=lsc, http_port=port)
    outcome = await device.boot([destination.tftp.address])
    assert outcome.ok, outcome
    assert device.statuses[-1] == f"{NAME}.cnf.xml.enc.sgn({'HTTP' if over_http else 'TFTP'})"
    assert NAME in destination.sip.registrations
    assert (await device.boot()).ok


async def test_a_phone_for_which_it_is_not_encrypted_keeps_its_configuration(
    source: LiveCluster, destination: LiveCluster, lsc: tuple[Path, Path], capf: Certificate
) -> None:
    encrypted_for(destination, capf)
    device = Device(NAME, source.flash(NAME), lsc=lsc)
    outcome = await device.boot([destination.tftp.address])
    assert (outcome.step, outcome.code) == (Step.CONFIGURATION, Code.CONFIG_ENCRYPTED)
    assert device.flash.config == source.flash(NAME).config


@pytest.mark.parametrize("broken", ["no files", "no PEM"])
async def test_a_phone_whose_key_cannot_be_read_says_that_it_has_no_certificate(
    source: LiveCluster, destination: LiveCluster, capf: Certificate, tmp_path: Path, broken: str
) -> None:
    encrypted_for(destination, capf)
    if broken == "no PEM":
        (tmp_path / "lsc").write_text("nonsense")
    device = Device(NAME, source.flash(NAME), lsc=(tmp_path / "lsc", tmp_path / "lsc"))
    outcome = await device.boot([destination.tftp.address])
    assert outcome.code is Code.CONFIG_ENCRYPTED
    assert outcome.reason.endswith("no certificate of its own")


# What the screen says of a server that does not send


class Refusing(asyncio.DatagramProtocol):
    """A TFTP server that answers every request with one error."""

    def __init__(self, number: int) -> None:
        self._answer = ErrorPacket(number, "no").encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(self._answer, addr)


@pytest.mark.parametrize(
    ("number", "shown"), [(2, Status.TFTP_ACCESS), (0, Status.TFTP_ERROR), (99, Status.TFTP_ERROR)]
)
async def test_an_error_of_the_file_server_is_shown_as_phones_do(
    source: LiveCluster, number: int, shown: Status
) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Refusing(number), ("127.0.0.1", 0))
    try:
        device = Device(NAME, source.flash(NAME))
        outcome = await device.boot([transport.get_extra_info("sockname")])
    finally:
        transport.close()
    assert (outcome.step, outcome.code) == (Step.CTL, Code.FILE_SERVER_FAILED)
    assert device.statuses[0] == shown


async def test_a_6901_moves_without_an_itl(source: LiveCluster, destination: LiveCluster) -> None:
    destination.files[f"{NAME}.cnf.xml".lower()] = destination.xml(NAME)
    device = Device(NAME, Flash(config=source.xml(NAME)), model="6901")
    outcome = await device.boot([destination.tftp.address])
    assert outcome.ok, outcome
    assert device.flash.itl is None
