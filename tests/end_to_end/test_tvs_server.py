"""TVS over real sockets: both commands, hostile peers, TLS versions, and a client that checks whom it asks."""

import asyncio
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from certferry.fleet.dial import HandshakeError, IdentityUnusableError, client_context, dial
from certferry.fleet.tvs import (
    TvsAnswer,
    TvsCertificateUnknownError,
    TvsHandshakeError,
    TvsNoAnswerError,
    TvsUnreachableError,
    ask,
)
from certferry.serve.tls import TlsIdentityError, server_context
from certferry.serve.tvs import TvsServer
from certferry.serve.tvs_index import TvsIndex
from certferry.wire.certificate import Certificate
from certferry.wire.roles import Role
from certferry.wire.tvs import (
    CertificateQueryReply,
    CertificateQueryRequest,
    CertificateVerificationReply,
    CertificateVerificationRequest,
    Status,
    parse_message,
)
from conftest import MakeCertificate
from waiting import until

LOCAL = ("127.0.0.1", 0)
DEVICE = "CP-8861-SEPB000B4BA0AEE"
ROLES = frozenset({Role.SAST, Role.TFTP})


def pem_of(key: RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(scope="module")
def tvs_certificate(make_certificate: MakeCertificate) -> Certificate:
    """Expired on purpose: phones look at no date."""
    past = datetime(2015, 1, 1, tzinfo=UTC)
    return make_certificate("CN=src-pub;O=Example", not_before=past, not_after=past.replace(year=2016))


@pytest.fixture(scope="module")
def signer(make_certificate: MakeCertificate, other_rsa_key: RSAPrivateKey) -> Certificate:
    return make_certificate("CN=ITLRECOVERY_dst;O=Example", key=other_rsa_key)


@pytest.fixture(scope="module")
def context(tvs_certificate: Certificate, rsa_key: RSAPrivateKey) -> ssl.SSLContext:
    return server_context(tvs_certificate.pem, pem_of(rsa_key))


@pytest.fixture
def trusted(tvs_certificate: Certificate, signer: Certificate) -> list[Certificate]:
    return [tvs_certificate, signer]


@pytest.fixture
def lsc(signer: Certificate, other_rsa_key: RSAPrivateKey, tmp_path: Path) -> tuple[Path, Path]:
    """A certificate and its key as files, as a phone presents them; no server knows its issuer."""
    certificate, key = tmp_path / "lsc.pem", tmp_path / "key.pem"
    certificate.write_text(signer.pem)
    key.write_bytes(pem_of(other_rsa_key))
    return certificate, key


@pytest.fixture
def query(signer: Certificate) -> CertificateQueryRequest:
    return CertificateQueryRequest(1001, DEVICE, signer.subject, signer.issuer, signer.serial)


@pytest.fixture
def found(signer: Certificate) -> CertificateQueryReply:
    return CertificateQueryReply(1001, Status.VALID, signer.der, (0, 3), 86400)


@asynccontextmanager
async def serving(context: ssl.SSLContext, *known: Certificate, **settings: Any) -> AsyncIterator[TvsServer]:
    patient = {"request_timeout": 60, "handshake_timeout": 60}
    server = TvsServer(LOCAL, context, TvsIndex.build((each, ROLES) for each in known), **{**patient, **settings})
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@pytest.fixture
async def server(context: ssl.SSLContext, signer: Certificate) -> AsyncIterator[TvsServer]:
    async with serving(context, signer) as server:
        yield server


@asynccontextmanager
async def plain_connection(server: TvsServer) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*server.address)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@asynccontextmanager
async def tls_connection(server: TvsServer) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    deadline = asyncio.get_running_loop().time() + 60
    async with dial(server.address, client_context(None), deadline) as (reader, writer, _):
        yield reader, writer


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """Whatever still comes before the server ends the connection, politely or not."""
    received = b""
    try:
        async with asyncio.timeout(60):
            while piece := await reader.read(4096):
                received += piece
    except ConnectionError:
        pass
    return received


# Questions and answers


async def test_the_signer_of_a_foreign_list_is_found(
    server: TvsServer, tvs_certificate: Certificate, query: CertificateQueryRequest, found: CertificateQueryReply
) -> None:
    answer = await ask(server.address, query, trusted=[tvs_certificate])
    assert answer.reply == found
    assert answer.server_certificate == tvs_certificate.der
    assert answer.tls_version in {"TLSv1.2", "TLSv1.3"}
    assert answer.cipher


async def test_a_certificate_is_verified(server: TvsServer, tvs_certificate: Certificate, signer: Certificate) -> None:
    request = CertificateVerificationRequest(1002, DEVICE, signer.der)
    answer = await ask(server.address, request, trusted=[tvs_certificate])
    assert answer.reply == CertificateVerificationReply(1002, Status.VALID, (0, 3), 86400)


async def test_what_is_unknown_is_said_to_be_so_and_counted(
    server: TvsServer, tvs_certificate: Certificate, query: CertificateQueryRequest
) -> None:
    unknown = await ask(server.address, replace(query, serial=b"\x01"), trusted=[tvs_certificate])
    assert unknown.reply == CertificateQueryReply(1001, Status.INVALID)
    await ask(server.address, query, trusted=[tvs_certificate])
    assert (server.counters.trusted, server.counters.unknown) == (1, 1)


async def test_several_questions_may_share_a_connection_and_a_packet(
    server: TvsServer, query: CertificateQueryRequest
) -> None:
    async with tls_connection(server) as (reader, writer):
        writer.write(b"".join(replace(query, session_id=number).encode() for number in range(20)))
        size = len(server.index.reply(query.encode()))
        answers = [parse_message(await reader.readexactly(size)) for _ in range(20)]
    assert [answer.session_id for answer in answers] == list(range(20))


async def test_a_question_that_comes_byte_by_byte_is_answered(
    server: TvsServer, query: CertificateQueryRequest, found: CertificateQueryReply
) -> None:
    async with tls_connection(server) as (reader, writer):
        for byte in query.encode():
            writer.write(bytes([byte]))
            await writer.drain()
        assert parse_message(await reader.readexactly(len(found.encode()))) == found


async def test_an_answer_comes_in_one_tls_record(
    server: TvsServer, query: CertificateQueryRequest, found: CertificateQueryReply
) -> None:
    async with tls_connection(server) as (reader, writer):
        writer.write(query.encode())
        assert await reader.read(65536) == found.encode()


async def test_a_new_index_answers_from_the_next_question_on(
    server: TvsServer, query: CertificateQueryRequest, found: CertificateQueryReply
) -> None:
    async with tls_connection(server) as (reader, writer):
        writer.write(query.encode())
        await reader.readexactly(len(found.encode()))
        server.replace_index(TvsIndex.build([]))
        writer.write(query.encode())
        refused = CertificateQueryReply(1001, Status.INVALID)
        assert parse_message(await reader.readexactly(len(refused.encode()))) == refused


async def test_a_renewed_tvs_certificate_is_presented_from_the_next_connection_on(
    server: TvsServer,
    signer: Certificate,
    other_rsa_key: RSAPrivateKey,
    tvs_certificate: Certificate,
    query: CertificateQueryRequest,
) -> None:
    server.replace_context(server_context(signer.pem, pem_of(other_rsa_key)))
    answer = await ask(server.address, query, trusted=[tvs_certificate, signer])
    assert answer.server_certificate == signer.der


async def test_two_hundred_phones_at_once_are_all_answered(
    server: TvsServer, tvs_certificate: Certificate, query: CertificateQueryRequest
) -> None:
    async def phone(number: int) -> TvsAnswer:
        return await ask(server.address, replace(query, session_id=number), trusted=[tvs_certificate], timeout=60)

    answers = await asyncio.gather(*(phone(number) for number in range(200)))
    assert [answer.reply.session_id for answer in answers] == list(range(200))
    assert server.counters.trusted == 200


def test_all_of_it_holds_on_uvloop_too(
    context: ssl.SSLContext, signer: Certificate, query: CertificateQueryRequest, found: CertificateQueryReply
) -> None:
    async def scenario() -> None:
        async with serving(context, signer, handshake_timeout=60, request_timeout=60) as server:
            async with tls_connection(server) as (reader, writer):
                asking = (ask(server.address, query, trusted=None, timeout=60) for _ in range(50))
                assert {answer.reply for answer in await asyncio.gather(*asking)} == {found}
                writer.write(b"garbage!!!")
                assert await until_closed(reader) == b""
            assert (server.counters.trusted, server.counters.malformed) == (50, 1)
        async with serving(context, handshake_timeout=0.2) as server, plain_connection(server) as (idle, _):
            assert await until_closed(idle) == b""
            assert server.connections.handshakes_failed == 1

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


# Hostile and broken peers


async def test_idle_peers_before_and_after_the_handshake_delay_nobody(
    server: TvsServer, query: CertificateQueryRequest, found: CertificateQueryReply
) -> None:
    async with plain_connection(server), plain_connection(server), tls_connection(server), tls_connection(server):
        assert (await ask(server.address, query, trusted=None)).reply == found


async def test_a_drip_feeding_peer_is_cut_off_at_its_deadline_and_delays_nobody(
    context: ssl.SSLContext, signer: Certificate, query: CertificateQueryRequest, found: CertificateQueryReply
) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        for byte in query.encode():
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)

    async with serving(context, signer) as server, tls_connection(server) as (reader, writer):
        server.request_timeout = 0.5
        writer.write(query.encode())
        assert parse_message(await reader.readexactly(len(found.encode()))) == found
        server.request_timeout = 30  # whoever asks from now on has that long for the next question
        dripping = asyncio.create_task(drip(writer))
        assert (await ask(server.address, query, trusted=None)).reply == found
        assert await until_closed(reader) == b""
        assert server.counters.timed_out == 1
        dripping.cancel()


async def test_a_peer_that_never_begins_tls_is_cut_off_at_its_deadline(context: ssl.SSLContext) -> None:
    async with serving(context, handshake_timeout=0.2) as server, plain_connection(server) as (reader, _):
        assert await until_closed(reader) == b""
        assert server.connections.handshakes_failed == 1


async def test_a_peer_that_drips_its_handshake_is_cut_off_at_its_deadline(context: ssl.SSLContext) -> None:
    async with serving(context, handshake_timeout=0.3) as server, plain_connection(server) as (reader, writer):
        closed = asyncio.create_task(until_closed(reader))
        while not closed.done():
            writer.write(b"\x16" if server.connections.accepted == 0 else b"\x03")
            await asyncio.wait([closed], timeout=0.02)
        assert server.connections.handshakes_failed == 1


async def test_a_peer_that_speaks_no_tls_costs_only_its_own_connection(
    server: TvsServer, query: CertificateQueryRequest, found: CertificateQueryReply
) -> None:
    async with plain_connection(server) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n\r\n" * 10)
        await until_closed(reader)
    assert (await ask(server.address, query, trusted=None)).reply == found


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(10),
        bytes.fromhex("57010100000003e9 ffff"),
        bytes.fromhex("57010300000003e9 0000"),
        bytes.fromhex("57010300000003e9 0003 0900ff"),
        CertificateQueryReply(1, Status.INVALID).encode(),
    ],
    ids=["http", "zeros", "64-KB", "no-elements", "overrunning", "an-answer"],
)
async def test_what_is_no_question_ends_only_its_own_connection(
    server: TvsServer, query: CertificateQueryRequest, found: CertificateQueryReply, garbage: bytes
) -> None:
    async with tls_connection(server) as (innocent_reader, innocent), tls_connection(server) as (reader, writer):
        writer.write(garbage)
        assert await until_closed(reader) == b""
        innocent.write(query.encode())
        assert parse_message(await innocent_reader.readexactly(len(found.encode()))) == found
    assert server.counters.malformed == 1


async def test_questions_before_the_garbage_are_still_answered(
    server: TvsServer, query: CertificateQueryRequest, found: CertificateQueryReply
) -> None:
    async with tls_connection(server) as (reader, writer):
        writer.write(query.encode())
        assert parse_message(await reader.readexactly(len(found.encode()))) == found
        writer.write(b"garbage!!!")
        assert await until_closed(reader) == b""


async def test_a_peer_that_asks_without_reading_is_not_answered_without_bound(
    context: ssl.SSLContext, signer: Certificate, query: CertificateQueryRequest, found: CertificateQueryReply
) -> None:
    many = 20_000
    async with serving(context, signer, request_timeout=0.5) as server, tls_connection(server) as (_, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(query.encode() * many)
        await until(lambda: not server.connections.open)
        assert 0 < server.counters.trusted < many
        server.request_timeout = 30
        assert (await ask(server.address, query, trusted=None)).reply == found


async def test_phones_beyond_the_bound_wait_for_a_place(
    context: ssl.SSLContext, signer: Certificate, query: CertificateQueryRequest, found: CertificateQueryReply
) -> None:
    async with serving(context, signer, max_connections=2) as server:
        async with plain_connection(server), plain_connection(server):
            waiting = asyncio.create_task(ask(server.address, query, trusted=None, timeout=60))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(waiting), 0.2)
            assert server.connections.accepted == 2
        assert (await waiting).reply == found


async def test_closing_ends_every_connection(context: ssl.SSLContext) -> None:
    async with serving(context) as server:
        async with tls_connection(server) as (reader, _), plain_connection(server) as (plain_reader, _):
            await server.close()
            assert await until_closed(reader) == b""
            assert await until_closed(plain_reader) == b""
        assert server.connections.open == 0


# Whom the phone believes


async def test_a_server_that_is_not_in_the_itl_is_not_even_asked(
    server: TvsServer, signer: Certificate, query: CertificateQueryRequest
) -> None:
    with pytest.raises(TvsCertificateUnknownError, match="not trusted"):
        await ask(server.address, query, trusted=[signer])
    assert (server.counters.trusted, server.counters.unknown) == (0, 0)


async def test_a_phone_whose_itl_has_no_tvs_believes_nobody(server: TvsServer, query: CertificateQueryRequest) -> None:
    with pytest.raises(TvsCertificateUnknownError):
        await ask(server.address, query, trusted=[])


async def test_a_certificate_that_a_trusted_one_issued_is_still_unknown(
    make_certificate: MakeCertificate,
    rsa_key: RSAPrivateKey,
    other_rsa_key: RSAPrivateKey,
    trusted: list[Certificate],
    query: CertificateQueryRequest,
) -> None:
    tvs_certificate, signer = trusted
    same_name = make_certificate(tvs_certificate.subject, issuer=signer.subject, issuer_key=other_rsa_key)
    async with serving(server_context(same_name.pem, pem_of(rsa_key)), signer) as server:
        with pytest.raises(TvsCertificateUnknownError):
            await ask(server.address, query, trusted=trusted)
        assert server.counters.trusted == 0


async def test_a_phone_may_show_a_certificate_that_nobody_knows(
    server: TvsServer, lsc: tuple[Path, Path], query: CertificateQueryRequest, found: CertificateQueryReply
) -> None:
    assert (await ask(server.address, query, trusted=None, client_certificate=lsc)).reply == found


async def test_a_phone_certificate_that_does_not_fit_its_key_is_refused_before_anything_is_sent(
    lsc: tuple[Path, Path], rsa_key: RSAPrivateKey, query: CertificateQueryRequest
) -> None:
    lsc[1].write_bytes(pem_of(rsa_key))
    with pytest.raises(IdentityUnusableError):
        await ask(LOCAL, query, trusted=None, client_certificate=lsc)


async def test_phones_with_the_same_list_share_their_settings(
    tvs_certificate: Certificate, signer: Certificate
) -> None:
    assert client_context([tvs_certificate, signer]) is client_context([signer, tvs_certificate])
    assert client_context([signer]) is not client_context([tvs_certificate])


async def test_nobody_at_the_address_is_unreachable(query: CertificateQueryRequest) -> None:
    with socket.socket() as free:
        free.bind(LOCAL)
        with pytest.raises(TvsUnreachableError, match="cannot be reached"):
            await ask(free.getsockname(), query, trusted=None)


async def test_a_server_that_accepts_and_says_nothing_fails_the_handshake(query: CertificateQueryRequest) -> None:
    with socket.create_server(LOCAL) as silent, pytest.raises(TvsHandshakeError, match="in time"):
        await ask(silent.getsockname(), query, trusted=None, timeout=0.3)


async def test_a_server_that_speaks_no_tls_fails_the_handshake(query: CertificateQueryRequest) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, *LOCAL) as server:
        with pytest.raises(TvsHandshakeError):
            await ask(server.sockets[0].getsockname(), query, trusted=None)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "did not answer"),
        (b"\x57\x01\x04", "did not answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no TVS message"),
        (bytes.fromhex("57010400 000003e9 0000"), "no TVS message"),
        (CertificateQueryReply(1002, Status.INVALID).encode(), "another question"),
        (CertificateVerificationReply(1001, Status.INVALID).encode(), "another question"),
        (CertificateVerificationRequest(1001, "", b"").encode(), "another question"),
    ],
)
async def test_an_answer_that_is_none_is_no_answer(
    context: ssl.SSLContext, query: CertificateQueryRequest, said: bytes, reason: str
) -> None:
    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(query.encode()))
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(pretend, *LOCAL, ssl=context) as server:
        with pytest.raises(TvsNoAnswerError, match=reason):
            await ask(server.sockets[0].getsockname(), query, trusted=None)


async def test_a_server_that_never_answers_is_left_at_the_deadline(
    context: ssl.SSLContext, query: CertificateQueryRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    clock = loop.time

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(query.encode()))
        monkeypatch.setattr(loop, "time", lambda: clock() + 60)  # now the question is asked, its time passes
        await until_closed(reader)
        writer.transport.abort()
        gone.set()

    async with await asyncio.start_server(listen, *LOCAL, ssl=context) as server:
        with pytest.raises(TvsNoAnswerError, match="in time"):
            await ask(server.sockets[0].getsockname(), query, trusted=None, timeout=60)
        await asyncio.wait_for(gone.wait(), 30)


# TLS versions and ciphers


async def test_tls_1_0_is_off_unless_switched_on(server: TvsServer, query: CertificateQueryRequest) -> None:
    deadline = asyncio.get_running_loop().time() + 60
    with pytest.raises(HandshakeError):
        async with dial(server.address, only_tls10(), deadline):
            pass


async def test_a_7900_is_answered_over_tls_1_0_where_it_is_allowed(
    tvs_certificate: Certificate,
    rsa_key: RSAPrivateKey,
    signer: Certificate,
    query: CertificateQueryRequest,
    found: CertificateQueryReply,
) -> None:
    old = server_context(tvs_certificate.pem, pem_of(rsa_key), allow_tls10=True)
    deadline = asyncio.get_running_loop().time() + 60
    async with serving(old, signer) as server:
        async with dial(server.address, only_tls10(), deadline) as (reader, writer, facts):
            assert facts is not None
            assert (facts.version, facts.cipher) == ("TLSv1", "AES256-SHA")
            writer.write(query.encode())
            assert parse_message(await reader.readexactly(len(found.encode()))) == found
        newest = await ask(server.address, query, trusted=[tvs_certificate], allow_tls10=True)
        assert newest.tls_version == "TLSv1.3"


async def test_the_static_rsa_cipher_of_an_8861_is_taken_in_tls_1_2(
    server: TvsServer, query: CertificateQueryRequest
) -> None:
    phone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    phone.check_hostname = False
    phone.verify_mode = ssl.CERT_NONE
    phone.maximum_version = ssl.TLSVersion.TLSv1_2
    phone.set_ciphers("AES256-SHA")
    async with dial(server.address, phone, asyncio.get_running_loop().time() + 60) as (reader, writer, facts):
        assert facts is not None
        assert (facts.version, facts.cipher) == ("TLSv1.2", "AES256-SHA")
        writer.write(query.encode())
        assert await reader.readexactly(10)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl program is not installed")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_openssl_s_client_completes_the_handshake(server: TvsServer, version: str) -> None:
    output = await s_client(server, version)
    assert b"CN = src-pub" in output
    assert b"Secure Renegotiation IS" in output
    assert b"No client certificate CA names sent" in output


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl program is not installed")
@pytest.mark.parametrize("allowed", [True, False])
async def test_openssl_s_client_speaks_tls_1_0_only_where_it_is_allowed(
    tvs_certificate: Certificate, rsa_key: RSAPrivateKey, *, allowed: bool
) -> None:
    old = server_context(tvs_certificate.pem, pem_of(rsa_key), allow_tls10=allowed)
    async with serving(old) as server:
        output = await s_client(server, "-tls1", "-cipher", "AES128-SHA:@SECLEVEL=0")
    assert (b"New, SSLv3, Cipher is AES128-SHA" in output) is allowed


async def s_client(server: TvsServer, *words: str) -> bytes:
    """What ``openssl s_client`` says of its handshake with the server."""
    command = ["openssl", "s_client", *words, "-connect", f"127.0.0.1:{server.address[1]}"]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(b""), 60)
    return output


def only_tls10() -> ssl.SSLContext:
    phone = client_context(None, allow_tls10=True).__class__(ssl.PROTOCOL_TLS_CLIENT)
    phone.check_hostname = False
    phone.verify_mode = ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        phone.minimum_version = phone.maximum_version = ssl.TLSVersion.TLSv1
    phone.set_ciphers("AES256-SHA:@SECLEVEL=0")
    return phone


# Certificate and key of a service


def test_a_key_that_does_not_belong_to_the_certificate_is_refused(
    tvs_certificate: Certificate, other_rsa_key: RSAPrivateKey
) -> None:
    with pytest.raises(TlsIdentityError):
        server_context(tvs_certificate.pem, pem_of(other_rsa_key))


def test_a_key_under_a_passphrase_is_refused_and_never_asks_at_the_terminal(
    tvs_certificate: Certificate, rsa_key: RSAPrivateKey
) -> None:
    locked = rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    with pytest.raises(TlsIdentityError) as refusal:
        server_context(tvs_certificate.pem, locked)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("pem", [b"", b"no pem", "-----BEGIN CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(rsa_key: RSAPrivateKey, pem: str | bytes) -> None:
    with pytest.raises(TlsIdentityError):
        server_context(pem, pem_of(rsa_key))


def test_a_key_leaves_no_file_behind_where_there_is_no_memory_file(
    tvs_certificate: Certificate, rsa_key: RSAPrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert server_context(tvs_certificate.pem, pem_of(rsa_key)).get_ciphers()
    assert list(tmp_path.iterdir()) == []
