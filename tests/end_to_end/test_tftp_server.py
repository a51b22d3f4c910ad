"""The TFTP service over real sockets: our own client, curl and Debian's clients, storms, silence and garbage."""

import asyncio
import random
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from certferry.fleet.tftp import TftpFileNotFoundError, TftpNoAnswerError, TftpRefusedError, fetch
from certferry.serve.tftp import TftpServer
from certferry.wire import tftp
from certferry.wire.tftp import Ack, Data, ErrorCode, ErrorPacket, OptionAck, Options, ReadRequest, WriteRequest
from served_files import ServedFiles
from waiting import until

CONFIGURATION = bytes(range(256)) * 48 + b"</device>"
FILES = {
    "sep0000000000aa.cnf.xml.sgn": CONFIGURATION,
    "itlfile.tlv": b"I" * 6144,
    "empty.txt": b"",
    "lines.txt": b"one\ntwo\rthree\n",
    "ringlist.wav": random.Random(5).randbytes(300_000),
}
ServerMaker = Callable[..., Awaitable[TftpServer]]


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[ServerMaker]:
    running: list[TftpServer] = []

    async def start(**limits: Any) -> TftpServer:
        usual = {"files": ServedFiles(FILES), "timeout": 30}  # nothing is sent twice because this machine is slow
        server = TftpServer(("127.0.0.1", 0), **{**usual, **limits})
        await server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        await server.close()


def udp() -> AbstractContextManager[socket.socket]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.bind(("127.0.0.1", 0))
    return closing(sock)


async def receive(sock: socket.socket) -> tuple[tftp.Packet, tuple[str, int]]:
    data, sender = await asyncio.wait_for(asyncio.get_running_loop().sock_recvfrom(sock, 65536), 30)
    return tftp.parse(data), sender


async def ask(server: TftpServer, sock: socket.socket, packet: bytes) -> tuple[tftp.Packet, tuple[str, int]]:
    sock.sendto(packet, server.address)
    return await receive(sock)


async def run(*command: str | Path, cwd: Path | None = None) -> tuple[int, bytes]:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed")
    process = await asyncio.create_subprocess_exec(
        *map(str, command), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, output


# ---- one phone


@pytest.mark.parametrize("name", sorted(FILES))
async def test_a_file_arrives_whole(serve: ServerMaker, name: str) -> None:
    server = await serve()
    assert await fetch(server.address, name) == FILES[name]


@pytest.mark.parametrize("blksize", [8, 512, 1428, 65464])
async def test_a_larger_or_smaller_block_is_granted(serve: ServerMaker, blksize: int) -> None:
    server = await serve()
    assert await fetch(server.address, "ITLFile.tlv", blksize=blksize) == FILES["itlfile.tlv"]


async def test_names_are_found_in_any_letter_case_and_with_a_leading_slash(serve: ServerMaker) -> None:
    server = await serve()
    assert await fetch(server.address, "/SEP0000000000AA.cnf.xml.sgn") == CONFIGURATION


async def test_a_phone_without_a_ctl_gets_error_1(serve: ServerMaker) -> None:
    server = await serve()
    with pytest.raises(TftpFileNotFoundError, match=r"CTLSEP0000000000AA\.tlv"):
        await fetch(server.address, "CTLSEP0000000000AA.tlv")
    assert (server.counters.requests, server.counters.not_found) == (1, 1)


async def test_data_comes_from_a_new_port_for_each_file(serve: ServerMaker) -> None:
    server = await serve()
    with udp() as one, udp() as two:
        _, first = await ask(server, one, ReadRequest("ITLFile.tlv").encode())
        _, second = await ask(server, two, ReadRequest("ITLFile.tlv").encode())
    assert len({first[1], second[1], server.address[1]}) == 3


async def test_tsize_is_answered_and_unknown_options_are_left_out(serve: ServerMaker) -> None:
    server = await serve()
    request = ReadRequest("ITLFile.tlv", options=Options(tsize=0)).encode() + b"windowsize\x0016\0"
    with udp() as sock:
        answer, _ = await ask(server, sock, request)
    assert answer == OptionAck(Options(tsize=6144))


async def test_a_write_is_refused_with_error_2(serve: ServerMaker) -> None:
    server = await serve()
    with udp() as sock:
        answer, sender = await ask(server, sock, WriteRequest("ITLFile.tlv").encode())
    assert isinstance(answer, ErrorPacket)
    assert answer.code == ErrorCode.ACCESS_VIOLATION
    assert sender == server.address


@pytest.mark.parametrize(
    ("name", "why"),
    [("a" * 256, "too long"), ("\xe9t\xe9.xml", "not ASCII"), ("a\nb", "a control character"), ("///", "empty")],
)
async def test_a_name_no_file_can_have_is_not_found_without_a_look_up(serve: ServerMaker, name: str, why: str) -> None:
    files = ServedFiles(FILES)
    server = await serve(files=files)
    with udp() as sock:
        answer, _ = await ask(server, sock, ReadRequest(name).encode())
    assert isinstance(answer, ErrorPacket)
    assert answer.code == ErrorCode.FILE_NOT_FOUND, why
    assert files.asked == []


async def test_dots_in_a_name_lead_nowhere(serve: ServerMaker) -> None:
    server = await serve()
    with pytest.raises(TftpFileNotFoundError):
        await fetch(server.address, "../../etc/passwd")


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (b"\0\1no end", ErrorCode.ILLEGAL_OPERATION),
        (b"\0\1name\0mail\0", ErrorCode.ILLEGAL_OPERATION),
        (b"\0\x09", ErrorCode.ILLEGAL_OPERATION),
        (b"\0\1" + b"n" * 600 + b"\0octet\0", ErrorCode.ILLEGAL_OPERATION),
        (b"\0\1name\0octet\0blksize\0007\0", ErrorCode.OPTION_REFUSED),
        (b"", ErrorCode.ILLEGAL_OPERATION),
        (Ack(1).encode(), ErrorCode.UNKNOWN_TRANSFER),
        (Data(1, b"x").encode(), ErrorCode.UNKNOWN_TRANSFER),
    ],
)
async def test_what_is_no_request_gets_the_error_it_deserves(
    serve: ServerMaker, packet: bytes, code: ErrorCode
) -> None:
    server = await serve()
    with udp() as sock:
        answer, _ = await ask(server, sock, packet)
    assert isinstance(answer, ErrorPacket)
    assert answer.code == code
    assert (server.counters.malformed, server.counters.requests) == (1, 0)


async def test_an_error_is_never_answered(serve: ServerMaker) -> None:
    server = await serve()
    with udp() as sock:
        sock.sendto(ErrorPacket(0, "hello").encode(), server.address)
        sock.sendto(b"\0\5\0", server.address)
        answer, _ = await ask(server, sock, Ack(9).encode())
        assert answer == ErrorPacket(ErrorCode.UNKNOWN_TRANSFER, "no transfer of yours is here")
        with pytest.raises(BlockingIOError):
            sock.recv(100)


# ---- transfers that end badly


async def test_a_repeated_request_starts_no_second_transfer(serve: ServerMaker) -> None:
    server = await serve()
    request = ReadRequest("ITLFile.tlv").encode()
    with udp() as sock:
        await ask(server, sock, request)
        sock.sendto(request, server.address)
        sock.sendto(Ack(7).encode(), server.address)
        answer, _ = await receive(sock)
        assert isinstance(answer, ErrorPacket), "the acknowledgment, answered after the request was passed over"
    assert server.counters.requests == 1


async def test_another_request_from_the_same_port_replaces_the_first(serve: ServerMaker) -> None:
    server = await serve()
    with udp() as sock:
        await ask(server, sock, ReadRequest("ITLFile.tlv").encode())
        answer, _ = await ask(server, sock, ReadRequest("empty.txt").encode())
        assert answer == Data(1, b"")
    assert (server.counters.aborted, server.counters.in_progress) == (1, 1)


async def test_the_last_acknowledgment_counts_before_the_same_request_from_the_same_port(serve: ServerMaker) -> None:
    server = await serve()
    request = ReadRequest("empty.txt").encode()
    with udp() as sock:
        for done in range(20):
            _, transfer = await ask(server, sock, request)
            assert server.counters.processed == done
            sock.sendto(Ack(1).encode(), transfer)
        answer, _ = await ask(server, sock, request)
        assert answer == Data(1, b"")
    assert (server.counters.aborted, server.counters.in_progress) == (0, 1)


async def test_ports_are_used_again_and_late_packets_of_earlier_peers_change_nothing(serve: ServerMaker) -> None:
    server = await serve()
    with ExitStack() as stack:
        phones = [stack.enter_context(udp()) for _ in range(100)]
        transfers: dict[tuple[str, int], socket.socket] = {}
        for phone in phones:
            _, transfer = await ask(server, phone, ReadRequest("empty.txt").encode())
            phone.sendto(Ack(1).encode(), transfer)
            transfers[transfer] = phone
        await until(lambda: server.counters.in_progress == 0)
        earlier = None
        while earlier is None:
            phone = stack.enter_context(udp())
            first, transfer = await ask(server, phone, ReadRequest("ITLFile.tlv").encode())
            earlier = transfers.get(transfer)
        assert first == Data(1, b"I" * 512)
        earlier.sendto(Ack(1).encode(), transfer)
        with pytest.raises(BlockingIOError):
            phone.recv(600)
        phone.sendto(Ack(1).encode(), transfer)
        assert (await receive(phone))[0] == Data(2, b"I" * 512)


async def test_what_an_earlier_peer_sends_as_its_port_is_used_again_does_not_end_the_next_transfer(
    serve: ServerMaker,
) -> None:
    server = await serve(timeout=30)
    with ExitStack() as stack:
        earlier: list[tuple[socket.socket, tuple[str, int]]] = []
        for _ in range(65):
            phone = stack.enter_context(udp())
            _, transfer = await ask(server, phone, ReadRequest("empty.txt").encode())
            phone.sendto(Ack(1).encode(), transfer)
            earlier.append((phone, transfer))
            await until(lambda: server.counters.in_progress == 0)
        late = stack.enter_context(udp())
        late.sendto(ReadRequest("ITLFile.tlv").encode(), server.address)
        for phone, transfer in earlier:  # the service has not had its turn yet
            for _ in range(3):
                phone.sendto(ErrorPacket(0, "late").encode(), transfer)
        _, transfer = await receive(late)
        assert transfer in [port for _, port in earlier]
        late.sendto(Ack(1).encode(), transfer)
        assert (await receive(late))[0] == Data(2, b"I" * 512)


async def test_a_peer_that_floods_its_transfer_and_asks_again_stalls_nobody(
    serve: ServerMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    request = ReadRequest("ITLFile.tlv").encode()
    taken: list[object] = []

    def always_another(port: object, now: float) -> bool:
        taken.append((port, now))
        assert len(taken) < 10_000
        return True

    with udp() as phone:
        await ask(server, phone, request)
        monkeypatch.setattr(server._transfers, "_take_packet", always_another)
        phone.sendto(request, server.address)
        await until(lambda: bool(taken))
        monkeypatch.undo()
    assert len(taken) < 1000


async def test_a_port_whose_last_peer_is_gone_serves_the_next_at_once(serve: ServerMaker) -> None:
    server = await serve(timeout=30)
    for _ in range(200):
        with udp() as phone:
            _, transfer = await ask(server, phone, ReadRequest("empty.txt").encode())
            phone.sendto(ErrorPacket(0, "enough").encode(), transfer)
    assert await fetch(server.address, "empty.txt") == b""
    await until(lambda: server.counters.in_progress == 0)
    assert server.counters.aborted == 200


async def test_who_was_served_what_is_told_after_the_last_acknowledgment(serve: ServerMaker) -> None:
    told: list[tuple[str, str]] = []
    server = await serve(on_served=lambda name, host: told.append((name, host)))
    with udp() as phone:
        _, transfer = await ask(server, phone, ReadRequest("/Empty.txt").encode())
        assert told == []
        phone.sendto(Ack(1).encode(), transfer)
        await until(lambda: bool(told))
    with pytest.raises(TftpFileNotFoundError):
        await fetch(server.address, "CTLFile.tlv")
    assert told == [("/Empty.txt", "127.0.0.1")]


async def test_a_peer_whose_port_is_closed_ends_its_transfer(serve: ServerMaker) -> None:
    server = await serve(timeout=0.05)
    with udp() as sock:
        await ask(server, sock, ReadRequest("ITLFile.tlv").encode())
    await until(lambda: server.counters.aborted == 1)
    assert server.counters.in_progress == 0


async def test_a_silent_peer_is_sent_its_block_again_and_then_given_up(serve: ServerMaker) -> None:
    server = await serve(timeout=0.05, tries=3)
    with udp() as sock:
        sock.sendto(ReadRequest("ITLFile.tlv").encode(), server.address)
        assert [(await receive(sock))[0] for _ in range(3)] == [Data(1, b"I" * 512)] * 3
        await until(lambda: server.counters.aborted == 1)


async def test_an_error_of_the_peer_ends_its_transfer(serve: ServerMaker) -> None:
    server = await serve()
    with udp() as sock:
        _, transfer = await ask(server, sock, ReadRequest("ITLFile.tlv").encode())
        sock.sendto(ErrorPacket(0, "enough").encode(), transfer)
        await until(lambda: server.counters.aborted == 1)


async def test_a_stranger_at_a_transfers_port_is_turned_away_by_the_kernel(serve: ServerMaker) -> None:
    server = await serve()
    loop = asyncio.get_running_loop()
    with udp() as sock, udp() as stranger:
        _, transfer = await ask(server, sock, ReadRequest("ITLFile.tlv").encode())
        stranger.connect(transfer)
        stranger.send(Ack(1).encode())
        with pytest.raises(ConnectionRefusedError):
            await loop.sock_recv(stranger, 100)
        sock.sendto(Ack(1).encode(), transfer)
        answer, _ = await receive(sock)
        assert answer == Data(2, b"I" * 512)


async def test_above_the_serving_limit_a_request_overflows_and_is_told_so(serve: ServerMaker) -> None:
    server = await serve(serving_limit=2, limit_from_one_address=2)
    with udp() as one, udp() as two:
        await ask(server, one, ReadRequest("ITLFile.tlv").encode())
        await ask(server, two, ReadRequest("ITLFile.tlv").encode())
        with pytest.raises(TftpRefusedError, match="busy"):
            await fetch(server.address, "ITLFile.tlv")
    counters = server.counters
    assert (counters.overflow, counters.in_progress, counters.requests) == (1, 2, 3)


async def test_an_address_that_takes_its_part_of_the_places_and_answers_nothing_keeps_no_other_out(
    serve: ServerMaker,
) -> None:
    server = await serve(serving_limit=4, tries=20)
    with ExitStack() as held:
        greedy = [held.enter_context(udp()) for _ in range(5)]
        answers = [await ask(server, sock, ReadRequest("ITLFile.tlv").encode()) for sock in greedy]
        assert [type(packet) for packet, _ in answers] == [Data, Data, Data, ErrorPacket, ErrorPacket]
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)) as neighbour:
            neighbour.bind(("127.0.0.2", 0))
            packet, _ = await ask(server, neighbour, ReadRequest("empty.txt").encode())
            assert packet == Data(1, b"")
        _, transfer = answers[0]
        greedy[0].sendto(ErrorPacket(0, "enough").encode(), transfer)
        await until(lambda: server.counters.aborted == 1)
        packet, _ = await ask(server, greedy[4], ReadRequest("ITLFile.tlv").encode())
        assert type(packet) is Data


async def test_a_request_with_the_longest_timeout_holds_a_place_no_longer_than_any_other(serve: ServerMaker) -> None:
    server = await serve(timeout=0.05, tries=2)
    with udp() as silent:
        packet, _ = await ask(server, silent, ReadRequest("ITLFile.tlv", options=Options(timeout=255)).encode())
        assert packet == OptionAck(Options(timeout=255))
        await until(lambda: server.counters.in_progress == 0)
    assert server.counters.aborted == 1


async def test_a_request_as_long_as_a_datagram_can_be_is_refused(serve: ServerMaker) -> None:
    server = await serve()
    with udp() as sock:
        request = ReadRequest("ITLFile.tlv").encode() + b"blksize\0008\0" * 6500
        packet, _ = await ask(server, sock, request[:65_000])
    assert packet == ErrorPacket(ErrorCode.ILLEGAL_OPERATION, "no TFTP request")
    assert await fetch(server.address, "ITLFile.tlv") == b"I" * 6144


async def test_the_granted_receive_buffer_is_remembered(serve: ServerMaker) -> None:
    server = await serve()
    assert server.receive_buffer > 0


async def test_closing_aborts_what_is_under_way_and_frees_the_port(serve: ServerMaker) -> None:
    server = await serve()
    with udp() as sock:
        await ask(server, sock, ReadRequest("ITLFile.tlv").encode())
        await server.close()
        assert (server.counters.aborted, server.counters.in_progress) == (1, 0)
    again = TftpServer(server.address, ServedFiles(FILES))
    await again.start()
    await again.close()
    await again.close()


# ---- many at once, and among enemies


async def test_hundreds_of_phones_are_served_at_once(serve: ServerMaker) -> None:
    server = await serve()
    names = ["SEP0000000000AA.cnf.xml.sgn", "ITLFile.tlv"] * 200
    files = await asyncio.gather(*(fetch(server.address, name, timeout=20) for name in names))
    assert all(content == FILES[name.lower()] for name, content in zip(names, files, strict=True))
    await until(lambda: server.counters.in_progress == 0)
    assert server.counters.processed == server.counters.requests == 400


async def test_garbage_neither_stops_the_server_nor_a_phone(serve: ServerMaker) -> None:
    server = await serve()
    chance = random.Random(69)
    with udp() as hostile:

        async def shoot() -> None:
            for _ in range(40):
                for _ in range(25):
                    head = chance.choice([b"", b"\0\1", b"\0\2", b"\0\3", b"\0\4", b"\0\5", b"\0\6", b"\0\1a\0octet\0"])
                    hostile.sendto(head + chance.randbytes(chance.randrange(60)), server.address)
                await asyncio.sleep(0)

        shots = asyncio.create_task(shoot())
        files = await asyncio.gather(*(fetch(server.address, "ITLFile.tlv") for _ in range(20)))
        await shots
    assert files == [FILES["itlfile.tlv"]] * 20
    await until(lambda: server.counters.malformed > 100)
    assert await fetch(server.address, "ITLFile.tlv") == FILES["itlfile.tlv"]


async def test_silent_peers_do_not_delay_a_phone(serve: ServerMaker) -> None:
    server = await serve()
    with ExitStack() as silent:
        for _ in range(100):
            silent.enter_context(udp()).sendto(ReadRequest("ringlist.wav").encode(), server.address)
        assert await fetch(server.address, "ringlist.wav") == FILES["ringlist.wav"]
        assert server.counters.in_progress >= 100


def test_phones_silence_and_missing_files_are_the_same_on_uvloop() -> None:
    async def scene() -> None:
        patient = TftpServer(("127.0.0.1", 0), ServedFiles(FILES), timeout=30)
        server = TftpServer(("127.0.0.1", 0), ServedFiles(FILES), timeout=0.05, tries=2)
        await patient.start()
        await server.start()
        with udp() as silent:
            silent.sendto(ReadRequest("ITLFile.tlv").encode(), server.address)
            files = await asyncio.gather(*(fetch(patient.address, "ITLFile.tlv", timeout=20) for _ in range(100)))
            await until(lambda: server.counters.aborted == 1)
        with udp() as gone:
            gone.sendto(ReadRequest("ITLFile.tlv").encode(), server.address)
        with pytest.raises(TftpFileNotFoundError):
            await fetch(server.address, "CTLFile.tlv", timeout=20)
        await until(lambda: server.counters.aborted == 2)
        await server.close()
        await patient.close()
        assert files == [FILES["itlfile.tlv"]] * 100
        assert (patient.counters.processed, patient.counters.aborted) == (100, 0)
        assert (server.counters.processed, server.counters.not_found) == (0, 1)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene())


# ---- the client against servers that misbehave


async def test_no_server_is_no_answer() -> None:
    with udp() as silent, pytest.raises(TftpNoAnswerError, match="ITLFile"):
        await fetch(silent.getsockname(), "ITLFile.tlv", timeout=0.01, tries=2)


async def test_a_host_that_has_no_address_is_no_answer() -> None:
    with pytest.raises(TftpNoAnswerError):
        await fetch(("no-such-host.invalid", 69), "ITLFile.tlv", timeout=0.01, tries=1)


async def test_a_foreign_sender_is_turned_away_with_error_5_and_changes_nothing() -> None:
    with udp() as server, udp() as transfer, udp() as foreign:
        fetching = asyncio.create_task(fetch(server.getsockname(), "f", timeout=5))
        _, client = await receive(server)
        transfer.sendto(Data(1, b"a" * 512).encode(), client)
        assert (await receive(transfer))[0] == Ack(1)
        foreign.sendto(Data(2, b"forged").encode(), client)
        answer, _ = await receive(foreign)
        assert isinstance(answer, ErrorPacket)
        assert answer.code == ErrorCode.UNKNOWN_TRANSFER
        transfer.sendto(Data(2, b"b").encode(), client)
        assert await fetching == b"a" * 512 + b"b"


async def test_an_error_of_the_server_is_a_refusal_with_its_words() -> None:
    with udp() as server:
        fetching = asyncio.create_task(fetch(server.getsockname(), "f", timeout=5))
        _, client = await receive(server)
        server.sendto(ErrorPacket(3, "disk on fire").encode(), client)
        with pytest.raises(TftpRefusedError, match="error 3, disk on fire"):
            await fetching


async def test_a_cancelled_fetch_leaves_no_socket_behind() -> None:
    with udp() as server:
        fetching = asyncio.create_task(fetch(server.getsockname(), "f", timeout=5))
        await receive(server)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching


# ---- other people's clients


async def test_curl_fetches_over_tftp(serve: ServerMaker, tmp_path: Path) -> None:
    server = await serve()
    to = tmp_path / "ring"
    url = f"tftp://127.0.0.1:{server.address[1]}/ringlist.wav"
    code, output = await run("curl", "-sS", "-o", to, url)
    assert code == 0, output
    assert to.read_bytes() == FILES["ringlist.wav"]


async def test_curl_reports_a_missing_file(serve: ServerMaker) -> None:
    server = await serve()
    code, _ = await run("curl", "-sS", f"tftp://127.0.0.1:{server.address[1]}/missing")
    assert code == 68, "curl's code for: file not found on TFTP server"


async def test_debians_tftp_fetches_in_both_modes(serve: ServerMaker, tmp_path: Path) -> None:
    server = await serve()
    port = str(server.address[1])
    for mode, name in [("binary", "itlfile.tlv"), ("ascii", "lines.txt")]:
        code, output = await run("tftp", "-m", mode, "127.0.0.1", port, "-c", "get", name, cwd=tmp_path)
        assert code == 0, output
        assert (tmp_path / name).read_bytes() == FILES[name], output


async def test_atftp_fetches_with_every_option(serve: ServerMaker, tmp_path: Path) -> None:
    server = await serve()
    port = str(server.address[1])
    options = ["--option", "blksize 1024", "--option", "tsize 0", "--option", "timeout 2"]
    code, output = await run(
        "atftp", "--get", *options, "-r", "ringlist.wav", "-l", tmp_path / "ring", "127.0.0.1", port
    )
    assert code == 0, output
    assert (tmp_path / "ring").read_bytes() == FILES["ringlist.wav"]
