"""A phone that stays: registered, reset over SIP, back where it was when the new lists are refused."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certferry.cluster.values import Phone
from certferry.errors import Refusal
from certferry.fleet import resident
from certferry.fleet.device import Device
from certferry.fleet.resident import Happening, Patience, PhoneEvent, ResidentPhone, renewal_after
from certferry.fleet.sip import SipConnection
from certferry.phone.events import Address
from certferry.phone.flash import Flash
from certferry.phone.outcome import Code
from certferry.serve.registrar import Leaving, Registrar, Registration
from certferry.serve.tvs_index import TvsIndex
from certferry.wire.certificate import Certificate
from certferry.wire.phone_alarm import DeviceTLInfo
from certferry.wire.sip import SipMessage
from conftest import MakeCertificate, x509_name
from phone_clusters import PaperCluster
from phone_network import LOCAL, LiveCluster, live
from waiting import until

NAME = "SEP00AA11BB22CC"
PATIENCE = Patience(first=0.02, longest=0.1, goodbye=5, chance=lambda: 1.0)
Papers = tuple[PaperCluster, PaperCluster]


@pytest.fixture(scope="module")
def papers(make_certificate: MakeCertificate, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey) -> Papers:
    return PaperCluster.of("src", rsa_key, make_certificate), PaperCluster.of("dst", other_rsa_key, make_certificate)


class Told:
    """What a phone said of itself, and the means to wait for what it will say."""

    def __init__(self) -> None:
        self.events: list[PhoneEvent] = []
        self._news = asyncio.Condition()

    def __call__(self, event: PhoneEvent) -> None:
        self.events.append(event)
        asyncio.get_running_loop().create_task(self._wake())

    async def _wake(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def until(self, happening: Happening, times: int = 1) -> PhoneEvent:
        async with asyncio.timeout(30), self._news:
            await self._news.wait_for(lambda: self.count(happening) >= times)
        return [event for event in self.events if event.happening is happening][times - 1]

    def count(self, happening: Happening) -> int:
        return sum(event.happening is happening for event in self.events)

    @property
    def words(self) -> list[str]:
        return [event.happening.value for event in self.events]


class Registered:
    """What a registrar is told by its phones."""

    def __init__(self) -> None:
        self.registered: list[Registration] = []
        self.left: list[Leaving] = []
        self.alarms: asyncio.Queue[DeviceTLInfo] = asyncio.Queue()

    @asynccontextmanager
    async def instead_of(self, node: LiveCluster, address: Address = LOCAL) -> AsyncIterator[Registrar]:
        """Run a registrar that tells us, in the place of the node's."""
        registrar = Registrar(
            address,
            known=Phone,
            on_register=self.registered.append,
            on_unregister=lambda _, why: self.left.append(why),
            on_alarm=lambda info, _: self.alarms.put_nowait(info),
        )
        await registrar.start()
        node.sip = registrar
        try:
            yield registrar
        finally:
            await registrar.close()

    async def alarm(self) -> DeviceTLInfo:
        return await asyncio.wait_for(self.alarms.get(), 30)


@pytest_asyncio.fixture
async def source(papers: Papers) -> AsyncIterator[tuple[LiveCluster, Registered]]:
    """The source cluster after the import: its TVS vouches for the destination's signers."""
    told = Registered()
    async with live(papers[0], vouches_for=papers[1].tvs_roles()) as node, told.instead_of(node):
        node.add(NAME)
        yield node, told


@pytest_asyncio.fixture
async def destination(papers: Papers) -> AsyncIterator[tuple[LiveCluster, Registered]]:
    told = Registered()
    async with live(papers[1]) as node, told.instead_of(node):
        node.add(NAME)
        yield node, told


Site = tuple[LiveCluster, Registered]


@asynccontextmanager
async def living(
    device: Device, option150: Callable[[], Sequence[Address] | Awaitable[Sequence[Address]]]
) -> AsyncIterator[tuple[ResidentPhone, Told]]:
    told = Told()
    phone = ResidentPhone(device, option150, tell=told, patience=PATIENCE)
    task = asyncio.create_task(phone.run())
    try:
        yield phone, told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def fingerprint(data: bytes | None) -> str:
    return sha1(data or b"").hexdigest().upper()


# Registered


async def test_it_registers_says_which_lists_it_holds_and_stays(source: Site) -> None:
    node, there = source
    async with living(Device(NAME, Flash()), lambda: [node.tftp.address]) as (phone, told):
        event = await told.until(Happening.REGISTERED)
        alarm = await there.alarm()
        assert told.words == ["booted", "registered"]
        assert event.server == node.sip.address
        assert set(node.sip.connected) == {NAME}
        assert (alarm.device, alarm.address, alarm.status_code) == (NAME, "127.0.0.1", None)
        assert (alarm.ctl, alarm.itl, alarm.itl_server) == ("", fingerprint(node.paper.itl()), "127.0.0.1")
    assert phone.connection is None


async def test_it_renews_its_registration_over_the_same_connection_before_it_runs_out(
    source: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "renewal_after", lambda granted: granted / 1000)
    node, there = source
    async with living(Device(NAME, Flash()), lambda: [node.tftp.address]) as (phone, told):
        await told.until(Happening.REGISTERED)
        connection = phone.connection
        await until(lambda: len(there.registered) >= 4)
        assert phone.connection is connection
        assert there.left == []
        assert told.words == ["booted", "registered"]


async def test_a_phone_that_is_switched_off_drops_its_connection(source: Site) -> None:
    node, there = source
    async with living(Device(NAME, Flash()), lambda: [node.tftp.address]) as (_, told):
        await told.until(Happening.REGISTERED)
    await until(lambda: not node.sip.connected)
    assert there.left == []  # nobody said goodbye


# Reset


async def test_a_reset_moves_it_to_the_servers_that_option_150_names_by_then(source: Site, destination: Site) -> None:
    named = [source[0].tftp.address]
    async with living(Device(NAME, Flash()), lambda: named) as (phone, told):
        await told.until(Happening.REGISTERED)
        named[:] = [destination[0].tftp.address]
        assert await source[0].sip.reset(NAME, "job-1")
        event = await told.until(Happening.REGISTERED, 2)
        alarm = await destination[1].alarm()
        assert told.words == ["booted", "registered", "reset", "booted", "registered"]
        assert event.server == destination[0].sip.address
        assert phone.device.flash.itl == destination[0].paper.itl()
        assert source[1].left == [Leaving.ASKED]
        assert (alarm.itl, alarm.status_code) == (fingerprint(destination[0].paper.itl()), None)


async def test_the_same_reset_told_again_is_answered_and_not_obeyed_twice(source: Site) -> None:
    node, _ = source
    async with living(Device(NAME, Flash()), lambda: [node.tftp.address]) as (_, told):
        await told.until(Happening.REGISTERED)
        assert await node.sip.reset(NAME, "job-1")
        await told.until(Happening.REGISTERED, 2)
        assert await node.sip.reset(NAME, "job-1")
        assert await node.sip.reset(NAME, "job-2")
        await told.until(Happening.REGISTERED, 3)
        assert told.count(Happening.RESET) == 2


async def test_a_retransmission_over_the_same_connection_is_answered(source: Site) -> None:
    node, _ = source
    async with living(Device(NAME, Flash()), lambda: [node.tftp.address]) as (_, told):
        await told.until(Happening.REGISTERED)
        assert any(await asyncio.gather(node.sip.reset(NAME, "job-1"), node.sip.reset(NAME, "job-1", 0.2)))
        await told.until(Happening.REGISTERED, 2)
        assert told.count(Happening.RESET) == 1


@pytest.mark.parametrize(
    ("start", "headers", "body", "status"),
    [
        ("OPTIONS sip:x SIP/2.0", (), b"", 405),
        ("NOTIFY sip:x SIP/2.0", (("Event", "message-summary"),), b"", 400),
        ("NOTIFY sip:x SIP/2.0", (("Event", "service-control"),), b"action=dance\r\n", 400),
    ],
)
async def test_what_else_is_asked_of_it_is_refused(
    source: Site, start: str, headers: tuple[tuple[str, str], ...], body: bytes, status: int
) -> None:
    phone = ResidentPhone(Device(NAME, Flash()), list)
    usual = (("Via", "SIP/2.0/TCP a"), ("From", "<sip:a>"), ("To", "<sip:b>"), ("Call-ID", "1"), ("CSeq", "1 NOTIFY"))
    assert phone.device.on_request is not None
    assert phone.device.on_request(SipMessage(start, (*usual, *headers), body)) == status


async def test_a_phone_may_be_reset_by_hand_even_while_it_waits(papers: Papers, destination: Site) -> None:
    named: list[Address] = []
    patient = Patience(first=3600, longest=3600)
    told = Told()
    phone = ResidentPhone(Device(NAME, Flash()), lambda: named, tell=told, patience=patient)
    task = asyncio.create_task(phone.run())
    await told.until(Happening.FAILED, 2)
    named.append(destination[0].tftp.address)
    phone.reset()
    await told.until(Happening.REGISTERED)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# What it does when it may not move


async def test_a_phone_whose_new_lists_are_refused_goes_back_and_says_so(papers: Papers, destination: Site) -> None:
    there = Registered()
    async with live(papers[0]) as unprepared, there.instead_of(unprepared):
        unprepared.add(NAME)
        held = unprepared.flash(NAME)
        async with living(Device(NAME, held), lambda: [destination[0].tftp.address]) as (phone, told):
            event = await told.until(Happening.REGISTERED)
            alarm = await there.alarm()
            assert told.words == ["failed", "registered"]
            assert told.events[0].outcome is not None
            assert told.events[0].outcome.code is Code.TVS_INVALID
            assert event.server == unprepared.sip.address
            assert phone.device.flash == held
            assert (alarm.status_code, alarm.itl) == (3, fingerprint(held.itl))
            assert set(unprepared.sip.connected) == {NAME}


async def test_after_going_back_it_can_be_reset_again_and_then_moves(papers: Papers, destination: Site) -> None:
    there = Registered()
    async with (
        live(papers[0]) as node,
        there.instead_of(node),
        living(Device(NAME, node.flash(NAME)), lambda: [destination[0].tftp.address]) as (_, told),
    ):
        await told.until(Happening.REGISTERED)
        node.tvs.replace_index(TvsIndex.build((*papers[0].tvs_roles(), *papers[1].tvs_roles())))
        assert await node.sip.reset(NAME, "job-1")
        event = await told.until(Happening.REGISTERED, 2)
        assert event.server == destination[0].sip.address


async def test_a_phone_whose_configuration_is_missing_goes_back_without_an_alarm_of_lists(
    source: Site, destination: Site
) -> None:
    del destination[0].files[f"{NAME}.cnf.xml.sgn".lower()]
    flash = source[0].flash(NAME)
    async with living(Device(NAME, flash), lambda: [destination[0].tftp.address]) as (phone, told):
        await told.until(Happening.REGISTERED)
        alarm = await source[1].alarm()
        assert told.words == ["failed", "registered"]
        assert alarm.status_code is None
        assert alarm.itl == fingerprint(destination[0].paper.itl())  # lists come before the configuration
        assert phone.device.flash.config == flash.config


async def test_a_phone_with_nothing_to_go_back_to_tries_again(destination: Site) -> None:
    named: list[Address] = []

    def option150() -> Sequence[Address]:
        named.append(destination[0].tftp.address)
        return named[1:]

    async with living(Device(NAME, Flash()), option150) as (_, told):
        await told.until(Happening.REGISTERED)
        assert told.words == ["failed", "failed", "booted", "registered"]


# Connections that break


async def test_after_its_node_was_restarted_it_registers_again_without_a_boot(source: Site) -> None:
    node, _ = source
    async with living(Device(NAME, Flash()), lambda: [node.tftp.address]) as (_, told):
        await told.until(Happening.REGISTERED)
        address = node.sip.address
        await node.sip.close()
        again = Registered()
        async with again.instead_of(node, address):
            await told.until(Happening.REGISTERED, 2)
            assert (await again.alarm()).itl == fingerprint(node.paper.itl())
        assert told.words[:2] == ["booted", "registered"]
        assert "lost" in told.words


async def test_when_no_callmanager_takes_it_back_it_boots(source: Site, destination: Site) -> None:
    named = [source[0].tftp.address]
    async with living(Device(NAME, Flash()), lambda: named) as (_, told):
        await told.until(Happening.REGISTERED)
        named[:] = [destination[0].tftp.address]
        await source[0].sip.close()
        event = await told.until(Happening.REGISTERED, 2)
        assert told.words == ["booted", "registered", "lost", "failed", "booted", "registered"]
        assert event.server == destination[0].sip.address


async def test_a_renewal_that_is_refused_is_a_connection_lost(source: Site) -> None:
    node, _ = source
    device = Device(NAME, Flash())
    device.expires = 1
    async with living(device, lambda: [node.tftp.address]) as (_, told):
        await told.until(Happening.REGISTERED)
        node.sip.replace_known(lambda _: None)
        event = await told.until(Happening.LOST)
        assert "404" in event.text
        node.sip.replace_known(Phone)
        await told.until(Happening.REGISTERED, 2)


# Option 150


async def test_option_150_may_have_to_be_asked_for_over_the_network(source: Site) -> None:
    async def dhcp() -> Sequence[Address]:
        await asyncio.sleep(0)
        return [source[0].tftp.address]

    async with living(Device(NAME, Flash()), dhcp) as (_, told):
        await told.until(Happening.REGISTERED)


async def test_a_dhcp_server_that_is_silent_leaves_it_with_the_servers_it_knew(source: Site) -> None:
    class SilentError(Refusal):
        code = "test.silent"
        remedy = "none"

    answers = [[source[0].tftp.address]]

    def dhcp() -> Sequence[Address]:
        if not answers:
            raise SilentError("no DHCP server answered")
        return answers.pop()

    async with living(Device(NAME, Flash()), dhcp) as (phone, told):
        await told.until(Happening.REGISTERED)
        phone.reset()
        await told.until(Happening.REGISTERED, 2)
        assert told.words == ["booted", "registered", "reset", "failed", "booted", "registered"]


# Time


def test_pauses_grow_to_their_longest_and_are_spread() -> None:
    patience = Patience(first=1, longest=60, chance=lambda: 1.0)
    assert [patience.pause(failures) for failures in (0, 1, 2, 5, 6, 1000)] == [1, 2, 4, 32, 60, 60]
    assert Patience(first=1, chance=lambda: 0.0).pause(0) == 0.5


# Secure


def issued(subject: str, key: rsa.RSAPrivateKey, issuer: str, issuer_key: rsa.RSAPrivateKey) -> Certificate:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(x509_name(subject)).issuer_name(x509_name(issuer))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(start).not_valid_after(start + timedelta(days=3650))
    builder = builder.add_extension(x509.BasicConstraints(ca=subject == issuer, path_length=None), critical=True)
    return Certificate.of(builder.sign(issuer_key, hashes.SHA256()))


async def test_secure_phones_share_one_context_and_each_presents_its_own_lsc(
    papers: Papers, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    capf = issued("CN=CAPF-dst", other_rsa_key, "CN=CAPF-dst", other_rsa_key)
    names = [f"SEP00000000000{number}" for number in range(6)]
    key = tmp_path / "phones.key"
    key.write_bytes(rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    async with live(papers[1], lsc_issuers=[capf]) as node:
        devices = []
        for name in names:
            node.add(name, secure=True)
            lsc = tmp_path / f"{name}.pem"
            lsc.write_text(issued(f"CN={name}", rsa_key, "CN=CAPF-dst", other_rsa_key).pem)
            devices.append(Device(name, Flash(), lsc=(lsc, key)))
        told = Told()
        phones = [ResidentPhone(device, lambda: [node.tftp.address], tell=told) for device in devices]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(phone.run()) for phone in phones]
            await told.until(Happening.REGISTERED, len(names))
            assert set(node.sips.connected) == set(names)
            assert all(await asyncio.gather(*(node.sips.reset(name, name) for name in names)))
            await told.until(Happening.REGISTERED, 2 * len(names))
            for task in tasks:
                task.cancel()


# The connection itself


async def test_an_answer_to_a_request_that_was_given_up_is_not_taken_for_the_next(source: Site) -> None:
    node, _ = source
    connection = await SipConnection.opened(node.sip.address, NAME, context=None)
    connection.received(b"SIP/2.0 200 OK\r\nCall-ID: other\r\nCSeq: 7 REFER\r\nContent-Length: 0\r\n\r\n")
    assert (await connection.register()).expires == 120
    assert (await connection.register(expires=60)).expires == 60
    connection.close()


async def test_without_a_listener_requests_are_refused(source: Site) -> None:
    node, _ = source
    connection = await SipConnection.opened(node.sip.address, NAME, context=None)
    await connection.register()
    assert await node.sip.reset(NAME, "job-1") is False
    assert node.sip.counters.resets == 1
    connection.close()


@pytest.mark.parametrize(("granted", "seconds"), [(120, 115), (8, 4), (1, 0.5), (0, 0.5)])
def test_a_registration_is_renewed_in_time_and_never_without_a_pause(granted: int, seconds: float) -> None:
    assert renewal_after(granted) == seconds
