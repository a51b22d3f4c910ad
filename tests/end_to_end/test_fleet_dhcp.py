"""Resident phones take their TFTP servers from DHCP: over loopback from a scripted server, then from a real one."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from certferry.fleet.dhcp import (
    DhcpClient,
    DhcpSilentError,
    DhcpSocketError,
    DhcpTftpMissingError,
    by_dhcp,
)
from certferry.wire.dhcp import DhcpMessage, MessageType, Op, Option
from certferry.wire.phone_dhcp import TftpSource
from command_line import COMMAND, certferry
from dhcp_network import Host, Network, dhcp_network

NAME = "SEP001B54000001"
HARDWARE = bytes.fromhex("001B54000001")
SERVERS = (Option.TFTP_ADDRESSES, bytes([192, 0, 2, 1, 192, 0, 2, 2, 192, 0, 2, 3]))
Answers = Callable[[DhcpMessage], Sequence[bytes]]


def reply(asked: DhcpMessage, kind: MessageType, *options: tuple[int, bytes], **changes: Any) -> bytes:
    head = ((Option.MESSAGE_TYPE, bytes([kind])), (Option.SERVER, bytes([127, 0, 0, 1])))
    values: dict[str, Any] = {"your_address": IPv4Address("198.51.100.7"), **changes}
    transaction, hardware = values.pop("transaction", asked.transaction), values.pop("hardware", asked.hardware)
    return DhcpMessage(values.pop("op", Op.REPLY), transaction, hardware, (*head, *options), **values).encode()


def obliging(asked: DhcpMessage) -> Sequence[bytes]:
    kind = MessageType.OFFER if asked.message_type is MessageType.DISCOVER else MessageType.ACK
    return [reply(asked, kind, SERVERS)]


@asynccontextmanager
async def asking(
    answers: Answers, waits: Sequence[float] = (5, 5)
) -> AsyncIterator[tuple[DhcpClient, list[DhcpMessage]]]:
    """A client whose server answers so; and what that was asked."""
    asked: list[DhcpMessage] = []

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, address: Any) -> None:
            asked.append(DhcpMessage.parse(data))
            for answer in answers(asked[-1]):
                self.transport.sendto(answer, address)  # type: ignore[attr-defined]

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    client = DhcpClient(transport.get_extra_info("sockname"), waits)
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(("127.0.0.1", 0))
    await client.use(bound)
    try:
        yield client, asked
    finally:
        client.close()
        transport.close()
        await asyncio.sleep(0)


async def test_a_phone_asks_as_a_cisco_phone_does_and_takes_the_first_two_servers() -> None:
    async with asking(obliging) as (client, asked):
        assert await by_dhcp(client, NAME, "8861")() == [("192.0.2.1", 69), ("192.0.2.2", 69)]
    discover, request = asked
    assert discover.class_identifier == "Cisco Systems, Inc. IP Phone CP-8861"
    assert Option.TFTP_ADDRESSES in discover.parameter_list
    assert (discover.hardware, discover.broadcast) == (HARDWARE, True)
    assert (request.message_type, request.requested_address) == (MessageType.REQUEST, IPv4Address("198.51.100.7"))
    assert request.server == IPv4Address("127.0.0.1")


async def test_many_phones_ask_over_one_socket_and_each_gets_its_own_lease() -> None:
    def by_number(asked: DhcpMessage) -> Sequence[bytes]:
        kind = MessageType.OFFER if asked.message_type is MessageType.DISCOVER else MessageType.ACK
        return [reply(asked, kind, (Option.TFTP_ADDRESSES, bytes([192, 0, 2, asked.hardware[-1]])))]

    async with asking(by_number) as (client, _):
        asks = (by_dhcp(client, f"SEP001B540000{number:02X}", "8861")() for number in range(1, 100))
        assert await asyncio.gather(*asks) == [[(f"192.0.2.{number}", 69)] for number in range(1, 100)]


@pytest.mark.parametrize(
    ("order", "server"),
    [
        ((TftpSource.OPTION_150, TftpSource.OPTION_66, TftpSource.SIADDR), "192.0.2.1"),
        ((TftpSource.OPTION_66, TftpSource.OPTION_150), "tftp.example"),
        ((TftpSource.SIADDR,), "192.0.2.9"),
    ],
)
async def test_the_order_of_the_sources_is_a_setting(order: Sequence[TftpSource], server: str) -> None:
    def full(asked: DhcpMessage) -> Sequence[bytes]:
        kind = MessageType.OFFER if asked.message_type is MessageType.DISCOVER else MessageType.ACK
        options = (SERVERS, (Option.TFTP_NAME, b"tftp.example"))
        return [reply(asked, kind, *options, siaddr=IPv4Address("192.0.2.9"))]

    async with asking(full) as (client, _):
        named = await by_dhcp(client, NAME, "8861", order)()
    assert named[0] == (server, 69)


async def test_a_lease_that_names_no_server_is_refused() -> None:
    def bare(asked: DhcpMessage) -> Sequence[bytes]:
        return [reply(asked, MessageType.OFFER), reply(asked, MessageType.ACK)]

    async with asking(bare) as (client, _):
        with pytest.raises(DhcpTftpMissingError, match=NAME):
            await by_dhcp(client, NAME, "8861")()


async def test_silence_is_borne_for_so_many_tries() -> None:
    async with asking(lambda _: [], waits=(0.02, 0.02, 0.02)) as (client, asked):
        with pytest.raises(DhcpSilentError, match="in 3 tries"):
            await client.lease(HARDWARE, "CP-8861")
        assert len(asked) == 3
        assert len({each.transaction for each in asked}) == 3


async def test_a_refused_request_begins_anew() -> None:
    refused: list[bool] = []

    def once(asked: DhcpMessage) -> Sequence[bytes]:
        if asked.message_type is MessageType.REQUEST and not refused:
            refused.append(True)
            return [reply(asked, MessageType.NAK)]
        return obliging(asked)

    async with asking(once) as (client, asked):
        assert (await client.lease(HARDWARE, "CP-8861")).message_type is MessageType.ACK
    kinds = [MessageType.DISCOVER, MessageType.REQUEST] * 2
    assert [each.message_type for each in asked] == kinds


async def test_what_answers_nobody_here_is_passed_over() -> None:
    def noisy(asked: DhcpMessage) -> Sequence[bytes]:
        kind = MessageType.OFFER if asked.message_type is MessageType.DISCOVER else MessageType.ACK
        return [
            b"noise",
            reply(asked, kind, transaction=asked.transaction ^ 1),
            reply(asked, kind, hardware=b"\0" * 6),
            reply(asked, kind, op=Op.REQUEST),
            reply(asked, MessageType.DECLINE),
            *obliging(asked),
            *obliging(asked),
        ]

    async with asking(noisy) as (client, _):
        assert (await client.lease(HARDWARE, "CP-8861")).tftp_addresses[0] == IPv4Address("192.0.2.1")


async def test_an_offer_without_its_server_cannot_be_taken() -> None:
    def nameless(asked: DhcpMessage) -> Sequence[bytes]:
        options = ((Option.MESSAGE_TYPE, bytes([MessageType.OFFER])), SERVERS)
        return [DhcpMessage(Op.REPLY, asked.transaction, asked.hardware, options).encode()]

    async with asking(nameless, waits=(0.05,)) as (client, asked):
        with pytest.raises(DhcpSilentError):
            await client.lease(HARDWARE, "CP-8861")
        assert len(asked) == 1


async def test_an_interface_that_is_not_there_is_refused() -> None:
    with pytest.raises(DhcpSocketError, match="nowhere0"):
        await DhcpClient.on_interface("nowhere0")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--dhcp", "nowhere0"], "fleet.dhcp-socket"),
        (["--dhcp", "lo", "--order", "150,67"], "dhcp.order"),
        (["--dhcp", "lo", "--tftp", "192.0.2.1"], "cli.fleet-options"),
    ],
)
def test_what_cannot_be_asked_ends_the_command(words: Sequence[str], code: str, tmp_path: Path) -> None:
    ended = certferry("fleet", "run", "--flash", tmp_path / "flash", "--device", NAME, *words, "--json")
    assert ended.error["code"] == code


# A real DHCP server


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with dhcp_network(tmp_path) as made:
        yield made


def first_failure(host: Host, tmp_path: Path, *words: str) -> Any:
    """Run two phones on ``host`` until one says why it did not register, and that is no silence of DHCP."""
    phones = ["--first", NAME, "--count", "2", "--flash", str(tmp_path / "flash"), "--dhcp", "eth0", *words]
    command = host._here(sys.executable, *COMMAND[1:], "fleet", "run", *phones, "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            said = (json.loads(line) for line in process.stdout)
            return next(each for each in said if each.get("event") == "failed")
        finally:
            process.kill()


@pytest.mark.slow
def test_phones_on_a_host_without_an_address_ask_dnsmasq_and_go_where_option_150_sends_them(
    network: Network, tmp_path: Path
) -> None:
    server, phones = network.host("198.51.100.2/24"), network.host()
    server.dnsmasq("--dhcp-option-force=150,192.0.2.11,192.0.2.12", "--dhcp-option=66,192.0.2.66")
    failure = first_failure(phones, tmp_path)
    assert failure["code"] == "tftp.failed"
    assert "192.0.2.11" in failure["text"]
    assert "192.0.2.12" in failure["text"]
    leases = (server.folder / "dnsmasq.leases").read_text()
    assert NAME[3:].lower() in leases.replace(":", "")
    assert "192.0.2.66" in first_failure(phones, tmp_path, "--order", "66,150")["text"]
