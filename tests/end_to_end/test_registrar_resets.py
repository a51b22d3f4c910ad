"""A registrar resets phones over the connection they registered over, and hears which trust lists they hold."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from certferry.cluster.values import Phone
from certferry.serve.registrar import Leaving, Registrar, Registration
from certferry.wire.phone_alarm import DeviceTLInfo, PhoneAlarm
from certferry.wire.sip import Register, Response, SipMessage, frame_length
from certferry.wire.sip_requests import Notify, Refer
from waiting import until

PHONE, OTHER, STRANGER = "SEP000000000001", "SEP000000000002", "SEP00000000000F"
PHONES = {PHONE: Phone(PHONE), OTHER: Phone(OTHER)}
PATIENCE = 60


class Line:
    """A phone's connection, byte by byte in the test's hands."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def receive(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            return head + await self.reader.readexactly((frame_length(head) or 0) - len(head))

    async def status(self, request: bytes) -> int:
        self.writer.write(request)
        return Response.parse(await self.receive()).status

    async def register(self, device: str = PHONE, *, expires: int = 60) -> None:
        request = Register.of(device, "10.0.0.1", local="10.0.0.9:5", call_id="1@x", tag="a", expires=expires)
        assert await self.status(request.encode()) == 200

    async def notified(self) -> SipMessage:
        return SipMessage.parse(await self.receive())

    def answer(self, request: SipMessage, status: int = 200) -> None:
        self.writer.write(Response.to(request, status, tag="p").encode())

    def hang_up(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def registering(**settings: Any) -> AsyncIterator[Registrar]:
    registrar = Registrar(("127.0.0.1", 0), known=PHONES.get, **{"request_timeout": PATIENCE, **settings})
    await registrar.start()
    try:
        yield registrar
    finally:
        await registrar.close()


@asynccontextmanager
async def connected(registrar: Registrar) -> AsyncIterator[Line]:
    line = Line(*await asyncio.open_connection(*registrar.address))
    try:
        yield line
    finally:
        line.hang_up()


@asynccontextmanager
async def registered(registrar: Registrar, device: str = PHONE) -> AsyncIterator[Line]:
    async with connected(registrar) as line:
        await line.register(device)
        yield line


@pytest.fixture
async def registrar() -> AsyncIterator[Registrar]:
    async with registering() as running:
        yield running


def resetting(registrar: Registrar, device: str = PHONE, request: str = "r1", **more: Any) -> "asyncio.Task[bool]":
    return asyncio.create_task(registrar.reset(device, request, **{"seconds": PATIENCE, **more}))


# --- reset


async def test_a_phone_is_told_over_the_connection_it_registered_over(registrar: Registrar) -> None:
    async with registered(registrar) as phone:
        resetting_it = resetting(registrar)
        asked = await phone.notified()
        notify = Notify.of_message(asked)
        assert (notify.request_id, notify.action) == ("r1", "reset")
        here, there = registrar.address, phone.writer.get_extra_info("sockname")
        assert notify.uri == f"sip:{PHONE}@{there[0]}:{there[1]}"
        assert notify.host == f"{here[0]}:{here[1]}"
        phone.answer(asked)
        assert await resetting_it
    assert (registrar.counters.resets, registrar.counters.resets_answered) == (1, 1)


async def test_a_phone_without_an_open_connection_is_not_told_and_not_waited_for(registrar: Registrar) -> None:
    assert not await registrar.reset(PHONE, "r1")
    async with registered(registrar):
        assert set(registrar.connected) == {PHONE}
    await until(lambda: not registrar.connected)
    assert set(registrar.registrations) == {PHONE}
    assert not await registrar.reset(PHONE, "r1")
    assert registrar.counters.resets == 0


async def test_the_newest_connection_is_the_phones(registrar: Registrar) -> None:
    async with registered(registrar) as old, registered(registrar) as new:
        task = resetting(registrar)
        new.answer(await new.notified())
        assert await task
        old.hang_up()
        await until(lambda: registrar.connections.open == 1)
        assert set(registrar.connected) == {PHONE}


async def test_a_phone_that_does_not_answer_is_given_up(registrar: Registrar) -> None:
    async with registered(registrar) as phone:
        assert not await registrar.reset(PHONE, "r1", seconds=0.05)
        asked = await phone.notified()
        phone.answer(asked)  # too late, and nobody's
        await phone.register()


async def test_a_phone_that_hangs_up_instead_is_not_waited_for(registrar: Registrar) -> None:
    async with registered(registrar) as phone:
        task = resetting(registrar, seconds=600)
        await phone.notified()
        phone.hang_up()
        assert not await task


@pytest.mark.parametrize("status", [400, 481, 503, 600])
async def test_a_phone_that_refuses_was_not_reset(registrar: Registrar, status: int) -> None:
    async with registered(registrar) as phone:
        task = resetting(registrar)
        phone.answer(await phone.notified(), status)
        assert not await task


async def test_answers_that_are_not_final_or_not_ours_end_nothing(registrar: Registrar) -> None:
    async with registered(registrar) as phone:
        task = resetting(registrar)
        asked = await phone.notified()
        phone.answer(asked, 100)
        for start in (b"SIP/2.0 200 OK", b"SIP/2.0 999999999999999999 x", b"SIP/2.0 x y", b"SIP/2.0"):
            phone.writer.write(start + b"\r\nCall-ID: of-another\r\n\r\n")
        phone.writer.write(b"SIP/2.0 \xc2\xb2 x\r\nCall-ID: " + (asked.first("Call-ID") or "").encode() + b"\r\n\r\n")
        await phone.register()
        assert not task.done()
        assert registrar.counters.malformed == 4
        phone.answer(asked)
        assert await task


async def test_another_phone_cannot_answer_for_it(registrar: Registrar) -> None:
    async with registered(registrar) as phone, registered(registrar, OTHER) as other:
        task = resetting(registrar)
        asked = await phone.notified()
        other.answer(asked)
        await other.register(OTHER)
        assert not task.done()
        phone.answer(asked)
        assert await task


async def test_garbage_in_place_of_an_answer_ends_only_that_connection(registrar: Registrar) -> None:
    async with registered(registrar) as phone, registered(registrar, OTHER) as other:
        tasks = [resetting(registrar), resetting(registrar, OTHER, "r2")]
        await phone.notified()
        phone.writer.write(b"\x16\x03\x01 no SIP at all\r\n\r\n")
        other.answer(await other.notified())
        assert await asyncio.gather(*tasks) == [False, True]


async def test_hundreds_are_reset_at_once() -> None:
    phones = {f"SEP{number:012X}": Phone(f"SEP{number:012X}") for number in range(200)}
    async with registering() as registrar:
        registrar.replace_known(phones.get)

        async def answer(device: str) -> None:
            async with registered(registrar, device) as phone:
                phone.answer(await phone.notified())
                await until(lambda: registrar.counters.resets_answered == len(phones))

        answering = [asyncio.create_task(answer(device)) for device in phones]
        await until(lambda: set(registrar.connected) == set(phones))
        assert all(await asyncio.gather(*(registrar.reset(device, device, PATIENCE) for device in phones)))
        await asyncio.gather(*answering)


async def test_what_a_registered_phone_asks_besides_does_not_shorten_its_stay() -> None:
    async with registering() as registrar, registered(registrar) as phone:
        registrar.request_timeout = 0.2
        assert await phone.status(SipMessage("OPTIONS sip:x SIP/2.0", (("Call-ID", "1"),)).encode()) == 405
        async with connected(registrar) as stranger:
            with pytest.raises(asyncio.IncompleteReadError):
                await stranger.receive()  # cut off: who is not registered may not stay as long
        task = resetting(registrar)
        phone.answer(await phone.notified())
        assert await task


# --- who left, and who was refused


async def test_every_end_of_a_registration_is_told_with_its_reason() -> None:
    told: list[tuple[str, Leaving]] = []

    def note(registration: Registration, why: Leaving) -> None:
        told.append((registration.device, why))

    async with registering(on_unregister=note) as registrar, connected(registrar) as line:
        await line.register(expires=60)
        await line.register(expires=60)
        assert told == []
        await line.register(expires=0)
        assert told.pop() == (PHONE, Leaving.ASKED)
        assert not registrar.connected
        await line.register(expires=0)
        assert told == []  # who is not there does not leave
        await line.register(expires=1)
        await until(lambda: told)
        assert told.pop() == (PHONE, Leaving.RAN_OUT)
        await line.register()
        await line.register(OTHER)
        registrar.replace_known({OTHER: Phone(OTHER)}.get)
        assert told.pop() == (PHONE, Leaving.REMOVED)
        assert set(registrar.connected) == {OTHER}
    assert told == [(OTHER, Leaving.STOPPED)]


async def test_whoever_is_refused_is_told_with_its_status() -> None:
    told: list[tuple[str, str, int]] = []
    async with (
        registering(on_refused=lambda *words: told.append(words)) as registrar,
        connected(registrar) as line,
    ):
        request = Register.of(STRANGER, "10.0.0.1", local="10.0.0.9:5", call_id="1@x", tag="a")
        assert await line.status(request.encode()) == 404
    assert told == [(STRANGER, "127.0.0.1", 404)]


# --- alarms


def alarm(device: str = PHONE, *, data: bytes | None = None, sender: str = PHONE) -> bytes:
    info = DeviceTLInfo(device, "10.0.0.9", itl="AB" * 20).encode() if data is None else data
    return Refer.of(sender, "10.0.0.1", local="10.0.0.9:5", call_id="2@x", tag="b", alarm=info).encode()


async def test_a_phone_says_which_lists_it_holds() -> None:
    told: list[tuple[DeviceTLInfo, str]] = []
    async with registering(on_alarm=lambda *words: told.append(words)) as registrar, registered(registrar) as phone:
        assert await phone.status(alarm()) == 202
        assert registrar.counters.alarms == 1
    assert told == [(DeviceTLInfo(PHONE, "10.0.0.9", itl="AB" * 20), "127.0.0.1")]


async def test_nobody_speaks_for_another_phone_or_before_it_registered() -> None:
    told: list[DeviceTLInfo] = []
    async with registering(on_alarm=lambda info, _: told.append(info)) as registrar, connected(registrar) as line:
        assert await line.status(alarm()) == 403
        await line.register(OTHER)
        assert await line.status(alarm(PHONE, sender=OTHER)) == 403
        assert await line.status(alarm(OTHER)) == 202
    assert [info.device for info in told] == [OTHER]


async def test_other_alarms_are_taken_and_what_is_wrong_is_a_bad_request(registrar: Registrar) -> None:
    async with registered(registrar) as phone:
        assert await phone.status(alarm(data=PhoneAlarm("LastOutOfServiceInformation", ()).encode())) == 202
        assert await phone.status(alarm(data=b"<x-cisco-alarm>")) == 400
        assert await phone.status(alarm(data=b"")) == 400
        assert await phone.status(alarm(data=PhoneAlarm("DeviceTLInfo", ()).encode())) == 400
        assert await phone.status(alarm().replace(b"application/x-cisco-alarm+xml", b"text/plain")) == 400
        assert registrar.counters.alarms == 0
        await phone.register()
