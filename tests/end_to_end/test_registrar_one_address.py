"""How much of a registrar one address may have: places without a phone are bounded, those of phones are not."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from certferry.cluster.values import Phone
from certferry.fleet.sip import register
from certferry.serve import registrar as registrar_module
from certferry.serve.registrar import Registrar
from certferry.wire.sip import Register, Response
from waiting import until

LOCAL, ELSEWHERE = "127.0.0.1", "127.0.0.2"
PHONES = {name: Phone(name) for name in (f"SEP{number:012X}" for number in range(20))}
DEVICES = sorted(PHONES)
PATIENCE = 60
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def registering(**settings: Any) -> AsyncIterator[Registrar]:
    registrar = Registrar((LOCAL, 0), known=PHONES.get, **{"request_timeout": PATIENCE, **settings})
    await registrar.start()
    try:
        yield registrar
    finally:
        await registrar.close()


class Site:
    """Connections from one address, hung up together."""

    def __init__(self, registrar: Registrar, address: str = LOCAL) -> None:
        self.lines: list[Line] = []
        self._registrar = registrar
        self._address = address

    async def connect(self) -> Line:
        line = await asyncio.open_connection(*self._registrar.address, local_addr=(self._address, 0))
        self.lines.append(line)
        return line

    async def register(self, device: str, line: Line | None = None, *, expires: int = 60) -> int:
        reader, writer = line or await self.connect()
        writer.write(Register.of(device, LOCAL, local="x:5", call_id="1@x", tag="a", expires=expires).encode())
        async with asyncio.timeout(PATIENCE):
            return Response.parse(await reader.readuntil(b"\r\n\r\n")).status


@contextmanager
def site(registrar: Registrar, address: str = LOCAL) -> Iterator[Site]:
    made = Site(registrar, address)
    try:
        yield made
    finally:
        for _, writer in made.lines:
            writer.transport.abort()


async def is_cut_off(line: Line) -> bool:
    try:
        async with asyncio.timeout(PATIENCE):
            return await line[0].read(1) == b""
    except ConnectionError:
        return True


async def test_an_address_that_only_opens_connections_is_turned_away_and_others_register() -> None:
    async with registering(max_connections=8, max_from_one_address=3) as registrar:
        with site(registrar) as hostile, site(registrar, ELSEWHERE) as honest:
            for _ in range(3):
                await hostile.connect()
            assert all([await is_cut_off(await hostile.connect()) for _ in range(20)])
            assert await honest.register(DEVICES[0]) == 200
        assert registrar.connections.refused == 20


async def test_made_up_devices_win_their_address_no_place() -> None:
    async with registering(max_connections=8, max_from_one_address=3) as registrar:
        with site(registrar) as hostile:
            lines = [await hostile.connect() for _ in range(3)]
            for number in range(300):
                assert await hostile.register(f"SEPBAD{number:09X}", lines[number % 3]) == 404
            assert await is_cut_off(await hostile.connect())
        assert registrar.registrations == {}
        assert registrar.counters.refused == 300


async def test_the_phones_of_a_site_behind_one_address_are_all_registered() -> None:
    async with registering(max_connections=len(DEVICES), max_from_one_address=2) as registrar:
        with site(registrar) as branch:
            assert {await branch.register(device) for device in DEVICES} == {200}
        assert set(registrar.registrations) == set(DEVICES)


async def test_a_connection_whose_phone_hung_up_gives_its_place_back_once() -> None:
    async with registering(max_from_one_address=2) as registrar:
        for _ in range(3):
            with site(registrar) as branch:
                await branch.register(DEVICES[0])
                await branch.connect()
                await branch.connect()
                assert await is_cut_off(await branch.connect())
            await until(lambda: registrar.connections.open == 0)


async def test_a_phone_that_unregisters_counts_again() -> None:
    async with registering(max_from_one_address=2) as registrar:
        with site(registrar) as branch:
            line = await branch.connect()
            await branch.register(DEVICES[0], line)
            await branch.register(DEVICES[0], line, expires=0)
            await branch.connect()
            assert await is_cut_off(await branch.connect())
            assert await branch.register(DEVICES[0], line) == 200
            assert await branch.register(DEVICES[1]) == 200


async def test_one_device_registered_over_and_over_holds_no_more_places_than_nobody() -> None:
    async with registering(max_connections=50, max_from_one_address=3) as registrar:
        with site(registrar) as hostile:
            for _ in range(30):
                await hostile.register(DEVICES[0])
            assert registrar.connections.open <= 4
            await hostile.register(DEVICES[1])
            assert set(registrar.registrations) == set(DEVICES[:2])


async def test_a_connection_that_its_phone_left_is_not_kept_as_long_as_the_registration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registrar_module, "_GRACE", 0.2)
    async with registering() as registrar:
        with site(registrar) as branch:
            line = await branch.connect()
            await branch.register(DEVICES[0], line, expires=3600)
            await branch.register(DEVICES[0], expires=3600)
            assert await is_cut_off(line)
            assert registrar.connections.open == 1


async def test_the_connection_of_a_removed_phone_is_not_kept_as_long_as_the_registration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registrar_module, "_GRACE", 0.2)
    async with registering() as registrar:
        with site(registrar) as branch:
            line = await branch.connect()
            await branch.register(DEVICES[0], line, expires=3600)
            registrar.replace_known(lambda _: None)
            assert await is_cut_off(line)


async def test_a_closed_registrar_counts_nobody() -> None:
    async with registering(max_from_one_address=2) as registrar:
        with site(registrar) as branch:
            await branch.register(DEVICES[0])
            await branch.connect()
            await registrar.close()
        assert not registrar._listener._from_address


def test_one_address_has_three_quarters_of_the_places_unless_told_otherwise() -> None:
    registrar = Registrar((LOCAL, 0), known=PHONES.get, max_connections=100)
    assert registrar._listener._max_from_one_address == 75
    assert Registrar((LOCAL, 0), known=PHONES.get, max_connections=1)._listener._max_from_one_address == 1


async def test_a_storm_from_one_address_is_registered_whole_while_a_hostile_one_floods() -> None:
    async with registering(max_connections=60, max_from_one_address=30) as registrar:
        with site(registrar, ELSEWHERE) as hostile:
            flood = [asyncio.create_task(hostile.connect()) for _ in range(200)]
            await asyncio.gather(*(register(registrar.address, name, context=None, timeout=60) for name in DEVICES))
            await asyncio.gather(*flood, return_exceptions=True)
        assert set(registrar.registrations) == set(DEVICES)
