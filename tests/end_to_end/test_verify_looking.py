"""Looking at TFTP nodes over real sockets: both protocols, missing files, silence that is paid for once."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from certferry.migrate.gather import Looking, Reach, gather_phones, gather_side
from certferry.migrate.place import Endpoint, Place
from certferry.migrate.side import ServedFile, SideView
from certferry.phone.decision import Kind
from certferry.serve.http import HttpFileServer
from certferry.serve.tftp import TftpServer
from phone_network import LOCAL, Library

DEVICE = "SEP001122334455"
PATIENT = Reach(tftp=30, tftp_tries=2, http=30, discover=False)
QUICK = replace(PATIENT, tftp=0.05)
"""For TFTP servers that never answer."""
FILES = {"itlfile.tlv": b"itl", f"itl{DEVICE.lower()}.tlv": b"own itl", f"{DEVICE.lower()}.cnf.xml": b"<device/>"}


class Counting(Library):
    """Remembers what was asked for."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(files)
        self.asked: list[str] = []

    def find(self, name: str) -> bytes | None:
        self.asked.append(name)
        return super().find(name)


@asynccontextmanager
async def served(files: Library) -> AsyncIterator[Endpoint]:
    tftp, http = TftpServer(LOCAL, files), HttpFileServer(LOCAL, files)
    await tftp.start()
    await http.start()
    try:
        yield Endpoint("127.0.0.1", tftp.address[1], http.address[1])
    finally:
        await http.close()
        await tftp.close()


async def looked(endpoint: Endpoint, *devices: str, reach: Reach = PATIENT) -> SideView:
    return await gather_side(Place("here", (endpoint,)), devices, Looking.with_reach(reach))


def states(file: ServedFile) -> tuple[str, str]:
    return file.tftp.state, file.http.state


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A UDP and TCP port at which nobody answers; both are held, so that nobody else gets them."""
    with socket.socket() as deaf, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        deaf.bind(LOCAL)
        silent.bind(deaf.getsockname())
        yield int(deaf.getsockname()[1])


async def test_a_node_is_asked_over_both_protocols() -> None:
    async with served(Library(FILES)) as endpoint:
        (node,) = (await looked(endpoint, DEVICE)).nodes
    assert states(node.files["ITLFile.tlv"]) == ("served", "served")
    assert states(node.files["CTLFile.tlv"]) == ("missing", "missing")
    assert node.trust_list(Kind.ITL, DEVICE) == b"own itl"
    assert node.trust_list(Kind.CTL, DEVICE) is None
    assert node.configuration(DEVICE) == b"<device/>"


async def test_a_protocol_that_stays_silent_is_asked_once(silent_port: int) -> None:
    async with served(Library(FILES)) as endpoint:
        (node,) = (await looked(Endpoint("127.0.0.1", silent_port, endpoint.http_port), DEVICE, reach=QUICK)).nodes
    assert states(node.files["ITLFile.tlv"]) == ("silent", "served")
    others = [states(file) for name, file in node.files.items() if name != "ITLFile.tlv"]
    assert {state for state, _ in others} == {"not asked"}
    assert node.configuration(DEVICE) == b"<device/>"


async def test_a_node_that_says_nothing_at_all_is_asked_for_one_file(silent_port: int) -> None:
    (node,) = (await looked(Endpoint("127.0.0.1", silent_port, silent_port), DEVICE, reach=QUICK)).nodes
    assert not node.alive
    assert list(node.files) == ["ITLFile.tlv"]


async def test_a_node_without_a_tftp_port_is_asked_over_http_alone() -> None:
    files = Counting(FILES)
    async with served(files) as endpoint:
        (node,) = (await looked(Endpoint("127.0.0.1", None, endpoint.http_port))).nodes
    assert states(node.files["ITLFile.tlv"]) == ("not asked", "served")
    assert len(files.asked) == len(node.files)


async def test_files_of_many_phones_are_asked_for_once_each_and_kept_once() -> None:
    devices = [f"SEP0000000000{number:02X}" for number in range(20)]
    own = {f"itl{device.lower()}.tlv": bytes(bytearray(b"the same list")) for device in devices}
    signed = {f"{device.lower()}.cnf.xml.sgn": b"\x01" + device.encode() for device in devices}
    files = Counting({**FILES, **own, **signed})
    async with served(files) as endpoint:
        side = await looked(endpoint)
        files.asked.clear()
        side = await gather_phones(side, devices, Looking.with_reach(PATIENT))
    assert sorted(files.asked) == sorted(
        name for device in devices for name in (f"CTL{device}.tlv", f"ITL{device}.tlv", f"{device}.cnf.xml.sgn")
    )
    assert side.devices == tuple(devices)
    assert len({id(side.trust_list(Kind.ITL, device)) for device in devices}) == 1
    assert all(side.nodes[0].configuration(device) for device in devices)


async def test_phones_of_a_dead_node_are_not_asked_about(silent_port: int) -> None:
    side = await looked(Endpoint("127.0.0.1", silent_port, None), reach=QUICK)
    assert await gather_phones(side, [DEVICE], Looking.with_reach(QUICK)) is side


async def test_a_server_that_answers_nonsense_is_seen_as_refusing() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"SSH-2.0-nonsense\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    (node,) = (await looked(Endpoint("127.0.0.1", None, port))).nodes
    server.close()
    assert states(node.files["ITLFile.tlv"]) == ("not asked", "refused")
    assert node.alive
    assert node.trust_list(Kind.ITL) is None
