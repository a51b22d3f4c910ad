"""Phones register with the registrar over real sockets, plainly and with their LSC over mutual TLS."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certferry.cluster.values import Phone
from certferry.fleet.dial import IdentityUnusableError
from certferry.fleet.sip import (
    RegistrarHandshakeError,
    RegistrarNoAnswerError,
    RegistrarUnreachableError,
    RegistrationRefusedError,
    client_context,
    register,
)
from certferry.serve import registrar as registrar_module
from certferry.serve.registrar import MAX_EXPIRES, Registrar, Registration, is_name_of
from certferry.serve.tls import server_context
from certferry.wire.certificate import Certificate
from certferry.wire.sip import Register, Response, SipMessage, frame_length
from conftest import MakeCertificate, x509_name
from waiting import until

LOCAL = ("127.0.0.1", 0)
PLAIN, OTHER, SECURE, STRANGER = "SEP000000000001", "SEP000000000003", "SEP000000000002", "SEP00000000000F"
PHONES = {PLAIN: Phone(PLAIN), OTHER: Phone(OTHER), SECURE: Phone(SECURE, secure=True)}
Authority = Callable[[str], Certificate]
Lsc = Callable[..., tuple[Path, Path]]


def pem_of(key: RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(scope="module")
def callmanager(make_certificate: MakeCertificate) -> Certificate:
    return make_certificate("CN=dst-pub;O=Example")


@pytest.fixture(scope="module")
def capf(other_rsa_key: RSAPrivateKey) -> Certificate:
    """A self-signed CAPF certificate that ran out long ago."""
    return certificate_of("CN=CAPF-src", "CN=CAPF-src", other_rsa_key, other_rsa_key, year=2010, authority=True)


@pytest.fixture
def lsc(tmp_path: Path, rsa_key: RSAPrivateKey, other_rsa_key: RSAPrivateKey) -> Lsc:
    def issue(common_name: str, issuer: str = "CN=CAPF-src") -> tuple[Path, Path]:
        certificate = certificate_of(f"CN={common_name}", issuer, rsa_key, other_rsa_key)
        paths = tmp_path / "lsc.pem", tmp_path / "lsc.key"
        paths[0].write_text(certificate.pem)
        paths[1].write_bytes(pem_of(rsa_key))
        return paths

    return issue


def certificate_of(
    subject: str,
    issuer: str,
    key: RSAPrivateKey,
    issuer_key: RSAPrivateKey,
    *,
    year: int = 2026,
    authority: bool = False,
) -> Certificate:
    start = datetime(year, 1, 1, tzinfo=UTC)
    return Certificate.of(
        x509.CertificateBuilder()
        .subject_name(x509_name(subject))
        .issuer_name(x509_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start.replace(year=year + 5))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


@asynccontextmanager
async def registering(context: ssl.SSLContext | None = None, **settings: Any) -> AsyncIterator[Registrar]:
    patient = {"request_timeout": 60, "handshake_timeout": 60}
    registrar = Registrar(LOCAL, known=PHONES.get, context=context, **{**patient, **settings})
    await registrar.start()
    try:
        yield registrar
    finally:
        await registrar.close()


@pytest.fixture
async def plain() -> AsyncIterator[Registrar]:
    async with registering() as registrar:
        yield registrar


@pytest.fixture
def tls(callmanager: Certificate, rsa_key: RSAPrivateKey, capf: Certificate) -> ssl.SSLContext:
    return server_context(callmanager.pem, pem_of(rsa_key), client_ca=[capf], require_client=True)


@pytest.fixture
async def secured(tls: ssl.SSLContext) -> AsyncIterator[Registrar]:
    async with registering(tls) as registrar:
        yield registrar


@asynccontextmanager
async def connection(registrar: Registrar) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*registrar.address)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer_from(reader: asyncio.StreamReader) -> Response:
    async with asyncio.timeout(60):
        return Response.parse(await reader.readuntil(b"\r\n\r\n"))


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    try:
        async with asyncio.timeout(60):
            return await reader.read()
    except ConnectionError:
        return b""


def request(device: str = PLAIN, **changes: Any) -> bytes:
    values = {"local": "10.0.0.9:50000", "call_id": "1@10.0.0.9", "tag": "a1"}
    return Register.of(device, "10.0.0.1", **(values | changes)).encode()


# Over plain TCP


async def test_a_known_phone_registers_and_is_held_in_memory(plain: Registrar) -> None:
    reply = await register(plain.address, PLAIN, context=None, expires=60)
    assert (reply.device, reply.expires, reply.tls) == (PLAIN, 60, None)
    assert plain.registrations == {PLAIN: Registration(PLAIN, "127.0.0.1", secure=False, expires=60)}


async def test_an_unknown_phone_is_not_found(plain: Registrar) -> None:
    with pytest.raises(RegistrationRefusedError, match="404 Not Found") as refusal:
        await register(plain.address, STRANGER, context=None)
    assert refusal.value.status == 404
    assert plain.registrations == {}


async def test_a_secure_phone_is_forbidden_on_plain_tcp(plain: Registrar) -> None:
    with pytest.raises(RegistrationRefusedError) as refusal:
        await register(plain.address, SECURE, context=None)
    assert refusal.value.status == 403
    assert (plain.registrations, plain.counters.refused) == ({}, 1)


async def test_a_phone_that_registers_for_zero_seconds_is_registered_no_more(plain: Registrar) -> None:
    await register(plain.address, PLAIN, context=None)
    assert (await register(plain.address, PLAIN, context=None, expires=0)).expires == 0
    assert (plain.registrations, plain.counters.unregistered) == ({}, 1)


async def test_a_registration_runs_out(plain: Registrar) -> None:
    await register(plain.address, PLAIN, context=None, expires=1)
    assert plain.counters.registered == 1
    await until(lambda: not plain.registrations)


async def test_a_renewed_registration_runs_out_later(plain: Registrar) -> None:
    await register(plain.address, PLAIN, context=None, expires=1)
    await register(plain.address, PLAIN, context=None, expires=100)
    await register(plain.address, OTHER, context=None, expires=1)
    await until(lambda: OTHER not in plain.registrations)
    assert plain.registrations[PLAIN].expires == 100


async def test_more_seconds_than_the_longest_are_cut_to_it(plain: Registrar) -> None:
    assert (await register(plain.address, PLAIN, context=None, expires=10**9)).expires == MAX_EXPIRES


async def test_the_listener_is_told_of_registrations_only() -> None:
    told: list[Registration] = []
    async with registering(on_register=told.append) as registrar:
        await register(registrar.address, PLAIN, context=None)
        await register(registrar.address, PLAIN, context=None, expires=0)
        with pytest.raises(RegistrationRefusedError):
            await register(registrar.address, STRANGER, context=None)
    assert [registration.device for registration in told] == [PLAIN]


async def test_a_phone_that_was_removed_is_unregistered_and_a_new_one_is_known(plain: Registrar) -> None:
    await register(plain.address, PLAIN, context=None)
    plain.replace_known({STRANGER: Phone(STRANGER)}.get)
    assert plain.registrations == {}
    await register(plain.address, STRANGER, context=None)
    assert set(plain.registrations) == {STRANGER}


async def test_one_connection_carries_registrations_and_keep_alives(plain: Registrar) -> None:
    async with connection(plain) as (reader, writer):
        writer.write(b"\r\n\r\n" + request(cseq=1) + b"\r\n\r\n" + request(cseq=2) + b"\r\n")
        assert [(await answer_from(reader)).first("CSeq") for _ in range(2)] == ["1 REGISTER", "2 REGISTER"]


async def test_a_register_that_comes_byte_by_byte_is_answered(plain: Registrar) -> None:
    async with connection(plain) as (reader, writer):
        for byte in request():
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await answer_from(reader)).status == 200


async def test_headers_are_read_once_however_many_pieces_the_body_comes_in(
    plain: Registrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int | None] = []

    def measure(data: bytes) -> int | None:
        measured.append(frame_length(data))
        return measured[-1]

    monkeypatch.setattr(registrar_module, "frame_length", measure)
    message = SipMessage("OPTIONS sip:x SIP/2.0", (("Call-ID", "1"),), b"x" * 200).encode()
    reader, writer = await asyncio.open_connection(*plain.address)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for position in range(len(message)):
        writer.write(message[position : position + 1])
        await writer.drain()
        await asyncio.sleep(0)
    assert (await reader.readline()).startswith(b"SIP/2.0 405")
    assert sum(length is not None for length in measured) == 1
    writer.close()


async def test_other_methods_are_not_allowed_and_what_is_wrong_is_a_bad_request(plain: Registrar) -> None:
    async with connection(plain) as (reader, writer):
        writer.write(request().replace(b"REGISTER", b"OPTIONS"))
        writer.write(request().replace(b"Expires: 120", b"Expires: x"))
        writer.write(request())
        assert [(await answer_from(reader)).status for _ in range(3)] == [405, 400, 200]


async def test_a_hundred_phones_at_once_are_all_registered() -> None:
    phones = {f"SEP{number:012X}": Phone(f"SEP{number:012X}") for number in range(100)}
    async with registering() as registrar:
        registrar.replace_known(phones.get)
        await asyncio.gather(*(register(registrar.address, name, context=None, timeout=60) for name in phones))
        assert set(registrar.registrations) == set(phones)


# Over mutual TLS


async def test_a_secure_phone_registers_with_its_lsc(secured: Registrar, lsc: Lsc, callmanager: Certificate) -> None:
    reply = await register(secured.address, SECURE, context=client_context(*lsc(SECURE), [callmanager]))
    assert reply.tls is not None
    assert reply.tls.server_certificate == callmanager.der
    assert secured.registrations[SECURE].secure


async def test_the_model_may_stand_before_the_device_name_in_an_lsc(
    secured: Registrar, lsc: Lsc, callmanager: Certificate
) -> None:
    await register(secured.address, SECURE, context=client_context(*lsc(f"CP-8861-{SECURE}"), [callmanager]))
    assert set(secured.registrations) == {SECURE}


async def test_a_phone_may_not_register_under_the_name_of_another(
    secured: Registrar, lsc: Lsc, callmanager: Certificate
) -> None:
    with pytest.raises(RegistrationRefusedError, match="403"):
        await register(secured.address, SECURE, context=client_context(*lsc(PLAIN), [callmanager]))
    assert secured.registrations == {}


async def test_a_phone_that_is_not_secure_may_use_tls(secured: Registrar, lsc: Lsc, callmanager: Certificate) -> None:
    await register(secured.address, PLAIN, context=client_context(*lsc(PLAIN), [callmanager]))
    assert secured.registrations[PLAIN].secure


async def test_an_lsc_of_an_unknown_capf_breaks_the_handshake(
    callmanager: Certificate, rsa_key: RSAPrivateKey, lsc: Lsc
) -> None:
    other = certificate_of("CN=CAPF-dst", "CN=CAPF-dst", rsa_key, rsa_key, authority=True)
    context = server_context(callmanager.pem, pem_of(rsa_key), client_ca=[other], require_client=True)
    async with registering(context) as registrar:
        with pytest.raises(RegistrarHandshakeError):
            await register(registrar.address, SECURE, context=client_context(*lsc(SECURE), [callmanager]))
        assert registrar.registrations == {}


async def test_a_capf_that_came_into_the_store_is_believed_from_the_next_connection_on(
    callmanager: Certificate, rsa_key: RSAPrivateKey, tls: ssl.SSLContext, lsc: Lsc
) -> None:
    empty = server_context(callmanager.pem, pem_of(rsa_key), client_ca=[], require_client=True)
    async with registering(empty) as registrar:
        with pytest.raises(RegistrarHandshakeError):
            await register(registrar.address, SECURE, context=client_context(*lsc(SECURE), [callmanager]))
        registrar.replace_context(tls)
        await register(registrar.address, SECURE, context=client_context(*lsc(SECURE), [callmanager]))


async def test_in_tls_1_2_too_an_unknown_lsc_breaks_the_handshake(
    tls: ssl.SSLContext, callmanager: Certificate, lsc: Lsc
) -> None:
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    async with registering(tls) as registrar:
        context = client_context(*lsc(SECURE, issuer="CN=CAPF-elsewhere"), [callmanager])
        with pytest.raises(RegistrarHandshakeError):
            await register(registrar.address, SECURE, context=context)


async def test_a_certificate_that_ran_out_counts_only_where_time_is_checked(
    callmanager: Certificate, rsa_key: RSAPrivateKey, capf: Certificate, lsc: Lsc
) -> None:
    strict = server_context(callmanager.pem, pem_of(rsa_key), client_ca=[capf], require_client=True, check_time=True)
    async with registering(strict) as registrar:
        with pytest.raises(RegistrarHandshakeError):
            await register(registrar.address, SECURE, context=client_context(*lsc(SECURE), [callmanager]))


async def test_a_phone_breaks_off_when_the_registrar_is_not_in_its_ctl(
    secured: Registrar, lsc: Lsc, capf: Certificate
) -> None:
    with pytest.raises(RegistrarHandshakeError, match="not trusted"):
        await register(secured.address, SECURE, context=client_context(*lsc(SECURE), [capf]))
    assert secured.counters.registered == 0


async def test_plain_tcp_on_the_secure_port_is_not_answered(secured: Registrar) -> None:
    with pytest.raises(RegistrarNoAnswerError):
        await register(secured.address, PLAIN, context=None, timeout=5)
    assert secured.registrations == {}


def test_an_lsc_that_does_not_fit_its_key_is_refused(
    lsc: Lsc, callmanager: Certificate, other_rsa_key: RSAPrivateKey
) -> None:
    certificate, key = lsc(SECURE)
    key.write_bytes(pem_of(other_rsa_key))
    with pytest.raises(IdentityUnusableError):
        client_context(certificate, key, [callmanager])


@pytest.mark.parametrize(
    ("common_name", "matches"),
    [
        (SECURE, True),
        (SECURE.lower(), True),
        (f"CP-7965G-{SECURE}", True),
        (f"X{SECURE}", False),
        (f"{SECURE}-lsc", False),
        ("", False),
    ],
)
def test_a_common_name_is_that_of_a_device_when_it_ends_in_it(common_name: str, *, matches: bool) -> None:
    assert is_name_of(SECURE, common_name) is matches


# Hostile and broken peers


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x00\x05hello\r\n\r\n",
        b"x" * 9000,
        b"REGISTER sip:a SIP/2.0\r\nContent-Length: 99999999\r\n\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\nHost:a\r\n\r\n",
    ],
    ids=["tls", "endless", "huge-body", "http"],
)
async def test_garbage_ends_only_its_own_connection(plain: Registrar, garbage: bytes) -> None:
    async with connection(plain) as (innocent_reader, innocent), connection(plain) as (reader, writer):
        writer.write(garbage)
        assert await until_closed(reader) == b""
        innocent.write(request())
        assert (await answer_from(innocent_reader)).status == 200
    assert plain.counters.malformed == 1


async def test_idle_and_dripping_peers_are_cut_off_and_delay_nobody() -> None:
    async with registering(request_timeout=0.4) as registrar, connection(registrar) as (idle, _):
        async with connection(registrar) as (reader, writer):
            await until(lambda: registrar.connections.accepted == 2)
            registrar.request_timeout = 60  # whoever comes from now on has that long
            closed = asyncio.create_task(until_closed(reader))
            await register(registrar.address, PLAIN, context=None)
            while not closed.done():
                writer.write(b"R")
                await asyncio.wait([closed], timeout=0.02)
        assert await until_closed(idle) == b""
        assert registrar.counters.timed_out == 2


async def test_a_registered_phone_may_idle_but_must_finish_what_it_begins() -> None:
    async with registering() as registrar, connection(registrar) as (reader, writer):
        writer.write(request())
        assert (await answer_from(reader)).status == 200
        registrar.request_timeout = 0.3
        async with connection(registrar) as (stranger, _):
            assert await until_closed(stranger) == b"", "who is not registered may not idle as long"
        writer.write(request(cseq=2))
        assert (await answer_from(reader)).status == 200
        writer.write(request(cseq=3)[:50])
        assert await until_closed(reader) == b""
    assert registrar.counters.timed_out == 2


async def test_nobody_at_the_address_is_unreachable() -> None:
    with socket.socket() as free:
        free.bind(LOCAL)
        with pytest.raises(RegistrarUnreachableError):
            await register(free.getsockname(), PLAIN, context=None)


async def test_a_registrar_that_never_answers_is_left_at_the_deadline() -> None:
    with socket.create_server(LOCAL) as silent, pytest.raises(RegistrarNoAnswerError, match="in time"):
        await register(silent.getsockname(), PLAIN, context=None, timeout=0.3)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "hung up"),
        (b"SIP/2.0 20", "hung up"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "no SIP message"),
        (b"SIP/2.0 200 OK\r\nCall-ID: another\r\n\r\n", "another request"),
    ],
)
async def test_an_answer_that_is_none_is_no_answer(said: bytes, reason: str) -> None:
    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(pretend, *LOCAL) as server:
        with pytest.raises(RegistrarNoAnswerError, match=reason):
            await register(server.sockets[0].getsockname(), PLAIN, context=None)


async def test_an_answer_with_a_body_and_no_expiry_is_read_whole() -> None:
    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = SipMessage.parse(await reader.readuntil(b"\r\n\r\n"))
        answered = SipMessage("SIP/2.0 200 OK", (("Call-ID", asked.first("Call-ID") or ""),), b"body").encode()
        assert frame_length(answered) == len(answered)
        writer.write(answered[:-2])
        await writer.drain()
        writer.write(answered[-2:])
        writer.close()

    async with await asyncio.start_server(pretend, *LOCAL) as server:
        assert (await register(server.sockets[0].getsockname(), PLAIN, context=None, expires=77)).expires == 77
